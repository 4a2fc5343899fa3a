"""The networks whose training is timed, each as another implementation has it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import segkit
from segkit.backbones.resnet import resnet18, resnet50
from segkit.models.deeplab_v3 import DeepLabV3
from segkit.models.deeplab_v3_plus import DeepLabV3Plus

NUM_CLASSES = 11


@dataclass(frozen=True)
class Case:
    """One network that is trained.

    Attributes:
        title: for the table.
        ours: builds our network; ``theirs`` builds segmentation-models-pytorch's, or is None.
        size: (height, width) of the images in pixels, which theirs wants divisible by 32.
        batch: images a step.
        promised: how many times faster our defaults are than theirs as it comes, or than our own
            plain float32 where there is no theirs; None promises nothing.
    """

    title: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module] | None
    size: tuple[int, int]
    batch: int
    promised: float | None


def _ours(name: str) -> Callable[[], nn.Module]:
    return lambda: segkit.create_model(name, num_classes=NUM_CLASSES)


def _theirs(name: str, encoder: str, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        make = getattr(require_smp(), name)
        network = make(encoder, encoder_weights=None, classes=NUM_CLASSES, **options)
        if name == "DeepLabV3":  # ours does not align corners, which costs the same
            network.segmentation_head[1].align_corners = False
        return network

    return build


def _deeplab_v3() -> nn.Module:
    backbone = resnet50(output_stride=8, dilate_first=True)
    return DeepLabV3(backbone, num_classes=NUM_CLASSES, aux=None)


def _deeplab_v3_plus() -> nn.Module:
    return DeepLabV3Plus(
        resnet18(output_stride=16, dilate_first=True),
        num_classes=NUM_CLASSES,
        rates=(12, 24, 36),
        dropout=0.5,
        decoder_convs=1,
        depthwise_bn=False,
    )


CASES = {
    "unet_resnet18": Case(
        "U-Net (ResNet-18)", _ours("unet_resnet18"), _theirs("Unet", "resnet18"),
        (352, 480), 2, 1.9,
    ),
    "deeplab_v3_resnet50": Case(
        "DeepLabV3 (ResNet-50, stride 8)", _deeplab_v3, _theirs("DeepLabV3", "resnet50"),
        (192, 256), 2, 1.9,
    ),
    "deeplab_v3_plus_resnet18": Case(
        "DeepLabV3+ (ResNet-18, stride 16)", _deeplab_v3_plus,
        _theirs("DeepLabV3Plus", "resnet18", encoder_output_stride=16), (352, 480), 2, None,
    ),
    "pp_liteseg_t": Case("PP-LiteSeg-T", _ours("pp_liteseg_t"), None, (352, 480), 4, 1.4),
}  # fmt: skip
"""The networks by name, each built as the other implementation has it."""


def require_smp() -> Any:
    """segmentation-models-pytorch.

    Raises:
        ValueError: it is not installed.
    """
    try:
        import segmentation_models_pytorch as smp  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise ValueError(
            "segmentation-models-pytorch, which this compares with, is not installed: "
            "pip install 'segbook[parity]' (pp_liteseg_t, options and data do without it)"
        ) from None
    return smp


def fake_batch(case: Case) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W) of noise and labels (B, H, W)."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, *case.size, generator=generator)
    labels = torch.randint(0, NUM_CLASSES, (case.batch, *case.size), generator=generator)
    return images, labels


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Load our weights into their network; both list them in the same order.

    Raises:
        ValueError: they do not.
    """
    state, names = ours.state_dict(), theirs.state_dict()
    for (name, tensor), (their_name, other) in zip(state.items(), names.items(), strict=True):
        if tensor.shape != other.shape:
            raise ValueError(f"{name} {[*tensor.shape]} is not their {their_name} {[*other.shape]}")
    theirs.load_state_dict(dict(zip(names, state.values(), strict=True)))
