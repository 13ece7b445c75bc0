"""`llms.txt` (llmstxt.org): the documentation in one page of links, for programs that read before they write.

Made from the pages and docstrings at each build.
"""

from __future__ import annotations

import re
from pathlib import Path

import pertorch
from pertorch.metrics import list_metrics

DOCS = Path(__file__).parent
MODULES = ("tl", "pp", "pl", "ds", "metrics")


def text() -> str:
    """What the file is to hold."""
    parts = [
        "# pertorch",
        "> Perturbation analysis for single-cell screens (Perturb-seq, CROP-seq, ECCITE-seq) on AnnData, computed with "
        "PyTorch on CPUs and GPUs. Drop-in for pertpy.tl / pertpy.pp and rapids_singlecell.ptg.",
        "- Import: `import pertorch as pt`. Classes: `pt.tl.Distance`, `pt.tl.DistanceTest`, `pt.tl.Mixscape`, "
        "`pt.pp.GuideAssignment`.\n"
        "- `Distance` measures in `obsm['X_pca']` unless `obsm_key=` or `layer_key=` ('X': `adata.X`) says otherwise.\n"
        "- `Mixscape` wants log-normalised `X`; `GuideAssignment` and the metric `nb_ll` want raw counts.\n"
        "- The energy distance is unbiased; `estimator='v'` is pertpy's. Names that do not exist and NaN are errors.\n"
        f"- Metrics: {', '.join(m.name for m in list_metrics())}.",
    ]
    for title, folder in (("Guides", "."), ("Tutorials", "tutorials"), ("Mathematics", "mathematics")):
        pages = [page for page in sorted((DOCS / folder).glob("*.md")) if page.name != "index.md"]
        parts.append(f"## {title}\n\n" + "\n".join(f"- [{_title(page)}]({_address(page)})" for page in pages))
    parts.append("## API\n\n" + "\n".join(_entry(module, name) for module in MODULES for name in _names(module)))
    return "\n\n".join(parts) + "\n"


def _names(module: str) -> list[str]:
    return [name for name in getattr(pertorch, module).__all__ if callable(getattr(getattr(pertorch, module), name))]


def _entry(module: str, name: str) -> str:
    summary = " ".join((getattr(getattr(pertorch, module), name).__doc__ or "").strip().split("\n\n")[0].split())
    plain = re.sub(r":\w+:`([^`]+)`|``([^`]+)``", r"`\1\2`", summary)
    return f"- [pertorch.{module}.{name}](api/generated/pertorch.{module}.{name}.html): {plain}"


def _title(page: Path) -> str:
    source = page.read_text(encoding="utf-8")
    if included := re.match(r"```\{include\} (\S+)", source):
        source = (page.parent / included[1]).read_text(encoding="utf-8")
    heading = re.search(r"^# (.+)$", source, re.MULTILINE)
    assert heading, page
    return heading[1]


def _address(page: Path) -> str:
    return page.relative_to(DOCS).with_suffix(".html").as_posix()
