"""Whom a trained OCRNet asks on the book's three photographs, as a small file beside its run.

python -m segbook.reports.regions WEIGHTS docs/runs/NAME

A network of six million parameters is too large to travel with the notebooks; its soft object
regions and its relation on three photographs are not, and they are what chapter 08 shows.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segbook.runs.recording import PUBLISHED
from segkit import data, load_model, transforms
from segkit.catalog import Source
from segkit.data import PHOTOGRAPHS, camvid
from segkit.metrics import ConfusionMatrix
from segkit.models.ocrnet import OCRNet, Regions

FILE = "regions.npz"


class RegionRecord(NamedTuple):
    """What a network thinks about the objects of three photographs.

    Attributes:
        regions: of each photograph, maps and relation, (1, K, h, w), from 8 bits of their roots.
        miou: of all three photographs together, policy ``dataset``, in 0..1: of the region head's
            "first prediction", and of the "answer".
        about: the network, the step of its training, its figure on validation.
    """

    regions: list[Regions]
    miou: dict[str, float]
    about: str


def write(source: Source, folder: str | os.PathLike[str]) -> Path:
    """Ask an OCRNet about the three photographs, and keep what it says.

    Args:
        source: its weights, as `segkit.load_model` takes them.
        folder: of the published run, made if it is missing.

    Returns:
        The file, `FILE` in the folder: at most 450 KB at 11 classes and stride 4.

    Raises:
        ValueError: the weights are of another network, or of other classes than CamVid's.
    """
    network, header = load_model(source)
    classes = list(header.get("classes", ()))
    if not isinstance(network, OCRNet) or classes != list(camvid.CLASSES):
        raise ValueError(
            "regions are recorded of an OCRNet with CamVid's classes; these weights are of "
            f"{type(network).__name__} with {len(classes)} classes: give another file"
        )
    prepare = transforms.evaluate(**header["normalisation"])
    scores: list[Tensor] = []  # by the region head; its maps only compare pixels with each other

    def keep(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        scores.append(made)

    network.region_head.register_forward_hook(keep)
    counts = {kind: ConfusionMatrix(len(classes)) for kind in ("first prediction", "answer")}
    kept: dict[str, Any] = {}
    for k, name in enumerate(PHOTOGRAPHS):
        image, mask = data.photograph(name)
        ready = prepare(image, mask)[0][None]
        with torch.no_grad():
            maps, relation = network.regions(ready)
            first, answer = network.resize(scores[-1], ready.shape[-2:]), network(ready).logits
        kept[f"maps_{k}"] = _small(maps / maps.amax((2, 3), keepdim=True))
        kept[f"relation_{k}"] = _small(relation)
        for counted, logits in zip(counts.values(), (first, answer), strict=True):
            counted.update(logits.argmax(1), mask[None])
    metric = header.get("metric", {})
    about = f"{header['builder']}, step {header.get('step', '?')}"
    if metric.get("value") is not None:
        about += f", {metric.get('split')} mIoU {100 * metric['value']:.1f}"
    said = {"about": about, "miou": {kind: one.miou() for kind, one in counts.items()}}
    kept["said"] = np.array(json.dumps(said))
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **kept)
    return path


def read(folder: str | os.PathLike[str]) -> RegionRecord:
    """What `write` left.

    Args:
        folder: of a run, or the name of one in ``docs/runs``.

    Raises:
        FileNotFoundError: nothing was recorded there.
    """
    named = os.path.basename(folder) == os.fspath(folder)
    with np.load((PUBLISHED / folder if named else Path(folder)) / FILE) as kept:
        said = json.loads(str(kept["said"]))
        regions = [
            Regions(_large(kept[f"maps_{k}"], (2, 3)), _large(kept[f"relation_{k}"], (1,)))
            for k in range(len(PHOTOGRAPHS))
        ]
    return RegionRecord(regions, said["miou"], said["about"])


def _small(shares: Tensor) -> NDArray[np.uint8]:
    """Shares in 0..1 as 8 bits of their root, which keeps the small ones."""
    return (255 * shares.sqrt()).round().byte().numpy()


def _large(small: NDArray[np.uint8], over: tuple[int, ...]) -> Tensor:
    """Shares again, whose sum over some axes is 1."""
    shares = (torch.from_numpy(small).float() / 255).square()
    return shares / shares.sum(over, keepdim=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(write(sys.argv[1], sys.argv[2]))
