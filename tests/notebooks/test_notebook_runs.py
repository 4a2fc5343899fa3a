"""Notebooks executed for real, each in a kernel of its own."""

import json
import os
import re
import subprocess
import sys
import time

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from segbook.notebooks import executor
from segbook.notebooks import run as notebook
from segbook.notebooks.refresh import refresh
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


def test_all_output_is_kept_however_much_and_whenever_it_comes(make, monkeypatch, capsys):
    """A kernel drops what more than a thousand messages wait; nbclient stops after four seconds."""
    path = make(
        "much",
        "for i in range(3000): print(i, 'x' * 4000, flush=True)",
        "import sys\nprint('out'); print('err', file=sys.stderr); print('out', flush=True)\n"
        "first = display('old', display_id=True)",
        "print('y' * 3_000_000, end='\\r'); print('over')",
        "import threading, time\nbegin = threading.Event()\n"
        "def later():\n    begin.wait()\n    for i in range(20):\n"
        "        print('later', i, flush=True); time.sleep(0.02)\n"
        "threading.Thread(target=later).start()",
        "first.update('new')\nbegin.set()",
    )
    slow = notebook.Tee.write

    def write(tee, text):
        if "xxx" in text:
            time.sleep(0.001)  # a reader that is slower than the kernel
        slow(tee, text)

    monkeypatch.setattr(notebook.Tee, "write", write)
    run = notebook.create(path)
    described = notebook.execute(run, html=False)
    assert (described["status"], described["warnings"]) == ("finished", [])
    text = outputs(run)
    lines = text[0].splitlines()
    assert [line.split()[0] for line in lines] == [str(i) for i in range(3000)]
    assert text[1] == "out\nout\nerr\n'new'"
    assert text[2] == "over\n"
    assert re.findall(r"later (\d+)", "".join(text[3:])) == [str(i) for i in range(20)]
    assert capsys.readouterr().out.count("xxx\n") == 3000


def test_what_is_lost_at_the_end_is_said_and_recorded(make, monkeypatch, capsys):
    monkeypatch.setattr(executor, "GRACE", 0.5)
    path = make(
        "goes on", "import threading, time\nthreading.Thread(target=time.sleep, args=(99,)).start()"
    )
    described = notebook.execute(notebook.create(path), html=False)
    assert described["status"] == "finished"
    [line] = described["warnings"]
    assert "did not end within" in line
    assert "is lost" in line
    assert line in capsys.readouterr().out


def test_half_a_surrogate_pair_loses_no_output_and_no_reply(make):
    path = make(
        "halves",
        "import os\nname = os.fsdecode(b'caf\\xe9')\nprint('before'); print(name, '\\ud800')",
        "display({'text/plain': name, 'application/json': {name: float('nan')}}, raw=True)",
        "raise ValueError('\\udfff')",
    )
    run = notebook.create(path)
    described = notebook.execute(run)
    assert outputs(run)[:2] == ["before\ncaf\\udce9 \\ud800\n", "caf\\udce9"]
    assert described["error"]["name"] == "ValueError"
    assert described["error"]["message"] == r"\udfff"
    assert (run.path / "notebook.html").exists()


STANDARD = (
    "random",
    "token",
    "queue",
    "types",
    "json",
    "code",
    "typing",
    "torch",
    "numpy",
    "IPython",
)


