"""The site of the book: built once, looked through for links, then opened as files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from segkit.catalog import list_models

pytest.importorskip("myst_nb", reason="the docs extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.full]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs")
    command = [sys.executable, ROOT / "docs" / "site" / "build.py", out]
    built = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert built.returncode == 0, built.stderr  # a warning is an error
    return out / "site"


def test_nothing_of_it_lies_elsewhere(site):
    """A link may lead away; a script, picture, style or font may not."""
    far = re.compile(
        r"""(?:\bsrc|\bsrcset|\bposter)=["']?(?:https?:)?//|<link[^>]+href=["']?(?:https?:)?//"""
        r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(["']?(?:https?:)?//|fetch\(["'`]https?:"""
    )
    looked = [path for kind in ("html", "css", "js") for path in site.rglob(f"*.{kind}")]
    assert len(looked) > 150
    assert not [
        (path.name, found[0]) for path in looked if (found := far.search(path.read_text("utf-8")))
    ]


def test_each_link_leads_somewhere(site):
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    targets = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    lost = []
    for path, text in pages.items():
        for link in map(unescape, re.findall(r'\b(?:href|src)="([^"]+)"', text)):
            if re.match(r"[a-z]+:", link):
                continue
            address, anchor = urldefrag(link)
            there = (
                (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            )
            if not there.is_file() or (
                anchor and there in targets and unquote(anchor) not in targets[there]
            ):
                lost.append((path.relative_to(site).as_posix(), link))
    assert not lost


@pytest.mark.parametrize(
    "chapter", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.stem
)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_chapter_is_alive_without_a_kernel(site, visit, chapter, width, scheme):
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.emulate_media(color_scheme=scheme)
    visit.page.goto((site / f"notebooks/{chapter.stem}.html").as_uri())
    held = json.loads((ROOT / f"notebooks/widgets/{chapter.stem}.json").read_text("utf-8"))
    visit.page.wait_for_function(
        f"document.querySelectorAll('.segbook-live > .segbook-widget').length == {len(held)}"
    )
    guess = visit.page.locator(".segbook-guess").first
    guess.get_by_role("button", name="Show me").click()
    assert guess.locator(".result .answer").inner_text()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert not visit.elsewhere("file:")
    assert not visit.errors
    visit.shot(f"site_{chapter.stem}_{width}")


def test_a_painted_class_moves_its_score(site, visit):
    visit.page.goto((site / "notebooks/00_start.html").as_uri())
    painter = visit.page.locator(".segbook-iou-painter, .segbook-painter, .segbook-iou").first
    painter.scroll_into_view_if_needed()
    before = painter.inner_text()
    box = painter.locator("canvas").first.bounding_box()
    visit.page.mouse.move(box["x"] + 60, box["y"] + 60)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 160, box["y"] + 90, steps=5)
    visit.page.mouse.up()
    visit.page.wait_for_timeout(300)
    assert painter.inner_text() != before
    assert not visit.errors


def test_formulas_are_set_and_asked_for_nowhere(site, visit):
    visit.page.goto((site / "notebooks/03_unet.html").as_uri())
    fraction = visit.page.locator("math mfrac").first.bounding_box()
    assert fraction["height"] > 15
    assert not visit.elsewhere("file:")


@pytest.mark.parametrize("name", list_models())
def test_each_network_has_a_page(site, name):
    text = (site / f"models/{name}.html").read_text("utf-8")
    assert f'create_model</span><span class="p">(</span><span class="s2">"{name}"' in text
    assert re.search(r'<img alt="[^"]+: its parts and how tensors flow" src="\.\./_images/', text)
    assert "GFLOPs" in text


@pytest.mark.parametrize(
    ("words", "found"),
    [("dilated", "notebooks/05"), ("unet_resnet18", "models/unet_resnet18"), ("lovasz", "api/")],
)
def test_the_search_finds_without_a_server(site, visit, words, found):
    visit.page.goto((site / "search.html").as_uri() + f"?q={words}")
    visit.page.wait_for_selector("#search-results li a")
    visit.page.wait_for_function("!document.querySelector('#search-progress')?.textContent")
    links = visit.page.locator("#search-results li a").evaluate_all(
        "links => links.map((link) => link.getAttribute('href'))"
    )
    assert any(found in link for link in links), links
    assert not visit.elsewhere("file:")
    assert not visit.errors
