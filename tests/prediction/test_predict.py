"""What `segbook predict` writes: the network's own answers, whole, and nothing where it refuses."""

import json
import os
import re
import signal
import stat
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import segkit
from segbook import cli
from segbook.prediction import folder as predicting
from segbook.prediction import open_network, predict_folder
from segbook.prediction.files import Journal
from segbook.runs.folder import RunFolder
from segkit import engine, transforms
from segkit.data import read_image, read_mask
from segkit.metrics import ConfusionMatrix

CLASSES = ["sky", "road", "tree"]
PALETTE = [[200, 220, 255], [80, 80, 80], [0, 130, 0]]
HEADER = {
    "builder": "unet",
    "arguments": {"num_classes": 3, "channels": [4, 8]},
    "classes": CLASSES,
    "palette": PALETTE,
    "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]},
    "metric": {"name": "mIoU", "policy": "per_image_absent_1", "value": 0.5, "split": "val"},
    "step": 7,
}
NAMES = {"img2": "img2.png", "img10": "img10.png", "day/img2": "day/img2.png",
         "turned": "turned.jpg"}  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    segkit.save_weights(model, tmp_path / "tiny.safetensors", header=HEADER)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def photos(tmp_path):
    """A folder of four photographs, of several sizes and kinds, one of them in a folder below."""
    numbers = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "day").mkdir(parents=True)

    def save(name, height, width, *channels, **options):
        levels = numbers.integers(0, 256, (height, width, *channels), np.uint8)
        Image.fromarray(levels).save(folder / name, **options)

    save("img10.png", 40, 48, 3)
    save("img2.png", 33, 50)  # grey
    save("day/img2.png", 40, 40, 4)  # with transparency
    exif = Image.Exif()
    exif[0x0112] = 6
    save("turned.jpg", 36, 60, 3, exif=exif)
    return folder


@pytest.fixture
def segbook(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    def invoke(*arguments):
        return CliRunner().invoke(cli.main, ["predict", *map(str, arguments)])

    return invoke


def written(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ready(path):
    return transforms.Normalize(**HEADER["normalisation"]).image(read_image(path))[None]


def test_labels_are_those_of_the_engine(segbook, weights, photos, tmp_path):
    out = tmp_path / "out"
    done = segbook(weights, photos, "--out", out, "--probs")
    assert done.exit_code == 0, done.output
    assert "unet; step 7; 3 classes (sky, road, tree); val mIoU 50.0 (per_image_absent_1)" in (
        done.output
    )
    assert done.output.endswith(f"4 predicted, 0 left out: {out}\n")
    model, _ = segkit.load_model(weights)
    kinds = (("colour", "png"), ("labels", "png"), ("overlay", "png"), ("probs", "npz"))
    pictures = [f"{kind}/{name}.{end}" for kind, end in kinds for name in NAMES]
    assert written(out) == sorted([*pictures, "prediction.json", "prediction.jsonl"])
    for name, file in NAMES.items():
        labels = read_mask(out / f"labels/{name}.png")
        assert torch.equal(labels, engine.predict(model, ready(photos / file))[0])
        with Image.open(out / f"labels/{name}.png") as picture:
            assert picture.mode == "L"
        with np.load(out / f"probs/{name}.npz") as kept:
            wanted = engine.predict_probs(model, ready(photos / file))[0].half().numpy()
            assert kept["probs"].dtype == np.float16
            assert np.array_equal(kept["probs"], wanted)
    assert read_mask(out / "labels/turned.png").shape == (60, 36)  # as viewers show the photograph


def test_colour_and_overlay_are_in_the_headers_palette(segbook, weights, photos, tmp_path):
    segbook(weights, photos / "img10.png", "--out", tmp_path / "out")
    labels = read_mask(tmp_path / "out/labels/img10.png").long()
    assert len(labels.unique()) > 1
    wanted = torch.tensor(PALETTE, dtype=torch.uint8)[labels].permute(2, 0, 1)
    assert torch.equal(read_image(tmp_path / "out/colour/img10.png"), wanted)
    with Image.open(tmp_path / "out/colour/img10.png") as picture:
        assert picture.mode == "P"
    mixed = (wanted.float() + read_image(photos / "img10.png").float()) / 2
    assert (read_image(tmp_path / "out/overlay/img10.png").float() - mixed).abs().max() <= 0.5


def test_options_reach_the_engine(segbook, weights, photos, tmp_path):
    words = ["--window", "32,40", "--overlap", "0.25", "--scale", "1", "--scale", "1.5", "--flip"]
    done = segbook(weights, photos / "img10.png", "--out", tmp_path, "--what", "labels", *words)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "colour").exists()
    options = {"window": (32, 40), "overlap": 0.25, "scales": (1.0, 1.5), "flip": True}
    model, _ = segkit.load_model(weights)
    wanted = engine.predict(model, ready(photos / "img10.png"), **options)[0]
    assert torch.equal(read_mask(tmp_path / "labels/img10.png"), wanted)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--window", "big"], "such as 512, or height and width"),
        (["--window", "16"], "at least 32 pixels"),
        (["--overlap", "1"], "not in the range"),
        (["--scale", "0"], "not in the range"),
        (["--what", "all"], "labels"),
        (["--masks", "nowhere"], "there is no such folder"),
        (["--margin", "8"], "give --window"),
    ],
)
def test_a_wrong_option_writes_nothing(segbook, weights, photos, tmp_path, words, message):
    done = segbook(weights, photos, "--out", tmp_path / "out", *words)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "out").exists()


