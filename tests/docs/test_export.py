"""The page about files for use elsewhere: each command of it, each block, and its server."""

import importlib.util
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import cli
from segbook.prediction import export as prediction
from segkit.export.files import ONNX_PACKAGES, find_spec

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "export.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
needs_onnx = pytest.mark.skipif(
    any(not find_spec(name) for name in ONNX_PACKAGES),
    reason="takes the extra: pip install 'segbook[onnx]'",
)
WEIGHTS = "pp_liteseg_t_camvid"  # of the page; here a small network, and folders for CamVid


@needs_onnx
@pytest.mark.slow
def test_each_block_of_the_page_works(small, monkeypatch):
    made, whole = {}, prediction.export_network

    def once(model, to, **options):  # the file in 8 bits is made of the other, exported anew
        return made.setdefault(to, None) or made.setdefault(f"{to} ", whole(model, to, **options))

    monkeypatch.setattr(prediction, "export_network", once)
    commands = []
    for language, block in BLOCKS:
        if language == "python":
            exec(block, {})
            continue
        for line in block.replace("camvid --data-root data/camvid", "data").splitlines():
            words = shlex.split(line, comments=True)
            words = [f"{WEIGHTS}.safetensors" if word == WEIGHTS else word for word in words]
            if words[0] != "segbook" or words[1] == "bench":
                continue
            commands.append(words[1])
            if "--int8" in words:  # random weights are near ties, which any rounding decides anew
                words += ["--tolerance", "100"]
            done = CliRunner().invoke(cli.main, words[1:])
            assert done.exit_code == 0, (line, done.output)
    assert commands == ["export", "export", "predict", "export", "evaluate"]
    assert Path(f"{WEIGHTS}.int8.onnx.json").exists()
    assert Path("predicted/labels/one.png").exists()


@pytest.fixture
def client(onnx_file, tmp_path, monkeypatch):
    pytest.importorskip("fastapi", reason="takes the extra: pip install 'segbook[onnx,server]'")
    pytest.importorskip("httpx", reason="fastapi's TestClient takes it")
    from fastapi.testclient import TestClient

    (tmp_path / "network.onnx").write_bytes(onnx_file.content)
    monkeypatch.setenv("NETWORK", str(tmp_path / "network.onnx"))
    spec = importlib.util.spec_from_file_location("server", DOCS / "examples" / "server.py")
    assert spec
    assert spec.loader
    server = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(server)
    return TestClient(server.app)


def picture(size, colour=(0, 0, 0), kind="PNG"):
    file = io.BytesIO()
    image = Image.new("RGB", size, colour)
    image.paste((255, 255, 255), (0, 0, size[0] // 4, size[1]))
    image.save(file, kind)
    return file.getvalue()


def deep(mode, kind):
    file = io.BytesIO()
    Image.new(mode, (80, 40), 1).save(file, kind)
    return file.getvalue()


def test_the_server_answers_with_labels_and_shares(client, onnx_file):
    answer = client.post("/labels", content=picture((80, 40)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    labels = Image.open(io.BytesIO(answer.content))
    expected = np.zeros((40, 80), np.uint8)
    expected[:, :20] = 1
    assert np.array_equal(np.asarray(labels), expected)
    assert labels.getpalette()[:6] == sum(onnx_file.header["palette"], [])
    answer = client.post("/shares", content=picture((80, 40), kind="JPEG"))
    assert answer.json() == pytest.approx({"dark": 0.75, "bright": 0.25}, abs=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is no image that can be read"),
        (b"no picture", "the body is no image that can be read"),
        (picture((80, 40))[:90], "the body is no image that can be read"),
        (picture((80, 31)), "the image has 80x31 pixels"),
        (picture((80, 40), kind="GIF"), "the body is no image that can be read: cannot identify"),
        (deep("F", "TIFF"), "the image has 'F' pixels, more than 8 bits"),
        (deep("I", "TIFF"), "the image has 'I' pixels, more than 8 bits"),
        (deep("I;16", "PNG"), "the image has 'I;16' pixels, more than 8 bits"),
    ],
)
def test_the_server_says_what_is_wrong_with_an_image(client, content, message):
    answer = client.post("/labels", content=content)
    assert answer.status_code == 400
    assert message in answer.json()["detail"]
    assert " object at " not in answer.json()["detail"]
    assert client.post("/labels", content=picture((40, 40))).status_code == 200
