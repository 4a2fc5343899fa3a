"""Which folder a training is in: several in one notebook, resumed; and folders of others."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from segbook import recipes, training
from segbook.runs import listing
from segbook.runs.folder import FOLDER_VARIABLE, RunBusyError, RunFolder, all_runs
from segbook.training import evaluation, headless, identity, loop
from segbook.training.loop import LOG_EVERY
from segbook.training.record import HEADLESS_VARIABLE
from segkit.engine import load_checkpoint, save_checkpoint

pytestmark = pytest.mark.slow  # each trains

TINY = {
    "model": "fast_scnn",
    "image_size": (64, 64),
    "length": 2,
    "crop": (64, 64),
    "batch_size": 2,
    "steps": 2,
    "warmup": 0,
    "evaluate_every": 0,
    "save_every": 1,
    "precision": "float32",
    "doctor": "off",
}


def tiny(**changes):
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, **changes})


def silent(line):
    pass


@pytest.fixture(autouse=True)
def _two_streets(monkeypatch):
    from segkit import data

    whole = data.SyntheticStreets

    def short(split, *, size, length):
        return whole(split, size=size, length=length or 2)

    monkeypatch.setattr(data, "SyntheticStreets", short)


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Begins an attempt at a notebook's run, as its kernel would; returns the run's folder."""
    run = RunFolder.create("lesson", root=tmp_path, kind="notebook")
    monkeypatch.setenv(FOLDER_VARIABLE, str(run.path))
    monkeypatch.setenv(HEADLESS_VARIABLE, "1")

    def begin():
        identity._taken.clear()  # another process
        identity._open.clear()
        return RunFolder(run.path)

    return begin


def train(recipe, *, until=None, folder=None):
    """What a notebook does: the folder, and the indices of the steps that were made."""
    folder = folder or RunFolder.for_notebook(recipe.name)
    state = training.build(recipe, folder)
    made = []
    with contextlib.closing(training.train(state, folder, show=silent)) as steps:
        for step in steps:
            made.append(step.index)
            if step.index == until:
                break
    return folder, made


def content(folder):
    return {
        path.relative_to(folder.path): path.read_bytes()
        for path in folder.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.slow
def test_a_loop_over_learning_rates_that_is_resumed_in_any_order(attempt, tmp_path):
    run = attempt()
    first, _ = train(tiny(lr=0.1))
    second, made = train(tiny(lr=0.01), until=1)  # killed here
    assert first.path == run.path
    assert second.path != run.path
    assert made == [1]

    attempt()
    third, made = train(tiny(lr=0.001))
    assert third.path not in (first.path, second.path)
    assert made == [1, 2]
    again, made = train(tiny(lr=0.01))
    assert (again.path, made) == (second.path, [2])
    again, made = train(tiny(lr=0.1))
    assert (again.path, made) == (run.path, [])

    for folder, lr in ((first, 0.1), (second, 0.01), (third, 0.001)):
        described = RunFolder(folder.path).read()
        assert described["recipe"]["lr"] == lr
        assert described["step"] == 2
        assert described.get("parent") == (None if folder is first else run.name)
        assert described["result"]["step"] == 2
    assert [one.path for one in run.children()] == [second.path, third.path]
    assert second.read()["status"] == "finished"
    assert "resumed at step 1 of 2" in (second.path / "log.txt").read_text()

    RunFolder.create("later", root=tmp_path)
    rows = listing.rows(tmp_path)
    assert [row.name for row in rows[:3]] == [run.name, second.name, third.name]
    lines = listing.table(rows).splitlines()
    assert lines[1].startswith("lesson-")
    assert lines[2].startswith(f"└ {second.name}")
    assert lines[4].startswith("later-")
    assert second.name in listing.page(run)
    assert run.name in listing.page(second)


@pytest.mark.slow
def test_one_recipe_trained_twice_on_purpose_and_more_steps_are_trainings_of_their_own(attempt):
    run = attempt()
    one, _ = train(tiny())
    two, made = train(tiny())
    assert made == [1, 2]
    longer, made = train(tiny(steps=3), until=1)
    assert made == [1]
    assert len({one.path, two.path, longer.path, run.path}) == 3

    attempt()
    assert train(tiny(workers=0, save_every=3, note="x"))[0].path == one.path
    again, made = train(tiny(steps=3))
    assert (again.path, made) == (longer.path, [2, 3])
    again, made = train(tiny())
    assert (again.path, made) == (two.path, [])
    assert train(tiny())[0].path not in (one.path, two.path, longer.path)


def test_a_notebook_that_trains_nothing_has_one_folder(attempt, tmp_path):
    run = attempt()
    for name in ("a", "a", "b"):
        folder = RunFolder.for_notebook(name)
        assert folder.path == run.path
        training.build(tiny(), folder)
        training.build(tiny(lr=0.5), folder)
        with pytest.raises(ValueError, match="no best weights of this training"):
            training.evaluate_best(training.build(tiny(), folder), folder)
    assert [path.name for path in tmp_path.iterdir()] == [run.name]
    assert "recipe" not in run.read()


def test_outside_of_a_run_each_folder_is_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path))
    folders = [RunFolder.for_notebook("a") for _ in range(2)]
    assert len({folder.path for folder in folders}) == 2
    assert listing.advice(folders[0], folders[0].read()).startswith("in Python")


