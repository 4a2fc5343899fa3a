"""Which classes a data folder has: the lists that people and other tools write, read or refused.

A list that is read one line off gives every class its neighbour's name, and nothing fails. So
whatever is not certain is refused with the line that is in doubt.
"""

from __future__ import annotations

import csv
import json
import operator
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ImageColor

from segkit.files import FileError, nearby, read_text, shown
from segkit.outputs import IGNORE

Colour = tuple[int, int, int]

MAX_BYTES = 4 << 20
"""Largest list of classes that is read."""

_VOID = "__ignore__"  # labelme's, for void, which has no id
_OTHERS = ("labelmap.txt", "labels.txt", "label_names.txt", "class_names.txt", "codes.txt",
           "classes.csv", "_classes.csv", "class_dict.csv", "obj.names", "_darknet.labels",
           "id2label.json", "labels.json", "notes.json", "meta.json")  # fmt: skip
"""Lists of other tools that lie where ours should."""

_NAME = {"name", "names", "class", "classes", "label", "labels", "category", "categories",
         "title", "class_name", "class_names", "label_name", "label_names", "category_name",
         "category_names"}  # fmt: skip
_ID = {"id", "ids", "idx", "index", "value", "code", "class_id", "label_id", "category_id",
       "train_id", "trainid", "number", "class_index", "class_number", "pixel_value", "grey_value",
       "gray_value", "label_value", "mask_value"}  # fmt: skip
_RED_GREEN_BLUE = ({"r", "red"}, {"g", "green"}, {"b", "blue"})
_HEADINGS = _NAME | _ID | set.union(*_RED_GREEN_BLUE)
_CURE = "write the names to classes.json, such as {}, in the order of the ids"


class Classes(NamedTuple):
    """What is known of a folder's classes.

    Attributes:
        names: in the order of the ids.
        palette: RGB of each, 0..255.
        coloured: whether somebody gave the palette; else it is PASCAL VOC's.
    """

    names: tuple[str, ...]
    palette: tuple[Colour, ...]
    coloured: bool = False


class _Table(NamedTuple):
    """A list as it was read: names, and where it has them ids and colours."""

    names: Any
    ids: list[Any] | None = None
    palette: Any = None


def find_classes(
    root: Path,
    classes: Sequence[str] | Mapping[Any, Any] | None = None,
    palette: Sequence[Colour] | None = None,
) -> Classes:
    """Take names and colours from the arguments, or else from the file beside the data.

    classes.txt holds one name a line, or a table of names with ids and colours as other tools
    write it (labelme, CVAT, CSV with or without headings, ``0 name``, ``0: name``). classes.json
    is a list of names, ``{"classes": [...], "palette": [...]}``, a map from id to name such as
    Hugging Face's ``id2label`` or one from name to id, or a list of ``{"id": 0, "name": ...}``.

    Args:
        root: the data folder, in which classes.json or classes.txt may be.
        classes: names in the order of the ids, or a map as classes.json may hold, or None.
        palette: RGB of each class, 0..255, or None.

    Raises:
        ValueError: no names anywhere, fewer than 2 or more than 255, two of one name, ids that do
            not count from 0, a line that may be a heading or a remark, or a palette that does not
            fit.
    """
    source: Any = "classes="
    if classes is not None:
        table = _given(classes)
    elif has_classes(root):
        source = next(path for path in _files(root) if _is_there(path))
        table = _read_json(source) if source.suffix == ".json" else _read_table(source)
    else:
        others = [name for name in _OTHERS if (root / name).is_file()]
        hint = f"; {others[0]} lies there: copy it to {_renamed(others[0])}" if others else ""
        if not others and (near := next(filter(None, map(nearby, _files(root))), None)):
            hint = f"; {shown(near.name)} lies there, which is another name for a program"
        raise ValueError(
            f"the classes of {shown(root)} are not known: write their names to classes.txt there, "
            f"one a line, in the order of the ids (in Python, classes=(name, ...) does as well)"
            f"{hint}"
        )
    where = shown(source)
    names = _in_order(table, where)
    palette = table.palette if palette is None else palette
    coloured = palette is not None
    if palette is None:
        palette = [distinct(index) for index in range(len(names))]
    try:
        colours: Any = tuple(tuple(map(operator.index, _rgb(colour))) for colour in palette)
    except (TypeError, ValueError):
        colours = ()
    fits = all(len(colour) == 3 and 0 <= min(colour) <= max(colour) <= 255 for colour in colours)
    if not fits or len(colours) != len(names):
        raise ValueError(
            f"palette={_short(palette)} for {len(names)} classes: give (red, green, blue) in "
            "0..255 for each class"
        )
    return Classes(names, colours, coloured)


