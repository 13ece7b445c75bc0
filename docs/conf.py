"""Sphinx: `make docs`. Notebooks run at each build; a warning is an error."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pertorch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import _llms  # noqa: E402

project = "pertorch"
author = "the pertorch developers"
copyright = f"2026, {author}"
version = release = pertorch.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "scanpydoc.definition_list_typed_field",
    "scanpydoc.theme",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "**.ipynb_checkpoints"]

# Pages and tutorials: MyST. A tutorial that raises, or that warns of what it should not, ends the build.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb"}
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_in_temp = True  # tutorials write files
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_output_stderr = "error"
os.environ["PERTORCH_EXAMPLES"] = str(HERE.parent / "examples")

# API pages: everything in the `__all__` of each public module, from its docstring.
autosummary_generate = True
autosummary_imported_members = True
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "literal"

# Every reference to a name of pertorch must resolve. Names of other packages resolve where their inventories can be
# fetched (on Read the Docs, or with DOCS_ONLINE set); a build without a network leaves them as text.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!pertorch\b).*"),
    ("py:.*", r"pertorch\.(data|exec|ops|solvers|stats)\b.*"),  # inner modules have no pages
    ("py:.*", r".*\.[A-Z]"),  # type variables
]
intersphinx_mapping = (
    {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }
    if "READTHEDOCS" in os.environ or "DOCS_ONLINE" in os.environ
    else {}
)

html_theme = "scanpydoc"
html_title = "pertorch"
html_show_sourcelink = True
html_theme_options = {"navbar_persistent": [], "use_download_button": False, "use_fullscreen_button": False}


def skip_fields(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Fields of a named tuple stand under "Attributes", with what they mean."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def resolve_short_name(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """`pertorch.Distance` leads to `pertorch.tl.Distance`."""
    module, _, name = node.get("reftarget", "").partition(".")
    home = pertorch._HOME.get(name) if module == "pertorch" else None
    if home is None:
        return None
    target = (node["refdoc"], app.builder, node["reftype"], f"{home}.{name}", node, contnode)
    return env.domains.python_domain.resolve_xref(env, *target)


def write_llms(app: Any, error: Exception | None) -> None:
    """llms.txt beside index.html."""
    if error is None and app.builder.format == "html":
        (Path(app.outdir) / "llms.txt").write_text(_llms.text(), encoding="utf-8")


def setup(app: Any) -> None:
    """Connect the three."""
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("missing-reference", resolve_short_name)
    app.connect("build-finished", write_llms)
