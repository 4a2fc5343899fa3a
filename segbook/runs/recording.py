"""What a run's network said of a few photographs, step after step: to look at, and to publish.

A run folder keeps ``watched/STEP_I.png`` at the images' own size (`segbook.training.watched`). What
is published of it, ``docs/runs/NAME``, needs neither data set nor run:

    watched.json                run, steps, photographs, losses, miou, classes, palette, policy ...
    watched/STEP_I.png          class ids after a step, at most 240 x 180 pixels
    watched/image_I.jpg         the photograph
    watched/truth_I.png         its labels, 255 for void

Both give a `Recording`.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import segbook
from segbook.runs import code, files
from segbook.runs.folder import RunFolder, find, has_record, runs_root
from segbook.text import one_line
from segkit import outside
from segkit.data import catalog as data_catalog
from segkit.data import reading_of

INDEX = "watched.json"
FOLDER = "watched"
"""In a run's folder, and in a published one."""
MOST = (180, 240)
"""Height and width in pixels of what is kept of a photograph; a script holds all steps of it."""
PUBLISHED = Path(segbook.__file__).parents[1] / "docs/runs"
"""The checkout's published runs; an installed package has none."""
LIMIT = 350_000
"""Bytes that a published run's pictures take."""
THINNING = (1.0, 1.2, 1.5, 2.0, 3.0)
"""Smallest ratios of two steps that are both published: the first that keeps within `LIMIT`."""

Labels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photograph:
    """One watched photograph.

    Attributes:
        name: the image's, as in the recipe's ``watch``.
        image: uint8 (h, w, 3), small.
        truth: class ids (h, w), 255 for void.
        predictions: class ids (h, w) after each of the steps.
    """

    name: str
    image: Labels
    truth: Labels
    predictions: list[Labels]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """What was watched of a run, and its loss and scores beside it.

    Attributes:
        run: the run's or the recipe's name.
        model: the network's name.
        data: the data set's name.
        steps: after which there are predictions, ascending.
        total: steps of the whole training.
        photographs: what was watched.
        losses: (step, loss) where it was logged.
        miou: (step, mIoU of the whole validation set in 0..1).
        classes: the K class names.
        palette: K colours, RGB in 0..255.
        policy: of ``miou``.
        seed: of the run.
        command: that makes the run again; empty where it is not known.
    """

    run: str
    model: str
    data: str
    steps: list[int]
    total: int
    photographs: list[Photograph]
    losses: list[tuple[int, float]]
    miou: list[tuple[int, float]]
    classes: list[str]
    palette: list[tuple[int, int, int]]
    policy: str
    seed: int
    command: str = ""


def open_recording(run: str | os.PathLike[str] | RunFolder) -> Recording:
    """The recording of a run, published or not.

    Args:
        run: a run folder, also one that is still training; the path of one or of a published run;
            or a name: of a run in the runs' root, of a published run of the checkout, or the start
            of the name of a run.

    Raises:
        ValueError: there is no such run, it watched nothing, a file of it is damaged, or the data
            of a run that is not published are not there.
    """
    if isinstance(run, RunFolder):
        return _of_run(run)
    name = os.fspath(run)
    places = [Path(name)]
    if os.path.basename(name) == name:
        places += [runs_root() / name, PUBLISHED / name]
    for path in places:
        if (path / INDEX).is_file():
            return _of_published(path)
        if has_record(path):
            return _of_run(RunFolder(path))
        if path.parent == PUBLISHED and path.is_dir():
            raise ValueError(
                f"{one_line(path)} was published without what it watched: it has no {INDEX}. "
                "Train it with watch and publish it again by `segbook report`"
            )
    try:
        return _of_run(find(name))
    except ValueError as error:
        published = sorted(path.parent.name for path in PUBLISHED.glob(f"*/{INDEX}"))
        raise ValueError(f"{error}; published are {', '.join(published) or 'none'}") from None


