"""`segbook export`: a file that agrees, written whole, or one sentence and no file."""

import json

import pytest
import torch
from click.testing import CliRunner

import segkit
from segbook import cli
from segbook.prediction.export import export_file
from segkit.export import files
from segkit.transforms import Normalize

HEADER = {
    "builder": "unet",
    "arguments": {"num_classes": 3, "channels": [4, 8]},
    "classes": ["sky", "road", "tree"],
    "palette": [[200, 220, 255], [80, 80, 80], [0, 130, 0]],
    "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]},
    "metric": {"name": "mIoU", "policy": "per_image_absent_1", "value": 0.5, "split": "val"},
    "step": 7,
}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    segkit.save_weights(model, tmp_path / "tiny.safetensors", header=HEADER)
    return tmp_path / "tiny.safetensors"


def export(*words):
    return CliRunner().invoke(cli.main, ["export", *map(str, words)])


@pytest.mark.slow
def test_weights_become_a_file_that_says_what_it_is(weights, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = export(weights, "--to", "pt2")
    assert done.exit_code == 0, done.output
    assert "compared with torch: largest difference" in done.output
    assert "written: tiny.pt2" in done.output

    extra = {files.HEADER: ""}
    program = torch.export.load("tiny.pt2", extra_files=extra)
    header = json.loads(extra[files.HEADER])
    # A padded U-Net crops, see segkit.export.files.
    assert "opened by torch.export.load('tiny.pt2').module(check_guards=False)" in done.output
    assert header["check_guards"] is False
    run = program.module(check_guards=False)
    assert header["classes"] == HEADER["classes"]
    assert header["metric"] == HEADER["metric"]
    assert header["policy"] == "per_image_absent_1"
    assert header["normalised_inside"]["mean"] == [0.4, 0.5, 0.6]
    assert "normalisation" not in header  # or somebody would do it a second time
    model, _ = segkit.load_model(weights)
    images = torch.randint(256, (1, 3, 61, 45), dtype=torch.uint8)
    expected = model(Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)).image(images)).logits
    torch.testing.assert_close(run(images), expected, atol=1e-5, rtol=1e-5)

    again = export(weights, "--to", "pt2")
    assert again.exit_code == 2
    assert "tiny.pt2 is there already" in again.output
    assert export(weights, "--to", "pt2", "--overwrite").exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("here/*")) == ["tiny.pt2", "tiny.pt2.json"]


@pytest.mark.slow
def test_a_file_that_disagrees_is_never_written(weights, tmp_path, monkeypatch):
    out = tmp_path / "new" / "network.pt2"
    monkeypatch.setitem(files.FORMS, "pt2", (files.to_pt2, lambda content: lambda images: wrong))
    wrong = torch.zeros(2, 3, 64, 96)
    done = export(weights, "--to", "pt2", "--out", out)
    assert done.exit_code == 2
    assert "gives logits of shape (2, 3, 64, 96), and the network (1, 3, 97, 65)" in done.output
    load = files.load_pt2
    monkeypatch.setitem(
        files.FORMS, "pt2", (files.to_pt2, lambda content: lambda x: load(content)(x) + 0.01)
    )
    done = export(weights, "--to", "pt2", "--out", out)
    assert done.exit_code == 2
    assert "the pt2 file is not the network: largest difference 1.0e-02" in done.output
    assert not out.parent.exists()


@pytest.mark.slow
def test_an_interrupted_write_leaves_what_was_there(weights, tmp_path, monkeypatch):
    out = tmp_path / "network.pt2"
    out.write_bytes(b"before")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segbook.runs.files.os.fsync", fail)
    done = export(weights, "--to", "pt2", "--out", out, "--overwrite")
    assert done.exit_code == 1
    assert "No space left" in done.output
    assert out.read_bytes() == b"before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["network.pt2", "tiny.safetensors"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "pt2", "--out", "network.onnx"], "network.onnx does not end in .pt2"),
        (["--to", "pt2", "--out", "folder.pt2", "--overwrite"], "folder.pt2 is a folder"),
        (["--to", "pt2", "--out", "tiny.safetensors/x.pt2"], "tiny.safetensors is no folder"),
        (["--to", "tflite"], "'tflite' is not one of"),
    ],
)
def test_what_is_wrong_is_said_before_the_work(weights, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.pt2").mkdir()
    monkeypatch.setattr("segbook.prediction.export.export_network", None)
    done = export("tiny.safetensors", *words)
    assert done.exit_code == 2
    assert message in done.output


def test_onnx_without_its_packages_says_how_to_get_them(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    done = export(weights, "--to", "onnx", "--out", tmp_path / "x.onnx")
    assert done.exit_code == 2
    assert "pip install 'segbook[onnx]'" in done.output


def test_weights_without_their_normalisation_are_refused(tmp_path):
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    header = {key: value for key, value in HEADER.items() if key != "normalisation"}
    segkit.save_weights(model, tmp_path / "tiny.safetensors", header=header)
    with pytest.raises(ValueError, match="header has normalisation None"):
        export_file(tmp_path / "tiny.safetensors", "pt2", tmp_path / "x.pt2")
