"""Sphinx's settings: docs/site/build.py gathers the pages and calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docutils import nodes

from segbook import __version__
from segbook.notebooks.html import mathml

project, author, copyright = "Segbook", "the Segbook authors", "the Segbook authors, Apache-2.0"
release = version = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

nb_execution_mode = "off"  # what is committed is shown
nb_code_prompt_show = nb_code_prompt_hide = "code"
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
myst_dmath_allow_space = myst_dmath_allow_digits = False  # $5 and $6 are prices
suppress_warnings = [
    "myst.header",  # a chapter's sections may begin below a heading of the first level
    "ref.python",  # a class that two rooms offer, such as segkit.SegOutput, is found in either
]

default_role = "py:obj"  # `name` in a docstring: a link where there is such a name
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype, napoleon_use_ivar = False, True
napoleon_custom_sections = ["Source"]
add_module_names = False
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "Segbook"
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_copy_source = html_show_sourcelink = False
html_show_sphinx = False
html_show_search_summary = False  # it fetches the page, which a browser refuses among files


def set_math(self: Any, node: nodes.Element) -> None:
    """Set a formula as MathML, which browsers show without a script or a font of ours."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    formula = mathml(node.astext(), display=display)
    if formula is None:
        raise ValueError(f"{node.source}:{node.line}: latex2mathml does not know {node.astext()!r}")
    self.body.append(formula if display == "inline" else f'<div class="math">{formula}</div>\n')
    raise nodes.SkipNode


def show_module(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show what a module says with lines and columns of its own, such as a drawing, as it is."""
    if what == "module" and any(line.startswith("    ") for line in lines[1:]):
        lines[1:] = ["", "::", "", *(f"    {line}" for line in lines[1:]), ""]


def skip_field(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out "Alias for field number 0": a named tuple's docstring says what its fields are."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def find_static(app: Any, config: Any) -> None:
    """Take styles and scripts from among the pages, where build.py puts them."""
    config.html_static_path = [str(Path(app.srcdir) / "static")]


def add_widgets(app: Any, pagename: str, template: str, context: dict, doctree: Any) -> None:
    """Let a chapter load its widgets."""
    script = f"widgets/{Path(pagename).name}.js"
    if pagename.startswith("notebooks/") and (Path(app.srcdir) / "static" / script).is_file():
        app.add_js_file("widgets/widgets.js")
        app.add_js_file(script)
        app.add_js_file("widgets/live.js")


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx about the functions above."""
    app.add_html_math_renderer("mathml", (set_math, None), (set_math, None))
    app.connect("autodoc-process-docstring", show_module)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("config-inited", find_static)
    app.connect("html-page-context", add_widgets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
