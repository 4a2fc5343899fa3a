"""What `segbook evaluate` gives: the numbers of segkit.metrics, and those that a training wrote."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import segkit
from segbook import cli, recipes
from segbook.prediction import evaluate, open_data, open_network
from segbook.prediction.scores import Scores
from segbook.runs.folder import RunFolder
from segkit import engine, transforms
from segkit.data import FolderDataset, write_folder
from segkit.metrics import POLICIES, ConfusionMatrix, boundary_iou

CLASSES = ["sky", "road", "tree"]
NORMALISATION = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]}


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    header = {
        "builder": "unet",
        "arguments": {"num_classes": 3, "channels": [4, 8]},
        "classes": CLASSES,
        "normalisation": NORMALISATION,
        "metric": {"policy": "per_image"},
    }
    segkit.save_weights(model, tmp_path / "tiny.safetensors", header=header)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def data(tmp_path):
    """Three pairs of one size; void, and a class that the last has not."""
    numbers = torch.Generator().manual_seed(1)
    pairs = []
    for ids in ((0, 1, 2, 255), (0, 1, 2), (0, 1)):
        image = torch.randint(0, 256, (3, 40, 48), generator=numbers, dtype=torch.uint8)
        coarse = torch.randint(0, len(ids), (5, 6), generator=numbers)
        mask = torch.tensor(ids, dtype=torch.uint8)[coarse]
        pairs.append((image, mask.repeat_interleave(8, 0).repeat_interleave(8, 1)))
    write_folder(tmp_path / "data", pairs, CLASSES)
    return tmp_path / "data"


@pytest.fixture
def segbook(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def invoke(*arguments):
        return CliRunner().invoke(cli.main, ["evaluate", *map(str, arguments)])

    return invoke


def numbers_of(table):
    return [None if value != value else value for value in table.tolist()]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["--window", "32,40", "--overlap", "0", "--scale", "1.5", "--flip"],
         {"window": (32, 40), "overlap": 0.0, "scales": (1.5,), "flip": True}),
        (["--window", "100", "--margin", "4"], {"window": (100, 100), "margin": 4}),
    ],
)  # fmt: skip
def test_numbers_are_those_of_the_metrics(segbook, weights, data, words, options):
    done = segbook(weights, data, "--json", *words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    model, _ = segkit.load_model(weights)
    raw = FolderDataset(data)
    pairs = [raw.raw(i) for i in range(3)]
    ready = torch.stack([transforms.Normalize(**NORMALISATION).image(image) for image, _ in pairs])
    labels, truth = engine.predict(model, ready, **options), torch.stack([m for _, m in pairs])
    counts = ConfusionMatrix(3)
    counts.update(labels, truth)
    assert found["policies"] == {policy: counts.miou(policy) for policy in POLICIES}
    assert found["miou"] == counts.miou("per_image")
    assert found["policy"] == "per_image"
    assert found["pixel_accuracy"] == counts.pixel_accuracy()
    assert found["class_accuracy"] == counts.class_accuracy()
    assert found["mean_dice"] == counts.mean_dice()
    assert [*found["iou"].items()] == [*zip(CLASSES, numbers_of(counts.iou()), strict=True)]
    assert [*found["dice"].values()] == numbers_of(counts.dice())
    boundaries = boundary_iou(labels, truth, num_classes=3)
    assert [*found["boundary_iou"].values()] == numbers_of(boundaries)
    assert found["mean_boundary_iou"] == float(boundaries.nanmean())
    assert [*found["pixels"].values()] == [int((truth == k).sum()) for k in range(3)]
    assert found["images"] == 3
    for index in range(3):
        one = ConfusionMatrix(3)
        one.update(labels[index : index + 1], truth[index : index + 1])
        scores = found["each"][f"{index:03d}"]
        assert scores["miou"] == one.miou("per_image")
        assert [*scores["iou"].values()] == numbers_of(one.iou())
        narrow = boundary_iou(labels[index, None], truth[index, None], num_classes=3)
        assert scores["mean_boundary_iou"] == float(narrow.nanmean())
    assert [*found["each"]] == sorted(found["each"], key=lambda name: found["each"][name]["miou"])


def test_an_image_of_void_comes_last_and_counts_nothing():
    scores = Scores(CLASSES, "dataset")
    labels = torch.zeros(40, 40, dtype=torch.uint8)
    assert np.isnan(scores.add("void", labels, torch.full_like(labels, 255)))
    assert scores.add("right", labels, labels) == 1
    found = scores.summary()
    assert [*found["each"]] == ["right", "void"]
    assert found["each"]["void"]["miou"] is None
    assert found["each"]["void"]["mean_boundary_iou"] is None
    assert found["miou"] == 1
    assert found["iou"] == {"sky": 1, "road": None, "tree": None}


@pytest.mark.slow
def test_a_run_scores_what_its_training_wrote_down(segbook, data, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    for split, stems in {"train": "000\n001\n", "val": "000\n002\n", "test": "001\n"}.items():
        (data / f"{split}.txt").write_text(stems)
    changes = {"steps": 2, "warmup": 0, "crop": "(32, 32)", "doctor": "off", "batch_size": 2,
               "data": "folder", "data_root": data}  # fmt: skip
    words = [f"--set={name}={value}" for name, value in changes.items()]
    trained = CliRunner().invoke(cli.main, ["train", "unet_synthetic", "--name", "tiny", *words])
    assert trained.exit_code == 0, trained.output
    [run] = (tmp_path / "runs").iterdir()
    result = json.loads((run / "run.json").read_text())["result"]
    for split, wanted in (("val", result), ("test", result["test"])):
        done = segbook("tiny", "--split", split, "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found["miou"] == pytest.approx(wanted["miou"], abs=1e-6)
        assert found["policy"] == wanted["policy"]
        assert [*found["iou"].values()] == pytest.approx(wanted["iou"], abs=1e-5, nan_ok=True)
        assert found["pixel_accuracy"] == pytest.approx(wanted["accuracy"], abs=1e-6)
    done = segbook("tiny", "--split", "vale")
    assert done.exit_code == 2
    assert "there is no split 'vale': choose from train, val, test" in done.output


@pytest.mark.slow
def test_without_jupyter_and_matplotlib(weights, data):
    code = f"""