def test_a_file_named_like_a_module_hides_no_module(make, tmp_path, monkeypatch):
    for folder in ("nb", "here"):
        for name in STANDARD:
            (tmp_path / folder / f"{name}.py").write_text("raise SystemExit('taken')")
        for name in ("ipykernel", "zmq", "segbook"):
            (tmp_path / folder / name).mkdir()
            (tmp_path / folder / name / "__init__.py").write_text("raise SystemExit('taken')")
    (tmp_path / "nb" / "helper.py").write_text("WHERE = 'beside'")
    (tmp_path / "here" / "helper.py").write_text("WHERE = 'here'")
    (tmp_path / "here" / "local.py").write_text("WHERE = 'here'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", *filter(None, sys.path), ""]))
    path = make(
        "shadowed",
        f"import {', '.join(STANDARD)}, ipykernel, segbook\nimport helper, local\n"
        "print(helper.WHERE, local.WHERE)",
        "import subprocess, sys\n"  # a program that the notebook starts has its own path
        "open('own.py', 'w').write('import local; print(local.WHERE)')\n"
        "print(subprocess.run([sys.executable, '-S', 'own.py'], capture_output=True, text=True,"
        " env={}).stdout)",
    )
    run = notebook.create(path)
    described = notebook.execute(run, html=False)
    assert (described["status"], described["error"]) == ("finished", None)
    assert outputs(run)[0] == "beside here\n"


def test_a_kernel_that_cannot_start_says_its_last_lines(make, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "zmq.py").write_text("raise RuntimeError('this is not zmq')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "bad"))  # the user's own wish
    described = notebook.execute(notebook.create(make("dead", "1")), html=False)
    assert described["status"] == "failed"
    error = described["error"]
    assert error["name"] == "DeadKernelError"
    assert error["message"].startswith("the kernel did not start: ")
    assert error["message"].endswith(": RuntimeError: this is not zmq")
    assert any("zmq.py" in line for line in error["traceback"])


def test_a_home_that_cannot_be_written_is_no_hindrance(make, tmp_path):
    path = make("homeless", "import os\nprint(os.environ['HOME'])", FIGURE)
    nowhere = {name: "/proc/nowhere" for name in (
        "HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR",
        "MPLCONFIGDIR", "XDG_CACHE_HOME",
    )}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "segbook", "run", str(path)],
        env={**os.environ, **nowhere, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/proc/nowhere\n" in done.stdout
    assert "report " in done.stdout


@pytest.mark.parametrize(
    ("source", "status", "said"),
    [
        (
            "exit()\nprint('never')",
            "finished",
            "sys.exit() in cell 2; code cells that were not run: 2",
        ),
        (
            "raise SystemExit(False)",
            "finished",
            "sys.exit() in cell 2; code cells that were not run: 2",
        ),
        ("quit", "finished", "sys.exit() in cell 2; code cells that were not run: 2"),
        ("raise SystemExit(3)", "failed", "SystemExit"),
        ("quit('enough')", "failed", "SystemExit"),
    ],
)
def test_an_exit_ends_the_notebook_and_the_record_says_so(make, source, status, said):
    path = make("leaves", "print('before')", source, "print('after')", "1")
    run = notebook.create(path)
    described = notebook.execute(run, html=False)
    assert described["status"] == status
    assert said in (described["reason"], (described["error"] or {}).get("name"))
    text = outputs(run)
    assert text[0] == "before\n"
    assert "never" not in text[1]
    assert text[2:] == ["", ""]


@pytest.mark.full
def test_a_saved_notebook_needs_no_widget(make):
    path = make(
        "widgets",
        "import tqdm, tqdm.auto, tqdm.notebook, tqdm.rich\n"
        "for bar in (tqdm.tqdm, tqdm.auto.tqdm, tqdm.notebook.tqdm, tqdm.rich.tqdm):\n"
        "    for _ in bar(range(3)): pass\n"
        "for _ in tqdm.auto.trange(3): pass",
        "for _ in tqdm.auto.tqdm(range(3), disable=False): pass",
        "import ipywidgets as w\nout = w.Output(); display(w.VBox([w.IntSlider(), out]))\n"
        "with out: print('inside'); shown = display('old', display_id=True)",
        "shown.update('new')",
        "import numpy as np\nfrom segbook.widgets import MaskExplorer\n"
        "MaskExplorer(np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8), int), classes=['a'],"
        " palette=[(0, 0, 0)])",
    )
    run = notebook.create(path)
    described = notebook.execute(run)
    assert (described["status"], described["error"]) == ("finished", None)
    assert "widget-view" not in (run.path / "notebook.ipynb").read_text()
    text = outputs(run)
    assert text[0] == ""
    assert text[1].startswith("100% 3/3")
    assert text[2].startswith("VBox(")
    assert text[2].endswith("inside\n'new'")
    cells = nbformat.read(run.path / "notebook.ipynb", as_version=4).cells
    assert set(cells[-1].outputs[0].data) == {"image/png", "text/plain"}


def test_a_file_beside_the_notebook_is_pointed_to_and_cwd_finds_it(make, tmp_path):
    (tmp_path / "nb" / "data").mkdir()
    (tmp_path / "nb" / "data" / "a b.txt").write_text("here it is")
    path = make("reads", "print(open('data/a b.txt').read())")
    described = notebook.execute(notebook.create(path), html=False)
    hint = (
        f"lies beside the notebook, which runs in {tmp_path / 'here'}: "
        f"start it again by segbook run, with --cwd {tmp_path / 'nb'}"
    )
    assert hint in described["error"]["message"]
    run = notebook.create(path, cwd=tmp_path / "nb")
    described = notebook.execute(run, html=False)
    assert (described["status"], described["cwd"]) == ("finished", str(tmp_path / "nb"))
    assert outputs(run) == ["here it is\n"]
    with pytest.raises(ValueError, match="there is no folder"):
        notebook.create(path, cwd=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("[Errno 2] No such file or directory: 'beside.txt'", "beside.txt"),
        ('cannot open "beside.txt"', "beside.txt"),
        ("beside.txt not found.", "beside.txt"),
        ("no images in ./sub/deep", "./sub/deep"),
        ("No such file or directory: 'both.txt'", None),
        ("No such file or directory: 'neither.txt'", None),
        ("a sub is not enough; nor is a \0.txt or " + "x." * 9999, None),
        ("list index out of range", None),
    ],
)
def test_only_a_file_that_lies_beside_the_notebook_is_pointed_to(tmp_path, message, found):
    here, beside = tmp_path / "here", tmp_path / "nb"
    (beside / "sub" / "deep").mkdir(parents=True)
    here.mkdir()
    for file in (beside / "beside.txt", beside / "both.txt", here / "both.txt"):
        file.touch()
    assert notebook._missing_file(message, here, beside) == found


