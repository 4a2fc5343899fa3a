"""A network of volumes: cases scored by Dice and surface distance, or predicted and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from segbook.builders.optimizer import build_settings
from segbook.prediction.folder import classes_of, named, naming, preparation
from segbook.prediction.network import Network, policy_of
from segbook.prediction.scores import percent
from segbook.recipes.recipe import Recipe
from segbook.runs.files import write_whole
from segbook.text import columns, one_line
from segkit import engine
from segkit.data.volumes import (
    FOLDERS,
    SUFFIXES,
    is_volume,
    read_volume,
    stem_of,
    to_image,
    write_labels,
)
from segkit.engine.settings import lay_out_channels_last, memory_format
from segkit.files import FileError, shown, what_is_there
from segkit.inputs import device_of, spatial_dims
from segkit.metrics import CaseScores, argmax


def is_of_volumes(model: nn.Module) -> bool:
    """Whether a network takes volumes."""
    return spatial_dims(model) == 3


def evaluate_volumes(
    network: Network,
    dataset: Any,
    recipe: Recipe | None,
    *,
    show: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    **options: Any,
) -> tuple[dict[str, Any], list[str]]:
    """Score a network on a data set of volumes, by its training's windows.

    Args:
        network: its model where it is to run.
        dataset: a `segkit.data.VolumeDataset`.
        recipe: of its run, whose precision it predicts in; None predicts in float32.
        show: takes a line for each case that is left out.
        progress: whether there is a bar, after two seconds.
        **options: of `segkit.engine.predict_probs`.

    Returns:
        The scores, see `segkit.metrics.CaseScores`, and what was wrong with cases left out.

    Raises:
        ValueError: a header without its normalisation, or options that cannot be used.
    """
    model, header = network.model, network.header
    device, prepare = device_of(model), preparation(header)
    plain = engine.Settings("float32", channels_last=False, fused=False)
    settings = build_settings(recipe, device) if recipe else plain
    if settings.channels_last:
        lay_out_channels_last(model)
    dtype = engine.PRECISIONS[settings.precision]
    options = with_window(header, options)
    scores, left_out = CaseScores(dataset.classes), []
    cases = tqdm(range(len(dataset)), unit="case", delay=2, leave=False, disable=not progress)
    with cases as bar, torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        for index in bar:
            path = Path(dataset.stem(index))
            try:
                image, mask = dataset.raw(index)
                ready = prepare(image)[None]
                ready = ready.to(device, memory_format=memory_format(ready, settings.channels_last))
                with naming(path):
                    labels = engine.predict(model, ready, **options)[0]
            except ValueError as error:
                left_out.append(named(path, error))
                with bar.external_write_mode():
                    show(f"left out: {left_out[-1]}")
                continue
            scores.add(str(path), labels.cpu(), mask, dataset.spacing(index))
    about = {key: header[key] for key in ("builder", "recipe", "step") if key in header}
    about |= {"source": network.source, "data": repr(dataset), "precision": settings.precision}
    policy = policy_of(header)
    miou = scores.counts.miou(policy)
    about |= {"policy": policy, "miou": miou if miou == miou else None}
    about |= {"options": options, "images": len(scores.cases)}
    return {**about, **scores.summary(), "left_out": left_out}, left_out


def predict_volumes(
    model: nn.Module,
    header: Mapping[str, Any],
    inputs: Sequence[Path],
    out: Path,
    *,
    probs: bool = False,
    overwrite: bool = False,
    show: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    **options: Any,
) -> tuple[int, list[str]]:
    """Predict volumes and write their labels, in the form, affine and spacing of their images.

    Args:
        model: the network, on the device where it is to run.
        header: of its weights: ``normalisation``, and ``window``, by which it predicts where
            ``options`` name none.
        inputs: .nii, .nii.gz and .npz files, and folders: of one with images/ those, of another
            all volumes in it.
        out: the folder to write: ``labels/NAME.nii.gz`` or as the image's file ends; of npz
            "label", "affine" and "spacing".
        probs: whether ``probs/NAME.npz`` is written, too: "probs", float16 (K, D, H, W).
        overwrite: whether files that are there are replaced.
        show: takes a line for each volume.
        progress: whether there is a bar, after two seconds.
        **options: of `segkit.engine.predict_probs`.

    Returns:
        How many were predicted, and what was wrong with the others.

    Raises:
        ValueError: no volumes, two of one name, or files that would be replaced.
    """
    device, prepare = device_of(model), preparation(header)
    options = with_window(header, options)
    found = [path for given in inputs for path in _volumes(given)]
    places = [_places(out, path, probs) for path in found]
    written = [place for both in places for place in both]
    if twice := next((place for place in written if written.count(place) > 1), None):
        raise ValueError(f"two volumes would be written to {shown(twice)}: rename one of them")
    there = [place for place in written if lexists(place)]
    if there and not overwrite:
        raise ValueError(
            f"{shown(there[0])} is there already, and {len(there)} of {len(written)} files: give "
            "another folder, or replace them (--overwrite)"
        )
    left_out: list[str] = []
    with tqdm(found, unit="volume", delay=2, leave=False, disable=not progress) as bar:
        for path, mine in zip(bar, places, strict=True):
            try:
                ready = prepare(to_image(read_volume(path), path))[None].to(device)
                with naming(path):
                    scores = engine.predict_probs(model, ready, **options)
                classes, _ = classes_of(header, scores.shape[1])
                labels = argmax(scores)[0].cpu()
                _write(mine, path, labels.numpy(), scores[0])
            except ValueError as error:
                left_out.append(named(path, error))
                with bar.external_write_mode():
                    show(f"left out: {left_out[-1]}")
                continue
            voxels = torch.bincount(labels.flatten().int(), minlength=len(classes)).tolist()
            said = ", ".join(f"{n} {name}" for name, n in zip(classes, voxels, strict=True) if name)
            with bar.external_write_mode():
                show(one_line(f"{shown(mine[0])}  voxels: {said}"))
    return len(found) - len(left_out), left_out


def with_window(header: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of prediction, with the windows of the training where they name none."""
    trained = header.get("window")
    return {**({"window": tuple(trained)} if trained else {}), **options}


