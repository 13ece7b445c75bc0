"""What is asked of a report."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, dataclass, fields
from typing import Any

from pertorch.cli._embedding import N_PCS

LEAST_PERMUTATIONS = 1_000


@dataclass(frozen=True)
class Options:
    """The arguments of ``pertorch report`` that change a number, by their names on the command line."""

    groupby: str
    control: str
    split_by: str | None = None
    guide_method: str = "mixture"
    counts: str | None = None
    total_counts: str | None = None
    exclude_genes: tuple[str, ...] = ()
    obsm: str | None = None
    n_pcs: int | None = None
    bootstrap: int = 200
    permutations: int | None = None
    fdr: float = 0.05
    mixscape: bool = True
    mixscale: bool = True
    type: str = "KO"
    neighbors: int = 20
    figures: bool = True
    seed: int = 0

    @classmethod
    def of(cls, args: Namespace) -> Options:
        """Those of a command line."""
        given = {field.name: getattr(args, field.name) for field in fields(cls)}
        return cls(**given | {"exclude_genes": tuple(args.exclude_genes or ())})

    @property
    def new_pcs(self) -> int | None:
        """Principal components to make, whatever embedding the file has; None takes that."""
        asked = self.n_pcs or self.counts or self.total_counts or self.exclude_genes
        return (self.n_pcs or N_PCS) if asked and self.obsm is None else None

    def n_permutations(self, n_targets: int, n_strata: int) -> int:
        """Permutations of each test.

        Unless a number was given, so many that one target alone, farther than every permutation, passes the
        correction. Where p-values of several strata are combined they are small enough as they are.
        """
        if self.permutations is not None:
            return self.permutations
        return LEAST_PERMUTATIONS if n_strata > 1 else max(LEAST_PERMUTATIONS, round(n_targets / self.fdr))

    def as_dict(self) -> dict[str, Any]:
        """Names and values, for a record of the run."""
        return asdict(self) | {"exclude_genes": list(self.exclude_genes)}
