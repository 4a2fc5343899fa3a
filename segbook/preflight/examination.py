"""From a recipe to findings: what the library's checks want to know, asked of the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segbook import recipes
from segbook.builders.check import check
from segbook.builders.data import build_augmentation, build_data
from segbook.builders.model import build_model
from segbook.preflight.capacity import Device, of_machine, of_sizes
from segbook.recipes.recipe import Recipe
from segkit import data, transforms
from segkit.data import catalog as data_catalog
from segkit.data.subset import Subset, at_most
from segkit.doctor import Finding, Scan, by_severity, inspect, inspect_folder, scan_data
from segkit.doctor import training as settings
from segkit.doctor.listing import list_folder
from segkit.doctor.rehearsal import look_at_network
from segkit.doctor.scan import Progress
from segkit.engine import distributed
from segkit.engine.freeze import freeze
from segkit.outputs import IGNORE
from segkit.weights import read_header

DRAWN = 32
"""Scenes of the synthetic streets that are looked at: what is drawn has no broken files."""

OF_THE_WHOLE = ("tiny_split", "classes_never_present")
"""Checks that a sample cannot answer."""


def examine(
    recipe: Recipe,
    *,
    reference: Recipe | None = None,
    sets: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
    folder: Path | None = None,
    processes: int | None = None,
    limit: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Finding]:
    """Look at everything that a training of a recipe depends on; nothing is trained.

    Args:
        recipe: to be trained.
        reference: as it was published; None for that of the same name, where there is one.
        sets: its data sets by split; None builds them.
        model: the network as it will be trained; None builds it, without weights.
        folder: where checkpoints will be written; None for where runs go.
        processes: that train together; None for those of this process's group.
        limit: most pairs that are looked at, an even sample of them; None for all.
        workers: processes that look at pairs; 0 for this one, None for a number that suits.
        progress: told after each pair how many of how many are done.

    Returns:
        Errors, then warnings, then notes.

    Raises:
        ValueError: no data set has the recipe's name for it.
    """
    entry = data_catalog.find(recipe.data)
    processes = processes or distributed.world_size()
    device = Device.here()
    findings = [*_rates(recipe, reference), *of_machine(recipe, device, processes)]
    given = sets
    try:
        sets = build_data(recipe) if given is None else given
    except (ValueError, OSError) as error:
        found = _folder_of(recipe, workers, progress)
        if not any(_explains(finding, error) for finding in found):
            findings.append(_no_data(recipe, error))
        return by_severity([*findings, *found])
    try:
        if given is None:
            check(recipe)
    except (ValueError, OSError) as error:
        findings.append(_unbuilt("recipe", error, "change the field that is named"))
    limit = limit if entry.needs_root else DRAWN
    looked = at_most(sets, limit)
    scan = scan_data(looked, workers=workers, progress=progress)
    if recipe.data_root and not entry.needs_root:
        findings.append(_unread_folder(recipe))
    if entry.own:
        listing = list_folder(Path(recipe.data_root), tuple(sets))
        scan = dataclasses.replace(scan, listing=listing)
    sampled = any(isinstance(one, Subset) for one in looked.values())
    findings += [
        finding
        for finding in inspect(scan, memory=device.memory)
        if not (sampled and finding.check in OF_THE_WHOLE)
    ]
    if sampled and entry.needs_root:
        findings.append(_sampled(scan, sets))
    findings += _pictures(recipe, sets["train"], scan)
    try:
        with torch.device("meta"):
            built = build_model(recipe, sets["train"].num_classes, pretrained=False)
        freeze(built, recipe.freeze)
        if recipe.freeze == "backbone" and not (recipe.weights or recipe.weights_backbone):
            findings.append(_frozen_noise())
    except (ValueError, OSError, TypeError) as error:
        if given is not None:  # else the recipe's finding has said so
            findings.append(_unbuilt("network", error, "change model or model_options"))
        return by_severity(findings)
    share = max(1, recipe.batch_size // processes)
    saved = 0
    for crop in dict.fromkeys(crop for _, crop, _ in recipe.schedule_of_crops()):
        step, found = look_at_network(
            built, (share, 3, *crop), aux_weight=recipe.aux_weight, processes=processes
        )
        findings += found
        saved = max(saved, step.saved)
    findings += _norms(recipe, built, model, device, processes)
    findings += of_sizes(recipe, built, sets["train"], scan, saved, device, processes, folder)
    return by_severity(dict.fromkeys(findings))  # two phases may say the same


def _unread_folder(recipe: Recipe) -> Finding:
    return Finding(
        "error",
        "data_root_unread",
        f"data_root is {recipe.data_root!r}, but data is {recipe.data!r}",
        "drawn streets would be trained on, and the folder would never be read",
        "--set data=folder for pictures of your own, or the name of the data set (camvid ...)",
    )


def _frozen_noise() -> Finding:
    return Finding(
        "error",
        "frozen_random_backbone",
        "freeze is 'backbone', but neither weights nor weights_backbone is given",
        "random weights would be kept as they are, and only what follows them would learn",
        "--set freeze=none, or name the weights to start from",
    )


def _rates(recipe: Recipe, reference: Recipe | None) -> Iterator[Finding]:
    """Learning rate, alone and against the published recipe."""
    if finding := settings.learning_rate_range(recipe.lr, recipe.optimizer):
        yield finding
    if reference is None and recipe.name in recipes.RECIPES:
        reference = recipes.get(recipe.name)
    if reference is not None and reference.optimizer == recipe.optimizer:
        if finding := settings.learning_rate(
            recipe.lr,
            recipe.batch_size * recipe.accumulate,
            reference_lr=reference.lr,
            reference_batch=reference.batch_size * reference.accumulate,
            optimizer=recipe.optimizer,
        ):
            yield finding


def _pictures(recipe: Recipe, train_set: Any, scan: Scan) -> Iterator[Finding]:
    """Settings that concern the images: crops, schedule, rare classes, what is labelled."""
    records = [record for record in scan.records if record.split == "train"]
    sizes = [record.image.size for record in records if record.image and all(record.image.size)]
    for _, crop, scale in recipe.schedule_of_crops():
        if finding := settings.crop_padding(sizes, crop, scale):
            yield finding
    yield from settings.short_schedule(
        recipe.steps,
        recipe.batch_size * recipe.accumulate,
        len(train_set),
        warmup=recipe.warmup,
        evaluate_every=recipe.evaluate_every,
    )
    pixels = torch.zeros(train_set.num_classes, dtype=torch.int64)
    for record in records:
        for value, count in record.labels.values.items():
            if record.mapped and value < len(pixels):
                pixels[value] += count
    weighted = recipe.class_weights != "none" or recipe.loss not in (
        "cross_entropy",
        "ohem_cross_entropy",
    )
    if finding := settings.rare_classes(pixels, train_set.classes, weighted=weighted):
        yield finding
    if pixels.any():  # else the masks themselves are at fault
        if finding := settings.labelled_share(_labelled(recipe, train_set)):
            yield finding


def _labelled(recipe: Recipe, train_set: Any, count: int = 16) -> float:
    """Share of labelled pixels in some crops; pairs that cannot be read are left out."""
    _, crop, scale = recipe.schedule_of_crops()[0]
    augmented = train_set.with_transform(build_augmentation(recipe, crop, scale))
    crops = Subset(augmented, count, keep=False)
    labelled = total = 0
    for index in range(len(crops)):
        crops.indices, every = [crops.indices[index]], crops.indices
        try:
            for _, labels in data.sequential(crops, 1):  # seeds, and leaves the caller's alone
                labelled += int((labels != IGNORE).sum())
                total += labels.numel()
        except (ValueError, OSError, RuntimeError):
            continue  # the scan has named it
        finally:
            crops.indices = every
    return labelled / total if total else 1.0


def _norms(
    recipe: Recipe, built: nn.Module, model: nn.Module | None, device: Device, processes: int
) -> Iterator[Finding]:
    """How images and maps are normalised."""
    norms = [part for part in built.modules() if isinstance(part, nn.BatchNorm2d)]
    together = processes > 1 and device.kind == "cuda" and recipe.sync_bn != "off"
    converted = sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) if model else 0
    steps = [transform for transform in build_augmentation(recipe, recipe.crop, (1, 1)).transforms]
    used = next(step for step in steps if isinstance(step, transforms.Normalize))
    found = (
        settings.tiny_batchnorm(
            built,
            recipe.batch_size,
            processes=processes,
            synchronised=together,
            device=device.kind,
        ),
        settings.synchronised_batchnorm(
            converted or (len(norms) if recipe.sync_bn == "on" else 0),
            processes=processes,
            device=device.kind,
        ),
        settings.normalisation(_stored(recipe), used.mean, used.std),
    )
    yield from (finding for finding in found if finding)


def _stored(recipe: Recipe) -> Any:
    """The normalisation that the weights' file names, if it does."""
    path = Path(recipe.weights)
    return read_header(path).get("normalisation") if recipe.weights and path.is_file() else None


