"""A signature whose matrix is of Dask, beside what it needs of it: a task that others depend on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pertorch.data import Matrix
from pertorch.exec import shared, task
from pertorch.tl._gathered import Gathered, Index, Wanted
from pertorch.tl._operator import Signature


def gathered_task(signature: Signature, cells: Index, wanted: Sequence[Wanted]) -> Any:
    """The task of Dask that gives the signature of these cells, ascending, from blocks picked out of the chunks."""
    assert isinstance(signature.matrix, Matrix)
    empty = Gathered.of(signature.matrix, wanted)
    return task(_filled, shared(signature.among(cells, empty)), empty.tasks(signature.matrix))


def _filled(signature: Signature, slabs: Iterable[Any]) -> Signature:
    assert isinstance(signature.matrix, Gathered)
    return signature.of(signature.matrix.filled(slabs))
