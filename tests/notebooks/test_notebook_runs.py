"""Notebooks executed for real, each in a kernel of its own."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from segbook.notebooks import run as notebook
from segbook.runs.lock import owner_of
from segbook.runs.process_family import family

pytestmark = pytest.mark.slow

FIGURE = (
    "import matplotlib.pyplot as plt\n"
    "plt.figure(figsize=(1, 1)).add_subplot().plot([1, 2]); plt.show()"
)


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Writes a notebook of code cells; a text starting with # is Markdown."""
    (tmp_path / "nb").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))

    def write(name, *sources, parameters=None):
        cells = [new_markdown_cell(s) if s.startswith("# ") else new_code_cell(s) for s in sources]
        if parameters:
            tags = {"tags": ["parameters"]}
            cells.insert(0, new_code_cell(parameters, metadata=tags))
        path = tmp_path / "nb" / f"{name}.ipynb"
        kernel = {"name": "elsewhere", "display_name": "Not here", "language": "python"}
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
        return path

    return write


def outputs(run, name="notebook.ipynb"):
    cells = nbformat.read(run.path / name, as_version=4).cells
    return [
        "".join(o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in c.outputs)
        for c in cells
        if c.cell_type == "code"
    ]


def test_a_notebook_runs_with_its_parameters(make, tmp_path, capsys):
    (tmp_path / "nb" / "pixel.png").write_bytes(b"\x89PNG")
    (tmp_path / "nb" / "beside.py").write_text("VALUE = 5")
    path = make(
        "a lesson {x}",
        "# Title $x^2$\n\n![p](pixel.png)",
        "print(steps, flag, name, crop)",
        "import os, beside\nprint(os.getcwd(), os.environ['SEGBOOK_RUN_FOLDER'], beside.VALUE)",
        # each of these could hang nbclient for ever
        "import ipywidgets as w\nfor i in range(20):\n    out = w.Output()\n"
        "    with out:\n        print('in', i); display(i)\n    out.clear_output()",
        "from segbook.runs.folder import RunFolder\n"
        "run = RunFolder(os.environ['SEGBOOK_RUN_FOLDER'])\n"
        "with run.own():\n    run.update(status='finished', result={'miou': 0.5})",
        "print(run.read()['status'])",
        FIGURE,
        "1 / 0",
        "import sys\nprint('last'); sys.exit()",
        "raise RuntimeError('not reached')",
        parameters="steps: int = 3\nflag: bool = True\nname: str = 'x'\ncrop: tuple = (1, 2)",
    )
    content = nbformat.read(path, as_version=4)
    content.cells[-3].metadata["tags"] = ["raises-exception"]
    nbformat.write(content, path)
    before = path.read_bytes()

    run = notebook.create(path, texts=["steps=7", "flag=false", "name=007"], time_limit=120)
    described = notebook.execute(run)

    assert (described["status"], described["error"]) == ("finished", None)
    assert described["parameters"] == {"steps": 7, "flag": False, "name": "007", "crop": [1, 2]}
    assert described["overrides"] == {"steps": 7, "flag": False, "name": "007"}
    assert described["result"] == {"miou": 0.5}
    assert path.read_bytes() == before
    shown = capsys.readouterr().out
    text = outputs(run)
    assert text[2] == "7 False 007 (1, 2)\n"
    assert text[3] == f"{tmp_path / 'here'} {run.path} 5\n"
    assert text[6] == "running\n"  # the notebook's own status is not the kernel's to set
    assert "last" in text[9]
    assert text[10] == ""
    for seen in (shown, (run.path / "log.txt").read_text()):
        assert "7 False 007" in seen
        assert "in 19" in seen
        assert "without encryption" not in seen
    saved = json.loads((run.path / "notebook.ipynb").read_text())
    assert not {"papermill", "widgets"} & set(saved["metadata"])
    assert not any({"papermill", "execution"} & set(c["metadata"]) for c in saved["cells"])

    html = (run.path / "notebook.html").read_text()
    assert len(re.findall(r'<img[^>]*src="data:image/png;base64,', html)) == 2
    assert not re.search(r"""(src|href)=["'](https?:)?//""", html)
    assert "<script" not in html
    assert family(owner_of(run.path)["token"]) == []


