"""From a recipe to findings: what the library's checks want to know, asked of the recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Subset as OnlySome

from segbook import recipes
from segbook.builders.check import check
from segbook.builders.data import build_augmentation, build_data, settle_images
from segbook.builders.model import build_model, channels_of
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import runs_root
from segbook.text import shell
from segkit import data, doctor
from segkit.data import catalog as data_catalog
from segkit.data import find_description
from segkit.data.statistics import image_statistics
from segkit.data.subset import Subset, at_most
from segkit.doctor import Finding, by_severity, machine, settings, volumes
from segkit.doctor.data.diagnosis import Scan
from segkit.doctor.data.listing import list_folder
from segkit.doctor.data.scan import Progress
from segkit.engine import best_precision, distributed
from segkit.engine.freeze import freeze
from segkit.files import shown
from segkit.outputs import IGNORE
from segkit.weights import bundled, read_header

DRAWN = 32
"""Scenes of the synthetic streets that are looked at: what is drawn has no broken files."""

MEASURED = 16
"""Training images of which mean and deviation are measured."""

OF_THE_WHOLE = ("tiny_split", "classes_never_present")
"""Checks that a sample cannot answer."""


def examine(
    recipe: Recipe,
    *,
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
        sets: its data sets by split; None builds them.
        model: the network as it will be trained; None builds it, without weights.
        folder: where checkpoints will be written; None for where runs go.
        processes: that train together; None for those of this process's group.
        limit: most pairs that are looked at, an even sample of them; None for all.
        workers: processes that look at pairs; 0 for this one, None for a number that suits.
        progress: called after each pair with how many of how many are done.

    Returns:
        Errors, then warnings, then notes.

    Raises:
        ValueError: no data set has the recipe's name for it.
    """
    entry = data_catalog.find(recipe.data)
    processes = processes or distributed.world_size()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    given = sets
    if given is None:
        try:
            recipe, _ = settle_images(recipe)
        except (ValueError, OSError):
            pass  # what opens the data says what is wrong
    findings = [*_settings(recipe, device, processes)]
    try:
        sets = build_data(recipe) if given is None else given
    except (ValueError, OSError) as error:
        return by_severity([*findings, *_no_data(recipe, error, workers, progress)])
    try:
        if given is None:
            check(recipe)
    except (ValueError, OSError) as error:
        findings.append(_unbuilt("recipe", error, "change the field that is named"))
    looked = at_most(sets, limit if entry.needs_root else DRAWN)
    if recipe.is_of_volumes:
        seen = volumes.inspect_volumes(looked, progress=progress)
        findings += [*seen.findings, *_patches(recipe, sets["train"], seen)]
        areas = [math.prod(record.size) * record.channels for record in seen.records]
        channels = seen.records[0].channels if seen.records else channels_of(recipe)
    else:
        channels = channels_of(recipe)
        found, areas = _images(recipe, sets, looked, workers, progress)
        findings += found
    findings += _sampled(recipe, sets, looked)
    findings += settings.short_schedule(
        recipe.steps,
        recipe.batch_size * recipe.accumulate,
        len(sets["train"]),
        warmup=recipe.warmup,
        evaluate_every=recipe.evaluate_every,
    )
    try:
        with torch.device("meta"):
            built = build_model(recipe, sets["train"].num_classes, pretrained=False)
        freeze(built, recipe.freeze)
    except (ValueError, OSError, TypeError) as error:
        if given is not None:  # else the recipe's finding has said so
            findings.append(_unbuilt("network", error, "change model or model_options"))
        return by_severity(findings)
    share = max(1, recipe.batch_size // processes)
    saved = 0
    for crop in dict.fromkeys(crop for _, crop, _ in recipe.schedule_of_crops()):
        step, found = doctor.check_network(
            built, (share, channels, *crop), aux_weight=recipe.aux_weight, processes=processes
        )
        findings += found
        saved = max(saved, step.saved)
    findings += _norms(recipe, built, model, device, processes)
    findings += _sizes(recipe, built, sets["train"], areas, saved, device, processes, folder)
    return by_severity(dict.fromkeys(findings))  # two phases may say the same


def _images(
    recipe: Recipe,
    sets: Mapping[str, Any],
    looked: Mapping[str, Any],
    workers: int | None,
    progress: Progress | None,
) -> tuple[list[Finding | None], list[int]]:
    """What is wrong with images and masks, and the pixels of each image."""
    scan = doctor.scan_data(looked, workers=workers, progress=progress)
    described = bool(recipe.data_root) and find_description(recipe.data_root)
    if data_catalog.find(recipe.data).own and not described:
        listing = list_folder(Path(recipe.data_root), tuple(sets))
        scan = dataclasses.replace(scan, listing=listing)
    sampled = any(isinstance(one, Subset) for one in looked.values())
    found = [one for one in doctor.inspect(scan) if not (sampled and one.check in OF_THE_WHOLE)]
    areas = [math.prod(record.image.size) for record in scan.records if record.image]
    return [*found, *_pictures(recipe, sets["train"], scan)], areas


def _sampled(
    recipe: Recipe, sets: Mapping[str, Any], looked: Mapping[str, Any]
) -> Iterator[Finding]:
    """A word where not all were looked at."""
    sampled = any(isinstance(one, Subset) for one in looked.values())
    if sampled and data_catalog.find(recipe.data).needs_root:
        count, total = (sum(map(len, one.values())) for one in (looked, sets))
        what = f"{count:,} of {total:,} pairs were looked at, evenly spread"
        why = "a fault in the others shows when their turn comes"
        yield Finding("note", "sampled", what, why, f"{_look(recipe)} looks at all")


def _patches(recipe: Recipe, train_set: Any, seen: volumes.Looked) -> Iterator[Finding | None]:
    """Settings that concern volumes: patches, rare classes."""
    records = [record for record in seen.records if record.split == "train"]
    for _, crop, _ in recipe.schedule_of_crops():
        yield volumes.patches(records, cast(tuple[int, int, int], crop))
    if records:
        voxels = torch.stack([record.voxels for record in records]).sum(0)
        yield settings.rare_classes(voxels, train_set.classes, weighted=_is_weighted(recipe))


def _is_weighted(recipe: Recipe) -> bool:
    """Whether a rare class counts for more than its pixels."""
    unweighted = ("cross_entropy", "ohem_cross_entropy")
    drawn = recipe.class_weights != "none" or recipe.rare_class_sampling > 0
    return drawn or recipe.loss not in unweighted


def _settings(recipe: Recipe, device: str, processes: int) -> Iterator[Finding | None]:
    """What needs neither data nor network."""
    yield settings.learning_rate_range(recipe.lr, recipe.optimizer)
    published = recipes.get(recipe.name) if recipe.name in recipes.RECIPES else None
    if published and published.optimizer == recipe.optimizer:
        yield settings.learning_rate(
            recipe.lr,
            recipe.batch_size * recipe.accumulate,
            reference_lr=published.lr,
            reference_batch=published.batch_size * published.accumulate,
            optimizer=recipe.optimizer,
        )
    yield machine.cores(
        machine.available_cores(),
        workers=recipe.workers,
        threads=torch.get_num_threads() if device == "cpu" else 1,
        processes=processes,
    )
    yield machine.number_format(
        recipe.precision,
        device=device,
        bfloat16=best_precision(device) == "bfloat16",
        channels_last=recipe.channels_last,
    )
    if recipe.data_root and not data_catalog.find(recipe.data).needs_root:
        yield Finding(
            "error",
            "data_root_unread",
            f"data_root is {recipe.data_root!r}, but data is {recipe.data!r}",
            "drawn streets would be trained on, and the folder would never be read",
            "--set data=folder for pictures of your own, or the name of the data set (camvid ...)",
        )
    if recipe.freeze == "backbone" and not (recipe.weights or recipe.weights_backbone):
        yield Finding(
            "error",
            "frozen_random_backbone",
            "freeze is 'backbone', but neither weights nor weights_backbone is given",
            "random weights would be kept as they are, and only what follows them would learn",
            "--set freeze=none, or name the weights to start from",
        )


def _pictures(recipe: Recipe, train_set: Any, scan: Scan) -> Iterator[Finding | None]:
    """Settings that concern the images: crops, rare classes, what is labelled."""
    records = [record for record in scan.records if record.split == "train"]
    sizes = [record.image.size for record in records if record.image and all(record.image.size)]
    pixels = torch.zeros(train_set.num_classes, dtype=torch.int64)
    for record in records:
        if record.mapped:
            pixels += torch.from_numpy(scan.counts(record)[:-1])
    for _, crop, scale in recipe.schedule_of_crops():
        yield settings.crop_padding(sizes, cast(tuple[int, int], crop), scale)
    if not (recipe.weights or recipe.weights_backbone):  # which want their own numbers
        with contextlib.suppress(ValueError, OSError):  # the scan has named what cannot be read
            some = image_statistics(Subset(train_set, MEASURED, keep=False))
            yield settings.unnormalised_images(some, recipe.mean, recipe.std)
    yield settings.rare_classes(pixels, train_set.classes, weighted=_is_weighted(recipe))
    if pixels.any():  # else the masks themselves are at fault
        yield settings.labelled_share(_labelled(recipe, train_set))


def _labelled(recipe: Recipe, train_set: Any, count: int = 16) -> float:
    """Share of labelled pixels in some crops; pairs that cannot be read are left out."""
    _, crop, scale = recipe.schedule_of_crops()[0]
    augmented = train_set.with_transform(build_augmentation(recipe, crop, scale))
    crops = Subset(augmented, count, keep=False)
    labelled = total = 0
    for index in range(len(crops)):
        with contextlib.suppress(ValueError, OSError, RuntimeError):  # the scan has named it
            one: Any = OnlySome(crops, [index])  # pyright: ignore[reportArgumentType]  # has no base
            # It seeds the augmentation, and leaves the caller's random numbers alone.
            for _, labels in data.sequential(one, 1):
                labelled += int((labels != IGNORE).sum())
                total += labels.numel()
    return labelled / total if total else 1.0


def _norms(
    recipe: Recipe, built: nn.Module, model: nn.Module | None, device: str, processes: int
) -> Iterator[Finding | None]:
    """How images and maps are normalised."""
    norms = sum(isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d) for part in built.modules())
    converted = sum(isinstance(m, nn.SyncBatchNorm) for m in model.modules()) if model else 0
    yield settings.tiny_batchnorm(
        built,
        recipe.batch_size,
        processes=processes,
        synchronised=processes > 1 and device == "cuda" and recipe.sync_bn != "off",
        device=device,
    )
    yield settings.synchronised_batchnorm(
        converted or norms * (recipe.sync_bn == "on"), processes=processes, device=device
    )
    if not recipe.is_of_volumes:  # each of which is normalised by itself
        path = bundled.find(recipe.weights) or Path(recipe.weights)
        named = recipe.weights and path.is_file()
        stored = read_header(path).get("normalisation") if named else None
        yield settings.normalisation(stored, recipe.mean, recipe.std)


