"""A trained network over a data set: every score, of all images, each class and each image."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from segbook.builders.data import build_data
from segbook.builders.optimizer import build_settings
from segbook.prediction import volumes
from segbook.prediction.folder import classes_of, grey_image, named, naming, preparation
from segbook.prediction.network import Network, policy_of
from segbook.prediction.scores import Scores, percent
from segbook.recipes.recipe import Recipe
from segbook.runs import code
from segbook.runs.files import write_atomic
from segbook.text import one_line
from segkit import engine
from segkit.data import (
    Description,
    FolderDataset,
    Reading,
    VolumeDataset,
    catalog,
    find_description,
    reading_of,
)
from segkit.data.classes import has_classes, void_ids
from segkit.data.described import DescribedFolder
from segkit.engine.settings import lay_out_channels_last, memory_format
from segkit.files import shown
from segkit.inputs import device_of
from segkit.metrics import POLICIES
from segkit.outputs import IGNORE

SUFFIXES = (".json", ".jsonl", ".csv")
"""Endings of files with scores: everything, or a line for each image."""


MEASURES = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_dice": "Dice",
    "mean_boundary_iou": "boundary IoU",
}
"""Measures of an image, and of all, by their names in JSON."""

WORST = 5
"""Images that are shown on a terminal."""
NAMED = 3
"""Images that were left out and are named as that happens."""


class Evaluated(NamedTuple):
    """What came of an evaluation.

    Attributes:
        scores: see `segbook.prediction.scores.Scores.summary`.
        left_out: what was wrong with the images that were not predicted; names the file.
    """

    scores: dict[str, Any]
    left_out: list[str]


def open_data(
    network: Network,
    data: str | Path | None = None,
    split: str | None = None,
    *,
    data_root: str = "",
    ignore: tuple[int, ...] = (),
) -> Any:
    """Open what a network is evaluated on.

    Args:
        network: where ``data`` is None, that of a run, whose recipe says it.
        data: a data set of the catalogue by name, or a folder that
            `segkit.data.FolderDataset` reads; one without names of classes has the network's.
        split: which part. None takes "val", and of a folder without that all.
        data_root: where the catalogue's data are; of a run, where they are now.
        ignore: ids that mark void in the masks of a folder, beside 255 and the run's own.

    Returns:
        A `segkit.data.pairs.PairDataset`.

    Raises:
        ValueError: weights without data, no such data or split, or other classes than the
            network's, or images that are read in another way.
    """
    own = data is None or (str(data) in catalog.DATA and str(data) != "folder")
    if ignore and own:
        raise ValueError(f"ignore={ignore}: these data know their void; a folder needs to be told")
    if data is None:
        recipe = recipe_of(network, own=True)
        if recipe is None:
            raise ValueError(
                f"{network.source} are weights by themselves: say what to evaluate them on, a "
                f"folder or one of {', '.join(catalog.DATA)}"
            )
        if data_root:
            recipe = dataclasses.replace(recipe, data_root=data_root)
        found = _choose(build_data(recipe), split)
    elif str(data) in catalog.DATA:
        void = IGNORE if own else (*network.void, *ignore)
        found = _choose(catalog.find(str(data)).open_splits(data_root, ignore=void), split)
    else:
        root = Path(data)
        if data_root:
            raise ValueError(
                f"data_root={data_root!r} is for a data set that is named, and {shown(root)} is a "
                f"folder: leave it out, or name one of {', '.join(catalog.DATA)}"
            )
        void = void_ids((*network.void, *ignore))
        of_volumes = volumes.is_of_volumes(network.model)
        path = None if of_volumes else find_description(root)
        if path:
            description = Description(path, ignore)
            split = split or ("val" if "val" in description.splits else None)
            found = description.open(split, cache=False)
        else:
            if split is None and any((root / name).exists() for name in ("val", "val.txt")):
                split = "val"
            names = None if has_classes(root) else network.header.get("classes")
            kind = VolumeDataset if of_volumes else FolderDataset
            found = kind(root, split, classes=names, ignore=void, cache=False)
    theirs, ours = list(found.classes), network.header.get("classes")
    described = isinstance(found, DescribedFolder)
    if isinstance(ours, list) and theirs != ours:
        what = f"{len(theirs)} classes, where the network has {len(ours)}"
        for k, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            if one != other:
                what = f"{one!r} as class {k}, where the network has {other!r}"
                break
        raise ValueError(
            f"{shown(found)} has {what}: scores of other classes mean nothing; where the ids mean "
            f"the same, give {'data.yaml' if described else 'classes.txt'} the network's names"
        )
    trained, now = Reading.from_dict(network.header.get("images", {})), reading_of(found)
    if not trained.same_values(now):
        raise ValueError(
            f"{shown(found)} is read as {now}, and the network was trained on {trained}: scores of "
            "other values mean nothing; write bands and range into data.yaml as the training had "
            "them"
        )
    return found


def _choose(sets: Mapping[str, Any], split: str | None) -> Any:
    if (split := split or "val") not in sets:
        raise ValueError(f"there is no split {split!r}: choose from {', '.join(sets)}")
    return sets[split]


def recipe_of(network: Network, *, own: bool = False) -> Recipe | None:
    """The recipe of a network's run; None for weights by themselves.

    Args:
        network: of a run or not.
        own: whether code of the user's own, such as his data, is to be executed: the run's copy.

    Raises:
        ValueError: that code is not trusted, see `segbook.runs.code`.
    """
    recipe = network.run.read().get("recipe") if network.run else None
    if not (network.run and recipe):
        return None
    return Recipe.from_dict(code.own(network.run, recipe) if own else recipe)


def evaluate(
    network: Network,
    dataset: Any,
    *,
    show: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    **options: Any,
) -> Evaluated:
    """Score a network on a data set, each image whole and at its own size.

    A run's network predicts in the precision of its training, so that the scores are those that
    the training wrote down. An image that cannot be read, or predicted, is named and left out.

    Args:
        network: as `segbook.prediction.open_network` gives it, its model where it is to run.
        dataset: as `open_data` gives it.
        show: takes a line for each of the first images that are left out, and one for the rest.
        progress: whether there is a bar, after two seconds.
        **options: of `segkit.engine.predict_probs`: scales, flip, window, overlap; none predicts
            as the training's evaluation does.

    Raises:
        ValueError: a header without its normalisation, options that cannot be used, or other
            classes than the network scores.
    """
    model, header = network.model, network.header
    device = device_of(model)
    recipe = recipe_of(network)
    if volumes.is_of_volumes(model):
        return Evaluated(
            *volumes.evaluate_volumes(
                network, dataset, recipe, show=show, progress=progress, **options
            )
        )
    plain = engine.Settings("float32", channels_last=False, fused=False)
    settings = build_settings(recipe, device) if recipe else plain
    if settings.channels_last:
        lay_out_channels_last(model)
    dtype = engine.PRECISIONS[settings.precision]

    def put(ready: Tensor) -> Tensor:
        layout = memory_format(ready[None], settings.channels_last)
        return ready[None].to(device, memory_format=layout)

    prepare = preparation(header)
    scores, left_out = Scores(dataset.classes, policy_of(header)), []
    with (
        tqdm(
            range(len(dataset)), unit="image", delay=2, leave=False, disable=not progress,
            dynamic_ncols=True,
        ) as bar,
        torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
    ):  # fmt: skip
        grey = prepare(grey_image(header))
        with naming(Path("a grey image"), grey):
            num_classes = engine.predict_probs(model, put(grey), **options).shape[1]
        classes_of({"classes": list(dataset.classes)}, num_classes)
        for index in bar:
            path = Path(dataset.stem(index))
            try:
                image, mask = dataset.raw(index)
                ready = prepare(image)
                with naming(path, ready):
                    labels = engine.predict(model, put(ready), **options)[0]
            except ValueError as error:
                left_out.append(named(path, error))
                if len(left_out) <= NAMED:
                    with bar.external_write_mode():
                        show(f"left out: {left_out[-1]}")
                continue
            scores.add(str(path), labels, mask.to(device))
    if len(left_out) > NAMED:
        show(f"left out: {len(left_out) - NAMED} more, {len(left_out)} of {len(dataset)} images")
    about = {key: header[key] for key in ("builder", "recipe", "step") if key in header}
    about |= {"source": network.source, "data": repr(dataset), "precision": settings.precision}
    return Evaluated(
        {**about, "options": options, **scores.summary(), "left_out": left_out}, left_out
    )


def check_out(path: Path) -> None:
    """Refuse a place for scores before they are computed.

    Raises:
        ValueError: another ending than `SUFFIXES`, a folder, or in a folder that is not there.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{shown(path)} ends in none of {', '.join(SUFFIXES)}: rename it")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ValueError(f"{shown(path)} is a folder, or in none that is there: make its folder")


