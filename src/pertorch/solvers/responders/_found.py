"""What a search for responding cells finds."""

from __future__ import annotations

from typing import NamedTuple, final

from torch import Tensor

from pertorch.solvers.projection import Projection


@final
class Responders(NamedTuple):
    """What was found about B targets.

    Attributes
    ----------
    responds
        Shape ``(B, n)``, bool.
    posterior
        Shape ``(B, n)``: probability of responding, from the last mixture.
    first
        Projection on the first direction, that of all cells of the target.
    n_iter
        Shape ``(B,)``, int64: refinements made.
    converged
        Shape ``(B,)``, bool: whether the last mixture, and the refinement, came to rest.
    collapsed
        Shape ``(B,)``, bool: whether too few responding cells were left.
    """

    responds: Tensor
    posterior: Tensor
    first: Projection
    n_iter: Tensor
    converged: Tensor
    collapsed: Tensor

    def host(self, *, controls: bool) -> Responders:
        """In host memory, in a few copies; the projections of controls only where they are wanted."""
        first = self.first if controls else self.first._replace(of_controls=self.first.of_controls[:, :0])
        others = {name: part.cpu() for name, part in self._asdict().items() if name != "first"}
        return Responders(first=Projection(*(part.cpu() for part in first)), **others)
