import dataclasses
import math
import subprocess
import sys

import pytest

from segbook import recipes
from segbook.recipes import Phase, Recipe


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe(name):
    import segkit

    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.model in segkit.list_models()
    assert set(recipe.model_options) <= set(segkit.catalog.options_of(recipe.model))
    assert recipe.note, "where do the numbers come from?"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_pp_liteseg_has_the_papers_numbers():
    recipe = recipes.get("pp_liteseg_t_camvid")
    assert (recipe.optimizer, recipe.momentum, recipe.schedule) == ("sgd", 0.9, "poly")
    assert (recipe.lr, recipe.weight_decay) == (0.01, 1e-4)
    assert (recipe.batch_size, recipe.steps) == (24, 1000)
    assert (recipe.crop, recipe.scale) == ((720, 960), (0.5, 2.5))
    assert recipe.loss == "ohem_cross_entropy"
    assert recipe.paper_miou == 0.733


def test_a_recipe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipes.get("unet_camvid").lr = 1.0


def test_listing_recipes_needs_no_torch():
    code = "import sys; from segbook import recipes; recipes.get('unet_camvid'); " \
        "sys.exit('torch' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_unknown_recipe_names_the_closest():
    with pytest.raises(ValueError, match="pp_liteseg_t_camvid"):
        recipes.get("pp_litseg_t_camvid")


BASE = recipes.get("pp_liteseg_t_synthetic")


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("lr", "1e-3", 1e-3),
        ("steps", "500", 500),
        ("channels_last", "false", False),
        ("channels_last", "none", None),
        ("ema", "none", None),
        ("ema", "0.9", 0.9),
        ("crop", "(64, 96)", (64, 96)),
        ("crop", "[64, 96]", (64, 96)),
        ("data_root", "007", "007"),
        ("model_options", "{'fusions': 2}", {"fusions": 2}),
        ("phases", "[(0.5, (64, 64), (0.5, 1.0)), (1.0, (96, 96), (1, 2))]",
         (Phase(0.5, (64, 64), (0.5, 1.0)), Phase(1.0, (96, 96), (1.0, 2.0)))),
        ("schedule", "cosine", "cosine"),
    ],
)  # fmt: skip
def test_texts_are_read_by_the_fields_type(field, text, value):
    assert getattr(recipes.override(BASE, {field: text}), field) == value


@pytest.mark.parametrize(
    ("field", "text", "match"),
    [
        ("steps", "2.5", "steps takes int"),
        ("steps", 2.5, "whole number"),
        ("lr", "fast", "lr takes float"),
        ("channels_last", "maybe", "true or false"),
        ("crop", "64", r"in brackets are needed, as in \(256, 352\)"),
        ("phases", "3", "in brackets"),
        ("crop", "(64,)", "2 values"),
        ("optimizer", "adam", "sgd"),
        ("learning_rate", "1", "no field 'learning_rate'.*lr"),
        ("learning_rate", "1", r"'learning_rate'\. Valid fields"),
        ("crop", "(" * 1000, "crop takes"),
        ("steps", math.inf, "steps takes int"),
        ("steps", "0", "at least 1"),
        ("lr", "-1", "positive"),
        ("lr", "nan", "positive"),
        ("lr", "inf", "positive"),
        ("clip", "-1", "clip must be positive"),
        ("aux_weight", "-1", "0 or more"),
        ("eval_batch_size", "-1", "0 or more"),
        ("evaluate_every", "-1", "0 or more"),
        ("workers", "-1", "0 or more"),
        ("flip", "2", r"in 0\.\.1"),
        ("stage_lr", "0", r"in \(0, 1\]"),
        ("stage_lr", "2", r"in \(0, 1\]"),
        ("bad_samples", "-1", "0 or more"),
        ("worker_timeout", "-1", "0 or more"),
        ("freeze", "head", "backbone_norms"),
        ("sync_bn", "true", "auto"),
        ("doctor", "maybe", "warn"),
        ("ema", "1", "between 0 and 1"),
        ("seed", "-1", "seed must be in"),
        ("model_options", "__import__('os').system('true')", "model_options"),
        ("phases", "[(0.5, (64, 64), (0.5, 1.0))]", "the last at 1"),
        ("warmup", "100000", "shorter than steps"),
    ],
)
def test_what_cannot_be_trained_is_refused(field, text, match):
    with pytest.raises(ValueError, match=match):
        recipes.override(BASE, {field: text})


def test_phases_become_a_plan():
    recipe = recipes.override(
        BASE, {"steps": 100, "phases": (Phase(0.5, (64, 64), (1, 2)), Phase(1, (96, 96), (1, 1)))}
    )
    assert recipe.schedule_of_crops() == [(0, (64, 64), (1, 2)), (50, (96, 96), (1, 1))]
    assert BASE.schedule_of_crops() == [(0, BASE.crop, BASE.scale)]
