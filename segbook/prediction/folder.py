"""A network over many images: each predicted and written by itself, and scored where it can be."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from os.path import abspath, getsize, lexists
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from segbook.certificates.published import AuthorsNormalize
from segbook.prediction.files import (
    RECORD,
    SCORES,
    WHAT,
    Journal,
    find_images,
    find_masks,
    read_record,
)
from segbook.prediction.large import predict_large
from segbook.prediction.network import policy_of
from segbook.prediction.scores import Scores, percent
from segbook.runs.files import write_atomic, write_whole
from segkit import engine, transforms
from segkit.data import Reading, read_mask
from segkit.data.classes import Colour, find_classes, void_ids
from segkit.data.folder import meaning_of
from segkit.data.images import MAX_BYTES, TooLargeError
from segkit.files import FileError, shown
from segkit.inputs import device_of
from segkit.metrics import argmax
from segkit.outputs import IGNORE
from segkit.transforms.volumes import standardize

PICTURES = ("labels", "colour", "overlay")
DEFAULTS = {"scales": [1.0], "flip": False, "window": None, "overlap": 0.5, "margin": 0}
"""The options of `segkit.engine.predict_probs`, as JSON has them."""
NAMING = ("builder", "arguments", "normalisation", "classes", "palette")
"""What of a header decides, beside the tensors, what is written."""


class Predicted(NamedTuple):
    """What became of the images.

    Attributes:
        images: how many were predicted.
        left_out: what was wrong with each of the others; names the file.
        not_scored: what was wrong with masks; names the file.
        scores: what ``scores.json`` holds; None where no masks were given.
        kept: how many were there already, by an earlier call that was stopped.
    """

    images: int
    left_out: list[str]
    not_scored: list[str]
    scores: dict[str, Any] | None
    kept: int = 0


def predict_folder(
    model: nn.Module,
    header: Mapping[str, Any],
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    what: Sequence[str] = PICTURES,
    masks: str | Path | None = None,
    ignore: int | Sequence[int] = IGNORE,
    overwrite: bool = False,
    show: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    **options: Any,
) -> Predicted:
    """Predict images and write what the network says of each.

    A file that cannot be read, or that is too small for the network or too large for the memory, is
    named and left out. One that is larger than is read whole is predicted by windows, where their
    size is given; of it only ``labels/NAME.tif`` is written, see `segbook.prediction.large`.

    ``prediction.json`` in the folder says by what weights and options it was predicted, and
    ``prediction.jsonl`` of which image (path, size, time) and by what each file. The same call once
    more goes on where an earlier one was stopped: it keeps what was made of the same, and predicts
    again what was made of another image or by other weights. "weights" is the sha256 of the tensors
    and of `NAMING` in their header.

    Args:
        model: the network, on the device where it is to run.
        header: of its weights: ``normalisation``, and where they are known ``classes``,
            ``palette`` and ``metric``.
        inputs: image files, and folders of which all images are taken, see
            `segbook.prediction.files.find_images`.
        out: the folder to write: ``labels/NAME.png`` (ids, 8 bits, as `segkit.data.read_mask` reads
            them), ``colour/NAME.png`` (the same in the palette), ``overlay/NAME.png`` (half of it,
            half of the image), ``probs/NAME.npz`` ("probs", float16 of shape (K, H, W)).
        what: which of these four.
        masks: a folder with the true labels, of the same stems: ids of the classes, 255 for void.
            The scores go to ``scores.json``, mIoU by the policy of the header.
        ignore: the id, or ids, by which the masks mark void, too.
        overwrite: whether files that are there are replaced.
        show: takes a line for each image that is scored or left out.
        progress: whether there is a bar, after two seconds.
        **options: of `segkit.engine.predict_probs`: scales, flip, window, overlap, margin.

    Returns:
        How many were predicted, what was left out, and the scores.

    Raises:
        ValueError: no images, no masks, a header without its normalisation, options or a network
            that cannot be used, or files that would be replaced. Nothing has been written then.
        OSError: ``out`` cannot be written.

    Example:
        >>> network = open_network("pp_liteseg_t_camvid")  # doctest: +SKIP
        >>> predict_folder(network.model, network.header, ["a.png"], "out")  # doctest: +SKIP
    """
    out = Path(out)
    if not what or not {*what} <= WHAT.keys():
        raise ValueError(f"what={what!r}: choose one or more of {', '.join(WHAT)}")
    prepare = preparation(header)
    # What fails on a small grey image is not the fault of a file.
    reading, grey = Reading.from_dict(header.get("images", {})), prepare(grey_image(header))
    device = device_of(model)
    with naming(Path("a grey image"), grey):
        num_classes = engine.predict_probs(model, grey[None].to(device), **options).shape[1]
    classes, palette = classes_of(header, num_classes)
    no_images = [out / kind for kind in WHAT] + ([Path(masks)] if masks is not None else [])
    found = find_images(inputs, leave=no_images)
    images = found.images
    truths = {} if masks is None else find_masks(masks, images)
    places = [_place(out, kind, image.name) for image in images for kind in what]
    if masks is not None:
        places.append(out / SCORES)
    if lexists(out) and not out.is_dir():
        raise ValueError(f"{shown(out)} is no folder: give another place to write to (--out)")
    read = {path.resolve() for path in (*(image.path for image in images), *truths.values())}
    large = [_large(out, image.name) for image in images]
    if own := next((path for path in (*places, *large) if path.resolve() in read), None):
        raise ValueError(
            f"{shown(own)} is read here and would be replaced: give another folder to write (--out)"
        )
    record = {
        "weights": digest(model, header),
        "options": {**DEFAULTS, **json.loads(json.dumps(options))},
    }
    before, journal = read_record(out), Journal(out)
    goes_on = before == record and not overwrite
    if not overwrite and before and not goes_on:
        changed = [key for key in record if before.get(key) != record[key]]
        raise ValueError(
            f"{shown(out)} was predicted with other {' and '.join(changed)}"
            + f" ({before['options']}, and now {record['options']})" * ("options" in changed)
            + ": give another folder, or replace what is there (--overwrite)"
        )
    there = [path for path in (*places, *large) if lexists(path)]
    if goes_on:
        there = [path for path in there if not journal.knows(path)]
    if there and not overwrite:
        raise ValueError(
            f"{shown(there[0])} is there already, and {len(there)} of {len(places)} files: give "
            "another folder, or replace them (--overwrite)"
        )
    for line in found.remarks(out):
        show(line)
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / RECORD, json.dumps(record, indent=1) + "\n")

    scores = Scores(classes, policy_of(header))
    meaning = meaning_of(num_classes, void_ids(ignore))
    left_out, not_scored, kept = [], [], 0
    with (
        journal.writing(),
        tqdm(
            images, unit="image", delay=2, leave=False, disable=not progress, dynamic_ncols=True
        ) as bar,
    ):

        def tell(line: str) -> None:
            with bar.external_write_mode():
                show(line)

        for image in bar:
            truth, mine = truths.get(image.name), [_place(out, kind, image.name) for kind in what]
            made = {**_stamp(image.path), **record}
            if goes_on and journal.has([_large(out, image.name)], made):
                kept += 1
                continue
            if goes_on and journal.has(mine, made) and (truth is None or "labels" in what):
                kept += 1
                labels = read_mask(_place(out, "labels", image.name)) if truth else None
            else:
                try:
                    pixels = _read(
                        image.path, reading, by_windows=options.get("window") is not None
                    )
                    if pixels is None:
                        place = _large(out, image.name)
                        journal.note([place])
                        with naming(image.path):
                            predict_large(
                                model, prepare, image.path, place, palette, reading=reading,
                                progress=progress, **options,
                            )  # fmt: skip
                        journal.note([place], **made)
                        tell(f"{shown(image.name)}  by windows, so only {shown(place)}")
                        if truth is not None:
                            not_scored.append(f"{shown(truth)}: its image is larger than memory")
                            tell(f"not scored: {not_scored[-1]}")
                        continue
                    ready = prepare(pixels)
                    with naming(image.path, ready):
                        probs = engine.predict_probs(model, ready[None].to(device), **options)
                except ValueError as error:
                    left_out.append(named(image.path, error))
                    tell(f"left out: {left_out[-1]}")
                    continue
                labels = argmax(probs)[0].cpu()
                journal.note(mine)
                for kind, place in zip(what, mine, strict=True):
                    _write(kind, place, reading.shown(pixels), labels, probs[0], palette)
                journal.note(mine, **made)
            if truth is None or labels is None:
                continue
            try:
                mask = _read_truth(truth, tuple(labels.shape), meaning)
            except ValueError as error:
                not_scored.append(named(truth, error))
                tell(f"not scored: {not_scored[-1]}")
                continue
            score = scores.add(image.name, labels, mask, mask=str(truth))
            tell(f"{shown(image.name)}  mIoU {percent(score)}")
    summary = None
    if masks is not None:
        about = {key: header[key] for key in ("builder", "recipe", "step") if key in header}
        summary = {**about, "precision": "float32", "options": options, **scores.summary()}
        journal.note([out / SCORES])
        write_atomic(out / SCORES, json.dumps(summary, indent=1) + "\n")
    return Predicted(len(images) - len(left_out) - kept, left_out, not_scored, summary, kept)


def grey_image(header: Mapping[str, Any]) -> Tensor:
    """A small grey image of as many channels as a network reads, uint8 (C, 64, 64)."""
    return torch.full((len(header["normalisation"]["mean"]), 64, 64), 128, dtype=torch.uint8)


def preparation(header: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """What makes a network's input of an image: uint8 RGB (3, H, W) to float32 (3, H, W).

    Of a network of volumes it takes float32 (C, D, H, W), in the numbers of the file.

    Raises:
        ValueError: the header does not say how.
    """
    given: Any = header.get("normalisation")
    try:
        if given == {"per_volume": True}:
            return standardize
        if "channels" in given:
            return AuthorsNormalize(**given).image
        return transforms.Normalize(**given).image
    except TypeError:
        raise ValueError(
            f"the weights' header has normalisation {given!r:.200}, and without what images were "
            "normalised by in training nothing can be predicted: save the weights with "
            "header={..., 'normalisation': {'mean': [...], 'std': [...]}}, of RGB in 0..1"
        ) from None


def classes_of(
    header: Mapping[str, Any], num_classes: int
) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """Name and colour of each class; numbers and PASCAL VOC's colours where a header has none.

    Raises:
        ValueError: names or colours of another number of classes, or that are none.
    """
    names = header.get("classes") or [str(k) for k in range(num_classes)]
    names, palette, _ = find_classes(Path(), names, header.get("palette") or None)
    if len(names) != num_classes:
        raise ValueError(
            f"the weights' header names {len(names)} classes, and their network scores "
            f"{num_classes}: save them with the names of all"
        )
    return names, palette


@contextlib.contextmanager
def naming(path: Path, ready: Tensor | None = None) -> Iterator[None]:
    """Say in our words why a network fails on an image.

    Args:
        path: of the image.
        ready: its pixels, (C, H, W), where it is predicted whole.

    Raises:
        FileError: memory ended, or the network cannot predict it.
    """
    try:
        yield
    except (MemoryError, ArithmeticError, RuntimeError) as error:
        size = f"has {ready.shape[2]}x{ready.shape[1]} pixels, " if ready is not None else "is one "
        ended = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if ended or "can't allocate memory" in str(error):  # the CPU's own words
            what = "for which memory ended: take windows (--window 512), or smaller scales"
        else:
            what = f"which this network cannot predict: {str(error).splitlines()[0]:.200}"
        raise FileError(path, size + what) from error


def named(path: Path, error: ValueError) -> str:
    """What is wrong with a file, in one line that begins with its name."""
    return str(error) if isinstance(error, FileError) else f"{shown(path)}: {shown(error)}"


def _read(path: Path, reading: Reading, *, by_windows: bool) -> Tensor | None:
    """An image, (C, H, W) of 0..255; None for one that is read by windows."""
    try:
        return reading.read(path)
    except FileError as error:
        if not isinstance(error, TooLargeError) and not (
            path.is_file() and getsize(path) > MAX_BYTES
        ):
            raise
        if by_windows:
            return None
        raise FileError(
            path, "is too large to be predicted whole: predict it by windows (--window 512)"
        ) from error


def _read_truth(truth: Path, size: tuple[int, ...], meaning: Mapping[int, int]) -> Tensor:
    """A mask as classes, uint8 (H, W).

    Raises:
        ValueError: it cannot be read, has another size or an id that is no class.
    """
    mask = read_mask(truth)
    if mask.shape != size:
        sizes = [f"{shape[1]}x{shape[0]}" for shape in (mask.shape, size)]
        raise FileError(
            truth,
            f"has {sizes[0]} pixels (width x height) and its image {sizes[1]}: a mask has the "
            "size of its image",
        )
    if strays := [value for value in mask.unique().tolist() if value not in meaning]:
        last = max(label for label in meaning.values() if label != IGNORE)
        raise FileError(
            truth,
            f"holds {', '.join(map(str, strays[:5]))}, but the classes have the ids 0 to {last}, "
            "and void is 255: where it is void, too, say so "
            f"(--ignore {strays[0]})",
        )
    table = torch.tensor([meaning.get(k, IGNORE) for k in range(256)], dtype=torch.uint8)
    return table[mask.long()]


def _stamp(image: Path) -> dict[str, Any]:
    """By what an image is known again; empty for one that is not there."""
    try:
        found = image.stat()
    except OSError:
        return {}
    return {"image": abspath(image), "size": found.st_size, "mtime_ns": found.st_mtime_ns}


def digest(model: nn.Module, header: Mapping[str, Any]) -> str:
    """A fingerprint of a network's weights and of what their header says of its labels."""
    named = {key: header.get(key) for key in NAMING}
    if "images" in header:
        named["images"] = header["images"]
    sha256 = hashlib.sha256(json.dumps(named, sort_keys=True, default=str).encode())
    for name, value in model.state_dict().items():
        sha256.update(name.encode())
        sha256.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return sha256.hexdigest()


def _large(out: Path, name: str) -> Path:
    return out / "labels" / f"{name}.tif"


def _place(out: Path, kind: str, name: str) -> Path:
    return out / kind / f"{name}{WHAT[kind]}"


def _write(
    kind: str, path: Path, pixels: Tensor, labels: Tensor, probs: Tensor, palette: Sequence[Colour]
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "probs":
        small = probs.half().cpu().numpy()
        write_whole(path, lambda file: np.savez_compressed(file, probs=small))
        return
    picture = Image.fromarray(labels.numpy())
    if kind != "labels":
        picture.putpalette([level for colour in palette for level in colour])
    if kind == "overlay":
        shot = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        picture = Image.blend(shot, picture.convert("RGB"), 0.5)
    write_whole(path, lambda file: picture.save(file, "PNG"))
