"""Build the site of the book: `make docs`. Offline; what is committed is shown, nothing executed.

The pages lie beside one another as they do in the checkout, so that a link between two of them is
the same there, on GitHub and here; the README is the first. What no file holds (a page for each
network, the recipes, the reference of the code) is written by `pages`.
"""

from __future__ import annotations

import base64
import inspect
import json
import re
import sys
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pages
from sphinx.cmd.build import main as sphinx

from segbook import widgets
from segbook.notebooks.refresh import widgets_of
from segbook.widgets.widget import MODEL, sources

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WRITTEN = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "MODELS.md", "data_scripts/README.md",
    "docs/*.md", "docs/runs/**/README.md", "notebooks/*.md", "notebooks/*.ipynb",
)  # fmt: skip
LINK = re.compile(r"\]\(([^()#\s]+)(?:#[^()\s]*)?\)")


def gathered(root: Path) -> Iterator[tuple[str, bytes]]:
    """The path and content of each file of the site's source, from a checkout."""
    written = [path for pattern in WRITTEN for path in sorted(root.glob(pattern))]
    for path in written:
        name = path.relative_to(root).as_posix()
        if path.suffix == ".ipynb":
            notebook, text = chapter(path)
            yield name, json.dumps(notebook).encode()
            live = live_widgets(path)
            if live:
                yield f"static/widgets/{path.stem}.js", live.encode()
        else:
            text = path.read_text("utf-8")
            yield "index.md" if name == "README.md" else name, pages.edited(name, text).encode()
        for link in LINK.findall(text):
            linked = (path.parent / link).resolve()
            if linked.is_file() and linked.is_relative_to(root) and linked not in written:
                yield linked.relative_to(root).as_posix(), linked.read_bytes()
    for name, text in pages.generated(root):
        yield name, text.encode()
    for path in sorted(root.glob("docs/diagrams/*.svg")):
        yield path.relative_to(root).as_posix(), path.read_bytes()
    yield "static/site.css", (HERE / "site.css").read_bytes()
    yield "static/widgets/live.js", (HERE / "live.js").read_bytes()
    yield "static/widgets/widgets.js", scripts().encode()


def chapter(path: Path) -> tuple[dict, str]:
    """A notebook as the site shows it, and its Markdown as it is committed."""
    notebook = json.loads(path.read_text("utf-8"))
    held = json.loads(widgets_of(path).read_text("utf-8")) if widgets_of(path).exists() else []
    live = {(one["cell"], one["text"]): place for place, one in enumerate(held)}
    words = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            words.append("".join(cell["source"]))
            for name, data in cell.get("attachments", {}).items():
                [(kind, content)] = data.items()
                there = f"data:{kind};base64,{''.join(content)}"
                cell["source"] = "".join(cell["source"]).replace(f"attachment:{name}", there)
            continue
        tags = cell["metadata"].setdefault("tags", [])
        if cell["metadata"].get("jupyter", {}).get("source_hidden"):
            tags.append("hide-input")
        alts = []
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            place = live.get((cell["id"], "".join(data.get("text/plain", ()))))
            if place is not None:
                output["data"] = {"text/html": f'<div class="segbook-live" data-live="{place}">'
                                  f"{still(output)}</div>"}  # fmt: skip
            described = output.get("metadata", {}).values()
            alts += [one["alt"] for one in described if "alt" in one]
        if alts:
            cell["metadata"]["mystnb"] = {"image": {"alt": "; ".join(alts)}}
    return notebook, "\n".join(words)


def still(output: dict) -> str:
    """What a widget left of itself, as HTML: shown until, and where, no script runs."""
    data = output["data"]
    if "text/html" in data:
        return "".join(data["text/html"])
    alt = escape(output["metadata"].get("image/png", {}).get("alt", ""))
    return f'<img alt="{alt}" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'


def live_widgets(path: Path) -> str:
    """The script that holds what the widgets of a chapter know; empty where it has none."""
    if not widgets_of(path).exists():
        return ""
    held = json.loads(widgets_of(path).read_text("utf-8"))
    states = [(one["widget"], json.dumps(one["state"])) for one in held]
    return f"const LIVE = {json.dumps(states)};"


def scripts() -> str:
    """The script that holds the scripts of all widgets, and the model that they ask."""
    found = {}
    for name in widgets.__all__:
        script, style = sources(Path(inspect.getfile(getattr(widgets, name))).parent.name)
        found[name] = {"esm": base64.b64encode(script.encode()).decode(), "css": style}
    return f"{MODEL}\nconst WIDGETS = {json.dumps(found)};"


def build(source: Path, site: Path) -> int:
    """Build the site of this checkout.

    Args:
        source: a folder for the pages as Sphinx reads them; what has not changed is left alone.
        site: the folder for the HTML.

    Returns:
        Sphinx's exit code: 0 if there was no warning.
    """
    kept = set()
    for name, content in gathered(ROOT):
        path = source / name
        kept.add(path)
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    for path in source.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    options = ["-q", "-W", "--keep-going", "-c", str(HERE), "-d", f"{source}-read"]
    return sphinx([*options, str(source), str(site)])


if __name__ == "__main__":
    began = time.monotonic()
    out = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "build"
    code = build(out / "pages", out / "site")
    print(f"{out / 'site' / 'index.html'}, {time.monotonic() - began:.0f} s")
    sys.exit(code)
