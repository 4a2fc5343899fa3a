"""The command line: exit codes, messages, and what it does not import."""

import json
import os
import signal
import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_notebook

from segbook import cli, recipes
from segbook.runs.folder import RunFolder
from segbook.runs.stopping import REASONS


@pytest.fixture
def segbook(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(cli.main, list(arguments))

    before = {number: signal.getsignal(number) for number in REASONS}
    yield invoke
    for number, handler in before.items():  # a command's end ignores them
        signal.signal(number, handler)


@pytest.fixture
def lesson(tmp_path):
    cell = new_code_cell("steps: int = 3", metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[cell, new_code_cell("steps")]), tmp_path / "lesson.ipynb")


def python(code, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", code], env={**environment, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_ctrl_c_before_anything_began(segbook, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("segbook.training.headless.create", interrupted)
    done = segbook("train", "pp_liteseg_t_synthetic")
    assert done.exit_code == 3
    assert "stopped by Ctrl-C" in done.output


def test_a_run_whose_settings_are_refused_is_not_to_be_resumed(segbook):
    done = segbook("train", "pp_liteseg_t_synthetic", "--set", "data_root=mine")
    assert done.exit_code == 1
    assert "data_root is 'mine', but data is 'synthetic'" in done.output
    assert "Begin anew, with another setting" in done.output
    assert "segbook resume" not in done.output


def test_looking_imports_no_torch_and_no_jupyter(tmp_path):
    run = RunFolder.create("r", root=tmp_path, kind="train")
    code = f"""
import sys
from segbook.cli import main
for arguments in (["--help"], ["list"], ["list", "--json"], ["show", {run.name!r}], ["recipes"],
                  ["run", "--help"], ["train", "--help"], ["predict", "--help"],
                  ["evaluate", "--help"],
                  ["course", "check", "--help"]):
    try:
        main(arguments, prog_name="segbook")
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
heavy = {{"torch", "numpy", "papermill", "nbformat", "nbclient", "IPython", "matplotlib", "yaml"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = python(code, SEGBOOK_RUNS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert run.name in done.stdout


@pytest.mark.slow
def test_training_needs_no_jupyter_and_no_matplotlib(tmp_path):
    code = """
import sys
for name in ("papermill", "nbformat", "nbclient", "nbconvert", "IPython", "ipykernel",
             "jupyter_client", "jupyter_core", "ipywidgets", "anywidget", "matplotlib"):
    sys.modules[name] = None
from segbook.cli import main
from segbook.training import headless
headless.fit = lambda *_, **options: {"miou": 0.5, "policy": "dataset", "split": "val"}
main(["train", "unet_synthetic", "--set", "lr=0.5", "--name", "tiny"], prog_name="segbook")
"""
    done = python(code, SEGBOOK_RUNS=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "mIoU 50.0 (dataset, val)" in done.stdout
    [run] = tmp_path.iterdir()
    assert run.name.startswith("tiny-")
    code = """
import sys
sys.modules["nbformat"] = None
from segbook.cli import main
main(["run", "x.ipynb"])
"""
    done = python(code, SEGBOOK_RUNS=str(tmp_path))
    assert done.returncode == 2
    assert "segbook[notebooks]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "lesson.ipynb", "-p", "stps=1"], "  steps: int = 3"),
        (["run", "lesson.ipynb", "-p", "steps=2.5"], "steps is declared as int, got '2.5'"),
        (["run", "lesson.ipynb", "-p", "steps"], "name=value"),
        (["run", "lesson.ipynb", "-f", "no.yaml"], "no.yaml: No such file"),
        (["run", "lesson.ipynb", "--time-limit", "soon"], "45s, 90m, 2h"),
        (["run", "lessen.ipynb"], "lesson.ipynb"),
        (["train", "unet_synthetc"], "unet_synthetic"),
        (["train", "unet_synthetic", "--set", "steps"], "FIELD=VALUE"),
        (["train", "unet_synthetic", "--set", "batchsize=4"], "batch_size"),
        (["show", "x"], "no runs there yet"),
        (["resume", "x"], "no runs there yet"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_wrong_command_says_what_is_right_and_starts_nothing(
    segbook, lesson, tmp_path, arguments, message
):
    result = segbook(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "runs").exists()


def test_a_run_that_cannot_be_made_says_where(segbook, lesson, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "file"))
    result = segbook("run", "lesson.ipynb")
    assert result.exit_code == 2
    assert "SEGBOOK_RUNS" in result.output


@pytest.mark.parametrize(
    ("outcome", "code", "words"),
    [
        ({"status": "finished", "result": {"miou": 0.5, "policy": "p", "split": "val"}}, 0,
         ["finished after 2.0 s", "mIoU 50.0 (p, val)"]),
        ({"status": "failed", "error": {"name": "E", "message": "m", "traceback": ["t"]}}, 1,
         ["failed after", "E: m", "\nt\n", "segbook resume"]),
        ({"status": "stopped", "reason": "stopped by Ctrl-C"}, 3, ["Ctrl-C", "segbook resume"]),
    ],
)  # fmt: skip
def test_the_end_of_a_run_is_told_and_in_the_exit_code(
    segbook, lesson, monkeypatch, outcome, code, words
):
    def execute(folder, *, html):
        with folder.own():
            folder.update(**outcome, seconds_total=2.0)
        return folder.read()

    monkeypatch.setattr("segbook.notebooks.run.execute", execute)
    result = segbook("run", "lesson.ipynb", "-p", "steps=4", "--time-limit", "none")
    assert result.exit_code == code
    for word in words:
        assert word in result.output
    [row] = json.loads(segbook("list", "--json").output)
    assert row["status"] == outcome["status"]
    shown = json.loads(segbook("show", "lesson", "--json").output)
    assert shown["parameters"] == {"steps": 4}
    assert shown["time_limit"] is None
    assert "source.ipynb" in segbook("show", "lesson").output


def test_resume_of_a_run_from_elsewhere_is_refused(segbook, tmp_path):
    RunFolder.create("mine", root=tmp_path / "runs", kind="notebook")
    result = segbook("resume", "mine")
    assert result.exit_code == 2
    assert "where it was started" in result.output


def test_json_has_no_nan(segbook, tmp_path):
    run = RunFolder.create("r", root=tmp_path / "runs", result={"iou": [float("nan"), 0.5]})
    shown = json.loads(segbook("show", run.name, "--json").output, parse_constant=pytest.fail)
    assert shown["result"]["iou"] == [None, 0.5]


def test_help_documents_the_exit_codes_and_recipes_are_listed(segbook):
    text = segbook("run", "--help").output
    for code in (0, 1, 2, 3, 4):
        assert f"\n    {code}  " in text
    listed = segbook("recipes").output.splitlines()
    assert [line.split()[0] for line in listed] == recipes.names()
