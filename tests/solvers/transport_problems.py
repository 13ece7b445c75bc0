"""The problems that OTT was given: `ott.json` holds its answers. numpy's RandomState streams are frozen."""

from __future__ import annotations

import numpy as np

N_PROBLEMS = 200
KINDS = ("plain", "offset", "duplicates", "equal points", "clusters", "spectrum", "one outlier")


def problem(i):
    """Cells of X and Y, float64 arrays of float32 values: sizes 1 to 2,000, dimensions 2 to 100."""
    random = np.random.RandomState(i)
    n, m = np.exp(random.uniform(0, np.log(2000), 2)).round().astype(int)
    d = int(np.exp(random.uniform(np.log(2), np.log(100))).round())
    if n * m > 1_000_000:
        m = 1_000_000 // n
    kind = KINDS[i % len(KINDS)]
    x, y = random.normal(size=(n, d)), random.normal(0.3, 1.2, size=(m, d))
    if kind == "offset":
        x, y = x + 1000, y + 1000
    if kind == "duplicates":
        x, y = x[random.randint(0, 1 + n // 3, n)], y[random.randint(0, 1 + m // 3, m)]
    if kind == "equal points":
        x = x[:600]
        y = x[random.permutation(len(x))]
    if kind == "clusters":
        x, y = (v + 3 * random.randint(0, 2, (len(v), 1)) for v in (x, y))
    if kind == "spectrum":
        x, y = (v * 10 / np.sqrt(1 + np.arange(d)) for v in (x, y))
    if kind == "one outlier":
        x[0] += 30
    return x.astype(np.float32).astype(float), y.astype(np.float32).astype(float)