def _of_published(path: Path) -> Recording:
    try:
        fields = files.read_json(path / INDEX)
        steps, names = fields.pop("steps"), fields.pop("photographs")
        for pairs in ("losses", "miou"):
            fields[pairs] = [(int(step), float(value)) for step, value in fields[pairs]]
        fields["palette"] = [tuple(colour) for colour in fields["palette"]]
        photographs = [
            Photograph(
                name=name,
                image=_read(path / FOLDER / f"image_{i}.jpg", "RGB"),
                truth=_read(path / FOLDER / f"truth_{i}.png"),
                predictions=[_read(path / FOLDER / frame(step, i)) for step in steps],
            )
            for i, name in enumerate(names)
        ]
        return Recording(steps=steps, photographs=photographs, **fields)
    except (OSError, KeyError, TypeError) as error:
        why = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(
            f"{one_line(path)} is no published recording: {why}. `segbook report` writes one"
        ) from None


def _of_run(folder: RunFolder) -> Recording:
    described = folder.read()
    recipe: dict[str, Any] = described.get("recipe") or {}
    names = recipe.get("watch") or ()
    place = folder.path / FOLDER
    files.check(place, form=stat.S_IFDIR)
    steps = sorted({int(path.name[:-6]) for path in place.glob("*_0.png") if _is_frame(path)})
    if not names or not steps:
        raise ValueError(
            f"run {one_line(folder.name)} has watched nothing yet: its recipe's watch is "
            f"{names or 'empty'}. Train with --set watch=NAME,NAME of validation images, "
            "in a notebook with overrides={'watch': (...)}"
        )
    data = code.own(folder, {"data": recipe["data"]})["data"]
    sets = data_catalog.find(data).open_splits(
        recipe.get("data_root", ""),
        size=tuple(recipe["image_size"]),
        length=recipe["length"],
        ignore=recipe["ignore"],
    )
    val_set = sets["val"]
    places = {val_set.stem(i): i for i in range(len(val_set))}
    frames: dict[int, list[Labels]] = {}
    for step in steps:
        try:
            frames[step] = [_read(place / frame(step, i)) for i in range(len(names))]
        except OSError as error:
            if step != steps[-1]:
                raise ValueError(f"step {step} of {one_line(place)} is damaged: {error}") from None
            # The newest of a run that is training: it is being written.
    photographs = []
    for i, name in enumerate(names):
        if name not in places:
            raise ValueError(f"{recipe['data']} has no validation image {name!r} any more")
        pair = val_set.raw(places[name])
        image, truth = np.asarray(reading_of(val_set).shown(pair[0])), np.asarray(pair[1])
        photographs.append(
            Photograph(
                name=name,
                image=small_image(image.transpose(1, 2, 0)),
                truth=small_labels(truth.astype(np.uint8)),
                predictions=[small_labels(each[i]) for each in frames.values()],
            )
        )
    records = {record["step"]: record for record in folder.metrics() if "loss" in record}
    scores = {record["step"]: record for record in folder.metrics() if "val_miou" in record}
    return Recording(
        run=described.get("recipe_name") or recipe["name"],
        model=outside.short(recipe["model"]),
        data=outside.short(recipe["data"]),
        steps=list(frames),
        total=recipe["steps"],
        photographs=photographs,
        losses=_pairs(records, "loss"),
        miou=_pairs(scores, "val_miou"),
        classes=list(val_set.classes),
        palette=[(red, green, blue) for red, green, blue in val_set.palette],
        policy=recipe["policy"],
        seed=recipe["seed"],
    )


def publish(recording: Recording, out: Path, *, limit: int = LIMIT) -> Recording:
    """Write a recording as others can open it; an earlier one is replaced.

    Args:
        recording: of a run.
        out: the published run's folder, which exists.
        limit: bytes of all pictures; where they take more, steps that are close together are left
            out, a little more of them each time.

    Returns:
        What was written.

    Raises:
        ValueError: even few steps take more than ``limit``.
    """
    for ratio in THINNING:
        kept = thinned(recording.steps, ratio)
        pictures = _pictures(recording, kept)
        if sum(map(len, pictures.values())) <= limit:
            break
    else:
        raise ValueError(
            f"{len(recording.photographs)} photographs of {recording.run} take more than "
            f"{limit} bytes; watch fewer"
        )
    place = out / FOLDER
    place.mkdir(exist_ok=True)
    for path in place.iterdir():
        path.unlink()
    for name, content in pictures.items():
        (place / name).write_bytes(content)
    where = [recording.steps.index(step) for step in kept]
    written = dataclasses.replace(
        recording,
        steps=kept,
        photographs=[
            dataclasses.replace(one, predictions=[one.predictions[i] for i in where])
            for one in recording.photographs
        ],
    )
    fields: dict[str, Any] = {
        field.name: getattr(written, field.name) for field in dataclasses.fields(written)
    }
    fields["photographs"] = [one.name for one in written.photographs]
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items()]
    (out / INDEX).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return written