def has_classes(root: Path) -> bool:
    """Whether a folder says what its classes are."""
    return any(map(_is_there, _files(root)))


def void_ids(ignore: int | Sequence[int]) -> tuple[int, ...]:
    """The ids that files mark void by besides 255, sorted.

    Args:
        ignore: one id or several, 0..255.

    Raises:
        ValueError: anything else.
    """
    given: Any = (ignore,) if isinstance(ignore, Integral) else ignore
    valid = isinstance(given, list | tuple | set | frozenset) and all(
        isinstance(one, Integral) and not isinstance(one, bool) and 0 <= int(one) <= 255
        for one in given
    )
    if not valid:
        raise ValueError(
            f"ignore={ignore!r}: give the id of void pixels, 0..255, or several such as (0, 255)"
        )
    return tuple(sorted({*map(int, given)} - {IGNORE}))


def distinct(index: int) -> Colour:
    """Colour number ``index`` of PASCAL VOC's palette: its bits spread over red, green, blue."""
    colour = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            colour[channel] |= (index >> channel & 1) << 7 - bit
        index >>= 3
    return colour[0], colour[1], colour[2]


def _files(root: Path) -> tuple[Path, Path]:
    return root / "classes.json", root / "classes.txt"


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # whatever it is: reading it says what is wrong


def _renamed(name: str) -> str:
    return "classes.json" if name.endswith(".json") else "classes.txt"


def _in_order(table: _Table, where: str) -> tuple[str, ...]:
    """The names in the order of their ids, once it is certain that they are names."""
    names: Any = table.names
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if texts:
        names = [name.strip() for name in names]
        if names and names[0] == _VOID and table.ids is None:
            names = names[1:]  # labelme gives it no id: the next one is 0
        if _VOID in names:
            raise ValueError(
                f"{where} has {_VOID!r} among its classes, which labelme has first and without an "
                f"id: take it out, and {_cure(n for n in names if n != _VOID)}"
            )
        if strange := [name for name in names if any("\ud800" <= c <= "\udfff" for c in name)]:
            raise ValueError(f"{where} has the name {ascii(strange[0]):.80}, which is no text")
    if not texts or not all(names) or not 2 <= len(names) <= IGNORE or len({*names}) < len(names):
        twice = [repr(name) for name, n in Counter(names).items() if n > 1] if texts else []
        raise ValueError(
            f"{where} gives {_short(names)}: 2 to 255 different names are needed (two classes are "
            "object and background)"
            + "".join(f"; {name} is there twice" for name in twice[:1])
            + f"; {_CURE.format(json.dumps(['road', 'tree']))}" * (not texts)
        )
    if table.ids is None:
        return tuple(names)
    if sorted(table.ids) != [*range(len(names))]:
        from_one = sorted(table.ids) == [*range(1, len(names) + 1)]
        raise ValueError(
            f"{where} numbers its {len(names)} classes {_short(sorted(table.ids))}, but ids are 0 "
            f"to {len(names) - 1}, each once: "
            + (
                "if the masks count from 1 as well, subtract 1 from every id but 255, or add the "
                "class that 0 is; then "
                if from_one
                else "map the masks' ids so; then "
            )
            + _cure(names)
        )
    return tuple(name for _, name in sorted(zip(table.ids, names, strict=True)))


def _read_json(path: Path) -> _Table:
    try:
        content = json.loads(read_text(path, MAX_BYTES), object_pairs_hook=_once)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(path)} is no JSON: {shown(error)}") from error
    palette = None
    if isinstance(content, dict):
        palette = content.get("palette")
        for key in ("classes", "id2label", "label2id", "categories", "labels"):
            content = content.get(key, content) if isinstance(content, dict) else content
    table = _given(content)
    return table if palette is None else table._replace(palette=palette)


