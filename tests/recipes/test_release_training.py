"""What a release asks for reaches the batches, the loss and the header of the weights."""

import contextlib
import math

import pytest
import torch

from segbook import recipes
from segbook.builders.batches import eval_batches, train_batches
from segbook.runs.folder import RunFolder
from segbook.training.loop import train
from segbook.training.state import build
from segkit.outputs import IGNORE

SMALL = {
    "data": "synthetic", "image_size": (64, 96), "crop": (64, 64), "length": 4, "batch_size": 2,
    "steps": 2, "warmup": 1, "evaluate_every": 0, "doctor": "off", "precision": "float32",
    "workers": 0, "eval_batch_size": 0,
}  # fmt: skip


@pytest.fixture(params=["pp_liteseg_b_camvid_release", "stdc1_seg_cityscapes"])
def state(request, tmp_path):
    recipe = recipes.override(recipes.get(request.param), SMALL)
    return build(recipe, RunFolder.create(request.param, root=tmp_path, kind="train"))


@pytest.mark.slow
def test_a_release_trains(state, tmp_path):
    folder = RunFolder.create("trained", root=tmp_path, kind="train")
    with contextlib.closing(train(state, folder, show=lambda line: None)) as steps:
        found = [(step.loss, step.lr) for step in steps]
    assert all(math.isfinite(loss) for loss, _ in found)
    first, second = (lr for _, lr in found)
    assert second == pytest.approx(1000 * first), "of a warm-up of one step, then the full rate"
    header = state.header()["normalisation"]
    assert header == {"mean": list(state.recipe.mean), "std": list(state.recipe.std)}


def test_void_is_made_by_padding_alone(state):
    recipe = recipes.override(state.recipe, {"scale": (0.25, 0.5), "scale_step": 0.25})
    with contextlib.closing(train_batches(recipe, state.sets["train"])) as batches:
        _, labels = next(batches)
    void = (labels == IGNORE).float().mean()
    assert void > 0.5 if recipe.undersized == "pad_bottom_right" else void < 0.2


def test_evaluation_is_normalised_as_training(state):
    images, _ = next(iter(eval_batches(state.recipe, state.sets["val"])))
    raw = torch.stack([state.sets["val"].raw(i)[0] for i in range(len(images))]) / 255
    mean, std = (torch.tensor(v)[:, None, None] for v in (state.recipe.mean, state.recipe.std))
    torch.testing.assert_close(images, (raw - mean) / std, rtol=0, atol=1e-5)
