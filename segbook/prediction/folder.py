"""A network over many images: each predicted and written by itself, and scored where it can be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from segbook.certificates.published import AuthorsNormalize
from segbook.prediction.files import find_images, find_masks
from segbook.prediction.network import policy_of
from segbook.runs.files import write_atomic, write_whole
from segkit import engine, transforms
from segkit.data import read_image, read_mask
from segkit.data.classes import Colour, find_classes, void_ids
from segkit.data.folder import meaning_of
from segkit.files import FileError, shown
from segkit.inputs import device_of
from segkit.metrics import ConfusionMatrix, argmax
from segkit.outputs import IGNORE

WHAT = {"labels": ".png", "colour": ".png", "overlay": ".png", "probs": ".npz"}
"""What can be written of an image: the name of its folder, and the ending of its files."""
PICTURES = ("labels", "colour", "overlay")
SCORES = "scores.json"


class Predicted(NamedTuple):
    """What became of the images.

    Attributes:
        images: how many were predicted.
        left_out: what was wrong with each of the others; names the file.
        not_scored: what was wrong with masks; names the file.
        scores: what ``scores.json`` holds; None where no masks were given.
    """

    images: int
    left_out: list[str]
    not_scored: list[str]
    scores: dict[str, Any] | None


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
    named and left out.

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
        **options: of `segkit.engine.predict_probs`: scales, flip, window, overlap.

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
    grey = prepare(torch.full((3, 64, 64), 128, dtype=torch.uint8))
    num_classes = _predict(model, grey, Path("a grey image"), options).shape[0]
    classes, palette = classes_of(header, num_classes)
    no_images = [out / kind for kind in WHAT] + ([Path(masks)] if masks is not None else [])
    images = find_images(inputs, leave=no_images)
    truths = {} if masks is None else find_masks(masks, images)
    places = [_place(out, kind, image.name) for image in images for kind in what]
    if masks is not None:
        places.append(out / SCORES)
    if lexists(out) and not out.is_dir():
        raise ValueError(f"{shown(out)} is no folder: give another place to write to (--out)")
    read = {path.resolve() for path in (*(image.path for image in images), *truths.values())}
    if own := next((path for path in places if path.resolve() in read), None):
        raise ValueError(
            f"{shown(own)} is read here and would be replaced: give another folder to write (--out)"
        )
    if not overwrite and (there := [*filter(lexists, places)]):
        raise ValueError(
            f"{shown(there[0])} is there already, and {len(there)} of {len(places)} files: give "
            "another folder, or replace them (overwrite=True, --overwrite)"
        )

    scores = _Scores(classes, policy_of(header), meaning_of(num_classes, void_ids(ignore)))
    left_out, not_scored = [], []
    with tqdm(
        images, unit="image", delay=2, leave=False, disable=not progress, dynamic_ncols=True
    ) as bar:

        def tell(line: str) -> None:
            with bar.external_write_mode():
                show(line)

        for image in bar:
            try:
                pixels = read_image(image.path)
                probs = _predict(model, prepare(pixels), image.path, options)
            except ValueError as error:
                left_out.append(_named(image.path, error))
                tell(f"left out: {left_out[-1]}")
                continue
            labels = argmax(probs[None])[0].cpu()
            for kind in what:
                _write(kind, _place(out, kind, image.name), pixels, labels, probs, palette)
            if (truth := truths.get(image.name)) is None:
                continue
            try:
                score = scores.add(image.name, labels, truth)
                tell(f"{shown(image.name)}  mIoU {percent(score)}")
            except ValueError as error:
                not_scored.append(_named(truth, error))
                tell(f"not scored: {not_scored[-1]}")
    summary = None
    if masks is not None:
        about = {key: header[key] for key in ("builder", "recipe", "step") if key in header}
        summary = {**about, "options": options, **scores.summary()}
        out.mkdir(parents=True, exist_ok=True)
        write_atomic(out / SCORES, json.dumps(summary, indent=1) + "\n")
    return Predicted(len(images) - len(left_out), left_out, not_scored, summary)


def preparation(header: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
    """What makes a network's input of an image: uint8 RGB (3, H, W) to float32 (3, H, W).

    Raises:
        ValueError: the header does not say how.
    """
    given: Any = header.get("normalisation")
    try:
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


def percent(score: float | None) -> str:
    """A score in 0..1 as it is printed."""
    return "-" if score is None or math.isnan(score) else f"{100 * score:.1f}"


class _Scores:
    """Counts of each image and of all of them."""

    def __init__(self, classes: Sequence[str], policy: str, meaning: Mapping[int, int]) -> None:
        self.classes, self.policy, self.meaning = classes, policy, meaning
        self.all = ConfusionMatrix(len(classes))
        self.each: dict[str, dict[str, Any]] = {}

    def add(self, name: str, labels: Tensor, truth: Path) -> float:
        """Score an image's labels, uint8 (H, W), by its mask; the mIoU.

        Raises:
            ValueError: the mask cannot be read, has another size or an id that is no class.
        """
        mask = read_mask(truth)
        if mask.shape != labels.shape:
            sizes = [f"{tensor.shape[1]}x{tensor.shape[0]}" for tensor in (mask, labels)]
            raise FileError(
                truth,
                f"has {sizes[0]} pixels (width x height) and its image {sizes[1]}: a mask has the "
                "size of its image",
            )
        if strays := [value for value in mask.unique().tolist() if value not in self.meaning]:
            raise FileError(
                truth,
                f"holds {', '.join(map(str, strays[:5]))}, but the classes have the ids 0 to "
                f"{len(self.classes) - 1}, and void is 255: where it is void, too, say so "
                f"(ignore={strays[0]}, --ignore {strays[0]})",
            )
        table = torch.tensor([self.meaning.get(k, IGNORE) for k in range(256)], dtype=torch.uint8)
        mask = table[mask.long()]
        one = ConfusionMatrix(len(self.classes))
        for counts in (one, self.all):
            counts.update(labels[None], mask[None])
        self.each[name] = {"mask": str(truth), **_scores_of(one, self.policy, self.classes)}
        return one.miou(self.policy)

    def summary(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "images": len(self.each),
            **_scores_of(self.all, self.policy, self.classes),
            "each": self.each,
        }


def _scores_of(counts: ConfusionMatrix, policy: str, classes: Sequence[str]) -> dict[str, Any]:
    found = counts.summary(policy)
    by_class = dict(zip(classes, found["iou"], strict=True))
    return {key: found[key] for key in ("miou", "pixel_accuracy", "mean_dice")} | {"iou": by_class}


def _predict(model: nn.Module, ready: Tensor, path: Path, options: Mapping[str, Any]) -> Tensor:
    """Probabilities (K, H, W) of a normalised image (3, H, W)."""
    try:
        return engine.predict_probs(model, ready[None].to(device_of(model)), **options)[0]
    except (MemoryError, ArithmeticError, RuntimeError) as error:
        size = f"{ready.shape[2]}x{ready.shape[1]}"
        ended = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if ended or "can't allocate memory" in str(error):  # the CPU's own words
            what = "for which memory ended: take windows (--window 512), or smaller scales"
        else:
            what = f"which this network cannot predict: {str(error).splitlines()[0]:.200}"
        raise FileError(path, f"has {size} pixels, {what}") from error


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


def _named(path: Path, error: ValueError) -> str:
    """What is wrong with a file, in one line that begins with its name."""
    return str(error) if isinstance(error, FileError) else f"{shown(path)}: {shown(error)}"
