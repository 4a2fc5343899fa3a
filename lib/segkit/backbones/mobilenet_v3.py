"""MobileNetV3: inverted residuals chosen by search, with squeeze-and-excitation and hard swish.

Paper: Howard et al., "Searching for MobileNetV3", ICCV 2019, https://arxiv.org/abs/1905.02244
Idea:  the blocks are MobileNetV2's; a search on a phone chose their widths, kernels (3x3 or 5x5),
    which of them weigh their channels by a look at the whole map, and which have the new
    activation: x * ReLU6(x + 3) / 6, a swish without an exponential.

    large: image ─ conv, block /2 (16) ─ 2 blocks /4 (24) ─ 3 blocks /8 (40)
           ─ 6 blocks /16 (112) ─ 3 blocks /32 (160) ─ 1x1 conv (960) = c5
    small: image ─ conv /2 (16) ─ block /4 (16) ─ 2 blocks /8 (24)
           ─ 5 blocks /16 (48) ─ 3 blocks /32 (96) ─ 1x1 conv (576) = c5

The blocks are torchvision's, and so are the names in the state dict: `features.0` …

Differs from the paper: nothing. `reduced_tail` is what section 6.4 adds for segmentation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, Unpack

from torchvision import models

from segkit.backbones.pretrained import with_torchvision_weights
from segkit.backbones.sequence import SequenceBackbone
from segkit.builder import BackboneWeights


class Options(TypedDict, total=False):
    """What both builders take.

    Attributes:
        in_channels: channels of the images.
        output_stride: of c5: 32, or 16 or 8 with dilation.
        last_conv: whether a 1x1 convolution widens c5 six times, from 160 channels to 960 in the
            large network, as it does unless False is given.
        dilate_first: which convolutions of a dilated stage are dilated, see `replace_stride`;
            torchvision's segmentation networks have True.
        after_first: take c2, c3 and c4 after the first block of their stage, not after the last, as
            torchvision's segmentation networks do: 24, 40 and 80 channels in the large network.
        reduced_tail: whether the last stage has half its channels, for tasks with fewer classes
            than ImageNet; then there are no weights.
    """

    in_channels: int
    output_stride: int
    last_conv: bool
    dilate_first: bool
    after_first: bool
    reduced_tail: bool


def _mobilenet_v3(
    build: Callable[..., models.MobileNetV3],
    weights: BackboneWeights,
    kind: type[models.WeightsEnum],
    ends: tuple[int, int, int, int],
    firsts: tuple[int, int, int, int],
    *,
    in_channels: int = 3,
    last_conv: bool = True,
    after_first: bool = False,
    reduced_tail: bool = False,
    **dilation: Any,
) -> SequenceBackbone:
    if reduced_tail and weights is not None:
        raise ValueError(
            f"weights is {weights}, but none were trained with reduced_tail=True: pass "
            "weights=None, or reduced_tail=False"
        )
    network = build(reduced_tail=reduced_tail)
    with_torchvision_weights(network, weights, kind, in_channels=in_channels)
    features: Any = network.features if last_conv else network.features[:-1]
    taps = (*(firsts if after_first else ends), len(features))
    return SequenceBackbone(
        features,
        ends=(*ends, len(features)),
        channels=tuple(features[tap - 1].out_channels for tap in taps),
        taps=taps,
        **dilation,
    )


def mobilenet_v3_large(
    *, weights: BackboneWeights = None, **options: Unpack[Options]
) -> SequenceBackbone:
    """MobileNetV3-Large: 2,971,952 parameters.

    Args:
        weights: torchvision's weights or their name, such as "IMAGENET1K_V2", downloaded on first
            use; None draws them at random. Channels other than RGB: see `adapt_channels`.
        options: see `Options`.

    Raises:
        ValueError: another output stride, weights of an unknown name, or for a reduced tail.
        TypeError: the weights belong to another network.

    Example:
        >>> import torch
        >>> features = mobilenet_v3_large(output_stride=16).eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 24, 16, 24]), torch.Size([1, 960, 4, 6]))
    """
    kind, ends, firsts = models.MobileNet_V3_Large_Weights, (2, 4, 7, 13), (2, 3, 5, 8)
    return _mobilenet_v3(models.mobilenet_v3_large, weights, kind, ends, firsts, **options)


def mobilenet_v3_small(
    *, weights: BackboneWeights = None, **options: Unpack[Options]
) -> SequenceBackbone:
    """MobileNetV3-Small: 927,008 parameters. Arguments and errors as `mobilenet_v3_large`."""
    kind, ends, firsts = models.MobileNet_V3_Small_Weights, (1, 2, 4, 9), (1, 2, 3, 5)
    return _mobilenet_v3(models.mobilenet_v3_small, weights, kind, ends, firsts, **options)


builders = (mobilenet_v3_large, mobilenet_v3_small)