def test_an_output_folded_away_stays_so(make):
    """The answer to a guess; a reader who runs the cell sees it, as JupyterLab unfolds it then."""
    path = make("guess", "print(38.8)")
    content = nbformat.read(path, as_version=4)
    content.cells[0].metadata.jupyter = {"outputs_hidden": True}
    nbformat.write(content, path)
    refresh(path)
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.metadata.jupyter == {"outputs_hidden": True}
    assert cell.outputs[0].text == "38.8\n"


def test_an_executed_notebook_keeps_the_values_of_its_last_run(make, capsys):
    path = make("again", "print(a, b)", parameters="a: int = 1\nb: str = 'x'\nc: float = 0.5")
    first = notebook.create(path, texts=["a=2", "b=y"])
    again = first.path / "source.ipynb"
    second = notebook.create(again, texts=["b=z"])
    assert "keeps the parameters of its last run: a=2\n" in capsys.readouterr().out
    described = second.read()
    assert described["overrides"] == {"a": 2, "b": "z"}
    assert described["parameters"] == {"a": 2, "b": "z", "c": 0.5}
    cells = nbformat.read(second.path / "source.ipynb", as_version=4).cells
    assert [c.source for c in cells][1:] == [
        "# Parameters of this run\na = 2\nb = 'z'",
        "print(a, b)",
    ]
    undeclared = make("none declared", "print(a)")
    content = nbformat.read(undeclared, as_version=4)
    content.cells.insert(0, new_code_cell("a = 5", metadata={"tags": ["injected-parameters"]}))
    nbformat.write(content, undeclared)
    kept = nbformat.read(notebook.create(undeclared).path / "source.ipynb", as_version=4)
    assert "a = 5" in kept.cells[0].source


