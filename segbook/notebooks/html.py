"""The HTML report of a notebook run: one file, with its pictures, that asks nothing of the net."""

from __future__ import annotations

import logging
from pathlib import Path

from segbook.runs.folder import write_atomic

OFFLINE = """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
"""JupyterLab's look without its scripts, all of which come from a CDN. Formulas stay in TeX."""


def write_html(notebook: Path, html: Path, *, beside: Path) -> None:
    """Convert an executed notebook.

    Args:
        notebook: the ``.ipynb`` file.
        html: the file to write, atomically.
        beside: the folder against which the notebook's relative links to pictures count.

    Raises:
        OSError: ``html`` cannot be written.
    """
    import nbformat
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
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
