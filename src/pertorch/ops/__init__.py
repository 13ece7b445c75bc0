"""Tensor operations: a plain torch version of each, and a Triton kernel of the same name where it pays.

In each package ``__init__`` is the contract and chooses who computes, ``_torch`` is the truth, ``_triton`` launches the
kernels that ``_programs`` holds.

==================== ===================================================== ======================================
``pairwise``         sums of κ(x, y) over pairs of groups                  energy distance, mean pairwise, MMD
``softmin``          soft minima, again and again                          ``solvers.sinkhorn``
``segment``          sums and moments of groups; runs of unequal length    metrics of means and moments
``ranks``            ranks, distinct values, Kolmogorov-Smirnov            correlations, ``ks_test``, ``nb_ll``
``mann_whitney``     U of many groups against one control                  markers
``neighbors``        nearest controls                                      perturbation signature
``histogram``        how often each count occurs                           guide mixtures
``two_normals``      mixtures of two normals, one known, at their maximum  Mixscape's classes
``shuffle``          permutations and random subsets                       ``stats``: permutations, subsamples
==================== ===================================================== ======================================
"""
