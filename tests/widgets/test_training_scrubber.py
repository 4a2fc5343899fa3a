"""The training scrubber: what it sends, and how its script finds steps and values."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook.runs.recording import Photograph, Recording, publish  # noqa: E402
from segbook.widgets import TrainingScrubber  # noqa: E402

CLASSES = ["Sky", "Road", "Car"]
PALETTE = [(128, 128, 128), (128, 64, 128), (64, 0, 128)]


def photograph(name: str, seed: int) -> Photograph:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(24)[:, None] // 8, 32, 1).astype(np.uint8)
    truth[:2, :5] = 255
    noise = rng.integers(0, 3, truth.shape, dtype=np.uint8)
    image = np.repeat(noise[..., None] * 100, 3, 2)
    last = np.where(truth == 255, 0, truth).astype(np.uint8)
    return Photograph(name=name, image=image, truth=truth, predictions=[noise, noise, last])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A published run of two photographs and three steps."""
    out = tmp_path_factory.mktemp("published")
    recording = Recording(
        run="tiny", model="unet", data="streets", steps=[1, 10, 100], total=1000, seed=3,
        photographs=[photograph("street", 0), photograph("square", 1)], classes=CLASSES,
        palette=PALETTE, losses=[(1, 2.0), (10, 1.5), (100, 0.5)], miou=[(100, 0.6)],
        policy="dataset",
    )  # fmt: skip
    publish(recording, out)
    return out


def test_frames_are_sent_exactly(path):
    one = TrainingScrubber(path)
    assert one.steps == [1, 10, 100]
    assert one.frame == 2  # opens on what it came to
    first, expected = one.photographs[0], photograph("street", 0)
    assert zlib.decompress(first["truth"]) == expected.truth.tobytes()
    assert [zlib.decompress(ids) for ids in first["frames"]] == [
        ids.tobytes() for ids in expected.predictions
    ]
    assert repr(one) == "TrainingScrubber(tiny, 2 photographs, 3 steps of 1 to 1000)"
    assert one.alt().endswith("to 100.0 on this photograph")


def test_settings_are_checked(path):
    one = TrainingScrubber(path, frame=0, index=1, layer="error")
    assert (one.frame, one.index, one.layer) == (0, 1, "error")
    with pytest.raises(ValueError, match=r"no frame 3; allowed are 0\.\.2"):
        one.frame = 3
    with pytest.raises(ValueError, match=r"no index 2; allowed are 0\.\.1"):
        one.index = 2


def test_ids_without_a_class_are_refused(path, tmp_path):
    import shutil

    shutil.copytree(path, tmp_path / "copy")
    stray = Image.fromarray(np.full((24, 32), 9, np.uint8))
    stray.save(tmp_path / "copy/watched/000010_1.png")
    with pytest.raises(ValueError, match="square hold the id 9"):
        TrainingScrubber(tmp_path / "copy")


def test_the_strip(path):
    one = TrainingScrubber(path)
    drawn = one.snapshot()
    assert Image.open(io.BytesIO(drawn)).width > 700
    assert drawn == TrainingScrubber(path).snapshot()
    one.index = 1
    assert drawn != one.snapshot()


def test_the_script_finds_steps(computed):
    found = computed(
        TrainingScrubber,
        """await (async () => {
        const steps = [1, 10, 100, 1000];
        return {
          ends: [along(1, 1000), along(1000, 1000), along(0, 1000), along(1, 1)],
          near: [0, 0.3, 0.35, 0.99, 5].map((place) => nearestFrame(place, steps, 1000)),
          last: [lastUpTo([[5, 1], [9, 2]], 4), lastUpTo([[5, 1], [9, 2]], 8)],
          settled: [settledSince([1, 2, 2]), settledSince([2, 1, 2]), settledSince([2, 2])],
          ticks: [ticksTo(1800), ticksTo(1000), ticksTo(1200), ticksTo(1)],
          round: [roundUp(2.6), roundUp(0.42), roundUp(1), roundUp(0)],
          smooth: smoothed([[1, 1], [2, 3], [3, 8]], 3).map(([, value]) => value),
        };
        })()""",
    )
    assert found["ends"] == [0, 1, 0, 0]
    assert found["near"] == [0, 1, 1, 3, 3]
    assert found["last"] == [None, [5, 1]]
    assert found["settled"] == [1, 2, 0]
    assert found["ticks"] == [[1, 10, 100, 1000], [1, 10, 100, 1000], [1, 10, 100, 1000], [1]]
    assert found["round"] == [5, 0.5, 1, 1]
    assert found["smooth"] == [2, 4, 5.5]
