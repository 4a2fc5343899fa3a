"""`segbook bench settings`: a recipe's own steps, and the command line that is faster."""

from __future__ import annotations

from click.testing import CliRunner

from segbook import recipes
from segbook.bench.clock import Spread
from segbook.bench.command import bench
from segbook.bench.settings import bench_settings, settings_table

TINY = {"image_size": (64, 64), "crop": (64, 64), "length": 8, "batch_size": 2, "model": "espnet_c"}
RECIPE = recipes.override(recipes.get("pp_liteseg_t_synthetic"), TINY)


def test_the_rule_comes_first_and_what_the_recipe_names_stays():
    recipe = recipes.override(RECIPE, {"precision": "float32", "fused": False})
    rule, other = bench_settings(recipe, rounds=1)
    assert (rule["changes"], rule["ratio"]) == ({}, Spread(1, 1, 1)._asdict())
    assert other["changes"] == {"channels_last": False}
    assert "contiguous" in other["what"]


def test_the_table_names_what_is_faster_beyond_noise():
    rule = row("float32", 0.2, Spread(1, 1, 1), {})
    fast = row("fast", 0.1, Spread(2, 1.5, 2.5), {"precision": "bfloat16", "fused": True})
    text = settings_table(RECIPE, [rule, fast])
    assert text.endswith(
        "segbook train pp_liteseg_t_synthetic --set precision=bfloat16 --set fused=true"
    )
    noisy = fast | {"ratio": Spread(2, 0.9, 2.5)._asdict()}
    assert "no setting is faster" in settings_table(RECIPE, [rule, noisy])


def row(what, seconds, ratio, changes):
    return {"what": what, "ours": seconds, "ratio": ratio._asdict(), "changes": changes}


def test_the_command_takes_changes():
    changes = [word for field, value in TINY.items() for word in ("--set", f"{field}={value}")]
    arguments = ["settings", "pp_liteseg_t_synthetic", "--rounds", "1", *changes]
    found = CliRunner().invoke(
        bench, [*arguments, "--set", "fused=true", "--set", "precision=float32"]
    )
    assert found.exit_code == 0, found.output
    assert "the rule" in found.output
