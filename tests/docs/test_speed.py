"""Each row of the README's tables of speed is a measurement that lies in `benchmarks/results`."""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| [^|]+ \| [^|]*\d[^|]* \| ([\d.]+) s[^|]* \| ([\d.]+) s[^|]* \| ([\d.]+) \|$", re.MULTILINE)


def shown(value: float, text: str) -> bool:
    """Whether a value rounds to the digits shown."""
    decimals = len(text.partition(".")[2])
    return abs(value - float(text)) <= 0.5001 * 10**-decimals


def test_figures_were_measured() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = ROW.findall(text[text.index("## Speed") : text.index("## Step by step")])
    assert len(rows) >= 10
    measured = [
        (record["ours"]["median_s"], record["peer"]["median_s"], record["ratio"])
        for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
        for record in json.loads(path.read_text(encoding="utf-8")).get("results", [])
        if record.get("ratio")
    ]
    missing = [row for row in rows if not any(all(map(shown, figures, row)) for figures in measured)]
    assert missing == []
