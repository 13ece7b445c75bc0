"""One way to compare numbers."""

from __future__ import annotations

from typing import Any

import numpy as np


def assert_close(actual: Any, expected: Any, *, rel: float, scale: Any = None) -> None:
    """Assert that the largest relative error is at most `rel`, and say where it lies otherwise.

    Parameters
    ----------
    actual, expected
        Arrays, tensors, frames or numbers of one shape. Where `expected` is NaN or infinite, `actual` must be too.
    rel
        Largest error allowed, as a fraction of `scale`.
    scale
        What an error is compared with, broadcast against `expected`; default ``abs(expected)``. Give the size of the
        terms where the result is a small difference of large ones. Where the scale is 0, the two must be equal.
    """
    a, e = (np.asarray(_host(x), dtype=np.float64) for x in (actual, expected))
    assert a.shape == e.shape, f"shape {a.shape} is not the expected {e.shape}"
    size = np.broadcast_to(np.abs(e) if scale is None else np.asarray(_host(scale), dtype=np.float64), e.shape)
    finite = np.isfinite(e)
    same = (a == e) | (np.isnan(a) & np.isnan(e))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(same, 0.0, np.where(finite & np.isfinite(a), np.abs(a - e) / size, np.inf))
    if error.size and (worst := float(error.max())) > rel:
        at = np.unravel_index(int(error.argmax()), e.shape)
        where = f" at {tuple(map(int, at))}" if at else ""
        raise AssertionError(
            f"largest relative error {worst:.3g} > {rel:.3g}{where}: {float(a[at])!r} is not {float(e[at])!r}; "
            f"{int((error > rel).sum())} of {error.size} are off"
        )


def _host(x: Any) -> Any:
    """Torch and CuPy arrays may lie on a device."""
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()
    return x.get() if hasattr(x, "get") and hasattr(x, "device") else x