def test_bad_images_are_named_and_the_others_predicted(segbook, weights, photos, tmp_path):
    whole = (photos / "img10.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("no picture")
    (photos / "empty.png").write_bytes(b"")
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(photos / "deep.png")
    os.symlink(photos / "nowhere", photos / "lost.png")
    done = segbook(weights, photos, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert done.output.endswith(f"4 predicted, 5 left out: {tmp_path / 'out'}\n")
    for name in ("cut.png", "text.jpg", "empty.png", "deep.png", "lost.png"):
        assert f"left out: {photos / name} " in done.output
    assert written(tmp_path / "out/labels") == sorted(f"{name}.png" for name in NAMES)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("DefaultCPUAllocator: can't allocate memory: you tried ...", "memory ended.*--window 512"),
        ("ZeroDivisionError", "which this network cannot predict: ZeroDivisionError"),
    ],
)
def test_an_image_that_cannot_be_predicted_is_left_out(
    weights, photos, tmp_path, monkeypatch, error, words
):
    whole = engine.predict_probs

    def fails(model, images, **options):
        if images.shape[2:] == (40, 48):
            raise RuntimeError(error)
        return whole(model, images, **options)

    monkeypatch.setattr(engine, "predict_probs", fails)
    network = open_network(weights)
    done = predict_folder(network.model, network.header, [photos], tmp_path / "out")
    assert done.images == 3
    assert re.search(f"img10.png has 48x40 pixels, .*{words}", done.left_out[0])


def test_what_is_there_is_replaced_only_on_request(segbook, weights, photos, tmp_path):
    (tmp_path / "colour").mkdir()
    (tmp_path / "colour/img2.png").write_bytes(b"mine")
    done = segbook(weights, photos, "--out", tmp_path)
    assert done.exit_code == 2
    assert "img2.png is there already, and 1 of 12 files" in done.output
    assert (tmp_path / "colour/img2.png").read_bytes() == b"mine"
    assert not (tmp_path / "labels").exists()
    assert segbook(weights, photos, "--out", tmp_path, "--overwrite").exit_code == 0
    assert len(read_mask(tmp_path / "colour/img2.png")) == 33


def test_what_it_wrote_is_no_input(segbook, weights, photos):
    for _ in range(2):
        done = segbook(weights, photos, "--out", photos, "--overwrite")
        assert done.output.endswith(f"4 predicted, 0 left out: {photos}\n")
        assert "passed over" not in done.output
    assert segbook(weights, photos, "--out", photos / "day/second").exit_code == 0
    (photos / "notes.txt").write_text("mine")
    (photos / "Thumbs.DB").write_text("")
    (photos / "day/more.txt").write_text("mine")
    done = segbook(weights, photos, "--out", photos / "third")
    assert f"passed over: {photos} holds the results of an earlier prediction\n" in done.output
    assert f"passed over: {photos / 'day/second'} holds the results" in done.output
    assert "passed over: 3 files that are no images by the ending: 2 .txt, 1 .db\n" in done.output
    assert done.output.endswith(f"4 predicted, 0 left out: {photos / 'third'}\n")
    done = segbook(weights, photos / "third", "--out", photos / "fourth")
    assert done.exit_code == 2
    assert "the results of an earlier prediction lie there, and are no images" in done.output
    # Whoever names a folder of labels means it.
    done = segbook(weights, photos / "third/colour", "--out", photos / "fourth")
    assert done.output.endswith(f"4 predicted, 0 left out: {photos / 'fourth'}\n")


