from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pertorch.ops import mann_whitney

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def by_columns(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    columns = sp.csc_array(values)
    cuts = torch.from_numpy(mann_whitney.group_cuts(columns.indices, columns.indptr, offsets))
    sizes = torch.from_numpy(np.diff(offsets))
    return mann_whitney.u_statistics(torch.from_numpy(columns.data), cuts, sizes).numpy()


def beside(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The controls sorted, the others cut in two as a matrix in a file is: U adds up."""
    theirs = [np.sort(column[column != 0]) for column in values[: offsets[1]].T]
    starts = torch.from_numpy(np.cumsum([0, *map(len, theirs)]))
    middle, total = (offsets[1] + len(values)) // 2, 0
    for rows in (slice(offsets[1], middle), slice(middle, len(values))):
        part, ends = sp.csc_array(values[rows]), np.clip(offsets[1:], rows.start, rows.stop) - rows.start
        cuts = torch.from_numpy(mann_whitney.group_cuts(part.indices, part.indptr, ends))
        sizes = torch.from_numpy(np.concatenate([offsets[1:2], np.diff(ends)]))
        ours = torch.from_numpy(part.data)
        total = (
            total + mann_whitney.u_beside(torch.from_numpy(np.concatenate(theirs)), starts, ours, cuts, sizes).numpy()
        )
    return np.concatenate([by_columns(values, offsets)[:, :1], total], 1)


def by_rows(module: str, device: str = "cpu") -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    def find(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        order = np.random.default_rng(0).permutation(len(values))  # rows may come in any order
        rows = sp.csr_array(values[np.argsort(order)])
        data, indices, indptr = (torch.from_numpy(x).to(device) for x in (rows.data, rows.indices, rows.indptr))
        sizes = torch.from_numpy(np.diff(offsets)).to(device)
        groups, where = torch.repeat_interleave(sizes), torch.from_numpy(order).to(device)
        theirs = sp.csr_array(values[: offsets[1]])
        stored = (torch.from_numpy(x).to(device) for x in (theirs.data, theirs.indices))
        controls = mann_whitney.SortedControls.of(*stored, int(offsets[1]), values.shape[1])
        excess = torch.zeros(len(sizes), values.shape[1], dtype=torch.int64, device=device)
        twin = import_module(f"pertorch.ops.mann_whitney.{module}")
        twin.add_excess(excess, data, indices, indptr.long(), where, groups, controls)
        return ((excess + sizes[:, None] * controls.of_zero).double() / 2).cpu().numpy().T

    return find


PATHS = [
    pytest.param(by_columns, id="columns"),
    pytest.param(beside, id="beside"),
    pytest.param(by_rows("_torch"), id="rows-torch"),
    pytest.param(by_rows("_torch", "cuda"), id="rows-torch-cuda", marks=pytest.mark.gpu),
    pytest.param(by_rows("_triton", "cuda"), id="rows-triton-cuda", marks=pytest.mark.gpu),
]
PATHS = [pytest.param(by_rows("_triton"), id="rows-triton-interpreter")] if INTERPRETED else PATHS


def counted(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """U by comparing every pair."""
    controls = values[: offsets[1]]
    below = (controls[:, None] < values).sum(0) + 0.5 * (controls[:, None] == values).sum(0)
    return np.stack([below[a:b].sum(0) for a, b in pairwise(offsets)], 1)


@settings(max_examples=6 if INTERPRETED else 25)
@pytest.mark.parametrize("path", PATHS)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=5),
    n_controls=st.integers(1, 20),
    dtype=st.sampled_from([np.float32, np.float64]),
    levels=st.integers(1, 50),
)
def test_u_is_what_counting_pairs_gives(path, seed, sizes, n_controls, dtype, levels):
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, n_controls, *sizes])
    values = rng.integers(-levels, levels, (offsets[-1], 3)).astype(dtype) / 7 * (rng.random((offsets[-1], 3)) < 0.6)
    values[:, 1] = np.abs(values[:, 1])
    np.testing.assert_array_equal(path(values, offsets), counted(values, offsets))


def test_explicit_zeros_are_zeros():
    """A matrix may store some: they count as those that it does not."""
    values, columns = torch.tensor([0.0, 2.0, -1.0, 0.0]), torch.tensor([0, 0, 0, 1], dtype=torch.int32)
    controls = mann_whitney.SortedControls.of(values, columns, 5, 2)
    assert controls.of_zero.tolist() == [2 + 3, 5]  # one below and three at zero; five at zero


@pytest.mark.parametrize("path", PATHS)
def test_u_is_scipys(path):
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(0, 1, (60, 8)), 1)
    expected = scipy.stats.mannwhitneyu(values[25:], values[:25]).statistic
    np.testing.assert_allclose(path(values, np.array([0, 25, 60]))[:, 1], expected, rtol=1e-12)


@pytest.mark.parametrize("squared", [False, True])
def test_segment_sums(squared):
    rng = np.random.default_rng(0)
    values, offsets = rng.normal(size=(30, 5)) * (rng.random((30, 5)) < 0.5), np.array([0, 10, 10, 30])
    columns = sp.csc_array(values)
    cuts = torch.from_numpy(mann_whitney.group_cuts(columns.indices, columns.indptr, offsets))
    found = mann_whitney.segment_sums(torch.from_numpy(columns.data), cuts, squared=squared)
    expected = [(values[a:b] ** (1 + squared)).sum(0) for a, b in pairwise(offsets)]
    np.testing.assert_allclose(found.numpy(), np.stack(expected, 1), atol=1e-13)


@pytest.mark.skipif(INTERPRETED, reason="this is the process that the test starts")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_programs_in_the_interpreter():
    """Triton reads TRITON_INTERPRET when it is imported: hence a process of its own."""
    names = ("test_mann_whitney.py", "test_gauss_mixture.py", "test_responders.py")
    files = [str(Path(__file__).with_name(name)) for name in names]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "interpreter"]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