def page(scores: Mapping[str, Any]) -> str:
    """Scores as a terminal shows them: Dice in percent, distances in mm."""
    lines = [
        f"Dice {percent(scores['mean_dice'])}, HD95 {mm(scores['mean_hd95'])} mm; "
        f"{scores['images']} cases, predicted in {scores['precision']}; mIoU "
        f"{percent(scores['miou'])} ({scores['policy']})",
        "",
        *columns(rows(scores)),
    ]
    if missing := {name: n for name, n in scores["missing"].items() if n}:
        said = ", ".join(f"{one_line(name)} in {n} cases" for name, n in missing.items())
        lines += ["", f"found on one side only, which counts as Dice 0 and has no HD95: {said}"]
    return "\n".join(lines)


def rows(scores: Mapping[str, Any]) -> list[list[str]]:
    """A table of the mean and of each case, the worst first, with its heading."""
    names = [*scores["dice"]]
    table = [["case", *(f"Dice {n}" for n in names), *(f"HD95 {n} (mm)" for n in names)]]
    for name, case in {"mean": scores, **scores["each"]}.items():
        dice = [percent(case["dice"][one]) for one in names]
        table.append([name, *dice, *(mm(case["hd95"][one]) for one in names)])
    return table


def mm(distance: float | None) -> str:
    """A distance as it is printed."""
    return "-" if distance is None else f"{distance:.2f}"


def _volumes(given: Path) -> list[Path]:
    if given.is_dir():
        parts = [given / images for images, _ in FOLDERS if (given / images).is_dir()]
        part = parts[0] if parts else given
        found = sorted(p for p in part.iterdir() if is_volume(p) and not p.name.startswith("."))
        if not found:
            raise ValueError(
                f"there is no volume in {shown(part)}: no file ends in {' '.join(SUFFIXES)}"
            )
        return found
    if not lexists(given):
        raise FileError(given, what_is_there(given))
    if not is_volume(given):
        raise FileError(given, f"is no volume, whose file ends in {' '.join(SUFFIXES)}")
    return [given]


def _places(out: Path, path: Path, probs: bool) -> list[Path]:
    label = out / "labels" / path.name
    return [label, *[out / "probs" / f"{stem_of(path)}.npz"] * probs]


def _write(places: Sequence[Path], image: Path, labels: np.ndarray, probs: Tensor) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    write_whole(places[0], lambda file: write_labels(file, labels, image))
    if places[1:]:
        small = probs.half().cpu().numpy()
        write_whole(places[1], lambda file: np.savez_compressed(file, probs=small))
