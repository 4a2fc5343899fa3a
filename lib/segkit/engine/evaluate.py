"""Evaluation: a network over a data set, into one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from segkit.engine.predict import predict
from segkit.engine.settings import memory_format
from segkit.engine.train import PRECISIONS
from segkit.inputs import check_batch, check_network, device_of, explain_misfit, logits_of
from segkit.metrics import ConfusionMatrix, argmax


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    num_classes: int,
    precision: str = "float32",
    channels_last: bool = False,
    window: tuple[int, ...] | None = None,
) -> ConfusionMatrix:
    """Predict every image at its own size, whole or by windows, and count.

    Where several processes train together all of them evaluate, each its share of the images, and
    each gets the counts of all.

    Args:
        model: the network; it is put into eval mode and given back as it was.
        batches: images (B, C, H, W) and labels (B, H, W), or volumes (B, C, D, H, W) and their
            labels, once each (`segkit.data.sequential`, with this process's ``rank`` of the
            ``world_size``).
        num_classes: K.
        precision: "float32", "bfloat16" or "float16".
        channels_last: memory format of the images.
        window: as `predict` takes it; None for whole images.

    Returns:
        The confusion matrix of all images; empty where there was no batch.

    Raises:
        ValueError: unknown precision, batches that are no pairs, images that the network cannot
            take or that hold NaN or infinite numbers (looked for where they lie on the CPU), or
            labels as `ConfusionMatrix.update` refuses them.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; choose from {list(PRECISIONS)}")
    device = device_of(check_network(model))
    dtype = PRECISIONS[precision]
    counts = ConfusionMatrix(num_classes)
    was_training = model.training
    model.eval()
    try:
        for batch in batches:
            images, labels = check_batch(batch)
            images = images.to(device, memory_format=memory_format(images, channels_last))
            with (
                explain_misfit(model, images),
                torch.autocast(device.type, dtype=dtype, enabled=dtype is not None),
            ):
                if window is None:
                    prediction = argmax(logits_of(model, model(images)))
                else:
                    prediction = predict(model, images, window=window)
            counts.update(prediction, labels.to(device))
    finally:
        model.train(was_training)
    counts.all_reduce()
    return counts
