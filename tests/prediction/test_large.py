"""Images larger than memory: the labels of the windowed prediction, and never much at a time."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

import segkit
from segbook.prediction import predict_folder
from segkit import engine, transforms
from segkit.data import images as reading
from segkit.data import read_image, read_mask

rasterio = pytest.importorskip("rasterio", reason="pip install 'segbook[large]'")

HEADER = {
    "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]},
    "palette": [[200, 220, 255], [80, 80, 80], [0, 130, 0]],
    "classes": ["sky", "road", "tree"],
}
SIZE = (150, 410)


@pytest.fixture
def model():
    torch.manual_seed(10)
    return segkit.create_model("unet", num_classes=3, channels=(4, 4, 4)).eval()


@pytest.fixture
def big(tmp_path, monkeypatch):
    """A tiled TIFF that lies on the earth; its pixels are more than may be read whole."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, *SIZE), np.uint8)
    place = {"crs": "EPSG:3857", "transform": rasterio.Affine(0.5, 0, 100, 0, -0.5, 200)}
    (tmp_path / "in").mkdir()
    with rasterio.open(
        tmp_path / "in/big.tif", "w", driver="GTiff", height=SIZE[0], width=SIZE[1], count=3,
        dtype="uint8", tiled=True, blockxsize=64, blockysize=64, compress="lzw", **place,
    ) as file:  # fmt: skip
        file.write(pixels)
    Image.new("RGB", (40, 40)).save(tmp_path / "in/small.png")
    monkeypatch.setattr(reading, "MAX_PIXELS", 100 * 100)
    return tmp_path / "in/big.tif"


@pytest.mark.parametrize("options", [{}, {"margin": 20}, {"overlap": 0.2}])
def test_labels_are_those_of_the_windows_in_memory(model, big, tmp_path, monkeypatch, options):
    options = {"window": (96, 100), **options}
    asked = []
    whole = rasterio.DatasetReader.read

    def read(self, *given, window, **more):
        asked.append(window.height * window.width)
        return whole(self, *given, window=window, **more)

    # Of a wider image only two windows beside each other are in memory at once.
    monkeypatch.setitem(engine.predict_blocks.__globals__, "STRIP", 0)
    monkeypatch.setitem(engine.predict_blocks.__globals__, "BLOCK", 64)
    monkeypatch.setattr(rasterio.DatasetReader, "read", read, raising=False)
    said = []
    done = predict_folder(
        model, HEADER, [big.parent], tmp_path / "out", show=said.append, **options
    )
    assert (done.images, done.left_out) == (2, [])
    assert any("big  by windows, so only " in line for line in said)
    assert max(asked) <= 96 * 100
    monkeypatch.setattr(reading, "MAX_PIXELS", 10**6)
    image = transforms.Normalize(**HEADER["normalisation"]).image(read_image(big))[None]
    labels = read_mask(tmp_path / "out/labels/big.tif")
    assert len(labels.unique()) == 3
    if "margin" in options:  # then also the whole image's
        assert torch.equal(labels, engine.predict(model, image)[0])
    else:
        assert torch.equal(labels, engine.predict(model, image, **options)[0])
    with rasterio.open(tmp_path / "out/labels/big.tif") as file, rasterio.open(big) as source:
        assert file.crs == source.crs
        assert file.transform == source.transform
        assert file.block_shapes == [(512, 512)]
        assert file.colormap(1)[1] == (80, 80, 80, 255)
    assert (tmp_path / "out/overlay/small.png").exists()
    assert not (tmp_path / "out/overlay/big.png").exists()
    assert predict_folder(model, HEADER, [big.parent], tmp_path / "out", **options).kept == 2


def test_without_windows_it_is_left_out(model, big, tmp_path):
    done = predict_folder(model, HEADER, [big.parent], tmp_path / "out")
    assert done.images == 1
    assert "big.tif is too large to be predicted whole: predict it by windows" in done.left_out[0]


def test_what_cannot_be_read_by_windows(model, big, tmp_path):
    content = big.read_bytes()
    big.write_bytes(content[: len(content) // 2])
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(big.parent / "deep.tif")
    done = predict_folder(model, HEADER, [big.parent], tmp_path / "out", window=(96, 100))
    assert done.images == 1
    damaged, other = sorted(done.left_out)
    assert "big.tif cannot be read" in damaged
    assert "deep.tif has 1 bands of uint16 (gray first)" in other
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["small.png"]


def test_what_is_written_is_whole_or_not_there(model, big, tmp_path, monkeypatch):
    blocks = engine.predict_blocks

    def stopped(*given, **options):
        yield next(blocks(*given, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "predict_blocks", stopped)
    with pytest.raises(KeyboardInterrupt):
        predict_folder(model, HEADER, [big], tmp_path / "out", window=(96, 100))
    assert os.listdir(tmp_path / "out/labels") == []