import sys
for name in ("papermill", "nbformat", "IPython", "ipywidgets", "anywidget", "matplotlib"):
    sys.modules[name] = None
from segbook.cli import main
main(["evaluate", {str(weights)!r}, {str(data)!r}], prog_name="segbook")
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"boundary IoU" in done.stdout


def test_a_page_and_files(segbook, weights, data, tmp_path):
    done = segbook(weights, data, "--out", tmp_path / "scores.csv")
    assert done.exit_code == 0, done.output
    found = json.loads(segbook(weights, data, "--json").stdout)
    assert f"mIoU {100 * found['miou']:.1f} (per_image), pixel accuracy" in done.output
    for policy in POLICIES:
        assert f"{policy} " in done.output
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [*found["each"]]
    assert float(rows[0]["miou"]) == found["each"][rows[0]["image"]]["miou"]
    assert float(rows[0]["iou sky"]) == found["each"][rows[0]["image"]]["iou"]["sky"]
    segbook(weights, data, "--out", tmp_path / "scores.jsonl")
    lines = (tmp_path / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == [*found["each"]]
    segbook(weights, data, "--out", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text()) == found


def test_bad_pairs_are_named_and_left_out(segbook, weights, data):
    (data / "images/000.png").write_bytes(b"none")
    Image.new("L", (48, 40), 9).save(data / "masks/001.png")
    done = segbook(weights, data)
    assert done.exit_code == 1
    assert "left out: " in done.output
    assert "images/000.png cannot be read as a picture" in done.output
    assert "masks/001.png holds 9" in done.output
    assert "; 1 images, predicted in float32" in done.output
    assert segbook(weights, data, "--ignore", 9).output.count("left out: ") == 1


@pytest.mark.parametrize(
    "words", [["predict", "IN", "--out", "o"], ["evaluate", "IN"], ["export", "--to", "pt2"]]
)
def test_weights_that_are_not_there(data, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    command, *rest = [str(data) if word == "IN" else word for word in words]
    done = CliRunner().invoke(cli.main, [command, "no.safetensors", *rest])
    assert done.exit_code == 2
    assert "there is no such file or run: no.safetensors is missing" in done.output


def test_of_many_bad_pairs_the_first_are_named(segbook, weights, data, tmp_path):
    for index in range(3, 8):
        Image.new("RGB", (48, 40)).save(data / f"images/{index:03d}.png")
        Image.new("L", (48, 40), 9).save(data / f"masks/{index:03d}.png")
    done = segbook(weights, data, "--out", tmp_path / "scores.json")
    assert done.exit_code == 1
    assert done.output.count("holds 9") == 3
    assert "left out: 2 more, 5 of 8 images" in done.output
    assert len(json.loads((tmp_path / "scores.json").read_text())["left_out"]) == 5


def test_the_val_split_where_there_is_one(weights, data):
    network = open_network(weights)
    assert len(open_data(network, data)) == 3
    (data / "val.txt").write_text("001\n")
    (data / "test.txt").write_text("000\n002\n")
    assert len(open_data(network, data)) == 1
    assert len(open_data(network, data, "test")) == 2
    (data / "classes.json").unlink()
    assert open_data(network, data).classes == tuple(CLASSES)


def test_data_of_the_catalogue(weights):
    network = open_network("pp_liteseg_t_camvid")
    dataset = open_data(network, "synthetic", "test")
    assert "'test'" in repr(dataset)
    assert dataset.classes == tuple(network.header["classes"])
    with pytest.raises(ValueError, match="needs data_root"):
        open_data(network, "camvid")
    with pytest.raises(ValueError, match="'Sky' as class 0, where the network has 'sky'"):
        open_data(open_network(weights), "synthetic")


def test_a_runs_own_void_and_where_its_data_are_now(weights, data, tmp_path):
    os.rename(data, tmp_path / "moved")
    for split in ("train", "val"):
        (tmp_path / f"moved/{split}.txt").write_text("000\n")
    recipe = recipes.override(
        recipes.get("unet_synthetic"), {"data": "folder", "ignore": 2, "data_root": str(data)}
    )
    run = RunFolder.create("r", root=tmp_path / "runs", kind="train", recipe=recipe.to_dict())
    os.replace(weights, run.checkpoints / "best.safetensors")
    network = open_network(run.path)
    with pytest.raises(ValueError, match="no such folder"):
        open_data(network)
    dataset = open_data(network, data_root=str(tmp_path / "moved"))
    assert 2 not in dataset.raw(0)[1].unique()
    done = evaluate(network, dataset)
    assert done.scores["pixels"]["tree"] == 0
    assert done.left_out == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "say what to evaluate them on, a folder or one of synthetic"),
        (["nowhere"], "there is no such folder"),
        (["DATA", "--split", "odd"], "no split 'odd'"),
        (["DATA", "--out", "scores.txt"], "ends in none of .json, .jsonl, .csv"),
        (["DATA", "--out", "no/scores.csv"], "make its folder"),
        (["DATA", "--data-root", "x"], "is for a data set that is named"),
        (["synthetic", "--ignore", "9"], "these data know their void"),
        (["DATA", "--margin", "9"], "give --window"),
        (["DATA", "--window", "20"], "at least 32"),
    ],
)
def test_a_wrong_command(segbook, weights, data, words, message):
    done = segbook(weights, *(data if word == "DATA" else word for word in words))
    assert done.exit_code == 2
    assert message in done.output


def test_other_classes_are_refused(segbook, weights, data):
    (data / "classes.json").write_text(json.dumps(["sky", "water", "tree"]))
    done = segbook(weights, data)
    assert done.exit_code == 2
    assert "'water' as class 1, where the network has 'road'" in done.output


def test_images_that_are_read_otherwise_are_refused(segbook, weights, data):
    where = "images: train/images\nmasks: train/masks\n" if (data / "train").exists() else ""
    (data / "data.yaml").write_text(f"{where}classes: {CLASSES}\nbands: [1, 2, 3]\nrange: [0, 128]")
    done = segbook(weights, data)
    assert done.exit_code == 2
    said = "is read as bands [1, 2, 3] and range [[0, 128]], and the network was trained on 8-bit"
    assert said in done.output
    (data / "data.yaml").write_text(f"{where}classes: [sky, water, tree]")
    assert "give data.yaml the network's names" in segbook(weights, data).output