def test_what_is_read_later_is_of_the_training(attempt):
    attempt()
    for lr in (0.1, 0.01):
        folder = RunFolder.for_notebook("lesson")
        state = training.build(tiny(lr=lr), folder)
        for _ in training.train(state, folder, show=silent):
            pass
    asked = RunFolder.for_notebook("lesson")  # another one, of which nothing is known
    training.evaluate_best(state, asked)
    assert "test" in folder.read()["result"]
    assert "test" not in attempt().read()["result"]
    assert training.best_model(state, asked) is not state.averaged
    asked = RunFolder.for_notebook("lesson")
    training.evaluate_best(training.build(tiny(lr=0.1), asked), asked)
    assert "test" in RunFolder(os.environ[FOLDER_VARIABLE]).read()["result"]


def test_a_folder_of_another_training_is_refused_and_left_as_it_is(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="train")
    train(tiny(), folder=folder)
    before = content(folder)
    with pytest.raises(ValueError, match=r"a training with lr 0\.002 \(now 0\.5\), ema 0\.99"):
        train(tiny(lr=0.5, ema=0.9), folder=folder)
    with pytest.raises(ValueError, match=r"made 2 steps, more than steps=1: give steps=2 or more"):
        train(tiny(steps=1), folder=folder)
    assert content(folder) == before
    for path in folder.checkpoints.iterdir():  # to save space
        path.unlink()
    before = content(folder)
    with pytest.raises(ValueError, match=r"holds a training with lr 0\.002"):
        train(tiny(lr=0.5), folder=folder)
    assert content(folder) == before


def test_every_field_of_a_recipe_is_free_or_compared():
    names = set(tiny().to_dict())
    assert set(identity.FREE) < names
    assert identity.differences(tiny().to_dict(), tiny()) == {}
    old = tiny().to_dict()
    del old["decay_norms"]  # of a release that had no such field
    assert identity.differences(old, tiny(decay_norms=False)) == {"decay_norms": (True, False)}


def test_a_loop_that_was_left_standing_is_closed_by_the_next(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="notebook")
    state = training.build(tiny(steps=4, save_every=9), folder)
    standing = training.train(state, folder, show=silent)
    next(standing)
    newer = training.train(training.build(tiny(steps=4), folder), folder, show=silent)
    assert [next(newer).index, next(newer).index] == [2, 3]
    assert list(standing) == []
    assert folder.read()["status"] == "running"
    assert folder.is_locked()
    newer.close()
    assert folder.read()["step"] == 3


def test_a_loop_cannot_be_trained_within_its_own_step(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="notebook")
    state = training.build(tiny(), folder)

    def again(line):  # of the validation
        training.train(state, folder)

    with pytest.raises(RunBusyError, match="by another loop of this process"):
        list(training.train(state, folder, show=again))


def test_what_was_trained_in_one_folder_is_not_trained_in_another(tmp_path):
    folder, other = (RunFolder.create(name, root=tmp_path, kind="notebook") for name in "ab")
    state = training.build(tiny(), folder)
    for _ in training.train(state, folder, show=silent):
        pass
    with pytest.raises(ValueError, match=r"build it again for that folder"):
        training.train(state, other)
    with pytest.raises(ValueError, match=r"build it again for that folder"):
        training.evaluate_best(state, other)
    assert "recipe" not in other.read()


