"""A chapter's training is a recipe's, shorter, and says what it changed."""

import pytest

from segbook import recipes, training
from segbook.training.lesson import shorten

SMALL = {"image_size": (64, 64), "crop": (64, 64), "length": 4, "batch_size": 2}


@pytest.mark.parametrize("steps", [1, 2, 37, 10**6])
def test_every_recipe_can_be_any_number_of_steps(steps):
    for recipe in map(recipes.get, recipes.names()):
        short = shorten(recipe, steps)
        assert short.steps == steps
        assert short.warmup < steps
        assert (short.warmup > 0) == (recipe.warmup > 0 and steps > 1)
        assert bool(short.evaluate_every) == bool(recipe.evaluate_every)
        assert shorten(recipe, recipe.steps) == recipe
        assert len(short.schedule_of_crops()) == len(recipe.schedule_of_crops())


def test_half_of_a_recipe_is_half_of_everything():
    recipe = recipes.get("pp_liteseg_t_camvid_cpu")
    half = shorten(recipe, recipe.steps // 2)
    assert (half.warmup, half.evaluate_every, half.save_every) == (25, 200, recipe.save_every)
    begins = [begin for begin, *_ in recipe.schedule_of_crops()]
    assert [begin for begin, *_ in half.schedule_of_crops()] == [b // 2 for b in begins]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_it_says_what_it_changed_and_trains(steps, capsys):
    state, folder = training.lesson_run(
        "pp_liteseg_t_synthetic", steps=steps, seed=3, overrides={**SMALL, "doctor": "off"}
    )
    said = capsys.readouterr().out
    assert f"steps={steps} (not 1000)" in said
    assert "seed=3 (not 0)" in said
    assert "lr=" not in said
    assert [step.index for step in training.train(state, folder)] == [*range(1, steps + 1)]
    assert folder.read()["recipe"]["steps"] == steps


def test_what_is_given_last_wins_and_nothing_is_said_without_a_change(capsys):
    state, _ = training.lesson_run("unet_synthetic", steps=7, overrides={"steps": 9, "length": 2})
    assert (state.recipe.steps, state.recipe.length) == (9, 2)
    training.lesson_run("unet_synthetic")
    assert capsys.readouterr().out.endswith("unet_synthetic: as it is published\n")


def test_no_steps_or_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="steps"):
        training.lesson_run("unet_synthetic", steps=-1)
    with pytest.raises(ValueError, match="learning_rate"):
        training.lesson_run("unet_synthetic", overrides={"learning_rate": 1})
