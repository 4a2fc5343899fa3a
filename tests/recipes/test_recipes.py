import dataclasses
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from segbook import recipes
from segbook.cli import main
from segbook.recipes import Phase, Recipe


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe(name):
    import segkit

    recipe = recipes.get(name)
    assert recipe.name == name
    on_any = segkit.catalog.ON_ANY_BACKBONE if recipe.backbone else ()
    assert recipe.model in (*segkit.list_models(), *on_any)
    assert set(recipe.model_options) <= set(
        segkit.catalog.options_of(recipe.model, recipe.backbone)
    )
    assert recipe.note, "where do the numbers come from?"
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_options_are_the_same_after_json():
    options = {"rates": (3, [6, 9]), "by_head": {"aux": [(1, 2), {"at": [0.5]}]}, "name": "x"}
    recipe = Recipe(**{**vars(recipes.get("unet_isbi_em_cpu")), "model_options": options})
    assert recipe.model_options["by_head"] == {"aux": ((1, 2), {"at": (0.5,)})}
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


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


def test_every_file_of_a_paper_is_found():
    files = {path.stem for path in Path(recipes.__file__).parent.glob("*.py")}
    found = {function.__module__.rpartition(".")[2] for function in recipes.RECIPES.values()}
    assert found == files - {"__init__", "command", "file", "recipe"}


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


@pytest.mark.parametrize("side", ["64", 64, "(64, 64)", (64, 64)])
def test_one_number_is_a_square(side):
    recipe = recipes.override(recipes.get("unet_synthetic"), {"crop": side, "image_size": side})
    assert (recipe.crop, recipe.image_size) == ((64, 64), (64, 64))


def test_mean_and_std_are_of_the_same_bands():
    recipe = recipes.get("unet_synthetic")
    bands = recipes.override(recipe, {"mean": "(0.1,)", "std": "(0.2,)"})
    assert (bands.mean, bands.std) == ((0.1,), (0.2,))
    with pytest.raises(ValueError, match="different numbers of bands"):
        recipes.override(recipe, {"mean": "(0.1,)"})


@pytest.mark.parametrize(
    ("field", "text", "match"),
    [
        ("steps", "2.5", "steps takes a whole number, at least 1; got '2.5'"),
        ("steps", 2.5, "whole number"),
        ("lr", "fast", "lr takes a number"),
        ("channels_last", "maybe", "true or false"),
        ("crop", "64.5", "each a whole number, or one number for both; got '64.5'"),
        ("phases", "3", "in brackets"),
        ("crop", "(64,)", r"\(height, width\) in pixels, or \(depth, height, width\).*\(64,\)"),
        ("optimizer", "adam", "sgd"),
        ("learning_rate", "1", "no field 'learning_rate'.*lr"),
        ("learning_rate", "1", r"'learning_rate'\. Valid fields"),
        ("crop", "(" * 1000, "crop takes"),
        ("steps", math.inf, "steps takes a whole number"),
        ("steps", "0", "at least 1"),
        ("lr", "-1", "lr takes a number, above 0; got '-1'"),
        ("lr", "nan", "above 0; got 'nan'"),
        ("lr", "inf", "above 0; got 'inf'"),
        ("lr", math.inf, "above 0; got inf"),
        ("paper_miou", math.nan, "at most 1, or none; got nan"),
        ("scale", (1.0, math.inf), "2 values"),
        ("clip", "-1", "clip takes a number, above 0, or none"),
        ("aux_weight", "-1", "at least 0"),
        ("eval_batch_size", "-1", "at least 0"),
        ("evaluate_every", "-1", "at least 0"),
        ("workers", "-1", "at least 0"),
        ("flip", "2", "at least 0 and at most 1"),
        ("stage_lr", "0", "above 0 and at most 1"),
        ("stage_lr", "2", "above 0 and at most 1"),
        ("bad_samples", "-1", "at least 0"),
        ("worker_timeout", "-1", "at least 0"),
        ("freeze", "head", "backbone_norms"),
        ("sync_bn", "true", "auto"),
        ("doctor", "maybe", "warn"),
        ("ema", "1", "above 0 and below 1, or none"),
        ("seed", "-1", "at least 0 and below 4294967296"),
        ("model_options", "__import__('os').system('true')", "model_options"),
        ("phases", "[(0.5, (64, 64), (0.5, 1.0))]", "the last at 1"),
        ("warmup", "100000", "shorter than steps"),
        ("warmup", "-1", "at least 0"),
        ("phases", (Phase("a", (64, 64), (1, 2)),), r"each \(until, crop, scale\)"),
        ("optimizer", "adam", "one of sgd, adamw; got 'adam'"),
        ("stepps", "1", "did you mean 'steps'"),
    ],
)
def test_what_cannot_be_trained_is_refused(field, text, match):
    with pytest.raises(ValueError, match=match):
        recipes.override(BASE, {field: text})


def test_a_recipe_that_is_made_by_hand_is_read_like_any_other():
    made = Recipe(name="r", model="unet", steps=1, lr=1, crop=[64, 96])
    assert (type(made.lr), made.crop) == (float, (64, 96))
    with pytest.raises(ValueError, match="steps takes a whole number, at least 1; got '5'"):
        Recipe(name="r", model="unet", steps="5", lr=1)
    with pytest.raises(ValueError, match="not a whole recipe: .*'lr'"):
        recipes.override(None, {"name": "r", "model": "unet", "steps": 1})


def test_help_has_the_meaning_and_the_range_of_every_field():
    for field in dataclasses.fields(Recipe):
        assert f"    {field.name}: " in Recipe.__doc__
    assert "    steps: optimizer steps [a whole number, at least 1]" in Recipe.__doc__
    assert "steps: int, optimizer" in str(inspect.signature(Recipe))


def test_phases_become_a_plan():
    recipe = recipes.override(
        BASE, {"steps": 100, "phases": (Phase(0.5, (64, 64), (1, 2)), Phase(1, (96, 96), (1, 1)))}
    )
    assert recipe.schedule_of_crops() == [(0, (64, 64), (1, 2)), (50, (96, 96), (1, 1))]
    assert BASE.schedule_of_crops() == [(0, BASE.crop, BASE.scale)]


def test_one_recipe_is_shown_field_by_field_with_what_differs():
    shown = CliRunner().invoke(main, ["recipes", "show", "unet_synthetic", "--set", "clip=2"])
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    of = {line[2:].partition(" ")[0]: n for n, line in enumerate(lines) if line[2:3].strip()}
    assert [*of] == [*(field.name for field in dataclasses.fields(Recipe)), "differs"]
    assert "--set FIELD=VALUE" in lines[-1]
    assert lines[of["clip"]] == "* clip = 2.0   (default None)"
    assert lines[of["clip"] + 1] == (
        "        largest norm of the gradient; None does not clip [a number, above 0, or none]"
    )
    assert lines[of["model_options"]] == "  model_options = {}"
    assert lines[of["model"]].startswith("* model = 'unet")
    short = CliRunner().invoke(main, ["recipes", "unet_synthetic", "--set", "clip=2"])
    assert (short.exit_code, short.output) == (0, shown.output)
    unknown = CliRunner().invoke(main, ["recipes", "unet_synthetc"])
    assert unknown.exit_code == 2
    assert "unet_synthetic" in unknown.output
