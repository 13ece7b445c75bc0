from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import pytest

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail("measured data not found: expected shared/data beside the repository")
    pytest.skip("measured data not found: expected shared/data beside the repository")


@pytest.fixture(scope="session")
def schraivogel_file(shared_data):
    return ad.read_h5ad(shared_data / "schraivogel" / "schraivogel_21977x86_guides_all_assignments.h5ad")


@pytest.fixture
def schraivogel(schraivogel_file):
    """TAP-seq, K562 CRISPRi, with crispat's assignments as layers ``crispat_*``."""
    return schraivogel_file.copy()
