"""A full disk and Ctrl-C: what was not finished is not there, and the end is one line. Real signals, real limits."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

LIMITED = """
import resource, sys
from pertorch.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), -1))  # a file that grows beyond it is a full disk
sys.exit(main(sys.argv[2:]))
"""
PASSES = """
import sys, threading
import anndata
from pertorch import Distance, settings
from pertorch.tl import DistanceTest
settings.memory_gb = 0.01
backed = anndata.read_h5ad(sys.argv[1], backed="r")
backed = backed[::-1] if sys.argv[2] == "view" else backed
test = DistanceTest(layer_key="X", n_perms=2000)
print("begun", flush=True)
try:
    while True:
        test(backed, "g", contrast="a") if sys.argv[2] == "test" else Distance("t_test", "X").pairwise(backed, "g")
except KeyboardInterrupt:
    pass
# Threads that compute, pertorch_0 and so on, are kept for the next call; those of a call must be gone.
print([t.name for t in threading.enumerate() if t.name.startswith("pertorch-")], list(backed.obs))
"""
FULL = r"pertorch: o\S* cannot be written \(File too large\), and nothing is left there\.\n"
TO_CONTROL = ["--groupby", "gene_target", "--control", "NT"]


@pytest.mark.parametrize(
    ("kbytes", "words"),
    [
        (0, ["distance", "{}", *TO_CONTROL, "--out", "o.csv"]),
        (64, ["distance", "{}", *TO_CONTROL, "--out", "o.h5ad"]),
        (64, ["report", "{}", *TO_CONTROL, "--bootstrap", "9", "--permutations", "99", "--no-figures", "--out", "o"]),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else None,
)
def test_a_full_disk(screen_file: Path, tmp_path: Path, kbytes: int, words: list[str]) -> None:
    words = [word.format(screen_file) for word in words]
    command = [sys.executable, "-c", LIMITED, str(kbytes * 1024), *words, "--quiet"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert re.fullmatch(FULL, ran.stderr)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"g": rng.choice(list("abcdefgh"), 60_000)}, index=np.arange(60_000).astype(str))
    path = tmp_path_factory.mktemp("wide") / "wide.h5ad"
    anndata.AnnData(rng.normal(size=(60_000, 60)).astype(np.float32), obs=obs).write_h5ad(path)
    return path


@pytest.mark.parametrize("what", ["view", "test"])
def test_ctrl_c_while_a_file_is_read(wide: Path, what: str) -> None:
    command = [sys.executable, "-c", PASSES, str(wide), what]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=30)
    assert (out, err, run.returncode) == ("[] ['g']\n", "", 0)


def test_ctrl_c_of_a_command(screen_file: Path, tmp_path: Path) -> None:
    words = [str(screen_file), *TO_CONTROL, "--bootstrap", "100000", "--out", "o", "--permutations", "100000"]
    command = [sys.executable, "-c", LIMITED, str(2**30), "report", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not run.stderr.readline().startswith("distances"):
            pass
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=30)
    assert (run.returncode, err) == (130, "pertorch: interrupted.\n")
    assert not list(tmp_path.iterdir())