@pytest.mark.parametrize(
    "content",
    ["", " \n", "{", "[]", "5", "null", '{"cells": 5}', '{"a": 1}', "\0", "[" * 100000,
     '{"cells": [], "metadata": {}, "nbformat": 9, "nbformat_minor": 0}',
     '{"cells": [5], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
     '{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
     '{"cells": [{"cell_type": "odd", "metadata": {}, "source": ""}], "metadata": {},'
     ' "nbformat": 4, "nbformat_minor": 4}',
     '{"cells": [{"cell_type": "code", "metadata": {"tags": 5}, "source": "1"}], "metadata": {},'
     ' "nbformat": 4, "nbformat_minor": 4}',
     '{"cells": [], "metadata": [], "nbformat": 4, "nbformat_minor": 5}'],
)  # fmt: skip
def test_what_is_no_notebook_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "x.ipynb"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"x\.ipynb is no notebook") as caught:
        notebook.create(path, root=tmp_path / "runs")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))
    assert not (tmp_path / "runs").exists()


def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "folder.ipynb").mkdir()
    with pytest.raises(ValueError, match=r"folder\.ipynb is a folder"):
        notebook.create(tmp_path / "folder.ipynb")
    os.mkfifo(tmp_path / "pipe.ipynb")
    with pytest.raises(ValueError, match=r"pipe\.ipynb is no regular file"):
        notebook.create(tmp_path / "pipe.ipynb")


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}}, "R"),
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, "R"),
        ({"kernelspec": {"name": "julia-1.9", "display_name": "Julia 1.9"}}, "Julia"),
        ({"language_info": {"name": "julia"}}, "julia"),
        ({"kernelspec": {"name": "bash", "display_name": "B", "language": "bash"}}, "bash"),
    ],
)
def test_a_notebook_in_another_language_is_refused(make, metadata, language):
    path = make("other", "x <- 1")
    content = json.loads(path.read_text()) | {"metadata": metadata}
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"is a notebook in {language}; only Python's"):
        notebook.create(path)


@pytest.mark.parametrize(
    "spec", ["python3", ["x"], None, 5, {}, {"name": 5, "language": 5}, {"language": ["R"]}]
)
def test_odd_metadata_and_old_formats_are_no_hindrance(make, spec, tmp_path):
    path = make("odd", "print(1)", parameters="n: int = 1")
    content = json.loads(path.read_text())
    content["metadata"] = {"kernelspec": spec, "language_info": spec}
    for cell in content["cells"]:
        cell["id"] = "the same"
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    run = notebook.create(path, texts=["n=2"])
    saved = nbformat.read(run.path / "source.ipynb", as_version=4)
    assert [cell.source for cell in saved.cells][-1] == "print(1)"
    assert saved.metadata.kernelspec.name == "python3"


def test_an_old_format_is_read(tmp_path):
    cell = {"cell_type": "code", "language": "python", "metadata": {}, "outputs": [],
            "collapsed": False, "prompt_number": 1, "input": ["print(1)"]}  # fmt: skip
    content = {"metadata": {"name": ""}, "nbformat": 3, "nbformat_minor": 0,
               "worksheets": [{"metadata": {}, "cells": [cell]}]}  # fmt: skip
    path = tmp_path / "old.ipynb"
    path.write_text(json.dumps(content))
    run = notebook.create(path)
    assert nbformat.read(run.path / "source.ipynb", as_version=4).cells[0].source == "print(1)"


def test_a_missing_notebook_names_its_neighbours(make, tmp_path):
    make("one")
    with pytest.raises(ValueError, match=r"no notebook .*two\.ipynb; .*one\.ipynb"):
        notebook.create(tmp_path / "nb" / "two.ipynb")


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
