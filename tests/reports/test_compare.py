"""Runs side by side: what the table says, and which runs it refuses."""

from __future__ import annotations

import json
import math

import pytest
import torch
from click.testing import CliRunner

from segbook import recipes
from segbook.builders.data import build_data
from segbook.cli import main
from segbook.reports.compare import compare, format_value, write_comparison
from segbook.runs.folder import RunFolder
from segbook.training.loop import fit

pytestmark = pytest.mark.slow

SMALL = {"image_size": (64, 64), "crop": (64, 64), "length": 4, "batch_size": 2, "steps": 3,
         "warmup": 1}  # fmt: skip
MANIFEST = {"train": "a" * 64, "val": "b" * 64, "test": "c" * 64}


@pytest.fixture(autouse=True)
def _few_scenes(monkeypatch):
    from segkit import data

    whole = data.SyntheticStreets
    monkeypatch.setattr(
        data,
        "SyntheticStreets",
        lambda split, *, size, length: whole(split, size=size, length=length or 2),
    )


@pytest.fixture
def make():
    """Makes a finished run's folder, without the training."""

    def make(name, miou, *, test=0.4, model="pp_liteseg_t", changes=None, **fields):
        recipe = recipes.override(
            recipes.get("pp_liteseg_t_synthetic"), {**SMALL, "model": model, **(changes or {})}
        )
        classes = list(build_data(recipe)["val"].classes)
        result = {"split": "val", "miou": miou, "policy": recipe.policy, "classes": classes}
        if test is not None:
            result["test"] = {"miou": test, "policy": recipe.policy, "accuracy": 0.75}
        described = {
            "status": "finished", "kind": "train", "recipe_name": recipe.name,
            "overrides": {"steps": "3"}, "recipe": recipe.to_dict(), "data_manifest": MANIFEST,
            "precision": "float32", "threads": 1, "cpu_seconds": 90.0, "git_commit": "0" * 40,
            "result": result,
        }  # fmt: skip
        folder = RunFolder.create(name)
        folder.update(**{**described, **fields})
        return folder

    return make


def rows(page):
    """The cells of the table's lines below its heads."""
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in table}) == 1
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def heads(page):
    return [head.strip() for head in page.splitlines()[0].strip("|").split(" | ")]


def test_the_best_by_validation_comes_first_with_its_measures(make):
    page = compare([make("poor", 0.3), make("good", 0.5, test=0.45, model="bisenet_v2")])
    assert heads(page) == [
        "network", "parameters", "GFLOPs", "CPU minutes", "val mIoU", "test mIoU", "test accuracy",
    ]  # fmt: skip
    good, poor = rows(page)
    assert (good[0], good[3:]) == ("bisenet_v2", ["1.5", "50.0", "45.0", "75.0"])
    assert (poor[0], poor[3:]) == ("pp_liteseg_t", ["1.5", "30.0", "40.0", "75.0"])
    with torch.device("meta"):
        from segkit import create_model

        model = create_model("bisenet_v2", num_classes=11)
    assert good[1] == f"{sum(p.numel() for p in model.parameters()):,}"
    assert float(good[2]) > 0
    assert "- From random weights.\n" in page
    assert "- mIoU policy `dataset`: " in page
    assert "crop (64, 64), scale (" in page
    assert "- Precision: float32; threads: 1; " in page
    assert "- Commits: 000000000000\n" in page
    assert page.count("segbook train pp_liteseg_t_synthetic --set steps=3\n") == 2
    assert "Test is not shown" not in page


def test_precisions_and_threads_are_listed_of_all_runs(make):
    page = compare([make("a", 0.3), make("b", 0.2, precision="bfloat16", threads=2)])
    assert "- Precision: bfloat16, float32; threads: 1, 2; " in page


