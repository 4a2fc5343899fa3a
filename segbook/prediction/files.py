"""Which files are predicted, what their predictions are called, and which masks belong to them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segbook.runs.files import lines, read_json, regular
from segkit.data.images import IMAGE_SUFFIXES
from segkit.data.layout import is_picture, no_folder
from segkit.files import FileError, shown, what_is_there

WHAT = {"labels": ".png", "colour": ".png", "overlay": ".png", "probs": ".npz"}
"""What can be written of an image: the name of its folder, and the ending of its files."""
SCORES = "scores.json"
RECORD = "prediction.json"
"""By what weights and options a folder was predicted; such folders are no photographs."""
JOURNAL = "prediction.jsonl"
"""Of what image, and by what, each file was made; see `Journal`."""
LEFTOVER = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""What `segbook.runs.files.write_whole` leaves where it is killed."""


class ImageFile(NamedTuple):
    """One image.

    Attributes:
        path: of its file.
        name: of its prediction: the path without the ending, from the folder on that holds all.
    """

    path: Path
    name: str


class Found(NamedTuple):
    """What lies in some folders.

    Attributes:
        images: each once, img2 before img10.
        others: files that are taken for no images, by their ending.
        predicted: folders in which earlier predictions were written, and not looked at.
    """

    images: list[ImageFile]
    others: Counter[str]
    predicted: list[Path]

    def remarks(self, out: Path) -> list[str]:
        """What a user should know of the rest; ``out`` is written anew, which needs no word."""
        lines = [
            f"passed over: {shown(folder)} holds the results of an earlier prediction"
            for folder in self.predicted
            if folder != Path(os.path.abspath(out))
        ]
        if self.others:
            kinds = [f"{count} {shown(end)}" for end, count in self.others.most_common(5)]
            more = len(self.others) - len(kinds)
            kinds += [f"{more} kinds more"] if more else []
            count = self.others.total()
            files = "files that are no images" if count > 1 else "file that is no image"
            lines.append(f"passed over: {count} {files} by the ending: {', '.join(kinds)}")
        return lines


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `RECORD` says of a folder; None where it is none that was predicted."""
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError):
        return None
    return record if isinstance(record.get("options"), dict) and "weights" in record else None


class Journal:
    """Of what each file of a folder was made: noted once it is begun, and again once it is whole.

    Args:
        out: the folder, which need not be there yet.

    Attributes:
        made: by the file's path from ``out`` on, what it was made of; empty for one that was begun.

    Raises:
        ValueError: the journal is a link, or no regular file.
    """

    def __init__(self, out: Path) -> None:
        self.path, self.made = out / JOURNAL, dict[str, dict[str, Any]]()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for line in lines(self.path):
                # A kill may have cut a line short.
                with contextlib.suppress(
                    ValueError, LookupError, TypeError, AttributeError, RecursionError
                ):
                    entry = json.loads(line)
                    self.made.update(dict.fromkeys(entry.pop("files"), entry))

    def knows(self, path: Path) -> bool:
        """Whether a prediction wrote a file, or began to."""
        return self._name(path) in self.made

    def has(self, paths: Sequence[Path], made: dict[str, Any]) -> bool:
        """Whether files are there and were made of this."""
        return all(self.made.get(self._name(path)) == made and path.is_file() for path in paths)

    def note(self, paths: Sequence[Path], **made: Any) -> None:
        """Note files that are begun, or of what they were ``made``."""
        entry = {"files": [self._name(path) for path in paths], **made}
        line = (json.dumps(entry) + "\n").encode()
        with open(self.path, "a+b", buffering=0, opener=regular) as file:
            end = file.seek(0, os.SEEK_END)
            if end and os.pread(file.fileno(), 1, end - 1) != b"\n":
                line = b"\n" + line
            try:
                file.write(line)
                os.fsync(file.fileno())
            except OSError as error:
                error.filename = str(self.path)
                raise

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """While files are written; first what a killed process left is removed.

        Several processes may write in one folder. Where one does, nothing is removed.
        """
        with open(self.path, "ab", opener=regular) as file:
            with contextlib.suppress(OSError):  # one that writes, or a disk without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for kind in WHAT:
                    for path in (self.path.parent / kind).rglob(".*.tmp"):
                        if LEFTOVER.fullmatch(path.name):
                            path.unlink()
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_SH)
            yield

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.path.parent))


def find_images(inputs: Sequence[str | Path], leave: Collection[Path] = ()) -> Found:
    """All images of some files and folders, with the folders below them, in natural order.

    Of a folder with ``images/`` and ``masks/`` those in ``images/`` are taken, and named as if they
    lay in the folder itself. A link to a folder is followed only where it is given itself.

    Args:
        inputs: files and folders.
        leave: folders that are not looked into, besides those that were written by a prediction.

    Returns:
        The images; their names count from the folder that is given, and from the one that holds
        them all where several are. And what was passed over.

    Raises:
        ValueError: nothing lies at a path, there is no image, or two would have one name.
        OSError: a folder cannot be read.
    """
    closed = {os.path.abspath(folder) for folder in leave}
    folders: list[Path] = []
    called: dict[Path, Path] = {}
    others: dict[Path, str] = {}
    predicted: dict[Path, None] = {}
    for given in inputs:
        path = Path(os.path.abspath(given))
        if path.is_dir():
            folders.append(path)
            for file, name in _below(path, "images", closed, predicted):
                if is_picture(file):
                    called.setdefault(file, name)
                else:
                    others[file] = file.suffix.lower() or "without one"
        elif os.path.lexists(path):
            folders.append(path.parent)
            called.setdefault(path, path)
        else:
            raise FileError(given, what_is_there(given))
    if not called:
        where = ", ".join(map(shown, inputs)) or "nothing"
        raise ValueError(
            f"there is no image in {where}: no file ends in {' '.join(IMAGE_SUFFIXES)}"
            + "; the results of an earlier prediction lie there, and are no images"
            * bool(predicted)
        )
    root = os.path.commonpath(folders)
    found = [
        ImageFile(path, _stem(Path(os.path.relpath(name, root)))) for path, name in called.items()
    ]
    found.sort(key=lambda image: (natural(image.name), image.name, str(image.path)))
    for one, two in zip(found, found[1:], strict=False):
        if one.name == two.name:
            raise ValueError(
                f"{shown(one.path)} and {shown(two.path)} have one stem, so that one's labels "
                "would replace the other's: rename one of them, or predict them by two commands, "
                f"such as with INPUTS {shown(one.path.parent)}/*{shown(one.path.suffix)} and with "
                f"*{shown(two.path.suffix)}, each with a folder of its own (--out)"
            )
    rest = Counter(end for file, end in others.items() if file not in called)
    return Found(found, rest, [*predicted])


def find_masks(folder: str | Path, images: Sequence[ImageFile]) -> dict[str, Path]:
    """The masks of images: of the same path from the folder on, or else of the same stem.

    Args:
        folder: in which they are, at any depth.
        images: as `find_images` gives them.

    Returns:
        Path of the mask by the image's name; those without a mask are left out.

    Raises:
        ValueError: no such folder, none of the images has a mask, or one has several.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"no masks in {shown(root)}: {no_folder(root)}")
    there: dict[str, list[Path]] = {}
    for path, name in sorted(_below(root, "masks")):
        if not is_picture(path):
            continue
        there.setdefault(_stem(name.relative_to(root)), []).append(path)
    found = {image.name: there.pop(image.name) for image in images if image.name in there}
    by_stem: dict[str, list[Path]] = {}
    for name, paths in there.items():
        by_stem.setdefault(Path(name).name, []).extend(paths)
    rest = [image for image in images if image.name not in found]
    twins = Counter(Path(image.name).name for image in rest)
    for image in rest:
        stem = Path(image.name).name
        if stem in by_stem:
            found[image.name] = by_stem[stem] * twins[stem]
    for name, paths in found.items():
        if len(paths) > 1:
            raise ValueError(
                f"{shown(paths[0])} may be the mask of several images, or one of several masks of "
                f"{shown(name)}: lay the masks out in folders as the images are, one of each stem"
            )
    if not found:
        raise ValueError(
            f"no file in {shown(root)} has the stem of an image, such as "
            f"{shown(Path(images[0].name).name)}.png"
        )
    return {name: path for name, [path] in found.items()}


