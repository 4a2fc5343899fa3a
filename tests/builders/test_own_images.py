"""Images of a data.yaml through the builders: mean and deviation, channels, and a whole run."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import cli, recipes
from segbook.builders.data import settle_images
from segbook.builders.model import build_model
from segkit import transforms
from segkit.doctor.settings import unnormalised_images
from segkit.weights import read_header


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for k in range(4):
        values = random.integers(0, 101, (64, 64)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"images/{k}.png")
        Image.fromarray(np.uint8(values > 50)).save(tmp_path / f"masks/{k}.png")
    (tmp_path / "train.txt").write_text("0\n1\n2\n")
    (tmp_path / "val.txt").write_text("3\n")
    (tmp_path / "data.yaml").write_text("classes: [low, high]\nrange: [0, 100]\n")
    return tmp_path


def recipe(folder, **changes):
    given = {"data": "folder", "data_root": str(folder), "weights": "", "weights_backbone": ""}
    return recipes.override(recipes.get("unet_synthetic"), given | changes)


def test_mean_and_std_are_measured_and_decide_the_channels(folder):
    found, said = settle_images(recipe(folder))
    assert found.mean == pytest.approx((0.5,), abs=0.02)
    assert found.std == pytest.approx((0.29,), abs=0.02)
    assert "measured from 3 training images" in said
    assert settle_images(found) == (found, "")
    assert next(build_model(found, 2).parameters()).shape[1] == 1


def test_the_file_says_mean_and_std(folder):
    with open(folder / "data.yaml", "a") as file:
        file.write("mean: [0.4]\nstd: [0.3]\n")
    found, said = settle_images(recipe(folder))
    assert (found.mean, found.std) == ((0.4,), (0.3,))
    assert "are those of" in said
    assert settle_images(found)[0] == found
    with pytest.raises(ValueError, match=r"mean \(0.1,\).*data.yaml has \(0.4,\)"):
        settle_images(recipe(folder, mean=(0.1,), std=(0.1,)))


def test_pretrained_weights_have_imagenets(folder):
    with pytest.raises(ValueError, match="1 channels cannot begin with weights of a whole network"):
        settle_images(recipe(folder, weights="FCN_ResNet50_Weights.DEFAULT"))
    grey, said = settle_images(recipe(folder, weights_backbone="IMAGENET1K_V1"))
    assert len(grey.mean) == 1
    assert "measured" in said
    (folder / "data.yaml").write_text("classes: [low, high]\nrange: [0, 100]\nbands: [1, 1, 1]\n")
    found, said = settle_images(recipe(folder, weights_backbone="IMAGENET1K_V1"))
    assert found.mean == transforms.MEAN
    assert "ImageNet's" in said


def test_a_folder_without_the_file_keeps_the_recipes_numbers(folder):
    (folder / "data.yaml").unlink()
    assert settle_images(recipe(folder)) == (recipe(folder), "")


def test_jitter_without_colours_and_hue_refused():
    with pytest.raises(ValueError, match="images of 4 channels have none.*jitter_hue=0"):
        transforms.train((32, 32), (1, 1), hue=0.1, mean=(0.5,) * 4, std=(0.2,) * 4)


@pytest.mark.parametrize(
    ("measured", "mean", "std", "wrong"),
    [
        (([0.05] * 3, [0.1] * 3), transforms.MEAN, transforms.STD, True),
        (([0.05], [0.1]), (0.05,), (0.1,), False),
        (([0.4] * 3, [0.25] * 3), transforms.MEAN, transforms.STD, False),
        (([0.5], [0.01]), (0.5,), (0.25,), True),
        (([0.5], [0.3]), (0.5,), (0.1,), True),
    ],
)
def test_images_far_from_normalised_are_a_warning(measured, mean, std, wrong):
    found = unnormalised_images(measured, mean, std)
    assert bool(found) == wrong
    if found:
        assert found.severity == "warning"
        assert "--set mean=" in found.fix


@pytest.mark.slow
def test_a_tiff_of_four_bands_is_trained_scored_and_predicted(tmp_path, monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for part in ("d/images", "d/masks"):
        (tmp_path / part).mkdir(parents=True)
    size = {"width": 64, "height": 64, "count": 5, "dtype": "uint16", "driver": "GTiff"}
    for k in range(6):
        values = random.integers(0, 10000, (5, 64, 64)).astype(np.uint16)
        with rasterio.open(tmp_path / f"d/images/{k}.tif", "w", **size) as file:
            file.write(values)
        Image.fromarray(np.uint8(values[0] > 5000)).save(f"d/masks/{k}.png")
    (tmp_path / "d/data.yaml").write_text(
        "classes: [low, high]\nbands: [5, 4, 3, 1]\nrange: [0, 10000]\nshow: [4, 3, 1]\n"
        "train: ['0', '1', '2', '3']\nval: ['4', '5']\n"
    )
    changes = ["data=folder", "data_root=d", "steps=2", "warmup=0", "crop=64", "doctor=warn",
               "class_weights=none"]  # fmt: skip
    sets = [word for change in changes for word in ("--set", change)]
    for words in (
        ["train", "unet_synthetic", *sets, "--name", "bands"],
        ["evaluate", "bands"],
        ["predict", "bands", "d/images", "--out", "whole"],
        ["report", "bands", "--out", "page"],
    ):
        done = CliRunner().invoke(cli.main, words)
        assert done.exit_code == 0, (words, done.output)
    [best] = tmp_path.glob("runs/bands-*/checkpoints/best.safetensors")
    header = read_header(best)
    assert header["arguments"]["in_channels"] == 4
    assert header["images"]["bands"] == [5, 4, 3, 1]
    assert len(list(tmp_path.glob("whole/overlay/*.png"))) == 6
    done = CliRunner().invoke(cli.main, ["export", "bands", "--to", "pt2"])
    assert done.exit_code == 2
    assert "takes 8-bit RGB" in done.output
