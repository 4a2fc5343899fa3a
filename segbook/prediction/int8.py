"""A network in 8 bits: by which images, what it loses by that, and how much faster it runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from segbook.bench.clock import Clock, median, ratio, take_turns
from segbook.prediction.evaluation import open_data
from segbook.prediction.files import find_images
from segbook.prediction.network import Network, policy_of
from segbook.prediction.scores import percent
from segbook.text import one_line
from segkit.data import read_image, reading_of
from segkit.doctor.finding import counted
from segkit.export import Exported
from segkit.export.files import load_onnx
from segkit.export.program import FromColours
from segkit.metrics import ConfusionMatrix, argmax

Run = Callable[[Tensor], Tensor]
"""Logits (B, K, H, W) of uint8 RGB (B, 3, H, W)."""
CLOCKS: tuple[Clock, ...] = ("wall", "cpu")
ROUNDS = 9
"""Calls of each form that are timed."""
SMALLEST = 32
"""Pixels of a side that every network takes."""
FEW = 8
"""Images: ranges that are measured on fewer are said to be doubtful."""


class Int8(NamedTuple):
    """How a file in 8 bits is made and judged.

    Attributes:
        data: a data set by name, or a folder: scored on its "val" and calibrated by its "train", or
            all of it where it has no splits. None for the run's own.
        data_root: where the data set is.
        calibrate: a folder of images, or a file, to calibrate by instead.
        images: how many, evenly spread over those there are.
        tolerance: the largest loss of mIoU, 0..1.
    """

    data: str | None = None
    data_root: str = ""
    calibrate: Path | None = None
    images: int = 64
    tolerance: float = 0.005


class LossError(ValueError):
    """The file in 8 bits is not as good as was asked."""


class Trial(NamedTuple):
    """What a file in 8 bits is calibrated by and scored on.

    Attributes:
        images: to calibrate by, uint8 (3, H, W).
        origin: where they are from.
        scored: the data set with masks; None where nobody knows any.
    """

    images: list[Tensor]
    origin: str
    scored: Any

    def calibration(self) -> dict[str, Any]:
        """What a certificate says of the images."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(str(tuple(image.shape)).encode() + image.numpy().tobytes())
        known = {"count": len(self.images), "of": self.origin, "sha256": digest.hexdigest()}
        return known | {"ranges": "least and largest value of each activation"}


def open_trial(network: Network, how: Int8) -> Trial:
    """Open the images, before minutes have passed.

    Raises:
        ValueError: no images are known, or they cannot be used: no 8-bit RGB, or smaller than
            `SMALLEST`.
    """
    data = how.data or (None if network.run else network.data or None)
    scored = None
    if data or network.run:
        scored = open_data(network, data, data_root=how.data_root)
        reading = reading_of(scored)
        if reading.bands or reading.range:
            raise ValueError(
                f"{one_line(scored)} reads its images by {reading.to_dict()}, and an exported file "
                "takes 8-bit RGB: give data that are such (--data)"
            )
    if how.calibrate is not None:
        paths = [image.path for image in find_images([how.calibrate]).images]
        origin, count, read = str(how.calibrate), len(paths), lambda k: read_image(paths[k])
    elif scored is None:
        raise ValueError(
            f"{network.source} are weights by themselves: say by what images to calibrate, and on "
            "what to score (--data NAME|FOLDER), or a folder of images alone (--calibrate)"
        )
    else:
        try:
            known = open_data(network, data, "train", data_root=how.data_root)
        except ValueError:
            known = scored  # a folder without splits
        origin, count, read = repr(known), len(known), lambda k: known.raw(k)[0]
    chosen = torch.linspace(0, count - 1, min(how.images, count)).round().long().tolist()
    images = [read(k) for k in chosen]
    for image in images:
        if min(image.shape[1:]) < SMALLEST:
            raise ValueError(
                f"{one_line(origin)} has an image of {image.shape[2]}x{image.shape[1]} pixels: "
                f"calibrate by such as networks take, of {SMALLEST} a side or more"
            )
    return Trial(images, origin, scored)