def test_a_step_that_was_interrupted_is_not_gone_on_from(tmp_path):
    folder = RunFolder.create("tiny", root=tmp_path, kind="notebook")
    state = training.build(tiny(steps=LOG_EVERY, save_every=99), folder)

    def interrupted(recipe, dataset, *, start, show):
        yield torch.zeros(2, 3, 64, 64), torch.zeros(2, 64, 64, dtype=torch.long)
        raise KeyboardInterrupt

    steps = training.train(state, folder, show=silent, batches=interrupted)
    next(steps)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    with pytest.raises(ValueError, match="no checkpoint in .* begin anew"):
        next(training.train(state, folder, show=silent))
    next(training.train(training.build(tiny(steps=LOG_EVERY), folder), folder, show=silent))


NAMES = ("sky", "road", "tree")


@pytest.fixture
def data(tmp_path):
    """A maker of folders of small pictures in three classes, void in none."""

    def make(where, *, names=NAMES, seed=0):
        root = tmp_path / where
        generator = torch.Generator().manual_seed(seed)
        for split in ("train", "val"):
            for part in ("images", "masks"):
                (root / split / part).mkdir(parents=True)
            for index in range(2):
                pixels = torch.randint(0, 256, (64, 64, 3), generator=generator, dtype=torch.uint8)
                path = root / split / "{}" / f"{index}.png"
                Image.fromarray(pixels.numpy()).save(str(path).format("images"))
                masks = pixels.argmax(2).to(torch.uint8).numpy()
                Image.fromarray(masks).save(str(path).format("masks"))
            (root / split / "classes.txt").write_text("\n".join(names))
        (root / "classes.txt").write_text("\n".join(names))
        return root

    return make


@pytest.fixture
def stopped(data, tmp_path, monkeypatch):
    """A run of a data folder that was named by a relative path, after one of its two steps."""
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    data("mine")
    monkeypatch.chdir(tmp_path)
    changes = {**TINY, "data": "folder", "data_root": "mine"}
    run = headless.create("fast_scnn_cityscapes", {k: str(v) for k, v in changes.items()})
    recipe = recipes.Recipe.from_dict(run.read()["recipe"])
    assert recipe.data_root == str(tmp_path / "mine")
    train(recipe, folder=run, until=1)
    return run


def test_a_relative_root_is_found_from_elsewhere(stopped, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    described = headless.execute(stopped, show=silent)
    assert (described["status"], described["step"]) == ("finished", 2)
    assert "data_before" not in described
    assert described["overrides"]["data_root"] == "mine"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("road", "sky", "tree"), "0 is 'road' and was 'sky'"),
        (("sky", "road", "bush"), "2 is 'bush' and was 'tree'"),
        ((*NAMES, "car"), "have 4 classes, and the training began with 3"),
    ],
)
def test_other_classes_are_refused(stopped, data, tmp_path, names, message):
    shutil.rmtree(tmp_path / "mine")
    data("mine", names=names)
    recipe = recipes.Recipe.from_dict(stopped.read()["recipe"])
    before = content(stopped)
    with pytest.raises(ValueError, match=message):
        train(recipe, folder=stopped)
    assert content(stopped) == before
    described = headless.execute(stopped, show=silent)
    assert (described["status"], described["step"]) == ("failed", 1)
    assert described["data_manifest"] == json.loads(before[Path("run.json")])["data_manifest"]


def test_other_data_are_said_and_both_manifests_kept(stopped, data, tmp_path):
    first = stopped.read()["data_manifest"]
    shutil.rmtree(tmp_path / "mine")
    data("mine", seed=1)
    described = headless.execute(stopped, show=silent)
    assert described["status"] == "finished"
    [before] = described["data_before"]
    assert before["manifest"] == first
    assert before["until"] == 1
    assert described["data_manifest"] != first
    log = (stopped.path / "log.txt").read_text()
    assert "other data than before (train, val) from here on" in log


