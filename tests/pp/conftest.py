from __future__ import annotations

import anndata as ad
import pytest


@pytest.fixture(scope="session")
def schraivogel_file(shared_data):
    return ad.read_h5ad(shared_data / "schraivogel" / "schraivogel_21977x86_guides_all_assignments.h5ad")


@pytest.fixture
def schraivogel(schraivogel_file):
    """TAP-seq, K562 CRISPRi, with crispat's assignments as layers ``crispat_*``."""
    return schraivogel_file.copy()
