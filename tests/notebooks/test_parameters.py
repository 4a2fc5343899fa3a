"""Parameters of notebooks: what the tagged cell declares, and what a user may set."""

import pytest

from segbook.notebooks import parameters

SOURCE = '''
"""A text in place of a comment."""
steps: int = 100
lr: float = 0.01  # ('' = nowhere)
flag = True
name: str = "x"
root: str | None = None
crop: tuple[int, int] = (
    128, -160)
clip: "Optional[float]" = None
free = None
options = {"a": 1}
mode: Literal["fast", "slow", 3] = "fast"
folder: Path = "runs"
scales: list[float] = [1.0]
sizes: tuple[int, ...] = ()
rate: Literal[0.5, 1.0] = 0.5
many: "t.Sequence[int] | None" = None
'''


def cell(source, *tags, kind="code"):
    return {"cell_type": kind, "source": source, "metadata": {"tags": list(tags)}}


@pytest.fixture
def declared():
    return parameters.declared([cell("steps = 5"), cell(SOURCE, "parameters")])


def test_the_tagged_cell_is_parsed_with_types_and_defaults(declared):
    assert declared["crop"] == ("crop", "tuple[int, int]", (128, -160))
    assert declared["flag"] == ("flag", "bool", True)
    assert declared["free"] == ("free", "Any", None)
    assert str(declared["lr"]) == "lr: float = 0.01"
    assert "folder" in declared


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("steps=7", 7),
        ("steps=-1", -1),
        ("lr=1e-3", 0.001),
        ("lr=2", 2.0),
        ("flag=false", False),
        ("flag=Yes", True),
        ("flag=0", False),
        ("name=007", "007"),
        ("name=", ""),
        ("name=true", "true"),
        ("name=a=b", "a=b"),
        ("root=none", None),
        ("root=../data", "../data"),
        ("crop=(1, 2)", (1, 2)),
        ("crop=[1, 2]", (1, 2)),
        ("clip=None", None),
        ("clip=3", 3.0),
        ("free=1e-3", 0.001),
        ("free=text", "text"),
        ("free=7", 7),
        ('free="7"', "7"),  # a literal like any other: the quotes are not its own
        ('name="7"', '"7"'),
        ('root="7"', '"7"'),
        ("root=7", "7"),
        ("options={'b': [1, None]}", {"b": [1, None]}),
        ('options={"b": true}', {"b": True}),
        ("mode=slow", "slow"),
        ("mode=3", 3),
        ("folder=/tmp", "/tmp"),
        ("scales=[1, 2]", [1.0, 2.0]),
        ("sizes=(1, 2, 3)", (1, 2, 3)),
        ("rate=1", 1.0),
        ("many=[1, 2]", [1, 2]),
    ],
)
def test_a_text_is_read_as_the_declared_type(declared, text, value):
    [(_, got)] = parameters.values(declared, texts=[text]).items()
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    "text",
    ["steps=2.5", "steps=1e2", "steps=true", "steps=", "lr=fast", "lr=nan", "lr=inf", "flag=maybe",
     "flag=", "crop=5.5", "crop=(1, 2, 3)", "crop=(1, 2.5)", "crop=(1, True)", "clip=x",
     "mode=medium", "options=[1]", "scales=['a']", "scales=__import__('os').listdir()",
     "steps=" + "9" * 5000, "options=" + "[" * 20000, "name=\udcff"],
)  # fmt: skip
def test_a_text_of_another_type_is_refused_with_the_declaration(declared, text):
    name = text.partition("=")[0]
    with pytest.raises(ValueError, match=f"^{name} is declared as ") as caught:
        parameters.values(declared, texts=[text])
    assert len(str(caught.value)) < 400


def test_an_unknown_name_lists_all_with_defaults_the_closest_first(declared):
    with pytest.raises(ValueError, match="unknown parameter 'stesp'") as caught:
        parameters.values(declared, texts=["stesp=1"])
    lines = str(caught.value).splitlines()
    assert lines[1] == "  steps: int = 100"
    assert len(lines) == 1 + len(declared)
    with pytest.raises(ValueError, match="name=value, got 'steps'"):
        parameters.values(declared, texts=["steps"])
    with pytest.raises(ValueError, match="no cell tagged"):
        parameters.values({}, texts=["steps=1"])


