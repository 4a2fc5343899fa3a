"""What nbclient's tests expect of a notebook that ran, restated; one kernel for all of it.

Source: jupyter/nbclient, tests/test_client.py and tests/files/*.ipynb (BSD-3-Clause).
"""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from segbook.notebooks import run as notebook

pytestmark = pytest.mark.slow

CELLS = {
    "Hello World": 'print("Hello World")',
    "Empty Cell": "",
    "Factorials": "i, j = 1, 1\nfor m in range(10):\n    i, j = j, i + j\n    print(j)",
    "Unicode": 'print("☃")',
    "Clear Output": (
        "from IPython.display import clear_output\n"
        "for i in range(10):\n    clear_output()\n    print(i)"
    ),
    "Clear and wait": (
        'print("gone")\nclear_output(wait=True)\nprint("kept")\nclear_output(wait=True)'
    ),
    "Display": 'from IPython.display import display\nh = display("first", display_id="here")',
    "Update": 'h.update("second")',
    "Skip Exceptions with Cell Tags": 'raise Exception("message")',
    "After it": 'print("ok")',
    "Result": "6 * 7",
    "Error": "# üñîçø∂é\n1 / 0",
    "Not reached": 'print("never")',
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nbclient")
    cells = [new_code_cell(source) for source in CELLS.values()]
    cells[[*CELLS].index("Skip Exceptions with Cell Tags")].metadata["tags"] = ["raises-exception"]
    path = folder / "cells.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGBOOK_RUNS", str(folder / "runs"))
        patch.chdir(folder)
        run = notebook.create(path, time_limit=120)
        described = notebook.execute(run)
    done = nbformat.read(run.path / "notebook.ipynb", as_version=4).cells
    return described, dict(zip(CELLS, done, strict=True))


def text(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Hello World", "Hello World\n"),
        ("Empty Cell", ""),
        ("Factorials", "2\n3\n5\n8\n13\n21\n34\n55\n89\n144\n"),
        ("Unicode", "☃\n"),
        ("Clear Output", "9\n"),
        ("Clear and wait", "kept\n"),  # the last clearing waits for output that never comes
        ("After it", "ok\n"),
        ("Not reached", ""),
    ],
)
def test_what_a_cell_printed(ran, name, expected):
    assert text(ran[1][name]) == expected


def test_a_display_is_updated_where_it_is(ran):
    [output] = ran[1]["Display"].outputs
    assert output.data["text/plain"] == "'second'"
    assert not ran[1]["Update"].outputs


def test_a_result_has_its_count(ran):
    [output] = ran[1]["Result"].outputs
    assert (output.output_type, output.data["text/plain"]) == ("execute_result", "42")
    assert output.execution_count == ran[1]["Result"].execution_count


def test_cells_are_counted_in_their_order(ran):
    names = [name for name in CELLS if name not in ("Empty Cell", "Not reached")]
    assert [ran[1][name].execution_count for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Skip Exceptions with Cell Tags", "Exception", "message"),
        ("Error", "ZeroDivisionError", "division by zero"),
    ],
)
def test_an_error_is_an_output(ran, name, kind, message):
    [output] = ran[1][name].outputs
    assert (output.output_type, output.ename, output.evalue) == ("error", kind, message)
    assert kind in "".join(output.traceback)


def test_the_first_error_that_is_not_expected_ends_it(ran):
    described, cells = ran
    assert described["status"] == "failed"
    assert described["error"]["name"] == "ZeroDivisionError"
    assert described["error"]["message"] == "division by zero"
    assert cells["Not reached"].execution_count is None
