"""The HTML report of a notebook run: one file, with its pictures, that asks nothing of the net."""

from __future__ import annotations

import base64
import html as markup
import logging
import mimetypes
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import tostring

import nbformat
from jinja2 import DictLoader, pass_context
from latex2mathml.converter import convert_to_element
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import (
    InvalidNotebook,
    IPythonRenderer,
    MarkdownWithMath,
    MathInlineParser,
)

from segbook.runs.folder import LARGEST_NOTEBOOK, write_atomic

ENVIRONMENTS = re.compile(r"(\\begin|\\end)\{(align|aligned|split|gather|gathered)\*?\}")
"""Of rows of formulas; latex2mathml knows one, and numbers the lines of the one without a star."""

UNSET = re.compile(r"\\(label\{[^{}]*\}|nonumber\b|notag\b)")
"""What is not seen of a formula, and not known to latex2mathml."""

POLICY = (
    "default-src 'none'; img-src data: blob:; media-src data: blob:; font-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)
"""What a browser may do with the report: a picture, script or frame from elsewhere, which an output
or a Markdown cell may name, is not asked for. A plot's own script still runs."""

FOLDED = "margin-left: 80px; color: #616161; font: 13px sans-serif; cursor: pointer"

OFFLINE = """{% extends 'lab/index.html.j2' %}
{% block html_head %}<meta http-equiv="Content-Security-Policy" content="{{ policy }}" />
{{ super() }}{% endblock %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block data_latex %}
<div class="jp-RenderedLatex jp-OutputArea-output" data-mime-type="text/latex">
{{ output.data['text/latex'] | latex2mathml }}
</div>
{% endblock %}
{% block input_group %}
{%- if cell.metadata.get("jupyter", {}).get("source_hidden") -%}
<details><summary style="{{ folded }}">code</summary>{{ super() }}</details>
{%- else -%}{{ super() }}{%- endif -%}
{% endblock %}
""".replace("{{ policy }}", POLICY).replace("{{ folded }}", FOLDED)
"""JupyterLab's look without its scripts, all from a CDN; code that it folds is folded."""


class InlineParser(MathInlineParser):
    """Inline Markdown in which ``$5 and $6`` are prices, much as pandoc has it.

    A formula has a space at both of its ends or at none, and no digit follows it.
    """

    SPECIFICATION: ClassVar = {
        **MathInlineParser.SPECIFICATION,
        "inline_math_tex": (
            r"(?<![$\\])\$(?P<math_inline_tex>"
            r"(?!\s)(?:\\[\s\S]|[^$\\])+(?<!\s)|\s(?:\\[\s\S]|[^$\\])+\s)\$(?![\d$])"
        ),
    }


class Renderer(IPythonRenderer):
    """Markdown with its formulas as MathML, which browsers set without a script.

    A picture that is not there, or is none, stays the link that it is.
    """

    def _embed_image_or_attachment(self, src: str) -> str:
        try:
            return super()._embed_image_or_attachment(src)
        except (InvalidNotebook, StopIteration):  # an attachment that its cell has not, or empty
            return src

    def _src_to_base64(self, src: str) -> str | None:
        # nbconvert refuses what lies above the notebook, for servers that convert notebooks of
        # strangers without running them. This one was run: it could read whatever it shows.
        kind, _ = mimetypes.guess_type(src)
        try:
            path = os.path.join(self.path, src)
            status = os.stat(path)
            small = stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_NOTEBOOK
            if small and kind and kind.startswith("image/"):
                return f"data:{kind};base64,{base64.b64encode(Path(path).read_bytes()).decode()}"
        except (OSError, ValueError):  # missing, closed; no name of a file
            pass
        return None

    def inline_math(self, body: str) -> str:
        """Render ``$...$``."""
        return mathml(body, display="inline") or super().inline_math(body)

    def block_math(self, body: str) -> str:
        """Render ``$$...$$``."""
        return mathml(body, display="block") or super().block_math(body)

    def latex_environment(self, name: str, body: str) -> str:
        r"""Render ``\begin{align}...\end{align}``."""
        whole = rf"\begin{{{name}}}{body}\end{{{name}}}"
        return mathml(whole, display="block") or super().latex_environment(name, body)


class Exporter(HTMLExporter):
    """nbconvert's exporter with `Renderer` in the place of its own."""

    @pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Markdown as HTML."""
        renderer = Renderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=self.embed_images,
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
            anchor_link_text=self.anchor_link_text,
            exclude_anchor_links=self.exclude_anchor_links,
            **self.lexer_options,
        )
        return MarkdownWithMath(renderer, inline=InlineParser(hard_wrap=False)).render(source)

    def default_filters(self) -> Iterator[tuple[str, Any]]:
        """The filters that the template may use."""
        yield from super().default_filters()
        yield "latex2mathml", latex_output


def mathml(formula: str, *, display: str) -> str | None:
    """A formula of TeX as MathML, with its TeX as the text to copy; None if it is not understood.

    Args:
        formula: without its dollars.
        display: "inline" or "block".
    """
    formula = UNSET.sub("", formula).strip()
    formula = ENVIRONMENTS.sub(r"\1{align*}", formula).replace(r"\operatorname*", r"\operatorname")
    try:
        root = convert_to_element(formula, display=display)
    except Exception:  # latex2mathml has a class for each mistake, and IndexErrors besides
        return None
    del root.attrib["xmlns"]  # HTML needs none, and the anchor of a heading would write it out
    for element in root.iter():
        element.text = markup.unescape(element.text or "")  # it writes entities into texts
        if element.text.startswith("\\") or element.text == "&":  # what it does not know
            return None
    return tostring(root, encoding="unicode")


def latex_output(text: str) -> str:
    """An output of kind text/latex as MathML, or as the text it is."""
    found = re.fullmatch(r"\s*(\$\$?)(.*?)\1\s*", text, re.DOTALL)
    display = "inline" if found and found[1] == "$" else "block"
    return mathml(found[2] if found else text, display=display) or markup.escape(text)


def write_html(notebook: Path, html: Path, *, beside: Path) -> None:
    """Convert an executed notebook.

    Args:
        notebook: the ``.ipynb`` file.
        html: the file to write, atomically.
        beside: the folder against which the notebook's relative links to pictures count.

    Raises:
        OSError: ``html`` cannot be written.
    """
    exporter = Exporter(
        extra_loaders=[DictLoader({"offline.html.j2": OFFLINE})],
        template_file="offline.html.j2",
        embed_images=True,
    )
    exporter.log.setLevel(logging.ERROR)  # it warns of each picture without an alternative text
    content = nbformat.read(notebook, as_version=4)
    content.metadata.setdefault("title", notebook.parent.name)
    text, _ = exporter.from_notebook_node(
        content, resources={"metadata": {"path": str(beside), "name": notebook.stem}}
    )
    write_atomic(html, text)
