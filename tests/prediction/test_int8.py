"""`segbook export --int8`: scored and timed before it is written; then a network like others."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

import segkit
from segbook import cli
from segbook.prediction.int8 import LossError, refuse_loss

BUILDER = """
from torch import nn
from segkit import SegOutput

class Bright(nn.Module):
    aux_losses = {}

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return SegOutput(self.score(images), {})

def build(*, num_classes, in_channels=3):
    return Bright()
"""


def segbook(*words):
    return CliRunner().invoke(cli.main, [*map(str, words)])


@pytest.fixture
def weights(onnx_file, tmp_path, monkeypatch):
    """Weights of the network that is in the file, and in mine/ images and masks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("segbook.prediction.export.export_network", lambda *a, **k: onnx_file)
    (tmp_path / "bright.py").write_text(BUILDER)
    model = nn.Module()
    model.score = nn.Conv2d(3, 2, 1)
    with torch.no_grad():
        model.score.weight[:] = torch.tensor([[-0.5, -0.3, -0.4], [0.5, 0.3, 0.4]])[..., None, None]
        model.score.bias[:] = torch.tensor([0.6, -0.6])
    header = onnx_file.header | {
        "builder": "bright.py:build",
        "arguments": {"num_classes": 2},
        "normalisation": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    }
    segkit.save_weights(model, "bright.safetensors", header=header)
    for kind in ("images", "masks"):
        (tmp_path / "mine" / kind).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for k in range(6):
        pixels = generator.integers(0, 256, (33 + k, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"mine/images/{k}.png")
        Image.fromarray((pixels.mean(2) > 128).astype(np.uint8)).save(f"mine/masks/{k}.png")
    return ["bright.safetensors", "--model", "bright.py:build"]


def test_a_file_in_8_bits_comes_with_what_it_is_worth(weights, onnx_file, tmp_path):
    words = ["--to", "onnx", "--int8", "--data", "mine", "--images", 4]
    done = segbook("export", *weights, *words)
    assert done.exit_code == 0, done.output
    for said in (
        "warning: 4 images to calibrate by may lack what others show",
        "calibrating by 4 images of FolderDataset(",
        "(per_image_absent_1; 6 images of FolderDataset(",
        "% of labels differ from torch's",
        "times as fast as torch in float32: onnx ",
        "(33x48 pixels, 1 thread)",
        "written: bright.int8.onnx",
        "certificate: bright.int8.onnx.json",
    ):
        assert said in done.output
    content = (tmp_path / "bright.int8.onnx").read_bytes()
    found = json.loads((tmp_path / "bright.int8.onnx.json").read_text())
    assert found["file"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert found["file"]["bytes"] == len(content)
    assert found["weights"]["builder"] == "bright.py:build"
    assert found["compared"]["labels_differ"] == onnx_file.agreement.labels
    assert {"torch", "onnxruntime", "segbook"} <= found["versions"].keys()
    assert found["machine"]["processor"]
    miou, speed = found["int8"]["miou"], found["int8"]["speed"]
    assert found["int8"]["calibration"]["count"] == 4
    assert miou["policy"] == "per_image_absent_1"
    assert miou["onnx"] == pytest.approx(miou["torch"], abs=0.002)
    assert 0.5 < miou["torch"] < 0.99
    assert speed["threads"] == 1
    assert speed["seconds"].keys() == {"torch", "onnx", "int8"}
    assert speed["times_faster"]["int8"]["wall"]["median"] > 0
    # The same images are predicted, and scored, by the file as it is.
    done = segbook("predict", "bright.int8.onnx", "mine", "--out", "out")
    assert done.exit_code == 0, done.output
    assert "mIoU" not in done.output  # its header has that of the weights
    assert np.asarray(Image.open("out/labels/0.png")).shape == (33, 48)
    done = segbook("evaluate", "bright.int8.onnx", "mine", "--json")
    assert done.exit_code == 0, done.output
    scores = json.loads(done.stdout)
    assert scores["policy"] == "per_image_absent_1"
    assert scores["miou"] == pytest.approx(miou["int8"], abs=1e-9)
    done = segbook("export", "bright.int8.onnx", "--to", "pt2")
    assert done.exit_code == 2
    assert "is exported already" in done.output


def test_images_alone_calibrate_and_the_score_is_said_to_be_unknown(weights, tmp_path):
    words = ["--to", "onnx", "--int8", "--calibrate", "mine/images", "--out", "x.onnx"]
    done = segbook("export", *weights, *words)
    assert done.exit_code == 0, done.output
    assert "mIoU is not known without masks: give --data" in done.output
    found = json.loads((tmp_path / "x.onnx.json").read_text())
    assert found["int8"]["miou"] is None
    assert 0 <= found["int8"]["labels_differ"] < 0.05
    assert found["int8"]["calibration"]["of"] == "mine/images"
    assert found["int8"]["calibration"]["count"] == 6


def test_what_loses_too_much_is_not_written(weights, tmp_path, monkeypatch):
    dark = np.zeros((40, 40, 3), np.uint8)
    dark[0, 0] = 20
    (tmp_path / "night").mkdir()
    Image.fromarray(dark).save("night/one.png")  # all that is brighter is cut off
    words = ["--to", "onnx", "--int8", "--data", "mine", "--calibrate", "night"]
    done = segbook("export", *weights, *words)
    assert done.exit_code == 1
    assert "points of mIoU, and 0.5 are allowed" in done.output
    assert not [*tmp_path.glob("*.onnx*")]
    done = segbook("export", *weights, *words, "--tolerance", 100)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("lost", "refused"), [(0.004, False), (0.006, True), (-0.1, False)])
def test_half_a_point_may_be_lost(lost, refused):
    found = {"miou": {"torch": 0.5, "int8": 0.5 - lost}}
    if refused:
        with pytest.raises(LossError, match="8 bits lose 0.60 points of mIoU"):
            refuse_loss(found, 0.005)
    else:
        refuse_loss(found, 0.005)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "pt2", "--int8"], "--int8 is a form of ONNX"),
        (["--to", "onnx", "--calibrate", "mine"], "--calibrate is for a file in 8 bits: --int8"),
        (["--to", "onnx", "--tolerance", "1"], "--tolerance is for a file in 8 bits: --int8"),
        (["--to", "onnx", "--int8"], "say by what images to calibrate"),
        (["--to", "onnx", "--int8", "--data", "nowhere"], "nowhere"),
        (["--to", "onnx", "--int8", "--calibrate", "nowhere"], "nowhere"),
        (
            ["--to", "onnx", "--int8", "--tolerance", "nan"],
            "'nan' is no finite number: give one in 0<=x",
        ),
        (["--to", "onnx", "--int8", "--tolerance", "-1"], "not in the range 0<=x<=100"),
        (["--to", "onnx", "--int8", "--data", "ranged"], "was trained on 8-bit RGB"),
        (["--to", "onnx", "--int8", "--calibrate", "dot"], "has an image of 40x31 pixels"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(weights, monkeypatch, words, message):
    monkeypatch.setattr("segbook.prediction.export.export_network", None)
    Path("dot").mkdir()
    Image.new("RGB", (40, 31)).save("dot/one.png")
    shutil.copytree("mine", "ranged")
    Path("ranged/data.yaml").write_text("classes: [dark, bright]\nrange: [0, 255]\n")
    done = segbook("export", *weights, *words)
    assert done.exit_code == 2, done.output
    assert message in done.output


@pytest.mark.parametrize("out", ["/proc/x.onnx", "x" * 246 + ".onnx"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(weights, monkeypatch, out):
    if out.startswith("/") and not Path("/proc").is_dir():
        pytest.skip("takes a folder that nobody may write to, Linux's /proc")
    monkeypatch.setattr("segbook.prediction.export.export_network", None)
    done = segbook("export", *weights, "--to", "onnx", "--out", out)
    assert done.exit_code == 1, done.output
    assert out in done.output


def test_a_certificate_is_not_replaced_unasked(weights, tmp_path):
    (tmp_path / "bright.onnx.json").write_text("mine")
    done = segbook("export", *weights, "--to", "onnx")
    assert done.exit_code == 2
    assert "bright.onnx.json is there already, where the file's certificate goes" in done.output
    assert segbook("export", *weights, "--to", "onnx", "--overwrite").exit_code == 0
    assert "int8" not in json.loads((tmp_path / "bright.onnx.json").read_text())


@pytest.mark.parametrize("content", [None, b"not one"])
def test_no_onnx_file_to_predict_by(tmp_path, monkeypatch, content):
    pytest.importorskip("onnxruntime", reason="takes the extra: pip install 'segbook[onnx]'")
    monkeypatch.chdir(tmp_path)
    if content:
        (tmp_path / "x.onnx").write_bytes(content)
    Image.new("RGB", (40, 40)).save("one.png")
    done = segbook("predict", "x.onnx", "one.png", "--out", "out")
    assert done.exit_code == 2
    assert "x.onnx" in done.output
    assert ("is no ONNX file that can be read" in done.output) == bool(content)
