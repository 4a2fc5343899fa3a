"""Dilation instead of stride: a stage keeps its resolution, its weights and what they see."""

from __future__ import annotations

from torch import nn


class DilationError(ValueError):
    """A backbone cannot be dilated."""


def replace_stride(stage: nn.Module, *, before: int = 1, dilate_first: bool = False) -> int:
    """Let a stage that halves the size keep it, and spread the taps of what follows.

    Behind the convolution that had the stride the map has twice as many pixels each way, so the
    taps of the later ones move apart to twice the distance. The one with the stride itself still
    reads the map before, at the distance that held there. Every second pixel of the result is then
    a pixel of the strided stage's result, bit for bit.

    Args:
        stage: what to change, in place; one convolution in it (and a 1x1 one or an average pooling
            in its shortcut) has stride 2. Modules must be registered in the order they run in.
        before: dilation that the stages before have arrived at: 1 without any.
        dilate_first: give the new dilation to the convolutions up to the strided one too. The rule
            of segmentation-models-pytorch for all backbones and of torchvision for MobileNetV3;
            pixels are no longer those of the strided stage.

    Returns:
        The dilation after the stage, in pixels of its result: twice `before`.
    """
    after = 2 * before
    passed = dilate_first
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            strided = module.stride != (1, 1)
            module.stride = (1, 1)
            if module.kernel_size[0] > 1:
                set_dilation(module, after if passed else before)
                passed = passed or strided
        elif isinstance(module, nn.AvgPool2d):  # of a shortcut: as the releases that have one
            module.kernel_size = module.stride = 1
    return after


def set_dilation(conv: nn.Conv2d, dilation: int) -> None:
    """Set the distance between the taps of a convolution, and the padding that keeps the size."""
    conv.dilation = (dilation, dilation)
    conv.padding = tuple(dilation * (side // 2) for side in conv.kernel_size)


def check_output_stride(output_stride: int) -> int:
    """Refuse an output stride that dilation cannot give.

    Raises:
        ValueError: it is not 8, 16 or 32.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride is {output_stride}; it may be 8, 16 or 32")
    return output_stride
