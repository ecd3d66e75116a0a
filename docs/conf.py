"""The settings of the documentation site, which `make docs` builds into build/site.

The sources are read from the root of the repository, so that the pages that stand outside docs/ (the change log, the reports)
belong to the site, and links to sources lead to copies of them.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parent))

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from pygments.lexers.special import TextLexer
from site_pages import docstring, write_pages

import purenet

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]

# The kernels that run the pages warn that they talk over TCP; they talk to nobody but the build.
PROFILE = ROOT / ".cache" / "ipython" / "profile_default"
PROFILE.mkdir(parents=True, exist_ok=True)
(PROFILE / "ipython_kernel_config.py").write_text('c.IPKernelApp.log_level = "ERROR"\n', encoding="utf-8")
os.environ["IPYTHONDIR"] = str(PROFILE.parent)

project = "purenet + oracle"
author = "purenet contributors"
copyright = author  # noqa: A001 - Sphinx's name
release = purenet.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["docs/**", "CONTRIBUTING.md", "CHANGELOG.md", "reports/*.md", "tests/README.md"]
exclude_patterns = ["docs/_static", "docs/conf.py", "reports/failures", ".*", "build", "runs", "**/__pycache__"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"  # a page runs again when it has changed
nb_execution_cache_path = str(ROOT / ".cache" / "notebooks")
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_merge_streams = True  # what a cell prints is one block, in however many pieces it arrives

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_use_legacy_class_based = False

html_theme = "furo"
html_title = "purenet + oracle"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["_static/redirect"]
html_show_sourcelink = False


html_math_renderer = "mathml"  # browsers draw it themselves: no script, and nothing is loaded from elsewhere


def _math(writer: Any, node: Any) -> None:
    inline = node.tagname == "math"
    drawn = convert(node.astext(), display="inline" if inline else "block")
    writer.body.append(drawn if inline else f'<div class="equation">{drawn}</div>')
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Registers what draws formulas, what writes the pages of the ops, and `txt`, the output of a block that needs torch."""
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))
    app.add_lexer("txt", TextLexer)
    logging.getLogger("absl").setLevel(logging.WARNING)  # optax says there how it reads a schedule
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", docstring, priority=400)
