"""``segbook data``: a first ``data.yaml`` of a folder, and lists of pairs to train on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segbook.preflight.command import with_bar
from segbook.runs.command import Finite
from segbook.runs.files import write_atomic, write_whole
from segbook.text import columns, one_line, operand, shell

if TYPE_CHECKING:
    from segkit.data.described import Description
    from segkit.doctor.data.discovery import Discovery

PATH = click.Path(path_type=Path)
RECIPE = "one_protocol_pp_liteseg_t"
"""The recipe that the next command names: it trains on any data, from random weights."""


class _Data(click.Group):
    """A group of which the first argument may be a folder: then it is described."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helped = not args or args[0] in ctx.help_option_names
        if not helped and args[0] not in self.commands:
            args = ["describe", *args]
        return super().parse_args(ctx, args)


EPILOG = """\b
segbook data FOLDER         writes FOLDER/data.yaml with what is found, each guess a comment
segbook data split FOLDER   writes train.txt, val.txt and test.txt
"""


@click.group(cls=_Data, subcommand_metavar="FOLDER | split FOLDER", epilog=EPILOG)
def data() -> None:
    """Describe a FOLDER of your own in data.yaml; split it into train, val and test.

    A folder that is called split is ./split. `segbook data describe --help` has the options of the
    first.
    """


