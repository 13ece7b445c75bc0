import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import INTERPRETED

HERE = Path(__file__).parent


@pytest.mark.skipif(INTERPRETED, reason="this is the process that the test starts")
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("file", ["test_pairwise.py", "test_segment.py", "test_shuffle.py", "test_softmin.py"])
def test_kernels_in_the_interpreter(file):
    """Triton reads TRITON_INTERPRET when it is imported: hence a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / file), "-k", "interpreter"]
    done = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