def write(path: Path, scores: Mapping[str, Any]) -> None:
    """Write scores: ``.json`` has all of them, ``.jsonl`` and ``.csv`` a line for each image.

    Raises:
        OSError: it cannot be written.
    """
    kind = path.suffix.lower()
    lines = [{"image": name, **score} for name, score in scores["each"].items()]
    if kind == ".json":
        text = json.dumps(scores, indent=1) + "\n"
    elif kind == ".jsonl":
        text = "".join(json.dumps(line) + "\n" for line in lines)
    else:
        whole, by_class = [*MEASURES], ["iou"]
        if "hd95" in scores:  # of volumes
            whole, by_class = ["mean_dice", "mean_hd95"], ["dice", "hd95"]
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        heads = [f"{measure} {name}" for measure in by_class for name in scores[measure]]
        writer.writerow(["image", *whole, *heads])
        for line in lines:
            values = [value for measure in by_class for value in line[measure].values()]
            writer.writerow([line["image"], *(line[key] for key in whole), *values])
        text = table.getvalue()
    write_atomic(path, text)


def page(scores: Mapping[str, Any]) -> str:
    """Scores as a terminal shows them, in percent."""
    if "hd95" in scores:
        return volumes.page(scores)
    miou, images = percent(scores["miou"]), scores["images"]
    known = [f"mIoU {miou} ({scores['policy']})"]
    known += [f"{MEASURES[key]} {percent(scores[key])}" for key in list(MEASURES)[1:]]
    blocks = [
        f"{', '.join(known)}; {images} images, predicted in {scores['precision']}",
        _table(
            ["mIoU by", "", "counted as"],
            [[name, percent(scores["policies"][name]), said] for name, said in POLICIES.items()],
        ),
        _table(
            ["class", "IoU", "Dice", "boundary IoU", "pixels"],
            [
                [
                    one_line(name),
                    *(percent(scores[key][name]) for key in ("iou", "dice", "boundary_iou")),
                    str(scores["pixels"][name]),
                ]
                for name in scores["iou"]
            ],
        ),
    ]
    worst = list(scores["each"].items())[:WORST]
    blocks.append(
        _table(
            ["worst images", *MEASURES.values()],
            [[one_line(name), *(percent(one[key]) for key in MEASURES)] for name, one in worst],
        )
    )
    return "\n\n".join(blocks)


def _table(head: list[str], rows: list[list[str]]) -> str:
    columns = []
    for title, *cells in zip(head, *rows, strict=True):
        width = max(map(len, (title, *cells)))
        number = all(cell == "-" or cell[:1].isdigit() for cell in cells)
        columns.append([f"{cell:{'>' if number else '<'}{width}}" for cell in (title, *cells)])
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))
