"""What a message tells to type is right: every name is there, every command can be pasted."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import hints
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from segbook import cli, recipes, training
from segbook.bench.clock import Spread
from segbook.bench.settings import settings_table
from segbook.builders.check import check_settings
from segbook.builders.data import build_data
from segbook.builders.model import build_model
from segbook.certificates.models_md import row
from segbook.recipes.command import read_changes
from segbook.reports.compare import described
from segbook.reports.publish import rerun_command, write_summary
from segbook.runs import listing
from segbook.runs.folder import RunFolder, find
from segkit import create_model

NAMES = [
    "plain", "a b", "it's", "$(touch hacked)", "-rf", "a;b|c&d", "*", "~", "a\nb", "道",
    "\x1b[31m",
]  # fmt: skip
"""Of folders, each a run, a data set or a notebook."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with the runs in ``runs``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGBOOK_RUNS")
    return tmp_path


def said(*arguments):
    """What the program prints for a command line."""
    done = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert "Traceback" not in done.output, done.output
    return done


def commands(text):
    """The commands in a text: in backticks, or to the end of the line or of the column."""
    return re.findall(r"(?:^|[\s`])(segbook (?:[^`\n ]| (?!  ))+)", text, re.M)


def words_of(command):
    """The words that bash makes of a command."""
    code = f"printf '%s\\0' {command}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, check=True, cwd="/")
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["segbook", "lib/segkit", "data_scripts"])
def test_whatever_a_text_of_the_code_names_is_there(folder):
    found = [
        f"{path.relative_to(hints.ROOT)}:{line}: {one}"
        for path in hints.sources()
        if path.is_relative_to(hints.ROOT / folder)
        for line, text in hints.texts(path)
        for one in hints.wrong(text)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("--set ignored=3", "no such field"),
        ("--set lr=fast", "takes a number"),
        ("`segbook shwo x`", "no command segbook shwo"),
        ("`segbook train x --nprocs 2`", "has no --nprocs"),
        ("pip install 'segbook[note]'", "no extra note"),
        ("`make tests`", "no make tests"),
        ("segkit.data.read_picture", "there is no segkit.data.read_picture"),
        ("set SEGBOOK_RUN", "nothing reads SEGBOOK_RUN"),
    ],
)
def test_a_hint_that_leads_nowhere_is_found(message, problem):
    assert problem in "; ".join(hints.wrong(message))
    assert not hints.wrong("--set lr=0.1, or --set crop='(64, 64)' and `segbook list --json`")


def run_at(path: Path, **fields) -> RunFolder:
    """A run that was interrupted, in a folder of any name."""
    made = RunFolder.create("x", root=path.parent, **fields)
    made.update(status="interrupted")
    made.path.rename(path)
    return RunFolder(path)


@pytest.mark.parametrize("place", ["runs", ".", "else where"])
@pytest.mark.parametrize("name", NAMES)
def test_how_to_go_on_names_the_run_where_it_lies(here, place, name):
    (here / place).mkdir(exist_ok=True)
    run = run_at(here / place / name, kind="train", recipe_name="unet_synthetic")
    page = said("show", run.path).output
    assert page.isprintable() or page.replace("\n", "").isprintable()
    sources = [listing.advice(run, run.read()), page]
    for refused in (lambda: described(run), lambda: write_summary(run, here / "page")):
        with pytest.raises(ValueError, match="segbook resume") as error:
            refused()
        sources.append(str(error.value))
    for source in sources:
        [command] = commands(source)
        program, what, argument = words_of(command)
        assert (program, what) == ("segbook", "resume")
        assert find(argument).path == run.path
        if name.isprintable():
            assert hints.parse(command)["run_name"] == argument
    assert not (here / "hacked").exists()


@pytest.mark.parametrize("place", ["/", ".."])
def test_from_another_folder_too(here, place, monkeypatch):
    run = run_at(here / "a b", kind="train")
    monkeypatch.chdir(place)
    [command] = commands(listing.advice(run, run.read()))
    assert find(shlex.split(command)[2]).path == run.path


def test_how_to_go_on_in_python(here):
    run = run_at(here / "it's", kind="notebook")
    advice = listing.advice(run, run.read())
    folder = eval(re.search(r"RunFolder\(.*\)", advice)[0])
    assert folder.path == run.path
    hints.binds("train(state, folder)", training.train)
    hints.binds("build(recipe, folder)", training.build)
    assert "training.train(training.build(recipe, folder), folder)" in advice


@pytest.mark.parametrize("name", NAMES)
def test_a_published_command_is_the_one_that_was_given(here, name):
    run = run_at(here / "r")
    overrides = {"note": name, "lr": "0.1"}
    fields = {"kind": "train", "recipe_name": "unet_synthetic", "overrides": overrides}
    command = rerun_command({**fields, "processes": 2}, run)
    assert "\n" not in command
    words = words_of(command)
    assert words[:5] == ["segbook", "train", "unet_synthetic", "--nproc", "2"]
    assert read_changes(words[6::2]) == overrides
    fields = {"notebook": str(here / f"{name}.ipynb"), "cwd": str(here), "overrides": {"n": name}}
    words = words_of(rerun_command(fields, run))
    assert words == ["segbook", "run", words[2], "-p", f"n={name}"]
    assert (here / words[2]).resolve() == (here / f"{name}.ipynb")
    if name.isprintable():
        hints.parse(rerun_command(fields, run))