def _sizes(
    recipe: Recipe,
    built: nn.Module,
    train_set: Any,
    areas: list[int],
    step: int,
    device: str,
    processes: int,
    folder: Path | None,
) -> Iterator[Finding | None]:
    """Bytes: of weights, checkpoints, batches, decoded images and a step."""
    share = max(1, recipe.batch_size // processes)
    weights = sum(t.nbytes for t in (*built.parameters(), *built.buffers()))
    trained = sum(t.nbytes for t in built.parameters() if t.requires_grad)
    moments = 2 * trained if recipe.optimizer == "adamw" else trained * (recipe.momentum > 0)
    kept = weights * (1 + (recipe.ema is not None)) + moments
    largest = max(math.prod(crop) for _, crop, _ in recipe.schedule_of_crops())
    precision = best_precision(device) if recipe.precision == "auto" else recipe.precision
    step //= 1 if precision == "float32" else 2
    cached = 0
    if getattr(train_set, "cache", False) and areas:
        cached = len(train_set) * 4 * sum(areas) // len(areas)
    on_cpu = device == "cpu"
    yield machine.disk_space(folder or runs_root(), checkpoint=kept, weights=weights)
    yield machine.shared_memory(
        recipe.workers, share * largest * machine.BYTES_PER_PIXEL, processes=processes
    )
    yield machine.memory(
        machine.available_memory(),
        cached=cached,
        workers=recipe.workers,
        step=step if on_cpu else 0,
        state=kept + trained if on_cpu else 0,
        processes=processes,
    )
    free = None if on_cpu else torch.cuda.mem_get_info()[0]
    yield machine.gpu_memory(free, step=step, state=kept + trained)
    yield machine.no_workers(
        recipe.workers, cores=machine.available_cores(), device=device, decodes=not cached
    )


def _look(recipe: Recipe) -> str:
    """The command that looks at all of a recipe's data."""
    if recipe.name not in recipes.RECIPES:
        return shell("segbook", "doctor", recipe.data_root)
    published = recipes.get(recipe.name)
    words = ["segbook", "doctor", recipe.name]
    for field in ("data", "data_root", "ignore"):
        if (value := getattr(recipe, field)) != getattr(published, field):
            words += ["--set", f"{field}={value}"]
    return shell(*words)


def _unbuilt(part: str, error: Exception | str, fix: str) -> Finding:
    why = "a training would end here before its first step"
    return Finding("error", f"{part}_cannot_be_built", str(error), why, fix)


def _no_data(
    recipe: Recipe, error: Exception, workers: int | None, progress: Progress | None
) -> list[Finding]:
    """What is wrong where no data set can be made: the faults of its folder, or the error."""
    entry, root = data_catalog.find(recipe.data), Path(recipe.data_root)
    found: list[Finding] = []
    if entry.own and recipe.data_root and root.is_dir() and not find_description(root):
        with contextlib.suppress(ValueError):  # that is what building it has said
            found = doctor.inspect_folder(
                root, ignore=recipe.ignore, workers=workers, progress=progress
            )
        what, fix = str(error), "do what it says, or give another data_root"
    else:
        what = f"{error} (looked in {shown(root.absolute())})" if recipe.data_root else str(error)
        fix = f"--set data_root=FOLDER, such as {entry.root}: "
        fix += "the data set's own folder, not its parent"
    # A finding about the file or list that the error names says it all, and better. Places are
    # files, "list: stem" and "image ~ mask".
    places = [place.file for one in found if one.severity == "error" for place in one.places]
    if any(shown(place.split(": ")[0].split(" ~ ")[0]) in str(error) for place in places):
        return found
    return [_unbuilt("data", what, fix), *found]