def test_what_differs_is_a_column_and_options_are_spelled(make):
    options = {"model": "deeplab_v3_plus_resnet18", "model_options": {"rates": [3, 6, 9]}}
    page = compare([make("a", 0.3, changes={"lr": 0.5}), make("b", 0.2, changes=options)])
    assert heads(page)[1:3] == ["model_options", "lr"]
    (_, nothing, lr, *_), (_, rates, *_) = rows(page)
    assert (nothing, lr, rates) == ("", "0.5", "rates=(3, 6, 9)")
    assert "lr 0" not in page


def test_runs_of_one_recipe_are_told_apart_by_name(make):
    twins = [make("one", 0.2), make("two", 0.3)]
    page = compare(twins)
    assert heads(page)[:2] == ["run", "network"]
    assert [row[0] for row in rows(page)] == [twins[1].name, twins[0].name]
    assert "run" not in heads(compare(twins[:1]))


def test_the_folder_of_the_data_is_no_difference(make):
    page = compare([make("a", 0.3), make("b", 0.2, changes={"data_root": "/elsewhere"})])
    assert heads(page)[:3] == ["run", "network", "parameters"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, ""), ((), ""), ((3,), "(3,)"), ([1, [2, 3]], "(1, (2, 3))"), (None, "None"),
        ({"a": {"b": 1}, "c": "x"}, "a=b=1, c=x"), ("a|b\nc", r"a\|b c"), ("a\\|", r"a\\\|"),
    ],
)  # fmt: skip
def test_values_are_spelled_so_that_no_table_breaks(value, text):
    assert format_value(value) == text


def test_texts_do_not_break_the_table(make):
    odd = {"weights_backbone": "one|\ntwo"}
    plain, broken = (make("a", 0.3, model="unet_resnet18", changes=c) for c in ({}, odd))
    page = compare([plain, broken])
    assert [row[1] for row in rows(page)] == ["", r"one\| two"]
    assert "- From " not in page


def test_weights_that_all_began_with_are_named(make):
    began = {"weights_backbone": "IMAGENET1K_V1"}
    page = compare([make(name, 0.3, model="unet_resnet18", changes=began) for name in "ab"])
    assert "- From IMAGENET1K_V1.\n" in page


def test_a_run_without_a_score_comes_last(make):
    runs = [make("none", math.nan), make("a", 0.1), make("b", 0.3)]
    assert [row[-3] for row in rows(compare(runs))] == ["30.0", "10.0", "–"]


def test_test_is_shown_only_where_all_runs_have_it(make):
    tested, untested = make("a", 0.2), make("b", 0.3, test=None)
    for runs in ([tested, untested], [untested, tested]):
        page = compare(runs)
        assert "test mIoU" not in page
        assert f"- Test is not shown: there is none of {untested.name}.\n" in page
    assert "Test is not shown" not in compare([untested])


def test_written_to_a_folder(make, tmp_path):
    runs = [make("a", 0.2), make("b", 0.33333333), make("c", math.nan)]
    path = write_comparison(runs, tmp_path / "deep" / "page")
    assert path == tmp_path / "deep" / "page" / "README.md"
    assert path.read_text() == "# page\n\n" + compare(runs)
    results = json.loads(path.with_name("results.json").read_text())
    assert [result["miou"] for result in results] == [
        {"val": 0.2, "test": 0.4}, {"val": 0.33333, "test": 0.4}, {"test": 0.4},
    ]  # fmt: skip
    assert {"model", "recipe", "data", "policy", "commit"} <= results[0].keys()


def test_a_run_that_was_trained_has_all_that_is_compared(tmp_path):
    recipe = recipes.override(recipes.get("pp_liteseg_t_synthetic"), SMALL)
    folder = RunFolder.create(
        "real", root=tmp_path, kind="train", recipe_name=recipe.name, overrides={"steps": "3"}
    )
    result = fit(recipe, folder, show=lambda text: None, progress=False)
    (row,) = rows(compare([folder]))
    scores = (result["miou"], result["test"]["miou"], result["test"]["accuracy"])
    assert row[-3:] == [f"{100 * score:.1f}" for score in scores]