def test_a_file_gives_typed_values_and_the_command_line_wins(declared, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("lr: 1e-3\nsteps: 5\ncrop: [3, 4]\nflag: no\nroot: null\n")
    assert parameters.values(declared, texts=["steps=6"], file=file) == {
        "lr": 0.001, "steps": 6, "crop": (3, 4), "flag": False, "root": None,
    }  # fmt: skip
    file.write_text("")
    assert parameters.values(declared, file=file) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("steps: 2.5", r"steps is declared as int, got '2.5' \(it takes a whole number\)"),
        ("steps: '5'", "steps is declared as int"),
        ("name: null", "quote it"),
        ("name: [a]", "quote it"),
        ("steps: 12:30:00", "steps is declared as int, got '12:30:00'"),
        ("steps: !!str 5", "steps is declared as int, got '5'"),
        ("scales: [010]", r"scales is declared as list\[float\], got \['010'\]"),
        ("scales: [1:30]", "scales is declared as"),
        ("flag: 2", "flag is declared as bool"),
        ("steps: 1\nsteps: 2", "'steps' is given twice"),
        ("options: {a: 1, b: 2, a: 3}", "'a' is given twice"),
        ("options: [{a: 1, a: 3}]", "'a' is given twice"),
        ("free: !!timestamp 2026-01-01", "it takes a plain literal"),
        ("? [a]\n: 1", "p.yaml is no YAML"),
        ("stps: 1", "unknown parameter 'stps'"),
        ("- 1", "name: value"),
        ("free: !!python/object/apply:os.system [ls]", "p.yaml is no YAML of plain values"),
        ("free: &a [1]\noptions: *a", "aliases"),
        ("free: " + "x" * 2**20, "more than 1,048,576 characters"),
        ("steps: [", "p.yaml is no YAML"),
    ],
)
def test_a_bad_file_is_refused(declared, tmp_path, content, message):
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        parameters.values(declared, file=file)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("name: 010", "010"),
        ("name: 12:30:00", "12:30:00"),
        ("name: 1e3", "1e3"),
        ("name: yes", "yes"),
        ("name: 2026-01-01", "2026-01-01"),
        ("name: 1_000  # a comment", "1_000"),
        ("name: true", "true"),
        ("name: 'no'", "no"),
        ("name: |\n  two\n  lines\n", "two\nlines\n"),
        ("steps: 010", 10),
        ("steps: 1_000", 1000),
        ("lr: 1e3", 1000.0),
        ("lr: 5", 5.0),
        ("flag: on", True),
        ("flag: 0", False),
        ("free: 010", "010"),
        ("free: 12:30:00", "12:30:00"),
        ("free: yes", "yes"),
        ("free: 1e3", 1000.0),
        ("free: ~", None),
        ("free: [010, 12:30, no, 1e3, 7, 2026-01-01, true, null, '8']",
         ["010", "12:30", "no", 1000.0, 7, "2026-01-01", True, None, "8"]),
        ("options: {yes: 1, 010: 2}", {"yes": 1, "010": 2}),
        ("root:", None),
        ("root: none", None),
        ("crop: (1, 2)", (1, 2)),
        ("\ufeffsteps: 5", 5),
    ],
)  # fmt: skip
def test_a_plain_word_of_a_file_is_what_was_typed(declared, tmp_path, line, value):
    """YAML 1.1 makes 8 of 010, 45000 of 12:30:00, True of yes, a text of 1e3."""
    file = tmp_path / "p.yaml"
    file.write_text(line, encoding="utf-8")
    [got] = parameters.values(declared, file=file).values()
    assert got == value
    assert type(got) is type(value)


def test_a_parameter_is_given_once(declared):
    with pytest.raises(ValueError, match="'steps' is given twice; give it once"):
        parameters.values(declared, texts=["steps=1", " steps =1"])


def test_an_executed_notebooks_values_are_read_and_checked(declared):
    executed = cell("# Parameters\nsteps = 7\ncrop = [3, 4]\nother = 'kept'", "injected-parameters")
    assert parameters.injected([cell("lr = 1", "parameters"), executed], declared) == {
        "steps": 7, "crop": (3, 4), "other": "kept",
    }  # fmt: skip
    assert parameters.injected([cell("steps = 7")], declared) == {}
    for source, message in [
        ("steps = 2.5", "steps is declared as int, got 2.5"),
        ("steps = float('nan')", "line 1 of the cell tagged injected-parameters is no"),
        ("steps = = 1", "line 1 of the cell tagged injected-parameters"),
    ]:
        with pytest.raises(ValueError, match=message):
            parameters.injected([cell(source, "injected-parameters")], declared)


def test_a_missing_file_is_named(declared, tmp_path):
    with pytest.raises(ValueError, match=r"no\.yaml: No such file"):
        parameters.values(declared, file=tmp_path / "no.yaml")


@pytest.mark.parametrize(
    "line",
    ["import os", "a = b = 1", "a, b = 1, 2", "x = 1 / 16", "x = open('f')", "x: int", "x += 1",
     "print(1)"],
)  # fmt: skip
def test_a_line_that_is_no_literal_is_named(line):
    with pytest.raises(ValueError, match="line 2 of the parameters cell is no") as caught:
        parameters.declared([cell(f"steps = 1\n{line}", "parameters")])
    assert line in str(caught.value)


def test_odd_cells():
    assert parameters.declared([]) == {}
    assert parameters.declared([cell("x = 1", "parameters", kind="markdown")]) == {}
    assert parameters.declared([cell(["x = 1\n", "y = 2"], "parameters")]).keys() == {"x", "y"}
    with pytest.raises(ValueError, match="2 cells tagged"):
        parameters.declared([cell("x = 1", "parameters")] * 2)
    with pytest.raises(ValueError, match="line 1 of the parameters cell"):
        parameters.declared([cell("x = = 1", "parameters")])


def test_injected_code_is_literals_behind_the_defaults_and_replaces_earlier_values():
    def new_cell(source):
        return cell(source)

    cells = [cell("a = 1", "parameters"), cell("a = 9", "injected-parameters"), cell("print(a)")]
    given = {"name": "'; import os; '", "crop": (1, 2)}
    parameters.inject(cells, given, new_cell=new_cell)
    assert [c["metadata"]["tags"] for c in cells] == [["parameters"], ["injected-parameters"], []]
    scope = {}
    exec(cells[1]["source"], {}, scope)
    assert scope == given
    parameters.inject(cells, {}, new_cell=new_cell)
    assert len(cells) == 2