def test_a_moved_folder_is_given_with_set(stopped, data, tmp_path, monkeypatch):
    from click.testing import CliRunner

    from segbook.cli import main

    def resume(*changes):
        options = [word for change in changes for word in ("--set", change)]
        return CliRunner().invoke(main, ["resume", stopped.name, *options])

    shutil.move(tmp_path / "mine", tmp_path / "moved")
    before = content(stopped)
    done = resume("lr=0.5")
    assert done.exit_code == 2
    assert "cannot go on with another lr" in done.output
    assert "data_root, steps" in done.output
    assert resume("data_root=no").exit_code == 2
    assert resume("stps=3").exit_code == 2
    assert content(stopped) == before

    done = resume("data_root=moved", "steps=3", "workers=0")
    assert done.exit_code == 0, done.output
    assert "the same data from here on" in done.output
    assert "steps 2 (now 3)" in done.output
    described = stopped.read()
    assert (described["status"], described["step"]) == ("finished", 3)
    assert described["recipe"]["data_root"] == str(tmp_path / "moved")
    assert described["overrides"]["steps"] == "3"
    assert described["overrides"]["data_root"] == str(tmp_path / "moved")
    [moved] = described["data_before"]
    assert moved["root"] == str(tmp_path / "mine")

    assert "has made 3; give as many or more" in resume("steps=2").output
    assert "is finished" in resume("steps=3").output
    assert resume("steps=4").exit_code == 0, "a finished run may be given more steps"
    assert stopped.read()["step"] == 4


def test_set_is_not_for_notebooks_and_a_training_names_its_notebook(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from segbook.cli import main

    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path))
    run = RunFolder.create("lesson", root=tmp_path, kind="notebook")
    child = RunFolder.create("tiny", root=tmp_path, kind="notebook", parent=run.name)
    done = CliRunner().invoke(main, ["resume", run.name, "--set", "steps=3"])
    assert done.exit_code == 2
    assert "a notebook's run: its cells make the recipe" in done.output
    done = CliRunner().invoke(main, ["resume", child.name])
    assert done.exit_code == 2
    assert f"segbook resume {run.name}" in done.output
    shown = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert [row["parent"] for row in shown] == [None, run.name]


def test_no_row_is_lost_whatever_parents_say(tmp_path):
    parents = {"a": None, "b": "a", "c": "b", "d": "c", "e": "f", "f": "e", "g": "g", "h": "gone"}
    for name, parent in parents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps({"parent": parent}))
    rows = listing.rows(tmp_path)
    assert sorted(row.name for row in rows) == sorted(parents)
    assert [row.name for row in rows][:2] == ["a", "b"]