@pytest.mark.parametrize("name", ["a b", "it's", "$(touch hacked)"])
def test_data_that_cannot_be_read_are_shown_to_the_doctor(here, name):
    root = here / name
    for part in ("train/images", "train/masks", "val/images", "val/masks"):
        (root / part).mkdir(parents=True)
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(root / part / "1.png")
    (root / "train" / "masks" / "1.png").unlink()
    recipe = recipes.override(
        recipes.get("unet_synthetic"), {"data": "folder", "data_root": str(root)}
    )
    with pytest.raises(ValueError, match="segbook doctor") as error:
        build_data(recipe)
    [command] = commands(str(error.value))
    assert shlex.split(command)[2] == str(root)
    done = said(*shlex.split(command)[1:], "--workers", "0")
    assert done.exit_code == 1
    assert "image_without_mask" in done.output
    done = said("doctor", root, "--set", "lr=1")
    [command] = commands(done.output)
    given = hints.parse(command)
    recipe = recipes.override(recipes.get(given["target"]), read_changes(given["changes"]))
    assert recipe.data_root == str(root)


def test_names_that_do_not_exist(here):
    (here / "data" / "camvid").mkdir(parents=True)
    output = said("doctor", "unet_synthetc").output
    assert "unet_synthetic" in output
    [command] = commands(output)
    assert said(*shlex.split(command)[1:]).exit_code == 0
    assert "there is data/camvid" in said("doctor", "data/camvd").output
    assert "closest" not in said("train", "zzzz").output
    with pytest.raises(ValueError, match="not a run folder") as error:
        RunFolder(here)
    [command] = commands(str(error.value))
    assert said(*shlex.split(command)[1:]).exit_code == 0
    for command in commands(said("list").output):
        hints.parse(command)


def test_a_folder_for_runs_that_cannot_be_written(here, monkeypatch):
    (here / "file").write_text("")
    monkeypatch.setenv("SEGBOOK_RUNS", str(here / "file"))
    with pytest.raises(ValueError, match="Set SEGBOOK_RUNS"):
        RunFolder.create("x")
    monkeypatch.setenv("SEGBOOK_RUNS", str(here / "other"))
    RunFolder.create("x")


def test_options_that_are_fields(here):
    options = {"backbone": "resnet18", "rates": [3, 6, 9]}
    recipe = recipes.override(
        recipes.get("unet_synthetic"), {"model": "deeplab_v3_plus", "model_options": options}
    )
    with pytest.raises(ValueError, match="has fields") as error:
        build_model(recipe, 3)
    cure = str(error.value).rpartition("fields: ")[2]
    mended = recipes.override(recipe, read_changes(shlex.split(cure)[1::2]))
    with torch.device("meta"):
        build_model(mended, 3)


def test_the_faster_settings_are_a_command():
    once, twice = (Spread(x, x, x)._asdict() for x in (1.0, 2.0))
    changes = {"channels_last": False, "precision": "bfloat16"}
    rule = {"what": "rule", "ours": 1.0, "ratio": once, "changes": {}}
    best = {"what": "b", "ours": 0.5, "ratio": twice, "changes": changes}
    command = settings_table(recipes.get("unet_synthetic"), [rule, best]).splitlines()[-1]
    changes = read_changes(hints.parse(command)["changes"])
    assert recipes.override(recipes.get("unet_synthetic"), changes).channels_last is False


def test_a_network_without_a_certificate():
    [command] = re.findall("`(segbook [^`]+)`", row("unet_resnet50", {}, (), ()))
    assert hints.parse(command)["names"] == ("unet_resnet50",)


def test_training_in_spite_of_the_doctor_is_said_for_both_doors(here):
    from segbook.preflight import gate

    call = re.search(r"recipes\.override\(.*?\)", Path(gate.__file__).read_text())[0]
    changed = eval(call, {"recipes": recipes, "recipe": recipes.get("unet_synthetic")})
    assert changed.doctor == "warn"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs num_classes"),
        ({"num_classes": "3"}, "num_classes='3': give a whole number"),
        ({"num_classes": 3, "in_channels": 0}, "in_channels=0"),
        ({"num_classes": 3, "in_channels": "3"}, "in_channels='3'"),
        ({"num_classes": 3, "weights": "no.safetensors"}, "weights='no.safetensors': there is no"),
        ({"num_classes": 3, "weights_backbone": "no"}, "weights_backbone='no'"),
    ],
)
def test_an_argument_that_is_wrong_is_named(here, options, message):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
        create_model("unet_resnet50", **options)


def test_what_a_recipe_takes_is_listed(here):
    from typing import get_args

    from segbook.builders.loss import LOSSES
    from segbook.recipes.recipe import LossName, Policy
    from segkit.metrics import POLICIES

    assert get_args(LossName) == tuple(sorted(LOSSES))
    assert get_args(Policy) == tuple(POLICIES)
    shown = said("recipes", "show", "unet_synthetic").output
    for name in (*LOSSES, *POLICIES):
        assert name in " ".join(shown.split())
    assert "void_as_fp" in said("train", "unet_synthetic", "--set", "policy=voc").output


def test_weights_that_lie_beside_the_name_are_named(here):
    Path("Best.safetensors").touch()
    with pytest.raises(FileNotFoundError, match=r"no such file, but Best\.safetensors lies there"):
        create_model("unet_resnet50", num_classes=3, weights="best.pth")
    with pytest.raises(ValueError, match=r"no such file, but Best\.safetensors lies there"):
        check_settings(recipes.override(recipes.get("unet_synthetic"), {"weights": "best.pth"}))