def judge(
    network: Network, before: Exported, after: Exported, trial: Trial, *, progress: bool = False
) -> dict[str, Any]:
    """Score and time the network, its file in float32 and that in 8 bits.

    Returns:
        "miou" (its "policy", "data", "images", "torch", "onnx", "int8"; None where nothing has
        masks), "labels_differ" (of the file in 8 bits from torch in float32, 0..1; on the same
        images, or those of the calibration) and "speed" (median seconds, and "times_faster" than
        torch, by the wall's clock and in CPU time).
    """
    runs: dict[str, Run] = {
        "torch": FromColours(network.model.float(), **network.header["normalisation"]).eval(),
        "onnx": load_onnx(before.content),
        "int8": load_onnx(after.content),
    }
    with torch.no_grad():
        found = _score(runs, network, trial, progress)
        image = trial.images[0][None]
        works = {name: (lambda run=run: run(image)) for name, run in runs.items()}
        samples = take_turns(works, ROUNDS)
    faster = {
        name: {clock: ratio(samples["torch"], samples[name], clock)._asdict() for clock in CLOCKS}
        for name in ("onnx", "int8")
    }
    return found | {
        "speed": {
            "image": [*image.shape[-2:]],
            "threads": torch.get_num_threads(),
            "rounds": ROUNDS,
            "seconds": {
                name: {clock: median(taken, clock) for clock in CLOCKS}
                for name, taken in samples.items()
            },
            "times_faster": faster,
        }
    }


def lines(found: Mapping[str, Any]) -> list[str]:
    """What `judge` found, as a terminal shows it."""
    differ = f"{100 * found['labels_differ']:.2g} % of labels differ from torch's"
    said = [f"{differ}; mIoU is not known without masks: give --data"]
    if miou := found["miou"]:
        values = ", ".join(f"{name} {percent(miou[name])}" for name in ("torch", "onnx", "int8"))
        about = f"{miou['policy']}; {miou['images']} images of {one_line(miou['data'])}"
        said = [f"mIoU {values} ({about})", differ]
    speed = found["speed"]
    clocks = {name: one["wall"]["median"] for name, one in speed["times_faster"].items()}
    size, threads = "x".join(map(str, speed["image"])), counted(speed["threads"], "thread")
    return [
        *said,
        f"times as fast as torch in float32: onnx {clocks['onnx']:.1f}, int8 {clocks['int8']:.1f} "
        f"({size} pixels, {threads})",
    ]


def refuse_loss(found: Mapping[str, Any], tolerance: float) -> None:
    """Refuse a file that lost too much.

    Raises:
        LossError: says how much, and what helps.
    """
    if not (miou := found["miou"]) or miou["torch"] - miou["int8"] <= tolerance:
        return
    lost = 100 * (miou["torch"] - miou["int8"])
    raise LossError(
        f"8 bits lose {lost:.2f} points of mIoU, and {100 * tolerance:g} are allowed: calibrate by "
        "more images (--images), or by such as the network will see (--calibrate FOLDER); or allow "
        "more (--tolerance). Nothing was written"
    )


def _score(
    runs: Mapping[str, Run], network: Network, trial: Trial, progress: bool
) -> dict[str, Any]:
    pairs: Any = trial.scored
    if pairs is None:
        total, counts = len(trial.images), {}
    else:
        total, counts = len(pairs), {name: ConfusionMatrix(pairs.num_classes) for name in runs}
    differ = pixels = 0
    for k in tqdm(range(total), unit="image", delay=2, leave=False, disable=not progress):
        pair: Any = (trial.images[k], None) if pairs is None else pairs.raw(k)
        image, mask = pair
        labels = {name: argmax(run(image[None])) for name, run in runs.items()}
        differ += int((labels["int8"] != labels["torch"]).sum())
        pixels += labels["torch"].numel()
        for name, confusion in counts.items():
            confusion.update(labels[name], mask[None])
    policy = policy_of(network.header)
    miou = {name: confusion.miou(policy) for name, confusion in counts.items()}
    about = {"policy": policy, "data": repr(pairs), "images": total}
    return {"miou": about | miou if miou else None, "labels_differ": differ / pixels}
