"""Settings: where a value comes from, what is refused, who sees an override, and that calls obey."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

import pertorch
from pertorch._settings import SETTINGS, Settings
from pertorch.data import as_matrix
from pertorch.ds import simulate_screen


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in SETTINGS:
        monkeypatch.delenv(f"PERTORCH_{name.upper()}", raising=False)
    return Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("device", "cuda:0,2", "cuda:0,2"),
        ("dtype", "float64", "float64"),
        ("memory_gb", "0.5", 0.5),
        ("progress", "1", True),
        ("progress", "off", False),
        ("seed", "12", 12),
    ],
)
def test_override_before_assignment_before_environment_before_default(settings, monkeypatch, name, text, value):
    default = getattr(settings, name)
    assert f"{default!r:8} (default)" in repr(settings)
    monkeypatch.setenv(f"PERTORCH_{name.upper()}", text)
    assert getattr(settings, name) == value
    assert f"{value!r:8} (PERTORCH_{name.upper()})" in repr(settings)
    setattr(settings, name, default)
    assert getattr(settings, name) == default
    assert f"{default!r:8} (set here)" in repr(settings)
    with settings.override(**{name: value}):
        assert getattr(settings, name) == value
        assert f"{value!r:8} (override)" in repr(settings)
        setattr(settings, name, default)  # of what is seen, until the block ends
        assert getattr(settings, name) == default
    settings.reset()
    assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("name", "value", "wants"),
    [
        ("device", "gpu", "must be 'auto', 'cpu', 'cuda' or 'cuda:0,2'"),
        ("device", "cuda:x", "must be 'auto'"),
        ("dtype", "float16", "must be 'auto' or 'float64'"),
        ("memory_gb", "much", "must be a positive number of gigabytes, such as 4, or None"),
        ("memory_gb", 0, "must be a positive number"),
        ("memory_gb", float("nan"), "must be a positive number"),
        ("progress", "perhaps", "must be True or False"),
        ("progress", 2, "must be True or False"),
        ("seed", -1, "must be a whole number of at least 0"),
        ("seed", 1.5, "must be a whole number of at least 0"),
        ("seed", True, "must be a whole number of at least 0"),
    ],
)
def test_bad_values_are_refused_wherever_they_come_from(settings, monkeypatch, name, value, wants):
    with pytest.raises(ValueError, match=rf"settings\.{name}={value!r} {wants}"):
        setattr(settings, name, value)
    with pytest.raises(ValueError, match=rf"settings\.{name}={value!r} {wants}"), settings.override(**{name: value}):
        pass
    if isinstance(value, str):
        variable = f"PERTORCH_{name.upper()}"
        monkeypatch.setenv(variable, value)
        with pytest.raises(ValueError, match=f"{variable}={value!r} {wants}"):
            getattr(settings, name)
        assert f"? ({variable}={value!r} {wants}" in repr(settings)


def test_a_name_that_is_none_is_an_error(settings):
    with pytest.raises(AttributeError, match="settings have no 'devise': there are device, dtype"):
        settings.devise = "cpu"
    with pytest.raises(TypeError, match="settings have no 'devise'"), settings.override(devise="cpu"):
        pass


def test_torch_names_will_do(settings):
    settings.device, settings.dtype = torch.device("cuda", 1), torch.float64
    assert (settings.device, settings.dtype) == ("cuda:1", "float64")


def test_overrides_are_of_one_thread_and_end_with_their_block(settings):
    seen = []

    def fail() -> None:
        with settings.override(seed=1), settings.override(progress=True):
            assert (settings.seed, settings.progress) == (1, True)
            other = threading.Thread(target=lambda: seen.append(settings.seed))
            other.start()
            other.join()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [0]
    assert (settings.seed, settings.progress) == (0, False)


def test_dtype_decides_what_is_computed_in():
    values = np.ones((3, 2), dtype=np.float32)
    for stored in (values, values.astype(np.int16), values.astype(np.int64)):
        assert as_matrix(stored, "X").dtype == torch.float32
        with pertorch.settings.override(dtype="float64"):
            assert as_matrix(stored, "X").dtype == torch.float64


def test_dtype_float64_gives_the_digits_of_float64():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(50, size=(40, 3)).astype(np.float32) for _ in "xy")
    distance = pertorch.Distance("edistance")
    with pertorch.settings.override(dtype="float64"):
        assert distance(x, y) == distance(x.astype(np.float64), y.astype(np.float64))
    assert distance(x, y) != distance(x.astype(np.float64), y.astype(np.float64))


def test_seed_is_that_of_every_call_without_one():
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"g": np.repeat(["a", "b", "NT"], 20)}, index=[str(i) for i in range(60)])
    adata = AnnData(obs=obs, obsm={"X_pca": rng.normal(size=(60, 3))})

    def answers(**seed: int) -> list[object]:
        distance = pertorch.Distance("mse")
        return [
            pertorch.Distance("classifier_proba", **seed).onesided_distances(adata, "g", "NT").tolist(),
            distance.onesided_distances(adata, "g", "NT", bootstrap=True, n_bootstrap=5, **seed)[0].tolist(),
            distance.bootstrap(np.eye(5), np.ones((4, 5)), n_bootstrap=5, **seed),
            pertorch.DistanceTest(n_perms=50, **seed)(adata, "g", "NT")["pvalue"].tolist(),
            simulate_screen(20, 60, 2, **seed).genes.X.sum(),
        ]

    given, default = answers(random_state=3), answers()
    assert all(a != b for a, b in zip(given, default, strict=True))
    assert default == answers(random_state=0)
    with pertorch.settings.override(seed=3):
        assert answers() == given


def test_the_library_is_silent_where_nobody_listens():
    code = "import pertorch, logging; logging.getLogger('pertorch').warning('heard'); print(logging.root.handlers)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("[]\n", "")