def test_the_weights_to_start_from_may_be_gone_once_it_has_begun(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, _ = train(tiny(), folder=RunFolder.create("a", root=tmp_path))
    shutil.copy(first.checkpoints / "best.safetensors", "start.safetensors")
    recipe = tiny(weights="start.safetensors")
    second, _ = train(recipe, folder=RunFolder.create("b", root=tmp_path), until=1)
    assert second.read()["recipe"]["weights"] == str(tmp_path / "start.safetensors")
    (tmp_path / "start.safetensors").unlink()
    assert train(recipe, folder=second)[1] == [2]


LOOP = """
from segbook import recipes, training
from segbook.runs.folder import RunFolder
from segkit import data
whole = data.SyntheticStreets
data.SyntheticStreets = lambda split, *, size, length: whole(split, size=size, length=length or 2)
for lr in (0.1, 0.01, 0.001):
    recipe = recipes.override(recipes.get("pp_liteseg_t_synthetic"), {**TINY, "lr": lr})
    folder = RunFolder.for_notebook(recipe.name)
    for step in training.train(training.build(recipe, folder), folder):
        print("made", lr, step.index, flush=True)
        if HANGS and lr == 0.01:
            import time
            time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.full
def test_a_notebook_killed_in_its_second_training_is_resumed(tmp_path, monkeypatch):
    import nbformat

    cells = [f"TINY = {TINY!r}", "import pathlib\nHANGS = not pathlib.Path('go').exists()", LOOP]
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "loop.ipynb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGBOOK_RUNS", "runs")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))

    def segbook(*arguments):
        command = [sys.executable, "-m", "segbook", *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    process = segbook("run", "loop.ipynb", "--no-html")
    assert any(line.startswith(b"made 0.01 1") for line in process.stdout)
    process.kill()
    process.communicate()
    first, second = all_runs()
    assert second.read()["parent"] == first.name
    deadline = time.monotonic() + 20
    while second.is_locked():  # until the guard has killed the kernel
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [run.read()["status"] for run in (first, second)] == ["interrupted"] * 2
    assert first.read()["step"] == 2

    (tmp_path / "go").touch()
    text = segbook("resume", first.name, "--no-html").communicate()[0].decode()
    made = [line.split()[1:3] for line in text.splitlines() if line.startswith("made")]
    assert made == [["0.01", "2"], ["0.001", "1"], ["0.001", "2"]], text
    runs = all_runs()
    assert [run.read()["recipe"]["lr"] for run in runs] == [0.1, 0.01, 0.001]
    assert [run.read()["status"] for run in runs] == ["finished"] * 3
    assert [run.read().get("parent") for run in runs] == [None, first.name, first.name]


def test_a_checkpoint_of_an_older_release_is_compared_with_the_record(stopped, data, tmp_path):
    state = load_checkpoint(stopped.checkpoints, restore_rng=False)
    for key in ("data", "data_before", "recipe"):
        del state[key]
    save_checkpoint(stopped.checkpoints, state)
    recipe = recipes.Recipe.from_dict(stopped.read()["recipe"])
    with pytest.raises(ValueError, match="a training with lr"):
        train(recipes.override(recipe, {"lr": 0.7}), folder=stopped)
    shutil.rmtree(tmp_path / "mine")
    data("mine", seed=1)
    assert headless.execute(stopped, show=silent)["status"] == "finished"
    assert "other data than before (train, val)" in (stopped.path / "log.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["evaluate", "save"])
def test_a_kill_around_a_validation_changes_nothing(tmp_path, monkeypatch, where):
    """The folder is copied as a kill would leave it: in the validation, or before its save."""
    recipe = tiny(steps=4, evaluate_every=2, save_every=1)
    whole = RunFolder.create("whole", root=tmp_path)
    killed = tmp_path / "killed"
    module = {"evaluate": evaluation, "save": loop}[where]
    real = getattr(module, where)

    def copies(*arguments, **options):
        if whole.metrics()[-1]["step"] == 4 and not killed.exists():
            shutil.copytree(whole.path, killed)
        return real(*arguments, **options)

    monkeypatch.setattr(module, where, copies)
    train(recipe, folder=whole)
    monkeypatch.setattr(module, where, real)
    assert train(recipe, folder=RunFolder(killed))[1] == [4]
    ours, theirs = (
        load_checkpoint(path / "checkpoints", restore_rng=False) for path in (whole.path, killed)
    )
    assert ours["best"] == theirs["best"]
    assert all(torch.equal(ours["model"][name], theirs["model"][name]) for name in ours["model"])
    assert RunFolder(killed).read()["result"] == whole.read()["result"]


@pytest.mark.full
def test_processes_that_a_cell_starts_do_not_share_the_notebooks_folder(tmp_path, monkeypatch):
    code = f"""
import sys
from segbook import recipes, training
from segbook.runs.folder import RunFolder
recipe = recipes.override(recipes.get("pp_liteseg_t_synthetic"), {TINY!r})
folder = RunFolder.for_notebook("tiny")
steps = training.train(training.build(recipe, folder), folder, show=lambda line: None)
print(next(steps).index, folder.path, flush=True)
sys.stdin.read()
"""
    run = RunFolder.create("lesson", root=tmp_path, kind="notebook")
    kernel = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with run.own() as variables:
        env = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", *arguments],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )  # fmt: skip
            for arguments in ((code,), (kernel, code), (kernel, code))
        ]
        folders = [process.stdout.readline().split()[1] for process in started]
        for process in started:
            process.communicate("")
    assert folders[0] == str(run.path)
    assert len({*folders}) == 3


def test_a_score_made_elsewhere_replaces_no_training_and_no_other_score(attempt):
    def scored(name, miou):
        folder = RunFolder.for_notebook(name)
        folder.update(status="finished", result={"miou": miou, "policy": "dataset"})
        return folder

    run = attempt()
    trained, _ = train(tiny())
    first = [scored("theirs", 0.4), scored("other", 0.5)]
    assert trained.path == run.path
    assert len({run.path, *(one.path for one in first)}) == 3
    assert run.read()["result"]["miou"] not in (0.4, 0.5)
    attempt()  # of the same notebook, resumed
    assert train(tiny())[0].path == run.path
    again = [scored("theirs", 0.41), scored("other", 0.5)]
    assert [one.path for one in again] == [one.path for one in first]
    assert again[0].read()["result"]["miou"] == 0.41


def test_a_score_in_a_notebook_that_trains_nothing_is_the_notebooks_own(attempt):
    run = attempt()
    folder = RunFolder.for_notebook("theirs")
    folder.update(result={"miou": 0.4, "policy": "dataset"})
    assert folder.path == run.path
    assert train(tiny())[0].path != run.path  # a training never takes a score's place
