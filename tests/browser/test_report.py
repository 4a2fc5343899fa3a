"""The HTML report of a notebook in a real browser, without a network."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from segbook.notebooks.html import write_html

pytestmark = pytest.mark.browser

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABpfZFQAAAAABJRU5E"
    "rkJggg=="
)
MARKDOWN = r"""# $x^2$

![far](FAR/a.png)

<img src='FAR/b.png'><script src='FAR/c.js'></script>

<iframe src='FAR/d'></iframe><style>@import url(FAR/e.css);</style>

<p style='background: url(FAR/f.png)'>a</p>

$$\frac{a}{b}$$

```mermaid
graph
```
"""
HTML = """<link rel=stylesheet href='FAR/g.css'><video src='FAR/h.mp4'></video>
<script>fetch('FAR/i'); new Image().src = 'FAR/j.png'; document.title = 'drawn'</script>"""


def test_it_asks_for_nothing_and_sets_its_formulas(visit, tmp_path, serve_bytes):
    far, asked = serve_bytes(b"", "far")
    markdown, html = (text.replace("FAR", far) for text in (MARKDOWN, HTML))
    data = [
        {"text/html": html},
        {"image/svg+xml": f"<svg><image href='{far}/k.png'/></svg>"},
        {"text/markdown": f"![far]({far}/l.png) $y$"},
        {"image/png": PNG},
    ]
    outputs = [new_output("display_data", data=one) for one in data]
    cells = [new_markdown_cell(markdown), new_code_cell("1", outputs=outputs)]
    nbformat.write(new_notebook(cells=cells), tmp_path / "n.ipynb")
    write_html(tmp_path / "n.ipynb", tmp_path / "n.html", beside=tmp_path)
    visit.page.goto((tmp_path / "n.html").as_uri())
    visit.page.wait_for_timeout(300)
    assert visit.elsewhere("file:", far) == []
    assert asked == []  # what the page names, its policy keeps it from asking for
    assert visit.page.title() == "drawn"  # a plot's own script runs
    fraction = visit.page.locator("mfrac").first.bounding_box()
    letter = visit.page.locator("h1 math mi").first.bounding_box()
    assert fraction["height"] > 1.2 * visit.page.locator("mfrac mi").first.bounding_box()["height"]
    assert letter["width"] > 0
    shown = visit.page.locator(f"img[src='data:image/png;base64,{PNG}']")
    assert shown.evaluate("image => image.naturalWidth") == 1
    visit.shot("report")