def thinned(steps: Sequence[int], ratio: float) -> list[int]:
    """Those of ascending steps that are ``ratio`` times the one before; first and last stay."""
    kept: list[int] = []
    for step in steps:
        if not kept or step >= ratio * kept[-1]:
            kept.append(step)
    if kept[-1] != steps[-1]:
        kept[-1 if len(kept) > 1 else len(kept) :] = [steps[-1]]
    return kept


def small_labels(labels: Labels) -> Labels:
    """Class ids at most `MOST` pixels high and wide: the middle of each square, none is mixed.

    A long side keeps more where the short one would vanish.
    """
    factor = _factor(labels.shape)
    height, width = (size // factor * factor for size in labels.shape)
    return np.ascontiguousarray(labels[factor // 2 : height : factor, factor // 2 : width : factor])


def small_image(image: Labels) -> Labels:
    """A photograph (H, W, 3) at the size of `small_labels`: the mean of each square."""
    factor = _factor(image.shape)
    height, width = (size // factor * factor for size in image.shape[:2])
    return np.asarray(Image.fromarray(image[:height, :width]).reduce(factor))


def _factor(shape: Sequence[int]) -> int:
    wanted = max(math.ceil(size / most) for size, most in zip(shape, MOST, strict=False))
    return min(wanted, *shape[:2])


def _pictures(recording: Recording, steps: Sequence[int]) -> dict[str, bytes]:
    written = {}
    for i, one in enumerate(recording.photographs):
        written[f"image_{i}.jpg"] = _bytes(Image.fromarray(one.image), "jpeg", quality=82)
        written[f"truth_{i}.png"] = _bytes(coloured(one.truth, recording.palette), "png")
        for step, ids in zip(recording.steps, one.predictions, strict=True):
            if step in steps:
                picture = coloured(ids, recording.palette)
                written[frame(step, i)] = _bytes(picture, "png")
    return written


def frame(step: int, image: int) -> str:
    """The file of what was said of the I-th photograph after a step."""
    return f"{step:06d}_{image}.png"


def coloured(ids: Labels, palette: Sequence[Sequence[int]]) -> Image.Image:
    """Class ids (H, W) as a picture of palette colours, whose pixels are the ids."""
    # A palette of few colours is written with few bits a pixel, of which void needs all eight.
    table = np.zeros((256 if ids.max() >= len(palette) else len(palette), 3), np.uint8)
    table[: len(palette)] = palette
    picture = Image.fromarray(ids)
    picture.putpalette(table.tobytes())
    return picture


def _bytes(picture: Image.Image, form: str, **options: Any) -> bytes:
    written = io.BytesIO()
    picture.save(written, format=form, optimize=True, **options)
    return written.getvalue()


def _read(path: Path, mode: str = "") -> Labels:
    with open(path, "rb", opener=files.regular) as file:
        opened = Image.open(file)
        return np.asarray(opened.convert(mode) if mode else opened)


def _is_frame(path: Path) -> bool:
    return bool(re.fullmatch(r"\d{6,}_0\.png", path.name))


def _pairs(records: dict[int, Any], name: str) -> list[tuple[int, float]]:
    """Steps and finite values, ascending; of a step that was done twice the later record counts."""
    values = ((step, record[name]) for step, record in sorted(records.items()))
    return [
        (step, round(value, 5)) for step, value in values
        if value is not None and math.isfinite(value)
    ]  # fmt: skip
