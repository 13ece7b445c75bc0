from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest

import testing.pertorch.pytest as plugin

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"

# The same examples on every run, and no time limit: a shared machine may stall.
hypothesis.settings.register_profile("pertorch", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("pertorch")


def pytest_configure(config: pytest.Config) -> None:
    """Load the package's own plugin where it is on the path but not installed."""
    if not config.pluginmanager.is_registered(plugin):
        config.pluginmanager.register(plugin)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Measured screens, kept beside the repository: `papalexi`, `schraivogel`, `mcf10a`."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail(f"measured data not found: expected {SHARED.parent.name}/{SHARED.name} beside the repository")
    pytest.skip("measured data not found: expected shared/data beside the repository")
