"""The picture of a run that grows at each validation, for no forward pass of its own."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segbook import recipes, training
from segbook.builders.data import build_normalisation
from segbook.runs import listing
from segbook.runs.folder import PICTURE, RunFolder
from segbook.training import progress
from segkit import SegOutput, engine
from segkit.data import Reading

PALETTE = [(10, 20, 30), (200, 0, 0), (0, 200, 0)]


class Net(nn.Module):
    """Counts how often it is asked."""

    asked = 0

    def forward(self, images):
        self.asked += 1
        return SegOutput(images, {})


def columns(folder):
    picture = Image.open(folder.path / PICTURE)
    return picture.text["steps"], picture


def noted(value=1, size=(20, 30)):
    labels = torch.zeros(2, *size, dtype=torch.long)
    return [torch.zeros(2, 3, *size), labels, labels + value]


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create("r", root=tmp_path)


def test_no_forward_is_made_for_it():
    model = Net()
    batches = iter([(torch.rand(4, 3, 8, 9), torch.zeros(4, 8, 9)) for _ in range(3)])
    with progress.first_predictions(model, batches) as (seen, found):
        for images, _ in seen:
            said = model(images)
    assert model.asked == 3
    assert [len(each) for each in found] == [2, 2, 2]
    assert said.logits.shape[0] == 4
    assert not model._forward_hooks


def test_it_grows_to_its_width_and_keeps_the_first_and_the_newest(folder):
    recipe, widths = recipes.get("unet_synthetic"), []
    for step in range(1, progress.COLUMNS + 4):
        progress.grow(folder, recipe, step, noted(1 + step % 2), PALETTE)
        steps, picture = columns(folder)
        widths.append(picture.width)
    assert widths[0] < widths[1] < widths[progress.COLUMNS - 1] == widths[-1]
    assert steps == "1 " + " ".join(map(str, range(5, progress.COLUMNS + 4)))
    assert picture.getpixel((picture.width - 1, picture.height - 1)) in PALETTE[1:]
    assert "validation.png" in listing.page(folder)


def test_a_resumed_run_drops_later_columns_and_another_picture_begins_anew(folder):
    recipe = recipes.get("unet_synthetic")
    for step in (2, 4, 6, 4):
        progress.grow(folder, recipe, step, noted(), PALETTE)
    assert columns(folder)[0] == "2 4"
    progress.grow(folder, recipe, 6, noted(size=(40, 30)), PALETTE)
    assert columns(folder)[0] == "6"
    (folder.path / PICTURE).write_bytes(b"no picture")
    progress.grow(folder, recipe, 7, noted(), PALETTE)
    assert columns(folder)[0] == "7"
    progress.grow(folder, recipe, 8, [torch.zeros(2, 1, 8, 8, 8)] * 3, PALETTE)  # a volume
    assert columns(folder)[0] == "7"


@pytest.mark.parametrize(
    ("values", "reading", "pixel"),
    [((0.2,), Reading(), (51, 51, 51)), ((0.2, 0.4), Reading(), (51, 51, 51)),
     ((0.2, 0.4, 0.6, 0.8), Reading(), (51, 102, 153)),
     ((0.2, 0.4, 0.6, 0.8), Reading(bands=(2, 5, 7, 8), show=(8, 7, 2)), (204, 153, 51)),
     ((0.2, 0.4, 0.6), Reading(show=(3, 2, 1)), (153, 102, 51))],
)  # fmt: skip
def test_of_bands_three_are_seen_or_one_in_grey(folder, values, reading, pixel):
    mean, std = (0.1,) * len(values), (0.5,) * len(values)
    recipe = recipes.override(recipes.get("unet_synthetic"), {"mean": mean, "std": std})
    _, labels, ids = noted()
    images = ((torch.tensor(values) - 0.1) / 0.5)[:, None, None].expand(2, -1, 20, 30)
    progress.grow(folder, recipe, 1, [images, labels, ids], PALETTE, reading)
    assert columns(folder)[1].getpixel((5, progress.HEAD + 5)) == pixel


@pytest.mark.slow
def test_a_run_has_what_its_network_says(tmp_path):
    recipe = recipes.override(
        recipes.get("pp_liteseg_t_synthetic"),
        {
            "steps": 2, "warmup": 0, "length": 4, "batch_size": 2, "evaluate_every": 1,
            "image_size": (64, 64), "crop": (32, 32), "precision": "float32", "doctor": "off",
        },
    )  # fmt: skip
    folder = RunFolder.create("shown", root=tmp_path, recipe=recipe.to_dict())
    state = training.build(recipe, folder)
    list(training.train(state, folder, show=lambda line: None))
    steps, picture = columns(folder)
    assert steps == "1 2"
    val_set = state.sets["val"]
    images = torch.stack(
        [val_set.with_transform(build_normalisation(recipe))[i][0] for i in (0, 1)]
    )
    said = engine.predict(state.averaged, images)[0].numpy()
    column = np.asarray(picture)[progress.HEAD :, -64:][:64]
    np.testing.assert_array_equal(column, np.array(val_set.palette, np.uint8)[said])