def test_an_exception_is_kept_and_resume_goes_on_with_the_same_parameters(make, tmp_path):
    path = make(
        "boom",
        "print('before', n)",
        "import pathlib\nprint(pathlib.Path('data.txt').read_text())",
        "print('after')",
        parameters="n: int = 1",
    )
    run = notebook.create(path, texts=["n=2"])
    described = notebook.execute(run, html=False)
    assert described["status"] == "failed"
    error = described["error"]
    assert (error["name"], error["cell"], error["execution_count"]) == ("FileNotFoundError", 4, 4)
    assert "data.txt" in error["message"]
    assert "\x1b" not in "".join(error["traceback"])
    assert outputs(run)[2:] == ["before 2\n", "", ""]
    assert not (run.path / "notebook.html").exists()

    path.unlink()  # the run has its own copy
    (tmp_path / "here" / "data.txt").write_text("here")
    described = notebook.execute(run, html=False)
    assert (described["status"], described["error"]) == ("finished", None)
    assert outputs(run)[2:] == ["before 2\n", "here\n", "after\n"]
    assert outputs(run, "notebook.1.ipynb")[2:] == ["before 2\n", "", ""]
    assert described["attempts"] == 2


@pytest.mark.parametrize(
    ("last", "word"),
    [("import os; os.kill(os.getpid(), 9)", "SIGKILL.*out of memory"), ("os._exit(3)", "code 3")],
)
def test_a_dead_kernel_is_a_failure_with_a_word(make, last, word):
    path = make("dies", "import os\nprint('before', flush=True)", last, "print('after')")
    run = notebook.create(path)
    described = notebook.execute(run, html=False)
    assert described["status"] == "failed"
    assert described["error"]["name"] == "DeadKernelError"
    assert re.search(f"{word}.*", described["error"]["message"])
    assert "in cell 2" in described["error"]["message"]
    assert outputs(run)[0] == "before\n"


def test_the_time_limit_stops_a_run_and_ends_its_children(make):
    path = make(
        "slow",
        "import subprocess, time\nsubprocess.Popen(['sleep', '99'], start_new_session=True)\n"
        "print('on', flush=True)\ntime.sleep(99)",
    )
    run = notebook.create(path, time_limit=4)
    described = notebook.execute(run, html=False)
    assert described["status"] == "stopped"
    assert described["reason"] == "its time limit of 4.0 s was reached"
    assert family(owner_of(run.path)["token"]) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": 5}', '{"a": 1}'])
def test_what_is_no_notebook_is_refused(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.ipynb is no notebook"):
        notebook.create(path, root=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_missing_notebook_names_its_neighbours(make, tmp_path):
    make("one")
    with pytest.raises(ValueError, match=r"no notebook .*two\.ipynb; .*one\.ipynb"):
        notebook.create(tmp_path / "nb" / "two.ipynb")
    julia = make("julia")
    content = nbformat.read(julia, as_version=4)
    content.metadata.kernelspec = {"name": "julia", "display_name": "Julia", "language": "julia"}
    nbformat.write(content, julia)
    with pytest.raises(ValueError, match="notebook in julia"):
        notebook.create(julia)


@pytest.mark.slow
def test_papermill_itself_can_use_the_engine(make, tmp_path):
    """Papermill loads the entry point while it is itself being imported."""
    installed = tmp_path / "site" / "segbook-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "entry_points.txt").write_text(
        "[papermill.engine]\nsegbook = segbook.notebooks.executor:SegbookEngine\n"
    )
    path = make("plain", "print(steps)", "1 / 0", parameters="steps = 1")
    paths = [*filter(None, sys.path), str(installed.parent)]
    code = "import segbook.notebooks.executor, papermill.cli; papermill.cli.papermill()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--engine", "segbook", "--log-output", "-p", "steps", "5",
         str(path), "executed.ipynb"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ZeroDivisionError in cell 4" in done.stderr
    assert done.stdout == "5\n"
    saved = nbformat.read("executed.ipynb", as_version=4)
    assert saved.cells[2].outputs[0].text == "5\n"
    assert saved.cells[3].outputs[0].ename == "ZeroDivisionError"
