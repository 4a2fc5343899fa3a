"""What papermill's tests expect of parameters, restated; papermill itself is not called.

Source: nteract/papermill, papermill/tests/test_translators.py, test_cli.py, test_parameterize.py
(BSD-3-Clause). There a value is translated into source text; here what counts is that the cell,
when it runs, gives the value.
"""

import pytest

from segbook.notebooks import parameters


def cell(source, tag=None):
    metadata = {"tags": [tag]} if tag else {}
    return {"cell_type": "code", "metadata": metadata, "source": source, "outputs": []}


def new_cell(source):
    return cell(source)


def injected(values, cells=None):
    cells = cells or [cell("foo = None", "parameters")]
    parameters.inject(cells, values, new_cell=new_cell)
    return cells


VALUES = [
    "foo",
    '{"foo": "bar"}',
    {"foo": "bar"},
    {"foo": '"bar"'},
    {"foo": ["bar"]},
    {"foo": {"bar": "baz"}},
    {"foo": {"bar": '"baz"'}},
    ["foo"],
    ["foo", '"bar"'],
    [{"foo": "bar"}],
    [{"foo": '"bar"'}],
    12345,
    -54321,
    1.2345,
    -5432.1,
    2147483648,
    -2147483649,
    True,
    False,
    None,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back_from_the_cell(value):
    source = injected({"foo": value})[1]["source"]
    found = {}
    exec(source, {"__builtins__": {}}, found)
    assert found == {"foo": value}
    assert type(found["foo"]) is type(value)


@pytest.mark.parametrize("values", [{"foo": "bar", "baz": ["buz"]}, {"foo": {"bar": "baz"}}])
def test_the_cell_says_what_it_is(values):
    source = injected(values)[1]["source"]
    assert source.startswith("# Parameters")
    assert len(source.splitlines()) == 1 + len(values)


TEXTS = [
    ("True", True),
    ("False", False),
    ("None", None),
    ("12.51", 12.51),
    ("13.71", 13.71),
    ("-8.2", -8.2),
    ("-23.2", -23.2),
    ("10", 10),
    ("13", 13),
    ("hello world", "hello world"),
    ("😍", "😍"),
]


@pytest.mark.parametrize(("text", "value"), TEXTS)
def test_a_text_of_the_command_line_is_a_literal_where_it_looks_like_one(text, value):
    declared = parameters.declared([cell("foo = None", "parameters")])
    [(_, found)] = parameters.values(declared, texts=[f"foo={text}"]).items()
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["42", "True", "None", "12.51", "hello world", "😍", '"quoted"'])
def test_a_raw_text_is_what_is_declared_as_text(text):
    """There ``-r``; here the declaration says it."""
    declared = parameters.declared([cell("foo: str = ''", "parameters")])
    assert parameters.values(declared, texts=[f"foo={text}"]) == {"foo": text}


def test_the_command_line_wins(tmp_path):
    (tmp_path / "p.yaml").write_text("foo: 54321\nbar: value\nbaz: {k2: v2, k1: v1}\n")
    declared = parameters.declared([cell("foo = None\nbar = ''\nbaz = {}", "parameters")])
    values = parameters.values(
        declared, file=tmp_path / "p.yaml", texts=["foo=baz", "baz={'a': 1}"]
    )
    assert values == {"foo": "baz", "bar": "value", "baz": {"a": 1}}


@pytest.mark.parametrize("text", ["", "# empty\n", "---\n"])
def test_an_empty_file_sets_nothing(tmp_path, text):
    (tmp_path / "p.yaml").write_text(text)
    declared = parameters.declared([cell("foo = 1", "parameters")])
    assert parameters.values(declared, file=tmp_path / "p.yaml") == {}


def test_a_cell_goes_behind_the_defaults_and_only_once():
    cells = [cell("before = 1"), cell("foo = 0", "parameters"), cell("after = 2")]
    injected({"foo": 1}, cells)
    injected({"foo": 2}, cells)
    sources = [each["source"] for each in cells]
    assert sources[:2] == ["before = 1", "foo = 0"]
    assert sources[2].splitlines()[1:] == ["foo = 2"]
    assert sources[3:] == ["after = 2"]
    assert cells[2]["metadata"]["tags"] == ["injected-parameters"]


def test_without_values_there_is_no_cell():
    cells = [cell("foo = 0", "parameters")]
    assert injected({}, cells) == [cell("foo = 0", "parameters")]


def test_a_name_that_is_not_declared_is_refused():
    """There it is injected with a warning, which hides every slip of the pen."""
    declared = parameters.declared([cell("foo = 0", "parameters")])
    with pytest.raises(ValueError, match=r"unknown parameter 'fooo'.*\n.*foo"):
        parameters.values(declared, texts=["fooo=1"])
