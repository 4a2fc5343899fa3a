"""What a ``data.yaml`` may hold, and how it is read: one checked record, a sentence a fault."""

from __future__ import annotations

import reprlib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from segkit.files import FileError, read_text, shown
from segkit.outputs import IGNORE

NAME = "data.yaml"
"""Of the file in the folder of the data."""

MAX_BYTES = 64 << 20

Id = Annotated[int, Meta(ge=0, le=255)]
Level = Annotated[int, Meta(ge=0, le=255)]
Colour = tuple[Level, Level, Level]
Share = Annotated[float, Meta(ge=0, le=1)]
Band = Annotated[int, Meta(ge=1)]
Range = tuple[float, float]
Places = Annotated[
    str,
    "a folder, or a pattern in which * is the name by which image and mask are paired, such as "
    "photos/*_image.jpg; from root on",
]


class SplitFolders(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The two places of one split."""

    images: str
    masks: str


Split = Annotated[
    str | list[str] | SplitFolders | None,
    "a text file, or a list of texts, with a name a line, or an image and its mask; a folder that "
    "holds the two of images and masks; or {images: FOLDER, masks: FOLDER}",
]


class DataFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``data.yaml`` may hold; paths are named from ``root`` on."""

    root: Annotated[str, "the folder of the data, from this file on"] = "."
    images: Places = "images"
    masks: Places = "masks"
    train: Split = None
    val: Split = None
    test: Split = None
    classes: Annotated[
        dict[Id, str] | list[str] | None,
        "a name for each value of the masks, such as {0: background, 7: road, 8: road}: classes "
        "are numbered as their names first stand there; or a list of names for the values 0, 1, "
        "...; without it classes.json or classes.txt in root",
    ] = None
    ignore: Annotated[
        Id | list[Id], "the value, or values, of void pixels; 255 is void unless it is a class"
    ] = IGNORE
    palette: Annotated[
        dict[str, Colour] | list[Colour] | None,
        "red, green and blue, 0..255, of each class: by name, or in the order of the classes",
    ] = None
    bands: Annotated[
        Annotated[list[Band], Meta(min_length=1)] | None,
        "which bands of the files are read, counted from 1, such as [1] for grey or [4, 3, 2]; "
        "without it 8-bit RGB, or all bands where there is a range",
    ] = None
    range: Annotated[
        Annotated[list[float | Range], Meta(min_length=1)] | None,
        "which of a file's values are 0 and 1, such as [0, 4095]: for all bands, or a list with "
        "one for each; values beyond are cut off",
    ] = None
    mean: Annotated[
        Annotated[list[Share], Meta(min_length=1)] | None,
        "a number in 0..1 for each band, taken off the images; without it that of the training "
        "images, or ImageNet's with pretrained weights",
    ] = None
    std: Annotated[
        Annotated[list[Annotated[float, Meta(gt=0, le=1)]], Meta(min_length=1)] | None,
        "a number in 0..1, above 0, for each band, by which images are divided; as mean",
    ] = None
    show: Annotated[
        list[Band] | None,
        "one band, or three for red, green and blue, in which pictures are shown, out of those "
        "that are read",
    ] = None


def read_data_file(path: str | Path) -> DataFile:
    """Read and check a ``data.yaml``.

    Raises:
        ValueError: it cannot be read, is no YAML, or has a field that there is not or of another
            kind; names the file, the field, what was given and what is allowed.
    """
    try:
        content = yaml.load(read_text(path, MAX_BYTES), _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(path, f"is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise FileError(
            path, f"holds {reprlib.repr(content)}: it must have fields, such as classes: {{0: sky}}"
        )
    kinds, values = get_type_hints(DataFile, include_extras=True), {}
    for field, value in content.items():
        if field not in kinds:
            raise FileError(
                path, f"has a field {field!r:.80}, and there are {', '.join(kinds)}: rename it"
            )
        try:
            values[field] = msgspec.convert(value, kinds[field])
        except msgspec.ValidationError as error:
            raise wrong_field(path, field, value, str(error)) from error
    return DataFile(**values)


def meanings() -> dict[str, str]:
    """What each field of ``data.yaml`` means, by its name."""
    hints = get_type_hints(DataFile, include_extras=True)
    return {field: _meaning(kind) for field, kind in hints.items()}


def _meaning(kind: Any) -> str:
    return next(one for one in get_args(kind)[1:] if isinstance(one, str))


def wrong_field(path: Path | str, field: str, value: Any, why: str) -> FileError:
    """What is said of a field that cannot be used: what it has, what it takes, and why not."""
    kinds = get_type_hints(DataFile, include_extras=True)
    if isinstance(value, msgspec.Struct):
        value = msgspec.to_builtins(value)
    given = shown(reprlib.repr(value))
    return FileError(path, f"has {field}: {given}, and takes {_meaning(kinds[field])} ({why})")


class _Loader(yaml.SafeLoader):
    """YAML in which a key stands once: of two, the parser would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a mapping, or refuse it."""
        content = super().construct_mapping(node, deep)
        if len(content) != len(node.value):
            keys = Counter(str(key.value) for key, _ in node.value)
            raise ValueError(f"line {node.start_mark.line + 1}: {max(keys, key=keys.__getitem__)!r}"
                             " is there twice")  # fmt: skip
        return content
