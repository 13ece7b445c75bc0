import logging

import pytest
import torch

import pertorch
from pertorch.exec import (
    _progress,
    _upload,
    map_ahead,
    map_devices,
    map_threads,
    memory_budget,
    parse_device,
    progress_bar,
    resolve_devices,
    track,
    upload,
)

CPU = torch.device("cpu")


def test_cpu():
    assert parse_device("cpu") == [CPU]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu", "device='gpu' is not understood: use 'auto', 'cpu', 'cuda' or 'cuda:0,2'"),
        ("", "device='' is not understood"),
        ("cuda:x", "(GPU ids 'x' are not understood|finds no CUDA device here: use 'cpu' or 'auto')"),
        ("cuda:99", "(GPU id 99 does not exist|finds no CUDA device here: use 'cpu' or 'auto')"),
    ],
)
def test_no_such_device(text, message):
    with pytest.raises(ValueError, match=message):
        parse_device(text)


def test_settings_decide(monkeypatch):
    monkeypatch.setattr(pertorch.settings, "device", "cpu")
    assert resolve_devices() == resolve_devices(True) == resolve_devices(False) == [CPU]


def test_multi_gpu_on_a_cpu_is_said_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(pertorch.settings, "device", "cpu")
    with caplog.at_level(logging.WARNING, "pertorch"):
        resolve_devices(True)
    assert "multi_gpu=True, but no CUDA device is in use: computing on the CPU" in caplog.text


@pytest.mark.parametrize("ids", [[], [99], [True], ["0"], (0.0,), "0;1", 0])
def test_no_such_gpu(ids):
    with pytest.raises(ValueError, match=r"(names no GPU|does not exist|are not understood|is not understood)"):
        resolve_devices(ids)


@pytest.mark.gpu
def test_gpus():
    first = torch.device("cuda", 0)
    assert resolve_devices([0, 0]) == resolve_devices("0") == [first]
    assert resolve_devices(False) == [first]
    assert len(resolve_devices(None)) == len(resolve_devices(True)) == torch.cuda.device_count()


@pytest.mark.parametrize("n_devices", [1, 2, 3, 7])
@pytest.mark.parametrize("cost", [[], [5], [1, 1, 1, 1, 1, 1], [100, 1, 1, 1], [1, 1, 1, 100], [0, 0, 0]])
def test_items_keep_their_order(cost, n_devices):
    parts = map_devices([CPU] * n_devices, lambda: torch.tensor(cost), lambda _, run: list(range(len(cost)))[run])
    assert [item for part in parts for item in part] == list(range(len(cost)))


@pytest.mark.parametrize("cost", [[1, 1], [4, 1, 1, 1, 1], [1, 1, 1, 1, 4], [2, 3, 3, 2]])
def test_work_is_split_by_cost(cost):
    first, second = map_devices([CPU] * 2, lambda: torch.tensor(cost), lambda _, run: sum(cost[run]))
    assert first == second


def test_an_error_in_a_thread_is_the_callers():
    def work(device, run):
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        map_devices([CPU] * 2, lambda: torch.ones(4), work)


@pytest.mark.parametrize(("show", "setting", "shown"), [(True, False, True), (False, True, False), (None, True, True)])
def test_progress_bar(show, setting, shown, monkeypatch, capsys):
    monkeypatch.setattr(pertorch.settings, "progress", setting)
    monkeypatch.setattr(_progress, "DELAY", 0)
    with progress_bar(lambda: 10, "walking", show) as bar:
        bar.update(10)
    assert ("walking: 100%" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("shape", [(0, 3), (7, 0), (1000, 3), (5,)])
def test_upload(monkeypatch, device, shape):
    monkeypatch.setattr(_upload, "PIECE_BYTES", 100)
    values = torch.randn(shape)
    found = upload(values, torch.device(device))
    assert found.device.type == device
    assert torch.equal(found.cpu(), values)


def test_memory_budget(monkeypatch):
    monkeypatch.setattr(pertorch.settings, "memory_gb", None)
    assert memory_budget(CPU) == 10**9
    monkeypatch.setattr(pertorch.settings, "memory_gb", 0.5)
    assert memory_budget(CPU) == 5 * 10**8


def test_a_bar_that_the_settings_ask_for_waits_a_second(monkeypatch, capsys):
    monkeypatch.setattr(pertorch.settings, "progress", True)
    with progress_bar(lambda: 10, "walking") as bar:
        bar.update(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("show", [True, False])
def test_what_a_call_is_told_of_its_bar_holds_for_the_stages_within(monkeypatch, capsys, show):
    monkeypatch.setattr(_progress, "DELAY", 0)
    with pertorch.settings.override(progress=not show), progress_bar(lambda: 1, "walking", show):
        assert list(track("ab", 2, "a leg", unit="steps")) == ["a", "b"]
    assert ("a leg: 100%" in capsys.readouterr().err) == show


def test_track_tells_what_is_done_and_the_log_how_long(monkeypatch, capsys, caplog):
    monkeypatch.setattr(_progress, "DELAY", 0)
    monkeypatch.setattr(pertorch.settings, "progress", True)
    with caplog.at_level(logging.INFO, "pertorch"):
        assert list(track(["ab", "c"], 3, "reading", unit="cells", size=len)) == ["ab", "c"]
    assert "3.00/3.00" in (shown := capsys.readouterr().err)
    assert "cells/s" in shown
    assert caplog.messages[0].startswith("reading: 0.0")


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_see_the_overrides_of_their_caller(monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    with pertorch.settings.override(seed=7):
        seen = [
            *map_threads(lambda _: pertorch.settings.seed, range(4), CPU),
            *map_ahead(lambda _: pertorch.settings.seed, range(4)),
            *map_devices([CPU] * threads, lambda: torch.ones(4), lambda *_: pertorch.settings.seed),
        ]
    assert set(seen) == {7}
    assert set(map_threads(lambda _: pertorch.settings.seed, range(4), CPU)) == {0}