def natural(name: str) -> list[list[Any]]:
    """A key that sorts names as people do: by folder, and numbers in them by their value."""
    return [
        [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", folder)]
        for folder in Path(name).parts
    ]


def _below(
    folder: Path,
    part: str,
    closed: Collection[str] = (),
    predicted: dict[Path, None] | None = None,
) -> Iterator[tuple[Path, Path]]:
    """Files of a folder and those below; of a data folder those in images/ or in masks/.

    Args:
        folder: in which they lie.
        part: "images" or "masks".
        closed: folders that are not looked into.
        predicted: collects folders that a prediction wrote; None looks into these, too.

    Yields:
        The path, and without that part of a data folder, so that image and mask have one.
    """
    called = {str(folder): folder}  # by folder
    for where, folders, names in os.walk(folder, onerror=_raise):
        if {"images", "masks"} <= {*folders}:
            folders[:], names = [part], []
            called[os.path.join(where, part)] = called[where]
        if predicted is not None and RECORD in names and read_record(Path(where)):
            predicted[Path(where)] = None
            folders[:] = [name for name in folders if name not in WHAT]
            names = [name for name in names if name not in (RECORD, JOURNAL, SCORES)]
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and os.path.join(where, name) not in closed
        ]
        for name in folders:
            called.setdefault(os.path.join(where, name), called[where] / name)
        paths = (Path(where, name) for name in names if not name.startswith("."))
        yield from ((path, called[where] / path.name) for path in paths)


def _raise(error: OSError) -> None:
    raise error


def _stem(path: Path) -> str:
    # A file that is given by itself may end in anything, or in nothing.
    return str(path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path)