def _given(content: Any) -> _Table:
    """Names as JSON has them, or a caller: a list, a map from or to ids, a list of rows."""
    if isinstance(content, Mapping):
        keys, values = [*content], [*content.values()]
        if keys and all(re.fullmatch(r"\d{1,9}", str(key)) for key in keys):
            return _Table(values, [int(key) for key in keys])
        if values and all(type(value) is int for value in values):
            return _Table(keys, values)
        return _Table(content)
    if isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        ids = [{key for key in row if _heading(str(key)) in _ID} for row in content]
        name = next((key for key in ("name", "title", "label") if key in content[0]), "name")
        # A row of several ids, such as Cityscapes' id and trainId, does not say which is meant.
        if all(len(keys) == 1 and keys == ids[0] for keys in ids):
            (key,) = ids[0]
            if all(type(row[key]) is int for row in content):
                names, numbers, colours = (
                    [row.get(k) for row in content] for k in (name, key, "color")
                )
                return _by_id(_Table(names, numbers, colours if all(colours) else None))
    if isinstance(content, str | bytes | set | frozenset):  # a set has no order
        return _Table(content)
    return _Table([*content] if hasattr(content, "__iter__") else content)


def _rgb(colour: Any) -> Any:
    """A colour's numbers; tools also write "#rrggbb"."""
    return ImageColor.getrgb(colour) if isinstance(colour, str) else colour


def _no_text(character: str) -> bool:
    """Whether a character is a control (a tab is none), or a mark of an encoding."""
    return (character < " " and character != "\t") or character in "\x7f\ufeff\ufffe\ufffd"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r} is there twice")
    return content


def _read_table(path: Path) -> _Table:
    """The lines of a text: names, or a table in one of the forms that other tools write."""
    numbered = enumerate(map(str.strip, read_text(path, MAX_BYTES).split("\n")), 1)
    lines = [(n, line) for n, line in numbered if line and not re.match(r"#(\s|$)", line)]
    for number, line in lines:
        if any(map(_no_text, line)):
            raise _doubtful(path, number, ascii(line), "another encoding than plain UTF-8")
        if re.match(r"#|//|--|;|/\*|%\s|\[|\]|\{|\}|[-*+] |\W+$", line) or _remarked(line):
            raise _doubtful(path, number, line, "a remark or a program's text")
        if re.fullmatch(r"""(["'`])[^"'`]*\1?,?|[^,]*,|[\w ]+:|<.*>|\|.*\|""", line):
            raise _doubtful(path, number, line, "a program's text, not a plain name")
    texts = [line for _, line in lines]
    if (table := _table(texts)) is not None:
        for (number, line), name in zip(lines[-len(table.names) :], table.names, strict=True):
            if re.match(r"[-=>|:]", name):
                raise _doubtful(path, number, line, "a row whose columns are parted by other signs")
        return table
    if texts and (_heads(texts[0]) or (texts[2:] and _table(texts[1:]))):
        raise _doubtful(path, *lines[0], "a heading")
    for line, rest in ((lines[0], texts[1:]), (lines[-1], texts[:-1])) if texts else ():
        if line[1] == str(len(rest)) and not any(map(str.isdecimal, rest)):
            raise _doubtful(path, *line, "how many names there are")
    starts = [re.match(r"(\d{1,9})\b(?!$)", line) for line in texts]
    begun = {int(match[1]) for match in starts if match}
    counts = len(begun) > 1 and begun in ({*range(len(begun))}, {*range(1, len(begun) + 1)})
    if counts:
        line = lines[starts.index(None) if None in starts else 0]
        raise _doubtful(path, *line, "one of several kinds of line, of which some begin with an id")
    tabled = r"[,;\t=|]|:\s|:\d|->|(\d+\s+){2}"
    if remarked := [line for line in lines if _remarked(line[1], ";")]:
        raise _doubtful(path, *remarked[0], "a name with a remark")
    if texts and all(re.search(tabled, line) for line in texts):
        raise _doubtful(path, *lines[0], "a row of a table whose columns are not known")
    endings = [re.fullmatch(r"(.+?)\s(\d+)", line) for line in texts]
    if all(endings) and len({match[1] for match in endings if match}) > 1:
        raise _doubtful(path, *lines[0], "a name with its id")
    return _Table(texts)


def _remarked(line: str, mark: str = "#|//|--") -> bool:
    return re.search(rf"\s({mark})\s|\t#", line) is not None


def _heads(line: str) -> bool:
    """Whether a line is made of nothing but the words that head columns."""
    words = re.split(r"[\s_]+", line.casefold())
    return _heading(line) in _NAME | _ID or (
        len(words) > 1 and {*words} <= _HEADINGS and {*words[:1]} <= _NAME | _ID
    )


