"""PSPNet: what surrounds a pixel, averaged at four scales, stands beside the pixel.

Paper: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, https://arxiv.org/abs/1612.01105
Idea:  what looks like a car is a boat if it is on a river: a pixel needs the scene around it. The
    last feature map is averaged over grids of 1, 4, 9 and 36 cells, each average is brought back to
    the map's size, and all of them are concatenated with the map before it is classified. A second
    head on c4 helps a deep backbone to learn and is dropped afterwards.

    image ─ dilated ResNet ─┬ c5 /8 ─┬───────────────────────┬ concat ─ 3x3 ─ 1x1 ─ x8 ─ logits
                            │        ├ 1x1 cell  ─ 1x1 conv ─┤
                            │        ├ 2x2 cells ─ 1x1 conv ─┤
                            │        ├ 3x3 cells ─ 1x1 conv ─┤
                            │        └ 6x6 cells ─ 1x1 conv ─┘
                            └ c4 /8 ─ aux head

Differs from the paper:
    - The ResNet is torchvision's, with a 7x7 stem. The authors' has three 3x3 convolutions there,
      64, 64 and 128 wide (49,080,038 parameters for ResNet-50 at 19 classes), mmsegmentation's are
      32, 32 and 64 wide (48,975,494); all that follows is the same.
    - The authors align the corners of what they enlarge and take images of 8k + 1 pixels, for which
      that is exact. Here images have any size and corners are not aligned.
    - The paper leaves the width before the scores open; it is 512, as in the authors' code, and
      PaddleSeg's network has `channels=1024`.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor, nn

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import FCNHead, PyramidPooling, ResizeLogits, check_num_classes, init_decoder
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Pyramid Scene Parsing Network",
    authors="Zhao et al.",
    venue="CVPR",
    year=2017,
    url="https://arxiv.org/abs/1612.01105",
    kind="multi-scale",
)


class PSPNet(nn.Module):
    """Pyramid pooling on c5, and an auxiliary head on c4.

    Everything but the backbone is initialised here (He's normal distribution).

    Args:
        backbone: gives Stages; c5 is pooled and classified, best at stride 8.
        num_classes: K, two or more.
        channels: width of the 3x3 convolution before the scores.
        bins: cells along the side of each grid; each grid is reduced to c5's channels divided by
            the number of grids, so that all together are as wide as c5.
        dropout: probability before the scores, in both heads.
        aux: whether c4 is scored too in training; weight 0.4, the best of the paper's ablation.

    Raises:
        ValueError: fewer than two classes; in training, a batch of one image (the grid of one cell
            leaves a single value per channel to normalise).

    Returns (forward):
        logits (B, K, H, W). In training, aux holds "c4" (B, K, H/8, W/8), sizes rounded up.

    Example:
        >>> import torch
        >>> from segkit.backbones.resnet import resnet18
        >>> output = PSPNet(resnet18(), num_classes=5)(torch.zeros(2, 3, 64, 70))
        >>> output.logits.shape, output.aux["c4"].shape
        (torch.Size([2, 5, 64, 70]), torch.Size([2, 5, 4, 5]))
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        channels: int = 512,
        bins: tuple[int, ...] = (1, 2, 3, 6),
        dropout: float = 0.1,
        aux: bool = True,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        _, _, c4, c5 = backbone.channels
        reduced = c5 // len(bins)

        self.aux_losses: dict[str, AuxLoss] = (
            {"c4": AuxLoss(0.4)} if aux else {}
        )  # the best of Table 2
        self.backbone = backbone
        self.pyramid = PyramidPooling(c5, reduced, bins=bins)
        self.head = FCNHead(
            c5 + len(bins) * reduced, num_classes, channels=channels, dropout=dropout
        )
        self.resize = ResizeLogits()
        self.aux_head = FCNHead(c4, num_classes, dropout=dropout) if aux else None

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        _, _, c4, c5 = self.backbone(images)
        scores = self.head(self.pyramid(c5))  # (B, K, H/8, W/8)
        aux = {}
        if self.training and self.aux_head is not None:
            aux["c4"] = self.aux_head(c4)
        return SegOutput(self.resize(scores, images.shape[-2:]), aux)


class Options(BackboneOptions, total=False):
    """What all builders here take.

    Attributes:
        channels: width before the scores, 512; 1024 in PaddleSeg.
    """

    channels: int


def pspnet(*, backbone: str, **options: Unpack[Options]) -> PSPNet:
    """PSPNet on any backbone that can be dilated to stride 8."""
    return on_backbone(PSPNet, backbone, output_stride=8, **options)


def pspnet_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> PSPNet:
    """PSPNet on ResNet-50: 46,591,571 parameters at 19 classes, 48,956,262 with the aux head."""
    return pspnet(backbone=backbone, **options)


def pspnet_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> PSPNet:
    """PSPNet on ResNet-101: 65,583,699 parameters at 19 classes, 67,948,390 with the aux head."""
    return pspnet(backbone=backbone, **options)


builders = (pspnet, pspnet_resnet50, pspnet_resnet101)