def stop_at(monkeypatch, file):
    """Let Ctrl-C come when so many files have been begun."""
    whole, begun = predicting._write, iter(range(1, file + 1))

    def write(*given):
        if next(begun) == file:
            raise KeyboardInterrupt
        whole(*given)

    monkeypatch.setattr(predicting, "_write", write)


@pytest.mark.parametrize("masks", [False, True])
def test_the_same_command_goes_on(segbook, weights, photos, tmp_path, monkeypatch, masks):
    out, truth = tmp_path / "out", tmp_path / "masks"
    truth.mkdir()
    for name, size in {"img10": (48, 40), "img2": (50, 33)}.items():
        Image.new("L", size, 1).save(truth / f"{name}.png")
    words = [weights, photos, "--out", out, *(["--masks", truth] if masks else [])]
    whole = predicting._write
    stop_at(monkeypatch, 6)  # of the second image's three the third
    assert segbook(*words).exit_code == 3
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert len(before) == 5
    monkeypatch.setattr(predicting, "_write", whole)
    done = segbook(*words)
    assert done.exit_code == 0, done.output
    assert "3 predicted, 1 were there, 0 left out" in done.output
    assert all(
        path.stat().st_mtime_ns == time for path, time in before.items() if "day" in path.parts
    )
    afresh = segbook(*words[:3], tmp_path / "afresh", *words[4:])
    assert afresh.exit_code == 0
    assert written(out) == written(tmp_path / "afresh")
    for name in {*written(out)} - {"prediction.jsonl"}:  # which also tells of the first attempt
        assert (out / name).read_bytes() == (tmp_path / "afresh" / name).read_bytes()
    assert "0 predicted, 4 were there, 0 left out" in segbook(*words).output
    os.utime(photos / "img10.png", (2e9, 2e9))  # an image that changed since
    assert "1 predicted, 3 were there, 0 left out" in segbook(*words).output


def test_other_weights_or_options_do_not_go_on(segbook, weights, photos, tmp_path):
    words = [weights, photos / "img10.png", "--out", tmp_path / "out"]
    assert segbook(*words).exit_code == 0
    done = segbook(*words, "--flip")
    assert done.exit_code == 2
    assert "was predicted with other options" in done.output
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    segkit.save_weights(model, weights, header=HEADER)
    done = segbook(*words)
    assert done.exit_code == 2
    assert "was predicted with other weights:" in done.output
    assert segbook(*words, "--overwrite").exit_code == 0
    assert "0 predicted, 1 were there" in segbook(*words).output


def test_other_pictures_of_equal_names_are_predicted_again(segbook, weights, photos, tmp_path):
    others, masks, out = tmp_path / "others", tmp_path / "masks", tmp_path / "out"
    others.mkdir()
    masks.mkdir()
    for name in ("img2", "img10"):
        Image.new("RGB", (48, 40), (9, 200, 9)).save(others / f"{name}.png")
        os.utime(others / f"{name}.png", (1e9, 1e9))  # older than the results of the first
        Image.new("L", (48, 40), 1).save(masks / f"{name}.png")
    first = [weights, photos / "img2.png", photos / "img10.png", "--out", out]
    assert segbook(*first).exit_code == 0
    words = [weights, others, "--masks", masks, "--out"]
    done = segbook(*words, out)
    assert done.exit_code == 0, done.output
    assert "2 predicted, 0 left out" in done.output
    assert segbook(*words, tmp_path / "afresh").exit_code == 0
    for name in ("labels/img2.png", "overlay/img10.png", "scores.json"):
        assert (out / name).read_bytes() == (tmp_path / "afresh" / name).read_bytes()
    done = segbook(*words, out)
    assert "of 2 of 2 images" in done.output
    assert "0 predicted, 2 were there" in done.output


def test_a_file_that_no_prediction_wrote_is_kept_when_going_on(segbook, weights, photos, tmp_path):
    out = tmp_path / "out"
    assert segbook(weights, photos / "img2.png", "--out", out).exit_code == 0
    (out / "labels/img10.png").write_bytes(b"mine")
    done = segbook(weights, photos / "img2.png", photos / "img10.png", "--out", out)
    assert done.exit_code == 2
    assert "labels/img10.png is there already, and 1 of 6 files" in done.output
    assert (out / "labels/img10.png").read_bytes() == b"mine"