def _table(texts: list[str]) -> _Table | None:
    """The lines as a table; None where they are none, such as plain names."""
    if texts and all(re.fullmatch(r".+:(\d+,\d+,\d+)?:[^:]*:[^:]*", line) for line in texts):
        return _labelmap(texts)
    tables = (_columns(_rows(texts, delimiter)) for delimiter in ("\t", ";", ",", ":", "=", " "))
    return next((table for table in tables if table is not None), None)


def _labelmap(texts: list[str]) -> _Table:
    """CVAT's ``name:r,g,b:parts:actions``."""
    rows = [line.rsplit(":", 3) for line in texts]
    colours = [tuple(map(int, row[1].split(","))) if row[1] else None for row in rows]
    return _Table([row[0] for row in rows], None, colours if all(colours) else None)


def _rows(texts: list[str], delimiter: str) -> list[list[str]]:
    """The cells of each line; none where the lines do not make a table of equal rows."""
    if delimiter == " ":  # only "0 name": a name has spaces of its own
        rows = [line.split(None, 1) for line in texts]
        numbered = all(len(row) == 2 and row[0].isdecimal() for row in rows)
        return rows if numbered and not any(row[1][0].isdecimal() for row in rows) else []
    if delimiter in ":=":
        rows = [[cell.strip() for cell in line.split(delimiter, 1)] for line in texts]
    else:
        try:
            read = csv.reader(texts, delimiter=delimiter, skipinitialspace=True, strict=True)
            rows = [[cell.strip() for cell in row] for row in read]
        except csv.Error:
            return []
    return rows if len({len(row) for row in rows}) == 1 < len(rows[0]) else []


def _columns(rows: list[list[str]]) -> _Table | None:
    """Which column is what, by its headings or by what it holds; None where that is not certain."""
    if not rows:
        return None
    first = [*map(_heading, rows[0])]
    headed = bool({*first} & _HEADINGS) and not any(cell.isdecimal() for cell in first)
    columns = [*map(list, zip(*rows[headed:], strict=True))]
    numbers = [at for at, column in enumerate(columns) if all(c.isdecimal() for c in column)]

    def headings(names: set[str]) -> list[int]:
        return [at for at, cell in enumerate(first) if cell in names]

    if headed:
        texts, ids = headings(_NAME), headings(_ID)
        # A column of another name, or of none, that counts from 0 holds the ids all the same.
        whole = [*range(len(columns[0]))]
        ids = ids or [at for at in numbers if sorted(map(int, columns[at])) == whole][:1]
        colours = [at for names in _RED_GREEN_BLUE for at in headings(names)]
    else:
        texts = [at for at in range(len(columns)) if at not in numbers]
        ids = numbers if len(numbers) == 1 else []
        colours = numbers if len(numbers) == 3 else []
        if not numbers or len(texts) + len(ids) + len(colours) != len(columns):
            return None
    known = len(texts) == 1 and len(ids) <= 1 and len(colours) in (0, 3)
    if not columns or not known or not {*ids, *colours} <= {*numbers}:
        return None
    return _by_id(
        _Table(
            columns[texts[0]],
            [int(cell) for cell in columns[ids[0]]] if ids else None,
            [*zip(*(map(int, columns[at]) for at in colours), strict=True)] if colours else None,
        )
    )


def _heading(cell: str) -> str:
    return cell.strip().casefold().replace(" ", "_")


def _by_id(table: _Table) -> _Table:
    """The same rows sorted by id."""
    if table.ids is None or len({*table.ids}) < len(table.ids):
        return table
    order = sorted(range(len(table.ids)), key=table.ids.__getitem__)
    colours = table.palette
    if isinstance(colours, list) and len(colours) == len(order):
        colours = [colours[at] for at in order]
    return _Table([table.names[at] for at in order], [table.ids[at] for at in order], colours)


def _doubtful(path: Path, number: int, line: str, looks_like: str) -> ValueError:
    return ValueError(
        f"line {number} of {shown(path)}, {_short(line)}, looks like {looks_like}: is it a class? "
        f"Then every name after it would stand one off. "
        f"{_CURE.format(json.dumps(['road', 'tree'])).capitalize()}"
    )


def _cure(names: Any) -> str:
    return _CURE.format(_short(json.dumps([*names]), 300))


def _short(value: Any, most: int = 200) -> str:
    try:
        text = shown(value if isinstance(value, str) and value.startswith("[") else repr(value))
    except RecursionError:
        return "something nested too deeply"
    return text if len(text) <= most else f"{text[:most]} …"
