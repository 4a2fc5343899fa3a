"""Fast-SCNN: two branches that share their first layers.

Paper: Poudel, Liwicki and Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019,
    https://arxiv.org/abs/1902.04502
Idea:  two-branch networks compute low-level features twice, once for detail and once for context.
    Here one short module learns to downsample to stride 8; from there a deep branch of inverted
    bottlenecks goes on to stride 32 and comes back, and the shared map itself is the detail.

    image ─ learning to downsample: 32 /2 ─ 48 /4 ─ 64 /8 ┬───────────────── fusion /8 ─ classifier
                                                          │ └ aux head          │
              global features: 64 /16 ─ 96 /32 ─ 128 /32 ─┘                     │
                                        └ pyramid pooling /32 ┬ x4 ─────────────┘
                                                              └ aux head

Differs from the paper:
    - Nothing in the layers. Without the heads for training, 1,137,795 parameters at 19 classes; the
      paper says 1.11 million. Tramac's implementation has 1,138,051, for biases that batch
      normalisation cancels. mmsegmentation's has a 3x3 convolution after pyramid pooling, 1,399,939
      (pyramid_kernel=3); the paper has no room for it.
    - Neither of these dilates the depthwise convolution of the fusion, and Tramac's puts a ReLU
      between the two halves of a separable convolution. Here both are as in the paper, section
      3.2.1 and Table 3.
    - The paper says where its two auxiliary losses are and that they weigh 0.4, not which head they
      have; it is mmsegmentation's, a 3x3 convolution to 32 channels.
PaddleSeg pads its first convolution as TensorFlow does, at even sizes below and on the right alone,
and pools its pyramid with aligned corners: the same counts, other functions.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from segkit.builder import Paper
from segkit.losses import AuxLoss
from segkit.nn import (
    ConvBN,
    ConvBNReLU,
    FCNHead,
    PyramidPooling,
    ResizeLogits,
    SeparableConvBNReLU,
    check_num_classes,
    init_kaiming,
    resize,
)
from segkit.outputs import SegOutput
from segkit.weights import Source, with_weights

PAPER = Paper(
    title="Fast-SCNN: Fast Semantic Segmentation Network",
    authors="Poudel, Liwicki and Cipolla",
    venue="BMVC",
    year=2019,
    url="https://arxiv.org/abs/1902.04502",
    kind="real-time",
)


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: expand, filter each channel, project without a ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the result.
        stride: 1 keeps the size; 2 halves it, rounded up. The input is added where size and
            channels are kept.
        expansion: by how much it is wider inside.

    Source: Table 2; Sandler et al., "MobileNetV2", CVPR 2018, https://arxiv.org/abs/1801.04381
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, expansion: int = 6
    ) -> None:
        super().__init__()
        wide = expansion * in_channels
        self.residual = stride == 1 and in_channels == out_channels
        self.convs = nn.Sequential(
            ConvBNReLU(in_channels, wide, 1),
            ConvBNReLU(wide, wide, stride=stride, groups=wide),
            ConvBN(wide, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x) if self.residual else self.convs(x)


class FeatureFusion(nn.Module):
    """Enlarge the context to the detail, bring both to one width, add (Table 3).

    Args:
        detail_channels: channels of the larger map.
        context_channels: channels of the smaller map.
        channels: channels of the result.
        dilation: of the convolution over the enlarged map; by how much it was enlarged.
    """

    def __init__(
        self, detail_channels: int, context_channels: int, channels: int, *, dilation: int = 4
    ) -> None:
        super().__init__()
        self.spread = ConvBNReLU(
            context_channels, context_channels, dilation=dilation, groups=context_channels
        )
        self.context = ConvBN(context_channels, channels, 1)
        self.detail = ConvBN(detail_channels, channels, 1)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        context = self.spread(resize(context, detail.shape[-2:]))
        return F.relu(self.detail(detail) + self.context(context))


class FastSCNN(nn.Module):
    """The whole network; there is no backbone to exchange.

    Convolutions are initialised from He's normal distribution.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        pyramid_kernel: side of the convolution after pyramid pooling, 1 or 3.

    Raises:
        ValueError: fewer than two classes, or another kernel; in training, a batch of one image
            (pyramid pooling normalises a map of 1x1).

    Returns (forward):
        logits (B, K, H, W) for any H, W from 32 up. In training, aux holds "downsampled"
        (B, K, H/8, W/8) and "global" (B, K, H/32, W/32), sizes rounded up.

    Example:
        >>> import torch
        >>> model = fast_scnn(num_classes=19).eval()
        >>> model(torch.zeros(1, 3, 64, 96)).logits.shape
        torch.Size([1, 19, 64, 96])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {
        "downsampled": AuxLoss(0.4),
        "global": AuxLoss(0.4),
    }

    def __init__(self, *, num_classes: int, in_channels: int = 3, pyramid_kernel: int = 1) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if pyramid_kernel not in (1, 3):
            raise ValueError(f"pyramid_kernel is {pyramid_kernel}; take 1 (the paper) or 3")

        def separable(narrow: int, wide: int, stride: int) -> SeparableConvBNReLU:
            return SeparableConvBNReLU(narrow, wide, stride=stride, relu_between=False)

        self.downsample = nn.Sequential(
            ConvBNReLU(in_channels, 32, stride=2), separable(32, 48, 2), separable(48, 64, 2)
        )
        self.bottlenecks = nn.Sequential(
            Bottleneck(64, 64, stride=2),
            Bottleneck(64, 64),
            Bottleneck(64, 64),
            Bottleneck(64, 96, stride=2),
            Bottleneck(96, 96),
            Bottleneck(96, 96),
            Bottleneck(96, 128),
            Bottleneck(128, 128),
            Bottleneck(128, 128),
        )
        self.pyramid = nn.Sequential(
            PyramidPooling(128, 32), ConvBNReLU(2 * 128, 128, pyramid_kernel)
        )
        self.fusion = FeatureFusion(64, 128, 128)
        self.head = nn.Sequential(
            separable(128, 128, 1),
            separable(128, 128, 1),
            nn.Dropout(0.1),
            nn.Conv2d(128, num_classes, 1),
        )
        self.resize = ResizeLogits()
        self.aux_head_downsampled = FCNHead(64, num_classes, channels=32)
        self.aux_head_global = FCNHead(128, num_classes, channels=32)
        init_kaiming(self)

    def forward(self, images: Tensor) -> SegOutput:
        detail = self.downsample(images)  # (B, 64, H/8, W/8)
        context = self.pyramid(self.bottlenecks(detail))  # (B, 128, H/32, W/32)
        p3 = self.fusion(detail, context)  # (B, 128, H/8, W/8)

        logits = self.resize(self.head(p3), images.shape[-2:])  # (B, K, H, W)
        if not self.training:
            return SegOutput(logits, {})
        return SegOutput(
            logits,
            {
                "downsampled": self.aux_head_downsampled(detail),
                "global": self.aux_head_global(context),
            },
        )


def fast_scnn(
    *,
    num_classes: int,
    in_channels: int = 3,
    weights: Source | None = None,
    pyramid_kernel: int = 1,
) -> FastSCNN:
    """Fast-SCNN: 1,194,473 parameters at 19 classes, of which 1,137,795 are used in eval.

    Args:
        num_classes: K, at least 2.
        in_channels: channels of the images.
        weights: where to load weights from; None draws them at random.
        pyramid_kernel: side of the convolution after pyramid pooling: 1, or 3 as in mmsegmentation
            (1,456,617 parameters).

    Raises:
        ValueError: fewer than two classes, or another kernel.

    Source: Tables 1 to 3.
    """
    model = FastSCNN(
        num_classes=num_classes, in_channels=in_channels, pyramid_kernel=pyramid_kernel
    )
    return with_weights(model, weights)


builders = (fast_scnn,)