def test_on_the_command_line(make, tmp_path):
    good, bad = make("good", 0.2), make("bad", 0.3, result=None)
    done = CliRunner().invoke(main, ["compare", str(good.path), "--out", str(tmp_path / "page")])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in (tmp_path / "page").iterdir()) == ["README.md", "results.json"]
    done = CliRunner().invoke(main, ["compare", str(good.path), str(bad.path)])
    assert done.exit_code == 2
    assert f"run {bad.name} does not compare" in done.output


def test_nothing_to_compare():
    with pytest.raises(ValueError, match="name the runs"):
        compare([])


def test_an_unfinished_run_is_told_how_to_go_on(make):
    run = make("a", 0.2, status="stopped")
    with pytest.raises(ValueError, match=f"{run.name} is stopped: segbook resume {run.name}"):
        compare([make("b", 0.3), run])


def test_other_data_is_refused(make):
    changed = {**MANIFEST, "train": "d" * 64}
    with pytest.raises(ValueError, match="different versions of the data .b-.*: synthetic; a-"):
        compare([make("a", 0.2), make("b", 0.3, data_manifest=changed)])


def test_what_made_the_data_differ_is_named(make):
    changed = {**MANIFEST, "train": "d" * 64}
    one = make("a", 0.2)
    with pytest.raises(ValueError, match=r"different data, by length \(b-.*: 16; a-.*: \d+\)"):
        compare([one, make("b", 0.3, data_manifest=changed, changes={"length": 16})])


def test_a_network_of_one_channel_is_compared(make, monkeypatch):
    grey = {"mean": (0.5,), "std": (0.5,)}

    class Grey:
        def raw(self, index):
            return torch.zeros(1, 64, 96, dtype=torch.uint8), torch.zeros(64, 96)

    monkeypatch.setattr("segbook.builders.data.build_data", lambda recipe: {"val": Grey()})
    assert "| " in compare([make("a", 0.2, changes=grey), make("b", 0.3, changes=grey)])


def test_other_data_sets_and_policies_are_refused_by_name(make):
    one = make("one", 0.2)
    two = make("two", 0.3, changes={"policy": "per_image"})
    with pytest.raises(ValueError, match=rf"differ in policy \({two.name}: per_image, {one.name}"):
        compare([one, two])
    camvid = {**one.read()["recipe"], "data": "camvid"}
    with pytest.raises(ValueError, match="differ in data "):
        compare([one, make("three", 0.3, recipe=camvid)])


def test_a_result_by_another_policy_than_the_recipes_is_refused(make):
    run = make("odd", 0.2)
    result = run.read()["result"]
    of_test = {**result["test"], "policy": "micro"}
    for wrong in ({**result, "policy": "micro"}, {**result, "test": of_test}):
        run.update(result=wrong)
        with pytest.raises(ValueError, match=f"{run.name} was measured by .*micro.*says dataset"):
            compare([make("fine", 0.3), run])


@pytest.mark.parametrize(
    "field", ["recipe", "data_manifest", "precision", "threads", "result", "recipe_name",
              "overrides"]
)  # fmt: skip
def test_a_description_that_lacks_a_field_is_refused_by_name(make, field):
    run = make("a", 0.2, **{field: None})
    with pytest.raises(ValueError, match=f"run {run.name} does not compare: .* no usable {field}"):
        compare([make("b", 0.3), run])


@pytest.mark.parametrize("field", ["miou", "policy", "classes", "test"])
def test_a_result_that_lacks_a_field_is_refused_by_name(make, field):
    run = make("a", 0.2)
    run.update(result={**run.read()["result"], field: None})
    with pytest.raises(ValueError, match=rf"run {run.name} .* no usable result\.{field}"):
        compare([run])


def test_a_foreign_description_and_a_damaged_recipe_are_refused(make, tmp_path):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text('{"status": "finished"}')
    with pytest.raises(ValueError, match="run foreign .* no usable recipe, data_manifest, "):
        compare([RunFolder(tmp_path / "foreign")])
    run = make("a", 0.2, recipe={"name": "a"})
    with pytest.raises(ValueError, match=f"the recipe of run {run.name}: not a whole recipe"):
        compare([run])
