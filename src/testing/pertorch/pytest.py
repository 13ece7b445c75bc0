"""The pytest plugin: fixtures ``stored_array``, ``stored_screen``, ``poisoned_empty``; tests marked ``gpu`` need one.

Loaded in every pytest run of an environment that has pertorch, so it imports nothing heavy until a fixture is used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark."""
    config.addinivalue_line("markers", "gpu: needs a CUDA device; skipped where there is none")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``gpu`` where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each kind of storage."""
    for fixture in ("stored_array", "stored_screen"):
        if fixture in metafunc.fixturenames:
            params = [pytest.param(k, id=k.name, marks=_marks(k)) for k in _kinds(fixture)]
            metafunc.parametrize(fixture, params, indirect=True)


@pytest.fixture
def stored_array(request: pytest.FixtureRequest) -> Any:
    """One kind of array, a :class:`testing.pertorch._arrays.Storage`: ``.make(values)``, and ``.dense(values)``."""
    return request.param


@pytest.fixture
def stored_screen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """One way for an AnnData to hold a matrix: call with small integers and ``obs``.

    Returns ``(adata, slot, key, dense)``: the matrix is ``adata.X`` (key ``"X"``) or ``getattr(adata, slot)[key]``.
    """
    return partial(request.param.make, folder=tmp_path)


@pytest.fixture
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill memory from ``torch.empty`` and its kin with NaN, or the lowest integer, so that unwritten values show."""
    import torch

    def poison(make: Callable[..., Any]) -> Callable[..., Any]:
        def poisoned(*args: Any, **kwargs: Any) -> Any:
            out = make(*args, **kwargs)
            if out.is_floating_point() or out.is_complex():
                return out.fill_(float("nan"))
            return out.fill_(True if out.dtype == torch.bool else torch.iinfo(out.dtype).min)

        return poisoned

    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch, "empty_strided"),
        (torch.Tensor, "new_empty"),
        (torch.Tensor, "new_empty_strided"),
    ):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))


def _kinds(fixture: str) -> Iterable[Any]:
    from testing.pertorch import _arrays, _screens

    return _arrays.arrays() if fixture == "stored_array" else _screens.screens()


def _marks(kind: Any) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.gpu] if kind.gpu else []
    for word, package in (("cupy", "cupy"), ("zarr", "zarr"), ("lazy", "zarr"), ("lazy", "dask"), ("dask", "dask")):
        if word in kind.name and importlib.util.find_spec(package) is None:
            marks.append(pytest.mark.skip(reason=f"{package} is not installed"))
    return marks


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()