def test_a_stopped_overwrite_leaves_no_mix(segbook, weights, photos, tmp_path, monkeypatch):
    out, second = tmp_path / "out", tmp_path / "second.safetensors"
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    segkit.save_weights(model, second, header=HEADER)
    assert segbook(weights, photos, "--out", out).exit_code == 0
    whole = predicting._write
    stop_at(monkeypatch, 5)  # of the second image's three the second
    assert segbook(second, photos, "--out", out, "--overwrite").exit_code == 3
    monkeypatch.setattr(predicting, "_write", whole)
    with open(out / "prediction.jsonl", "a") as file:
        file.write('{"files": ["labels/img')  # as a kill leaves it
    done = segbook(second, photos, "--out", out)
    assert "3 predicted, 1 were there" in done.output
    assert segbook(second, photos, "--out", tmp_path / "afresh").exit_code == 0
    for name in NAMES:
        for kind in predicting.PICTURES:
            file = f"{kind}/{name}.png"
            assert (out / file).read_bytes() == (tmp_path / "afresh" / file).read_bytes()
    assert "0 predicted, 4 were there" in segbook(second, photos, "--out", out).output


@pytest.mark.parametrize(
    "change",
    [{"normalisation": {"mean": [0.5] * 3, "std": [0.2] * 3}}, {"classes": ["a", "b", "c"]}],
)
def test_the_header_belongs_to_the_weights(segbook, weights, photos, tmp_path, change):
    words = [weights, photos / "img10.png", "--out", tmp_path / "out"]
    assert segbook(*words).exit_code == 0
    model, header = segkit.load_model(weights)
    segkit.save_weights(model, weights, header={**header, "step": 9})
    assert "1 were there" in segbook(*words).output
    segkit.save_weights(model, weights, header={**header, **change})
    done = segbook(*words)
    assert done.exit_code == 2
    assert "was predicted with other weights:" in done.output


def test_what_a_killed_process_left_is_removed(segbook, weights, photos, tmp_path):
    words = [weights, photos, "--out", tmp_path / "out"]
    assert segbook(*words).exit_code == 0
    left = tmp_path / "out/labels/day/.0123456789abcdef.tmp"
    mine = tmp_path / "out/labels/.mine.tmp"
    mine.write_bytes(b"mine")
    with Journal(tmp_path / "out").writing():  # another process, which may be writing it
        left.write_bytes(b"half")
        assert segbook(*words).exit_code == 0
        assert left.exists()
    assert segbook(*words).exit_code == 0
    assert not left.exists()
    assert mine.exists()


def test_scores_are_those_of_the_confusion_matrix(segbook, weights, photos, tmp_path):
    numbers = np.random.default_rng(1)
    masks, all_of_them, each = tmp_path / "masks", ConfusionMatrix(3), {}
    (masks / "day").mkdir(parents=True)
    model, _ = segkit.load_model(weights)
    for name in ("img10", "day/img2"):
        labels = engine.predict(model, ready(photos / NAMES[name]))
        ids = numbers.choice(np.array([0, 1, 2, 7, 255], np.uint8), labels.shape[1:])
        Image.fromarray(ids).save(masks / f"{name}.png")
        truth = torch.from_numpy(np.where(ids == 7, 255, ids))[None]
        one = ConfusionMatrix(3)
        one.update(labels, truth)
        all_of_them.update(labels, truth)
        each[name] = one.miou("per_image_absent_1")
    done = segbook(weights, photos, "--out", tmp_path, "--masks", masks, "--ignore", 7)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "scores.json").read_text())
    assert found["policy"] == "per_image_absent_1"
    assert found["precision"] == "float32"
    assert found["images"] == 2
    assert found["miou"] == all_of_them.miou("per_image_absent_1")
    assert [*found["iou"].values()] == all_of_them.iou().tolist()
    assert {name: score["miou"] for name, score in found["each"].items()} == each
    for name, score in each.items():
        assert f"{name}  mIoU {100 * score:.1f}\n" in done.output
    overall = f"mIoU {100 * found['miou']:.1f} (per_image_absent_1) of 2 of 4 images"
    assert overall in done.output


