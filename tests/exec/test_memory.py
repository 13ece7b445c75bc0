"""Out of device memory: smaller slabs and on. Memory that is short is played on a CPU."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from pertorch import Distance, DistanceTest, settings
from pertorch.data import Cells, Groups, open_matrix
from pertorch.exec import Kept, _memory, map_devices, memory_budget, with_less_memory
from pertorch.metrics import _jobs, _moments
from testing.pertorch import assert_close

CPU = torch.device("cpu")


def shortage(most):
    """Work that needs as much memory as it may have, on a device that has less."""
    budgets = []

    def work():
        budgets.append(memory_budget(CPU))
        if budgets[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return "done"

    return work, budgets


def test_smaller_and_smaller_with_one_line_of_the_log(caplog):
    work, budgets = shortage(3e8)
    with caplog.at_level(logging.WARNING, "pertorch"), settings.override(memory_gb=1):
        assert with_less_memory(CPU, work) == "done"
        assert memory_budget(CPU) == 10**9
    assert budgets == [10**9, 5 * 10**8, 25 * 10**7]
    assert caplog.messages == ["cpu ran out of memory: done with slabs of at most 0.25 GB in place of 1."]


def test_where_there_is_no_room_at_all_the_error_is_the_callers_and_no_one_around_tries_again():
    work, budgets = shortage(0)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        with_less_memory(CPU, lambda: map_devices([CPU] * 2, lambda: torch.ones(1), lambda *_: work()))
    assert _memory.LEAST_BYTES <= budgets[-1] < 2 * _memory.LEAST_BYTES
    assert len(budgets) == len(set(budgets))


def test_other_errors_are_the_callers_at_once():
    calls = []

    def work(device, run):
        calls.append(run)
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        map_devices([CPU], lambda: torch.ones(1), work)
    assert len(calls) == 1


def test_only_the_device_that_is_short_has_less():
    budgets = {}

    def work(device, run):
        budgets.setdefault(run.start, []).append(memory_budget(device))
        if run.start == 0 and len(budgets[0]) == 1:
            raise torch.OutOfMemoryError
        return run

    assert map_devices([CPU] * 2, lambda: torch.ones(4), work) == [slice(0, 2), slice(2, 4)]
    assert budgets[0] == [budgets[2][0], budgets[2][0] // 2]
    assert len(budgets[2]) == 1


def test_what_is_kept_is_given_up():
    kept, other = Kept({CPU: torch.ones(3)}), Kept({torch.device("meta"): 1})

    def work():
        if kept:
            raise torch.OutOfMemoryError
        return "done"

    assert with_less_memory(CPU, work) == "done"
    assert len(other) == 1


def screen():
    rng = np.random.default_rng(0)
    labels = rng.choice(list("abcd"), 400)
    obs = pd.DataFrame({"gene": labels}, index=[str(i) for i in range(400)])
    return AnnData(rng.poisson(1.0, (400, 300)).astype(np.float64), obs=obs)


def short_of_rows(monkeypatch, module, name, most):
    """An operation for which so many rows are too many; how often it was called."""
    real, calls = getattr(module, name), []

    def fake(rows, *args, **kwargs):
        if isinstance(rows, torch.Tensor):
            calls.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError
        return real(rows, *args, **kwargs)

    monkeypatch.setattr(module, name, fake)
    return calls


@pytest.mark.parametrize("options", [{}, {"bootstrap": True, "n_bootstrap": 5}])
def test_distances_of_half_the_rows_at_a_time(monkeypatch, caplog, options):
    adata, distance = screen(), Distance("edistance", layer_key="X")
    expected = distance.pairwise(adata, "gene", **options)
    calls = short_of_rows(monkeypatch, _jobs, "block_sums", 300)
    monkeypatch.setattr(_memory, "LEAST_BYTES", 2**16)
    with caplog.at_level(logging.WARNING, "pertorch"), settings.override(memory_gb=0.01):
        found = distance.pairwise(adata, "gene", **options)
    for table, truth in zip(*((t if options else (t,)) for t in (found, expected)), strict=True):
        assert_close(table, truth, rel=1e-9)
    assert max(calls) == 400
    assert "ran out of memory" in caplog.text


def test_rows_that_are_held_are_given_up():
    """Rows lie on the device; when another part of the work finds no room, they go, and are read band by band."""
    cells = Cells(open_matrix(screen(), "X", None), Groups.from_obs(screen(), "gene"))
    cells.on(CPU)

    def work():
        if cells._loaded:
            raise torch.OutOfMemoryError
        return cells.rows(0, 5, CPU)

    assert torch.equal(with_less_memory(CPU, work), cells.on(CPU)[:5])


def test_permutations_after_a_shortage(monkeypatch):
    adata = screen()
    test = DistanceTest("t_test", layer_key="X", n_perms=19)
    expected, real, first = test(adata, "gene", "a"), _moments.group_moments, []

    def fake(*args):
        if not first:
            first.append(1)
            raise torch.OutOfMemoryError
        return real(*args)

    monkeypatch.setattr(_moments, "group_moments", fake)
    pd.testing.assert_frame_equal(test(adata, "gene", "a"), expected)
    assert first