@data.command("describe")
@click.argument("folder", type=PATH)
@click.option("--out", type=PATH, help="Write this file; FOLDER/data.yaml unless given.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def describe(folder: Path, out: Path | None, force: bool) -> None:
    """Write a first data.yaml of FOLDER with what is found in it, and say what is wrong with it.

    Images and masks are found by the names of folders (images, img, masks, labels, gt, annotations,
    ...), or by those of files (x.jpg and x_mask.png), in folders train, val and test or without;
    classes by a list of them, or by the values of the masks. Where FOLDER may not be written, give
    --out, such as --out my_data.yaml.
    """
    from segkit.data.data_file import NAME
    from segkit.data.described import Description
    from segkit.doctor.data.discovery import discover
    from segkit.doctor.data.inspection import inspect
    from segkit.doctor.data.scan import scan_folder

    path = folder / NAME if out is None else out / NAME if out.is_dir() else out
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ValueError(f"{one_line(path)} does not end in .yaml: name it so (--out)")
    if os.path.lexists(path) and not force:
        raise ValueError(
            f"{one_line(path)} is there already: change it by hand, give another file (--out), or "
            "replace it (--force)"
        )
    found = discover(folder)
    write_atomic(path, description_of(found, folder, path))
    click.echo(
        f"{one_line(path)}: {found.pairs} pairs, {len({*found.classes.values()})} classes; read "
        "its comments"
    )
    target = folder if path == folder / NAME else path
    try:
        described = Description(path)
        findings = inspect(with_bar(lambda bar: scan_folder(path, progress=bar)))
    except ValueError as error:
        then = shell("segbook", "doctor", operand(target))
        raise ValueError(f"{error}. Change it in {one_line(path)}, then: {then}") from error
    for finding in findings:
        click.echo(f"\n{finding}")
    click.echo(f"\nnext: {_next(described, target)}")


@data.command("split")
@click.argument("folder", type=PATH)
@click.option("--val", type=Finite(0, 1, min_open=True, max_open=True), default=0.2,
              show_default=True, help="Share of the images to validate with.")  # fmt: skip
@click.option("--test", type=Finite(0, 1, max_open=True), default=0.0,
              show_default=True, help="Share to test with; 0 for no list.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True,
              help="Another one deals them out otherwise.")  # fmt: skip
@click.option("--out", type=PATH, help="The folder to write; where data.yaml is unless given.")
@click.option("--force", is_flag=True, help="Replace lists that are there.")
def split(folder: Path, val: float, test: float, seed: int, out: Path | None, force: bool) -> None:
    """Deal the pairs of FOLDER, or of a data.yaml, out to train.txt, val.txt and test.txt.

    Images that look alike, such as neighbouring frames of a video, stay together, and each class
    comes to each split where there are images enough. The same pairs and --seed give the same
    lists.
    """
    from segkit.data import FolderDataset, find_description
    from segkit.data.classes import has_classes
    from segkit.data.described import Description
    from segkit.doctor import scan_data
    from segkit.doctor.data.splitting import split_records, table_of

    if val + test >= 1:
        raise ValueError(f"--val {val:g} and --test {test:g} leave nothing to train on: give less")
    path = find_description(folder)
    if path is None:
        classes = None if has_classes(folder) else [str(k) for k in range(255)]
        whole: Any = FolderDataset(folder, classes=classes, cache=False)
    else:
        description = Description(path)
        own = [one for one in ("train", "val", "test") if getattr(description.file, one)]
        if own:
            raise ValueError(
                f"{one_line(path)} says itself what {', '.join(own)} are: take these fields out, "
                "and lists take their place"
            )
        whole = description.open(None, cache=False)
    home = out or (path.parent if path else folder)
    shares = {"train": 1 - val - test, "val": val, **({"test": test} if test else {})}
    places = {name: home / f"{name}.txt" for name in shares}
    stale = [home / "test.txt"] if not test else []
    there = [one for one in (*places.values(), *stale) if os.path.lexists(one)]
    if there and not force:
        raise ValueError(
            f"{one_line(there[0])} is there already: replace the lists by --force, or write them "
            "elsewhere (--out)"
        )
    scan = with_bar(lambda bar: scan_data({"all": whole}, progress=bar))
    if refused := [record for record in scan.records if not record.mapped]:
        look = shell("segbook", "doctor", operand(folder))
        raise ValueError(f"{len(refused)} pairs cannot be read, such as {refused[0].where}: "
                         f"{refused[0].refused}. `{look}` lists all that is wrong")  # fmt: skip
    dealt = split_records(scan, shares, seed=seed)
    home.mkdir(parents=True, exist_ok=True)
    for name, records in dealt.items():
        lines = [_line(whole, record.index, as_pair=path is not None) for record in records]
        content = os.fsencode("".join(f"{line}\n" for line in lines))
        write_whole(places[name], lambda file, content=content: file.write(content))
    for one in stale:
        one.unlink(missing_ok=True)
    rows = table_of(scan, dealt)
    if path is None and not has_classes(folder):
        rows = [row for row in rows if any(not cell.startswith("0 (") for cell in row[1:])]
    for line in columns(rows):
        click.echo(line)
    click.echo("images of each class, and its share of the labelled pixels")
    click.echo(f"written: {', '.join(one_line(place) for place in places.values())}")
    target = path if path and path.parent != folder else folder
    if home == (path.parent if path else folder):
        click.echo(f"next: {_train(target)}")


def _line(whole: Any, index: int, *, as_pair: bool) -> str:
    """How a list names a pair: a stem, or the two files of a folder of another layout."""
    parts = [whole.stem(index)]
    if as_pair:
        parts = [Path(os.path.relpath(one, whole.root)).as_posix() for one in whole.files(index)]
    if odd := [part for part in parts if len(part.splitlines()) != 1 or "\t" in part]:
        raise ValueError(f"{one_line(odd[0])} has a tab or a line break in its name: rename it")
    return "\t".join(parts)


def _train(target: Path) -> str:
    return shell("segbook", "train", RECIPE, "--set", "data=folder", "--set",
                 f"data_root={target}", "--set", "steps=1000", "--set", "crop=128")  # fmt: skip


def _next(description: Description, target: Path) -> str:
    if {"train", "val"} <= description.splits.keys():
        return _train(target)
    return shell("segbook", "data", "split", operand(target), "--val", "0.2")


def description_of(found: Discovery, folder: Path, path: Path) -> str:
    """A ``data.yaml`` of what was found, each guess with what it was guessed from."""
    lines = ["# What `segbook data` found. Each line is a guess: look at it, and change what is"]
    lines += ["# not so. Values of masks that are no class and not void are refused.", ""]
    if path.parent.absolute() != folder.absolute():
        lines += ["# The folder of the data; paths below are named from it on.",
                  f"root: {_text(str(folder.absolute()))}", ""]  # fmt: skip
    alone = f"; {found.alone} images more have no mask" if found.alone else ""
    lines += [f"# {found.pairs} images with a mask of the same name{alone}; * stands for the name."]
    if others := [one_line(other) for other in found.others]:
        lines += [f"# Their names are also those in {', '.join(others)}."]
    if {"train", "val"} <= found.splits.keys():
        for name in ("train", "val", "test"):
            if at := found.splits.get(name):
                lines += [f"{name}:", f"  images: {_text(found.images.pattern(at))}",
                          f"  masks: {_text(found.masks.pattern(at))}"]  # fmt: skip
    else:  # what there is to be split
        name = next((one for one in ("train", *found.splits) if one in found.splits), "")
        at = found.splits.get(name, "")
        lines += [f"images: {_text(found.images.pattern(at))}",
                  f"masks: {_text(found.masks.pattern(at))}"]  # fmt: skip
        for other in found.splits.keys() - {name}:
            place = found.images.pattern(found.splits[other])
            lines += [f"# {one_line(place)} is left out: of {name} and {other} there is no val."]
        lines += ["# train.txt, val.txt and test.txt are taken, in root or beside this file:",
                  "# `segbook data split` writes them."]  # fmt: skip
    lines += ["", *_classes(found), "", *_images(found)]
    return "\n".join(lines) + "\n"


def _classes(found: Discovery) -> list[str]:
    total = max(1, sum(found.values.values()))
    shares = {value: f"{pixels / total:.2%}" for value, pixels in found.values.items()}
    if found.colours:
        return [f"# {one_line(found.colours)} holds colours. Masks hold class ids in one channel:",
                "# segkit.data.mask_from_colours makes such of them. Then name the ids here:",
                "# classes: {0: background, 1: object}"]  # fmt: skip
    if not found.classes:
        return [f"# {found.looked_at} masks hold {len(shares)} different values, which are not "
                "taken for classes.",
                "# classes: {0: background, 1: object}"]  # fmt: skip
    lines = [f"# The values of {found.looked_at} masks, with their shares of the pixels; several "
             "values of",
             "# one name are one class. They are numbered as they stand here."]  # fmt: skip
    if found.named_by:
        lines += [f"# The names are those of the list in {one_line(found.named_by)}."]
    elif [*found.classes] == [0, 255]:
        lines += ["# Two values, 0 and 255: taken for background and object."]
    lines += ["classes:"]
    for value, name in found.classes.items():
        lines += [f"  {value}: {_text(name)}  # {shares.get(value, 'in none of these masks')}"]
    strays = [value for value in shares if value not in found.classes]
    void = ", ".join(f"{value} ({shares[value]})" for value in strays)
    said = f"# Of no class: {void}." if strays else "# Further values that mark void."
    ids = [value for value in strays if 0 <= value <= 255]
    if ids != strays:
        said += " Masks hold 0..255: map the others in the files."
    # 255 is void by itself, where it is no class.
    usual = [] if 255 in found.classes else [255]
    return [*lines, said, f"ignore: {json.dumps(ids or usual)}"]


def _images(found: Discovery) -> list[str]:
    if not found.bands:
        grey = ["# Images are grey, and read as RGB; this reads one channel instead:",
                "# bands: [1]"]  # fmt: skip
        lines = grey if found.grey else ["# Images are read as 8-bit RGB."]
    else:
        lines = [f"# Images have {found.bands} bands; which of them are read, counted from 1.",
                 f"bands: {json.dumps([*range(1, found.bands + 1)])}"]  # fmt: skip
        if found.range and found.range != (0, 255):
            span = json.dumps([_whole(bound) for bound in found.range])
            lines += ["# The smallest and the largest value of some images; they become 0 and 1."]
            lines += [f"range: {span}"]
        if found.bands > 2:
            lines += ["# The bands of red, green and blue in pictures.", "show: [1, 2, 3]"]
    return [
        *lines,
        "# Without these they are measured from the training images, or ImageNet's with",
        "# pretrained weights.",
        "# mean: [0.5, 0.5, 0.5]",
        "# std: [0.25, 0.25, 0.25]",
    ]


def _whole(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _text(text: str) -> str:
    """A text as YAML takes it: JSON is YAML."""
    plain = text.replace("/", "a").replace("_", "a").replace(".", "a")
    words = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    safe = plain.isalnum() and text[0].isalpha() and text.lower() not in words
    return text if safe else json.dumps(text, ensure_ascii=False)
