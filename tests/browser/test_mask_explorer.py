"""The mask explorer in a real browser: in JupyterLab, on a page of its own, in a static page."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segbook.figures.overlays import blend
from segbook.figures.pictures import WRONG

from .conftest import Visit
from .scene import CLASSES, PALETTE, SOURCE, hover, pixels, scene

nbformat = pytest.importorskip("nbformat", reason="the notebooks extra is not installed")
views = pytest.importorskip(
    "segbook.notebooks.views", reason="the notebooks extra is not installed"
)
widgets = pytest.importorskip("segbook.widgets", reason="the notebooks extra is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

# A canvas blends in whole numbers; 2 of 255 was seen.
ROUNDING = 3

SHOW = f"""
from segbook.widgets import MaskExplorer
explorer = MaskExplorer(*scene(), classes={CLASSES!r}, palette={PALETTE!r})
explorer
"""
TELL = "print('python sees', explorer.opacity, explorer.layer, explorer.hidden)"


def notebook() -> object:
    cells = [nbformat.v4.new_code_cell(source) for source in (SOURCE, SHOW, TELL)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def reopened() -> object:
    """As it is saved by ``segbook run`` and the refresh of committed notebooks: no widget in it."""
    explorer = widgets.MaskExplorer(*scene(), classes=CLASSES, palette=PALETTE)
    data, metadata = explorer._repr_mimebundle_()
    shown = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    cell = nbformat.v4.new_code_cell("explorer", outputs=views.still([shown], {}, {}))
    return nbformat.v4.new_notebook(cells=[cell], metadata=notebook().metadata)


def surroundings(home: Path) -> dict[str, str]:
    """An environment of its own for a server: nobody's settings, our import path."""
    others = ("JUPYTER", "SEGBOOK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    own = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA")}
    own |= {"JUPYTER_RUNTIME_DIR": str(home / "run"), "IPYTHONDIR": str(home / "ipython")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return kept | own | {"HOME": str(home), "PYTHONPATH": path}


def wait_for(server: subprocess.Popen, address: str, log: Path, seconds: float = 90) -> None:
    """Wait until the server answers; fail with its log if it dies or never does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    pytest.fail(f"JupyterLab did not answer:\n{log.read_text()[-3000:]}")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A JupyterLab with one notebook in it: its address and its token."""
    pytest.importorskip("jupyterlab", reason="the notebooks extra is not installed")
    root, home, log = tmp_path / "root", tmp_path / "home", tmp_path / "server.log"
    root.mkdir()
    home.mkdir()
    settings = home / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    quiet = '{"fetchNews": "false", "checkForUpdates": false, "doNotDisturbMode": true}'
    (settings / "notification.jupyterlab-settings").write_text(quiet)
    nbformat.write(notebook(), root / "explorer.ipynb")
    nbformat.write(reopened(), root / "reopened.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}"]
    command += ["--LabApp.news_url=", "--LabApp.extension_manager=readonly"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with log.open("w") as output:
        server = subprocess.Popen(
            command,
            cwd=root,
            env=surroundings(home),
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(server, f"{address}/api/status?token={token}", log)
        yield address, token
    finally:
        # Asked politely it ends its kernels, which live in sessions of their own, as well.
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def test_moved_in_jupyterlab(lab: tuple[str, str], visit: Visit) -> None:
    address, token = lab
    image, truth, prediction = scene()
    page = visit.page
    page.goto(f"{address}/lab/tree/explorer.ipynb?token={token}")
    # The notebook's own indicator says idle even before it has a kernel; the status bar knows.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=90_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_selector(".segbook-explorer[data-ready='0']", timeout=60_000)
    page.get_by_text("python sees 0.5 truth []").wait_for(timeout=60_000)
    explorer = page.locator(".segbook-explorer")
    visit.shot("lab_start")

    half = pixels(page)
    assert np.abs(half - blend(image, truth, PALETTE, 0.5)).max() <= ROUNDING
    slider = explorer.get_by_role("slider")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    more = pixels(page)
    assert np.abs(more - blend(image, truth, PALETTE, 0.7)).max() <= ROUNDING
    assert np.abs(more - half).max() > 10
    assert slider.evaluate("node => node === document.activeElement")

    explorer.get_by_role("button", name="Road", exact=True).click()
    unmasked = truth == 1
    assert (pixels(page)[unmasked] == image[unmasked]).all()
    assert (pixels(page)[~unmasked] == more[~unmasked]).all()
    pressed = explorer.get_by_role("button", name="Road", exact=True).get_attribute("aria-pressed")
    assert pressed == "false"

    told = hover(page, 22, 30).split()
    assert told == ["truth", "Car", "predicted", "Road", "wrong", "x", "22,", "y", "30"]
    assert "truth void" in hover(page, 3, 2)
    visit.shot("lab_moved")

    explorer.get_by_role("radio", name="truth").focus()
    page.keyboard.press("ArrowRight")
    shown = pixels(page)
    assert np.abs(shown - blend(image, prediction, PALETTE, 0.7))[prediction != 1].max() <= ROUNDING
    assert (shown[prediction == 1] == image[prediction == 1]).all()
    # What the hand moved is known to Python.
    page.locator(".jp-CodeCell").nth(2).locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("python sees 0.7 prediction [1]").wait_for(timeout=30_000)
    visit.shot("lab_end")

    # A notebook that is opened and not run shows the picture.
    other = page.context.browser.new_page()
    other.goto(f"{address}/lab/tree/reopened.ipynb?token={token}")
    picture = other.locator("[data-mime-type='image/png'] img").last
    picture.wait_for(timeout=60_000)
    assert picture.evaluate("async node => (await node.decode(), node.naturalWidth)") > 600
    assert picture.is_visible()
    other.close()

    assert visit.elsewhere(address) == []
    assert visit.errors == []


def test_page_without_a_kernel(tmp_path: Path, visit: Visit) -> None:
    image, truth, prediction = scene()
    explorer = widgets.MaskExplorer(
        [image, image[:32, :40]],
        [truth, truth[:32, :40]],
        [prediction, prediction[:32, :40]],
        classes=("</script><b>Sky", *CLASSES[1:]),
        palette=PALETTE,
        names=("first", "second"),
    )
    page = visit.page
    page.goto(explorer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    assert "</script><b>Sky" in hover(page, 60, 2)

    page.get_by_role("radio", name="error").check()
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    shown = pixels(page)
    wrong = (prediction != truth) & (truth != 255)
    assert (shown == WRONG).all(2).tolist() == wrong.tolist()
    assert (shown == (235, 235, 235)).all(2).tolist() == (prediction == truth).tolist()
    share = f"{100 * wrong.sum() / (truth != 255).sum():.1f} %"
    page.mouse.move(1, 1)
    assert page.locator(".readout").first.inner_text().startswith(f"{share} of the labelled pixels")

    page.locator("canvas.picture").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    assert page.locator(".position").inner_text() == "x 33, y 34"
    page.get_by_role("button", name="Car").click(modifiers=["Shift"])
    alone = pixels(page)
    assert (alone[truth != 2] == image[truth != 2]).all()
    assert (alone[truth == 2] != image[truth == 2]).any()
    page.get_by_role("button", name="show all").click()
    assert (pixels(page) == shown).all()
    page.get_by_role("button", name="hide all").click()
    assert (pixels(page) == image).all()

    page.get_by_role("button", name="next image").click()
    page.wait_for_selector("[data-ready='1']")
    assert (pixels(page) == image[:32, :40]).all()
    assert page.locator(".place").inner_text() == "2 / 2 · second"
    page.get_by_role("button", name="next image").click()
    page.wait_for_selector("[data-ready='0']")
    assert visit.elsewhere(tmp_path.as_uri()) == []
    assert visit.errors == []


def test_zoom_pins_and_probabilities(tmp_path: Path, visit: Visit) -> None:
    image, truth, prediction = scene()
    probs = np.full((3, 48, 64), 0.1)
    np.put_along_axis(probs, prediction[None].astype(int), 0.8, 0)
    names = ("\u0633\u0645\u0627\u0621 A", "Road", "Car")
    explorer = widgets.MaskExplorer(image, truth, probs=probs, classes=names, palette=PALETTE)
    page = visit.page
    page.goto(explorer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    root, canvas = page.locator(".segbook-explorer"), page.locator("canvas.picture")

    told = hover(page, 22, 30).split()
    assert told == ["truth", "Car", "predicted", "Road", "wrong", "x", "22,", "y", "30"]
    assert page.locator(".odd").all_inner_texts()[0].split() == ["Road", "80", "%"]
    assert page.locator(".odd bdi").last.inner_text() in names
    page.mouse.down()
    page.mouse.up()
    pin = page.locator(".pinned li")
    assert pin.inner_text().split()[:6] == ["1", "x", "22,", "y", "30", "truth"]
    assert "80 %" in pin.inner_text()

    # The pixel under the pointer stays there while the wheel turns, and when it is dragged.
    page.mouse.wheel(0, -300)
    page.wait_for_function("+document.querySelector('.segbook-explorer').dataset.zoom > 1.5")
    assert page.locator(".position").inner_text() == "x 22, y 30"
    page.mouse.down()
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert page.locator(".position").inner_text() == "x 22, y 30"
    assert pin.count() == 1  # a drag is no click
    mark, cross = page.locator(".pin").bounding_box(), page.locator(".cross").bounding_box()
    assert abs(mark["x"] + mark["width"] / 2 - cross["x"] - cross["width"] / 2) < 1.5
    visit.shot("zoomed")
    alphas = "node => node.getContext('2d').getImageData(0, 0, node.width, node.height).data"
    lit = f"node => Array.from(({alphas})(node)).filter((value, i) => i % 4 == 3 && value).length"
    edges = page.locator("canvas.edges")
    assert 100 < edges.evaluate(lit) < 20_000

    # The keyboard does all of it.
    canvas.focus()
    page.keyboard.press("0")
    assert root.get_attribute("data-zoom") == "1.00"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert pin.count() == 2
    for _ in range(30):
        page.keyboard.press("+")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert page.locator(".position").inner_text() == "x 3, y 30"
    assert page.locator(".cross").is_visible()  # the view went with it
    page.get_by_role("button", name="remove pin 1").click()
    assert pin.count() == 1

    page.get_by_role("button", name="all of it").click()
    page.get_by_role("combobox", name="colours").select_option("distinct")
    page.get_by_role("slider").focus()
    page.keyboard.press("End")
    labelled = truth != 255
    assert (pixels(page)[labelled] == np.array(explorer.distinct)[truth[labelled]]).all()
    page.get_by_role("checkbox", name="borders").uncheck()
    edges.wait_for(state="hidden")  # borders are drawn with the next frame
    page.get_by_role("checkbox", name="grey").check()
    assert "grayscale" in page.locator(".stage").evaluate("node => getComputedStyle(node).filter")
    assert visit.errors == []


@pytest.mark.parametrize("shape", [(1, 1), (400, 4), (5, 400)])
def test_any_shape_is_seen(tmp_path: Path, visit: Visit, shape: tuple[int, int]) -> None:
    mask = np.ones(shape, bool)
    explorer = widgets.MaskExplorer(np.zeros((*shape, 4), np.uint8), mask, classes=("off", "on"))
    page = visit.page
    page.goto(explorer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    assert pixels(page).shape[:2] == shape
    stage, picture = (page.locator(name).bounding_box() for name in (".stage", "canvas.picture"))
    assert stage["height"] <= 1.3 * stage["width"]
    assert min(picture["width"], picture["height"]) >= 60
    page.locator("canvas.picture").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator(".readout").first.inner_text().startswith("truth on")
    assert visit.errors == []


def test_every_id_survives_the_way(tmp_path: Path, visit: Visit) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 255, (70, 90), dtype=np.uint8)
    truth[:3, :85] = np.arange(255).reshape(3, 85)
    image = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    palette = [(k, 255 - k, (7 * k) % 256) for k in range(255)]
    names = [f"class {k}" for k in range(255)]
    explorer = widgets.MaskExplorer(image, truth, classes=names, palette=palette)
    explorer.opacity = 1
    page = visit.page
    page.goto(explorer.save_html(tmp_path / "page.html").as_uri())
    page.wait_for_selector("[data-ready='0']")
    assert (pixels(page) == np.array(palette)[truth]).all()
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    assert (pixels(page) == image).all()
    assert visit.errors == []


def test_damaged_data_are_told(tmp_path: Path, visit: Visit) -> None:
    explorer = widgets.MaskExplorer(*scene(), classes=CLASSES, palette=PALETTE)
    explorer.set_trait("samples", [explorer.samples[0] | {"truth": b"no zlib stream"}])
    visit.page.goto(explorer.save_html(tmp_path / "page.html").as_uri())
    visit.page.get_by_role("alert").wait_for()
    assert "This picture cannot be shown" in visit.page.get_by_role("alert").inner_text()


def test_static_page_shows_the_picture(tmp_path: Path, visit: Visit) -> None:
    nbclient = pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
    nbconvert = pytest.importorskip("nbconvert", reason="the notebooks extra is not installed")
    executed = notebook()
    client = nbclient.NotebookClient(executed, timeout=120, store_widget_state=False)
    client.execute(env=surroundings(tmp_path))
    bundle = executed.cells[1].outputs[0].data
    said = "MaskExplorer(1 image of 48x64 pixels, 3 classes, truth, prediction, error)"
    assert bundle["text/plain"] == said
    html, _ = nbconvert.HTMLExporter().from_notebook_node(executed)
    path = tmp_path / "notebook.html"
    path.write_text(html, encoding="utf-8")
    page = visit.page
    # nbconvert's own page asks for scripts elsewhere; what is tested is that it can do without.
    page.route(lambda address: address.startswith("http"), lambda route: route.abort())
    page.goto(path.as_uri(), wait_until="domcontentloaded")
    picture = page.locator("img[src^='data:image/png']")
    assert picture.count() == 1
    assert picture.is_visible()
    assert picture.evaluate("async node => (await node.decode(), node.naturalWidth)") > 600
