"""A recipe cut short by `--set steps=`: validated in proportion, warmed up no longer than that."""

import pytest
from click.testing import CliRunner

from segbook import cli, recipes
from segbook.recipes.command import all_changes, changed

NAME = "unet_synthetic"  # 400 steps, a warm-up of 20, validated every 200


@pytest.mark.parametrize(
    ("given", "evaluate_every", "warmup"),
    [
        (["steps=40"], 20, 20),
        (["steps=10"], 5, 1),
        (["steps=1"], 1, 0),
        (["steps=10", "evaluate_every=0", "warmup=3"], 0, 3),
        (["steps=400"], 200, 20),
        (["steps=4000"], 200, 20),
        (["lr=0.1"], 200, 20),
    ],
)
def test_what_follows_from_fewer_steps(given, evaluate_every, warmup, capsys):
    recipe = changed(NAME, given)
    assert (recipe.evaluate_every, recipe.warmup) == (evaluate_every, warmup)
    said = capsys.readouterr().err
    differs = (evaluate_every, warmup) != (200, 20) and len(given) == 1
    assert said.count("\n") == differs
    assert ("in proportion to steps" in said) == differs
    assert recipes.override(recipes.get(NAME), all_changes(NAME, given)) == recipe


def test_it_is_said_beside_the_output_and_bad_numbers_are_refused():
    shown = CliRunner().invoke(cli.main, ["recipes", "show", NAME, "--set", "steps=40"])
    assert "evaluate_every = 20" in shown.stdout
    assert "--set evaluate_every=VALUE says otherwise" in shown.stderr
    for steps in ("0", "many"):
        refused = CliRunner().invoke(cli.main, ["recipes", "show", NAME, "--set", f"steps={steps}"])
        assert refused.exit_code == 2
        assert "steps" in refused.output


def test_a_crop_is_that_of_all_steps(capsys):
    name = "pp_liteseg_t_camvid_cpu"
    assert recipes.get(name).phases
    recipe = changed(name, ["crop=128"])
    assert (recipe.crop, recipe.phases) == ((128, 128), ())
    assert "phases=(), since crop is set for all steps" in capsys.readouterr().err
    kept = "phases=[[1.0, [64, 64], [1, 1]]]"
    assert changed(name, ["crop=128", kept]).phases
