"""Predictions of some validation images, kept over the steps of a training."""

import numpy as np
import pytest
import torch
from PIL import Image

from segbook import recipes, training
from segbook.builders.data import build_normalisation
from segbook.runs.folder import RunFolder
from segbook.runs.recording import FOLDER
from segbook.training.watched import is_watched
from segkit import engine

NAMES = ("val_0_00003", "val_0_00000")


def recipe(**changes):
    return recipes.override(
        recipes.get("unet_synthetic"),
        {
            "steps": 3, "warmup": 0, "length": 4, "batch_size": 2, "evaluate_every": 0,
            "image_size": (64, 64), "crop": (32, 32), "precision": "float32", **changes,
        },
    )  # fmt: skip


def test_steps():
    steps = [s for s in range(1, 2001) if is_watched(recipe(watch=NAMES, steps=2500), s)]
    assert steps == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    assert is_watched(recipe(watch=NAMES, steps=2500), 2500)  # validated
    assert is_watched(recipe(watch=NAMES, steps=9, evaluate_every=3), 6)
    assert not is_watched(recipe(steps=9, evaluate_every=3), 6)  # nothing to watch


@pytest.mark.full
def test_a_watched_training_is_the_same_and_keeps_what_its_network_says(tmp_path):
    weights = {}
    for watch in ((), NAMES):
        chosen = recipe(watch=watch)
        folder = RunFolder.create("watched", root=tmp_path, recipe=chosen.to_dict())
        state = training.build(chosen, folder)
        for _step in training.train(state, folder):
            pass
        weights[watch] = state.model.state_dict()
    for before, after in zip(weights[()].values(), weights[NAMES].values(), strict=True):
        assert torch.equal(before, after)
    kept = sorted(path.name for path in (folder.path / FOLDER).iterdir())
    assert kept == [f"{step:06d}_{i}.png" for step in (1, 2, 3) for i in (0, 1)]
    val_set = state.sets["val"]
    image, _ = val_set.with_transform(build_normalisation(chosen))[3]
    said = engine.predict(state.averaged, image[None])[0].numpy()
    last = Image.open(folder.path / FOLDER / "000003_0.png")
    np.testing.assert_array_equal(np.asarray(last), said)
    assert tuple(last.getpalette()[:3]) == tuple(val_set.palette[0])


def test_a_name_that_is_not_there():
    with pytest.raises(ValueError, match="watch names 'val_0_3'.*'val_0_0"):
        training.build(recipe(watch=("val_0_3",)))