def _unbuilt(part: str, error: Exception | str, fix: str) -> Finding:
    return Finding(
        "error",
        f"{part}_cannot_be_built",
        str(error),
        "a training would end here before its first step",
        fix,
    )


def _no_data(recipe: Recipe, error: Exception) -> Finding:
    """No data set can be made of what the recipe's data_root names."""
    entry, root = data_catalog.find(recipe.data), Path(recipe.data_root)
    if entry.own and recipe.data_root and root.is_dir():
        return _unbuilt("data", error, "do what it says, or give another data_root")
    looked = f" (looked in {root.absolute()})" if recipe.data_root else ""
    return _unbuilt(
        "data",
        f"{error}{looked}",
        f"--set data_root=FOLDER, such as {entry.root}: the data set's own folder, not its parent",
    )


def _explains(finding: Finding, error: Exception) -> bool:
    """Whether a finding is about the file or list that an error names."""
    # Places are files, "list: stem" and "image ~ mask".
    files = [place.file.split(": ")[0].split(" ~ ")[0] for place in finding.places]
    return finding.severity == "error" and any(file in str(error) for file in files)


def _folder_of(recipe: Recipe, workers: int | None, progress: Progress | None) -> list[Finding]:
    """What is wrong with a folder of which no data set can be made."""
    if not data_catalog.find(recipe.data).own or not Path(recipe.data_root or "?").is_dir():
        return []
    try:
        return inspect_folder(recipe.data_root, workers=workers, progress=progress)
    except ValueError:  # that is what building it has said
        return []


def _sampled(scan: Scan, sets: Mapping[str, Any]) -> Finding:
    total = sum(map(len, sets.values()))
    return Finding(
        "note",
        "sampled",
        f"{len(scan.records):,} of {total:,} pairs were looked at, evenly spread",
        "a fault in the others shows when their turn comes",
        "segbook doctor RECIPE looks at all",
    )