def test_bad_masks_are_named_and_the_labels_are_there(segbook, weights, photos, tmp_path):
    (tmp_path / "masks").mkdir()
    Image.new("L", (48, 41)).save(tmp_path / "masks/img10.png")
    Image.new("L", (36, 60), 9).save(tmp_path / "masks/turned.png")
    done = segbook(weights, photos, "--out", tmp_path / "out", "--masks", tmp_path / "masks")
    assert done.exit_code == 1
    assert "masks/img10.png has 48x41 pixels (width x height) and its image 48x40" in done.output
    assert "masks/turned.png holds 9, but the classes have the ids 0 to 2" in done.output
    assert "--ignore 9" in done.output
    assert "mIoU - (per_image_absent_1) of 0 of 4 images" in done.output
    assert len(written(tmp_path / "out/labels")) == 4


def test_a_runs_best_weights_and_its_void(segbook, weights, photos, tmp_path):
    run = RunFolder.create(
        "mine", root=tmp_path / "runs", kind="train", recipe={"data": "folder", "ignore": 0}
    )
    done = segbook(run.name, photos, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert f"run {run.name} has no best weights" in done.output
    assert not (tmp_path / "out").exists()
    os.replace(weights, run.checkpoints / "best.safetensors")
    (tmp_path / "masks").mkdir()
    Image.new("L", (48, 40)).save(tmp_path / "masks/img10.png")
    for number, source in enumerate((run.name, run.path, "mine-")):
        out = tmp_path / str(number)
        done = segbook(source, photos, "--out", out, "--masks", tmp_path / "masks")
        assert done.exit_code == 0, done.output
        assert "img10  mIoU -\n" in done.output  # all of it is void
    assert open_network(run.name).void == (0,)


def test_a_folder_of_data_hides_no_run(segbook, weights, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    run = RunFolder.create("photos", kind="train", recipe={"data": "folder"})
    os.replace(weights, run.checkpoints / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    done = segbook("photos", "photos", "--out", "out")
    assert done.exit_code == 0, done.output
    RunFolder.create("photos", kind="train")
    done = segbook("photo", "photos", "--out", "out")
    assert done.exit_code == 2
    assert "fits several runs" in done.output


def test_masks_with_other_ids_are_refused(segbook, weights, photos, tmp_path):
    run = RunFolder.create("r", root=tmp_path / "runs", kind="train", recipe={"data": "ade20k"})
    os.replace(weights, run.checkpoints / "best.safetensors")
    done = segbook(run.name, photos, "--out", tmp_path / "out", "--masks", photos)
    assert done.exit_code == 2
    assert "the masks of ade20k hold other ids" in done.output
    assert not (tmp_path / "out").exists()


def test_what_is_neither_a_run_nor_weights(segbook, photos, tmp_path):
    for source, message in (
        ("nonsense", "pp_liteseg_t_camvid"),
        ("no.safetensors", "there is no such file or run: no.safetensors is missing"),
        (tmp_path, "is a folder, not a weights file"),
    ):
        done = segbook(source, photos, "--out", tmp_path / "out")
        assert done.exit_code == 2
        assert message in done.output
        assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()


def test_weights_in_the_box_come_before_a_run_that_begins_so(tmp_path):
    RunFolder.create("pp_liteseg_t_camvid", root=tmp_path / "runs")
    network = open_network("pp_liteseg_t_camvid")
    assert network.source == "pp_liteseg_t_camvid"
    assert network.void == (11,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalisation": None}, "normalisation None"),
        ({"normalisation": {"mean": 3}}, "mean=3"),
        ({"classes": ["a", "b"], "palette": None}, "names 2 classes, and their network scores 3"),
        ({"palette": [[0, 0, 300]] * 3}, "0..255 for each class"),
    ],
)
def test_a_header_that_does_not_fit(weights, photos, tmp_path, change, message):
    model, header = segkit.load_model(weights)
    with pytest.raises(ValueError, match=message):
        predict_folder(model, {**header, **change}, [photos], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_header_without_names_and_colours(weights, photos, tmp_path):
    model, header = segkit.load_model(weights)
    header = {"normalisation": header["normalisation"]}
    done = predict_folder(model, header, [photos], tmp_path, what=["colour"])
    assert done == (4, [], [], None, 0)


def test_authors_weights_keep_their_preprocessing():
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    given = {"channels": "BGR", "mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}
    made = predicting.preparation({"normalisation": given})(image)
    assert torch.allclose(made[0], image[2] / 255 - 0.1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_network_of_volumes_is_refused(photos, tmp_path):
    model = segkit.create_model("no_new_net", num_classes=3).eval()
    with pytest.raises(ValueError, match="is a network of volumes"):
        predict_folder(model, HEADER, [photos], tmp_path / "out")


def test_odd_names(segbook, weights, photos, tmp_path, monkeypatch):
    odd = tmp_path / "-odd"
    odd.mkdir()
    names = ["a b.png", "-x.png", "straße 東京.png", "\x1b[31mred.png", "100% $x$.png"]
    for name in (*names, os.fsdecode(b"\xff.png")):
        os.link(photos / "img10.png", odd / name)
    monkeypatch.chdir(odd)
    done = segbook(weights, "--out", "../-out", "--", ".")
    assert done.exit_code == 0, done.output
    assert len(written(tmp_path / "-out/labels")) == 6
    (odd / "\x1b[31mred.png").unlink()
    (odd / "\x1b[31mred.png").write_bytes(b"")
    done = segbook(
        weights, "--out", "../-out", "--overwrite", "--", "-x.png", *sorted(os.listdir())
    )
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert r"\x1b[31mred.png" in done.output


def test_folders_that_may_not_be_written(segbook, weights, photos, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    closed = [photos, photos / "day"]
    for path in closed:
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert segbook(weights, photos, "--out", tmp_path / "out").exit_code == 0
    finally:
        for path in closed:
            path.chmod(stat.S_IRWXU)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before
    (tmp_path / "file").write_text("")
    done = segbook(weights, photos, "--out", tmp_path / "file/out")
    assert done.exit_code == 1
    assert "Traceback" not in done.output


def test_a_full_disk_names_the_file(segbook, weights, photos, tmp_path, make_disk):
    disk = make_disk("260k")
    for number in range(100):
        done = segbook(weights, photos, "--out", disk / str(number), "--probs")
        if done.exit_code:
            break
    assert done.exit_code == 1
    assert "No space left on device" in done.output
    assert ".tmp" not in done.output
    assert not [*disk.rglob(".*.tmp")]


@pytest.mark.slow
def test_without_jupyter_and_matplotlib_and_killed(weights, photos, tmp_path):
    code = f"""
import os, signal, sys
for name in ("papermill", "nbformat", "IPython", "ipywidgets", "anywidget", "matplotlib"):
    sys.modules[name] = None
from PIL import Image
from segbook.cli import main
saved, count = Image.Image.save, 0
def save(self, file, *rest):
    global count
    count += 1
    if count == 5:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return saved(self, file, *rest)
Image.Image.save = save
main(["predict", {str(weights)!r}, {str(photos)!r}, "--out", {str(tmp_path / "out")!r}])
"""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pictures = [path for path in (tmp_path / "out").rglob("*.png") if path.name[0] != "."]
    assert len(pictures) == 4
    for picture in pictures:
        assert read_image(picture).numel()
    assert [*(tmp_path / "out").rglob(".*.tmp")]
    network = open_network(weights)
    again = predict_folder(network.model, network.header, [photos], tmp_path / "out")
    assert (again.images, again.kept) == (3, 1)
    assert not [*(tmp_path / "out").rglob(".*.tmp")]


@pytest.mark.parametrize("masks", [False, True])
def test_what_is_read_is_never_replaced(segbook, weights, photos, tmp_path, masks):
    out, here = tmp_path / "out", photos / "day/img2.png"
    mine = out / "labels" / ("img2.png" if not masks else "day/img2.png")
    mine.parent.mkdir(parents=True)
    Image.new("L", Image.open(here).size).save(mine)
    before = mine.read_bytes()
    given = [photos, "--masks", out / "labels"] if masks else [mine]
    done = segbook(weights, *given, "--out", out, "--overwrite")
    assert done.exit_code == 2
    assert "is read here" in done.output
    assert mine.read_bytes() == before
    assert len(written(out)) == 1


def test_an_unpadded_networks_windows_come_with_a_hint(segbook, weights, photos, tmp_path):
    words = [weights, photos / "img10.png", "--out", tmp_path, "--overwrite", "--window", "400"]
    assert "with --margin 8 each window sees" in segbook(*words).output
    assert "--margin" not in segbook(*words, "--margin", "8").output


def test_options_that_take_all_memory_write_nothing(segbook, weights, photos, tmp_path):
    done = segbook(weights, photos, "--out", tmp_path / "out", "--scale", 1e5)
    assert done.exit_code == 2
    assert "a grey image has 64x64 pixels, for which memory ended" in done.output
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_place_to_write_to(segbook, weights, photos, tmp_path):
    (tmp_path / "out").write_text("mine")
    done = segbook(weights, photos, "--out", tmp_path / "out", "--overwrite")
    assert done.exit_code == 2
    assert "is no folder" in done.output
