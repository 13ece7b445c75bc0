"""Histograms of counts: all that a mixture's likelihood needs, whatever the number of cells.

A guide's counts enter a mixture's likelihood only through how often each value occurs. A :class:`Tally` reads the
non-zeros once, in any order and in any number of parts, and parts merge: chunks of a file, threads, GPUs. What comes
out is small (tens to hundreds of distinct values per guide), so a fit costs the same for 10³ and for 10⁸ cells.
"""

from pertorch.ops.histogram._torch import Histograms, Tally

__all__ = ["Histograms", "Tally"]
