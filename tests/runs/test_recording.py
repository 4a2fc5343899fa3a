"""What was watched of a run: small, published within a limit, and found again by path or name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from segbook import recipes
from segbook.runs import recording
from segbook.runs.folder import RunFolder
from segbook.runs.recording import MOST, Photograph, Recording, open_recording, publish, thinned

STEPS = [1, 2, 5, 10, 20, 50, 60, 70]
PALETTE = [(128, 128, 128), (128, 64, 128), (64, 0, 128)]


@pytest.fixture
def recorded() -> Recording:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (len(STEPS) + 1, 30, 40), dtype=np.uint8)
    ids[0, :4] = 255
    even = np.full((30, 40, 3), 90, np.uint8)
    one = Photograph(name="street", image=even, truth=ids[0], predictions=[*ids[1:]])
    return Recording(
        run="tiny", model="unet", data="synthetic", steps=STEPS, total=70, photographs=[one],
        losses=[(1, 2.0), (10, 1.0)], miou=[(70, 0.5)], classes=["Sky", "Road", "Car"],
        palette=PALETTE, policy="dataset", seed=3, command="segbook train tiny",
    )  # fmt: skip


def same(one: Recording, other: Recording) -> bool:
    maps = [
        [seen.image, seen.truth, *seen.predictions]
        for recorded in (one, other)
        for seen in recorded.photographs
    ]
    fields = [{k: v for k, v in vars(each).items() if k != "photographs"} for each in (one, other)]
    return fields[0] == fields[1] and np.array_equal(
        np.concatenate([m.ravel() for m in maps[0]]), np.concatenate([m.ravel() for m in maps[1]])
    )


def test_what_is_published_is_what_was_recorded(recorded, tmp_path):
    assert same(publish(recorded, tmp_path), recorded)
    assert same(open_recording(tmp_path), recorded)
    publish(recorded, tmp_path)  # a second time
    assert len(list((tmp_path / "watched").iterdir())) == len(STEPS) + 2
    with Image.open(tmp_path / "watched/000050_0.png") as picture:
        assert picture.mode == "P", "it can be looked at by any viewer"


def test_steps_are_left_out_until_it_fits(recorded, tmp_path):
    whole = sum(map(len, recording._pictures(recorded, STEPS).values()))
    written = publish(recorded, tmp_path, limit=whole - 1)
    assert written.steps == [1, 2, 5, 10, 20, 50, 70]
    assert same(open_recording(tmp_path), written)
    assert (written.photographs[0].predictions[-1] == recorded.photographs[0].predictions[-1]).all()
    with pytest.raises(ValueError, match="more than 100 bytes; watch fewer"):
        publish(recorded, tmp_path, limit=100)


def test_first_and_last_step_stay():
    assert thinned([1, 2, 5, 10], 1.0) == [1, 2, 5, 10]
    assert thinned([1, 2, 5, 10, 11], 1.5) == [1, 2, 5, 11]
    assert thinned([7], 2.0) == [7]
    assert thinned([7, 8], 2.0) == [7, 8]


@pytest.mark.parametrize("shape", [(360, 480), (375, 500), (180, 240), (7, 3), (1024, 512)])
def test_image_and_labels_shrink_alike(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ids = ((rows * 200 // shape[0]) // 2 + columns * 100 // shape[1]).astype(np.uint8)
    labels = recording.small_labels(ids)
    image = recording.small_image(np.repeat(ids[..., None], 3, 2))
    assert labels.shape == image.shape[:2]
    assert labels.shape[0] <= MOST[0]
    assert labels.shape[1] <= MOST[1]
    assert max(labels.shape[0] / MOST[0], labels.shape[1] / MOST[1]) > 0.5 or labels.shape == shape
    assert np.abs(labels.astype(int) - image[..., 0]).max() <= 1


@pytest.mark.parametrize("shape", [(10000, 20), (16, 6000), (4000, 3), (2000, 1)])
def test_of_a_long_thin_image_no_side_vanishes(shape):
    labels = recording.small_labels(np.ones(shape, np.uint8))
    image = recording.small_image(np.ones((*shape, 3), np.uint8))
    assert labels.shape == image.shape[:2]
    assert min(labels.shape) > 0


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run that is training: two steps watched whole, a third being written."""
    recipe = recipes.override(
        recipes.get("unet_synthetic"), {"watch": ("val_0_00001",), "image_size": (48, 64)}
    )
    made = RunFolder.create(
        "tiny", root=tmp_path / "runs", recipe=recipe.to_dict(), recipe_name=recipe.name
    )
    (made.path / "watched").mkdir()
    for step in (1, 20):
        kept = Image.fromarray(np.full((48, 64), step % 11, np.uint8))
        kept.save(made.path / f"watched/{step:06d}_0.png")
    (made.path / "watched/000050_0.png").write_bytes(b"\x89PNG\r\n")
    for fields in ({"step": 10, "loss": 2.5}, {"step": 20, "loss": float("nan")},
                   {"step": 20, "val_miou": 0.25}):  # fmt: skip
        made.append_metrics(**fields)
    return made


def test_a_run_that_is_training(folder):
    found = open_recording(folder)
    assert found.steps == [1, 20]
    assert [ids.flat[0] for ids in found.photographs[0].predictions] == [1, 9]
    assert found.losses == [(10, 2.5)]
    assert found.miou == [(20, 0.25)]
    assert found.photographs[0].truth.shape == (48, 64)
    assert same(found, open_recording(folder.path))
    (folder.path / "watched/000020_0.png").write_bytes(b"")
    with pytest.raises(ValueError, match="step 20 of .* is damaged"):
        open_recording(folder)


def test_found_by_name(folder, recorded, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(recording, "PUBLISHED", tmp_path / "docs")
    assert open_recording("tiny").run == "unet_synthetic"  # by the start of its name
    (tmp_path / "docs/tiny").mkdir(parents=True)
    publish(recorded, tmp_path / "docs/tiny")
    assert open_recording("tiny").run == "tiny"  # published under just that name
    assert open_recording(folder.name).run == "unet_synthetic"
    with pytest.raises(ValueError, match="no run 'other' .*published are tiny"):
        open_recording("other")
    (tmp_path / "docs/tiny/watched.json").unlink()
    with pytest.raises(ValueError, match=r"published without what it watched: it has no watched\."):
        open_recording("tiny")


def test_nothing_watched(folder):
    for path in (folder.path / "watched").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"has watched nothing yet: .* --set watch="):
        open_recording(folder)


def test_a_damaged_recording_is_told(recorded, tmp_path):
    publish(recorded, tmp_path)
    fields = json.loads((tmp_path / "watched.json").read_text())
    (tmp_path / "watched.json").write_text(json.dumps(fields | {"colour": 1}))
    with pytest.raises(ValueError, match="no published recording: TypeError"):
        open_recording(tmp_path)
    (tmp_path / "watched.json").write_text(json.dumps(fields | {"steps": [1, 3]}))
    with pytest.raises(ValueError, match="no published recording: FileNotFoundError"):
        open_recording(tmp_path)
