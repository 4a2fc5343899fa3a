"""Batch normalisation cannot train on a single value: said before it happens, with the cure."""

from __future__ import annotations

from torch import Tensor, nn


def require_two_values(name: str, stage: nn.Module, x: Tensor, *, step: int, stride: int) -> None:
    """Refuse a batch of one whose map a stage would shrink to 1x1 in training.

    Args:
        name: of the stage, for the message: "ResNet's layer4".
        stage: with batch normalisation inside, in training or not.
        x: what the stage is given, shape (B, C, H, W).
        step: how many times smaller the stage makes it.
        stride: of the result.

    Raises:
        ValueError: each channel would hold one value, whose variance is not defined.
    """
    if x.shape[0] > 1 or max(x.shape[-2:]) > step:
        return
    # Synchronised batch normalisation counts the other processes too and is no BatchNorm2d.
    if any(m.training for m in stage.modules() if isinstance(m, nn.BatchNorm2d)):
        raise ValueError(
            f"{name} has one value per channel to normalise in training: a batch of one image on a "
            f"map of 1x1 at stride {stride}. Take a batch of 2 or more or larger images, convert "
            "the model with nn.SyncBatchNorm.convert_sync_batchnorm when training on several "
            "devices, or freeze batch normalisation by putting these layers in eval mode."
        )
