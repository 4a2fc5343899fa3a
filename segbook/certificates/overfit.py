"""Can a network learn two real images by heart? One that cannot has a fault in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from segkit import data, engine, losses, transforms
from segkit.metrics import ConfusionMatrix
from segkit.metrics.labels import argmax
from segkit.nn import BATCH_NORMS

STEMS = ("0006R0_f01830", "0016E5_01500")
CORNERS = ((144, 400), (192, 400))
"""Upper left corners of 48x64 windows in which five classes each have 6 % of the pixels or more."""
ZOOM = 2
"""The windows are enlarged, so that a network that scores every eighth pixel can pass too."""
TARGET = 0.9
"""mIoU by the policy ``dataset``, on the two windows, in eval mode."""
EVERY = 10


def windows(root: str | Path) -> tuple[Tensor, Tensor]:
    """Two windows of CamVid's training images, enlarged and normalised, and their labels.

    Args:
        root: the CamVid folder.

    Returns:
        Shapes (2, 3, 96, 128) and (2, 96, 128).

    Raises:
        ValueError: the folder is not CamVid's.
    """
    images = data.CamVid(root, "train", cache=False)
    stems = [images.stem(index) for index in range(len(images))]
    normalise = transforms.evaluate()
    pairs = []
    for stem, (top, left) in zip(STEMS, CORNERS, strict=True):
        image, mask = images.raw(stems.index(stem))
        rows, columns = slice(top, top + 48), slice(left, left + 64)
        image = v2.functional.resize(image[:, rows, columns], [48 * ZOOM, 64 * ZOOM])
        mask = mask[rows, columns].repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1)
        pairs.append(normalise(image, mask))
    (image0, mask0), (image1, mask1) = pairs
    return torch.stack([image0, image1]), torch.stack([mask0, mask1])


def overfit(
    model: Any,
    images: Tensor,
    labels: Tensor,
    *,
    num_classes: int,
    lr: float = 1e-3,
    steps: int = 300,
) -> dict[str, Any]:
    """Train on one batch until its mIoU passes `TARGET`.

    AdamW at a constant rate in float32, no augmentation; every auxiliary loss as in training. Batch
    normalisation follows its batches by a tenth a step or faster: MobileNetV3's hundredth is made
    for runs a thousand times as long.

    Args:
        model: the network, trained in place.
        images: shape (B, C, H, W).
        labels: shape (B, H, W).
        num_classes: K.
        lr: learning rate.
        steps: to give up after.

    Returns:
        "steps" taken, "miou" reached in 0..1, "seconds" of CPU time, "lr", "passed".
    """
    for module in model.modules():
        if isinstance(module, BATCH_NORMS):
            module.momentum = max(module.momentum or 0.0, 0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    busy, miou, taken = time.process_time(), 0.0, 0
    stream = engine.train(
        model,
        iter(lambda: (images, labels), None),
        loss=losses.combine(losses.cross_entropy, model.aux_losses),
        optimizer=optimizer,
        steps=steps,
        clip=1.0,
    )
    for step in stream:
        taken = step.index
        if taken % EVERY == 0 and (miou := measure(model, images, labels, num_classes)) > TARGET:
            break
    stream.close()
    return {
        "steps": taken,
        "miou": round(miou, 4),
        "seconds": round(time.process_time() - busy, 1),
        "lr": lr,
        "passed": miou > TARGET,
    }


@torch.no_grad()
def measure(model: nn.Module, images: Tensor, labels: Tensor, num_classes: int) -> float:
    """The mIoU of a batch in eval mode; the network is left in the mode that it was in."""
    training = model.training
    prediction = argmax(model.eval()(images).logits)
    model.train(training)
    counts = ConfusionMatrix(num_classes)
    counts.update(prediction, labels)
    return counts.miou("dataset")
