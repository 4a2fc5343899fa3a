"""What all widgets are: a script, a style sheet, a state; and a picture where no script runs."""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any, ClassVar, cast

import anywidget
from PIL import Image
from PIL.PngImagePlugin import PngInfo

HERE = Path(__file__).parent

MODEL = """const modelOf = (text) => {
  const decode = (bytes) => Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
  const state = JSON.parse(text, (key, value) => value?.base64 ? decode(value.base64) : value);
  const listeners = {};
  return {
    get: (key) => state[key],
    set(key, value) {
      state[key] = value;
      for (const listener of listeners[`change:${key}`] ?? []) listener();
    },
    on: (name, listener) => (listeners[name] ??= []).push(listener),
    off() {},
    save_changes() {},
  };
};"""
"""The model that a widget's script asks for where there is no kernel, out of its state as JSON."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>%(title)s</title>
<link rel="icon" href="data:,">
<style>body { margin: 16px auto; padding: 0 12px; max-width: 1100px; } %(css)s</style>
<main id="widget"></main>
<script type="module">
import widget from "data:text/javascript;base64,%(esm)s";
%(model)s
widget.render({ model: modelOf(%(state)s), el: document.getElementById("widget") });
</script>
</html>
"""
"""A page that needs neither kernel nor network: the widget, its data and `MODEL`."""


def sources(name: str) -> tuple[str, str]:
    """The script and the style sheet of a widget, those that all share in front of its own.

    Args:
        name: the widget's folder here, and its two files in it.
    """

    def whole(kind: str) -> str:
        paths = [*sorted((HERE / "shared").glob(f"*.{kind}")), HERE / name / f"{name}.{kind}"]
        return "\n".join(path.read_text("utf-8") for path in paths)

    return whole("js"), whole("css")


class Widget(anywidget.AnyWidget):
    """A widget that works without a kernel, and that leaves a picture where no script runs.

    A widget sets ``_esm, _css = sources(its folder)``, tags what its script needs with
    ``sync=True``, names it in `state`, and draws itself in `snapshot`. Its script keeps to
    ``model.get``, ``set``, ``on`` and ``save_changes``: those are there on a plain page, too.

    Attributes:
        state: names of the traits that its script reads.
        title: of its page.
    """

    _esm: ClassVar[str]
    _css: ClassVar[str]
    state: ClassVar[tuple[str, ...]] = ()
    title: ClassVar[str] = ""

    def snapshot(self) -> bytes:
        """What is shown now as a picture that does not move.

        Returns:
            PNG bytes.
        """
        raise NotImplementedError

    def alt(self, picture: bytes = b"") -> str:
        """What a reader who does not see the picture is told; the same in every run.

        Args:
            picture: the `snapshot`, where it is drawn already.

        Returns:
            The picture's own words, `sent.drawn`; where it has none, what the widget is.
        """
        shown = Image.open(io.BytesIO(picture or self.snapshot()))
        return str(shown.info.get("Description") or repr(self))

    def save_html(self, path: str | Path) -> Path:
        """Write the widget as one HTML file that works without a kernel and without a network.

        Args:
            path: where to; an existing file is replaced.

        Returns:
            The path.
        """
        state = json.dumps({key: getattr(self, key) for key in self.state}, default=_base64)
        page = PAGE % {
            "title": html.escape(self.title),
            "css": self._css,
            "model": MODEL,
            "esm": base64.b64encode(self._esm.encode()).decode(),
            # A string in a script: no class name can end the script.
            "state": json.dumps(state).replace("<", "\\u003c"),
        }
        path = Path(path)
        path.write_text(page, encoding="utf-8")
        return path

    def still(self) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """What is shown where no script runs, by MIME type, and the metadata of each."""
        picture = self.snapshot()
        drawn = base64.b64encode(picture).decode()
        return {"image/png": drawn}, {"image/png": {"alt": self.alt(picture)}}

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        data, metadata = cast(tuple[dict, dict], super()._repr_mimebundle_(**kwargs))
        shown, described = self.still()
        return {**data, **shown}, {**metadata, **described}


def png(image: Image.Image, words: str = "") -> bytes:
    """An image as PNG bytes, with what it shows in words."""
    written, said = io.BytesIO(), PngInfo()
    if words:
        said.add_itxt("Description", words)
    image.save(written, format="png", optimize=True, pnginfo=said)
    return written.getvalue()


def _base64(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} does not go into a page")
