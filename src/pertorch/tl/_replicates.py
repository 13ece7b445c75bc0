"""What a call asks of the bootstrap, and what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, final

import torch
from torch import Tensor

from pertorch._settings import seed_or_default
from pertorch.data import Cells
from pertorch.stats import CI_METHODS, Bootstrap, bootstrap_interval
from pertorch.tl._arguments import level_between, whole_number

Frame = TypeVar("Frame")


@final
class MeanVar(NamedTuple):
    """Mean and variance (ddof 0) of a distance over bootstrap replicates."""

    mean: float
    variance: float


@final
class MeanVarInterval(NamedTuple):
    """:class:`MeanVar`, and the ends of a confidence interval."""

    mean: float
    variance: float
    lower: float
    upper: float


@final
@dataclass(frozen=True)
class Replicates:
    """Arguments of a bootstrap, checked."""

    n: int
    seed: int
    level: float | None
    method: str

    @classmethod
    def asked(cls, bootstrap: bool, n: Any, seed: Any, level: Any, method: Any) -> Replicates | None:
        """None without bootstrap.

        Raises
        ------
        ValueError, TypeError
            If ``n_bootstrap < 1``, an argument is of the wrong kind, the level is not in (0, 1), the method unknown, or
            a level is given without bootstrap.
        """
        if level is not None and not bootstrap:
            raise ValueError(f"confidence_level={level!r} asks for an interval over replicates: pass bootstrap=True.")
        if level is not None:
            level_between(level)
        if method not in CI_METHODS:
            raise ValueError(f"ci_method={method!r} is not one of: {', '.join(map(repr, CI_METHODS))}.")
        if not bootstrap:
            return None
        seed = whole_number(seed_or_default(seed), "random_state")
        return cls(whole_number(n, "n_bootstrap", 1), seed, level, method)

    def weights(self, cells: Cells) -> Bootstrap:
        """The replicates of these cells."""
        return Bootstrap(cells.offsets, torch.from_numpy(cells.groups.keys), self.n, self.seed)

    def summary(self, values: Tensor, estimate: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Mean, variance and, if asked for, ends of the interval of replicates of shape ``(p, r)``."""
        variance, mean = torch.var_mean(values, 1, correction=0)
        found = {"mean": mean, "variance": variance}
        if self.level is not None:
            found["lower"], found["upper"] = bootstrap_interval(values, self.level, self.method, estimate()[:, 0])
        return found


def frames(columns: dict[str, Tensor], frame: Callable[[Tensor, str], Frame]) -> Any:
    """The distances as `frame` lays them out; of replicates, a tuple, the mean under the plain name."""
    found = [frame(column, "" if name in ("", "mean") else f" {name}") for name, column in columns.items()]
    return found[0] if len(found) == 1 else tuple(found)
