"""OCRNet: describe each object once, then tell every pixel about the objects it belongs to.

Paper: Yuan, Chen and Wang, "Object-Contextual Representations for Semantic Segmentation",
    ECCV 2020, https://arxiv.org/abs/1909.11065
Idea:  a pixel's class is the class of the object that it is part of. So a first, supervised guess
    divides the image into K soft object regions, the pixels of each are averaged into one vector,
    and every pixel reads a mixture of these K vectors, weighted by how well each fits it. That is
    attention from all pixels to K regions instead of to all pixels.

    image ─ ResNet ┬ c4 /8 ─ region head ─ region logits /8 = aux "ocr_regions"
                   │                            │ softmax over the pixels
                   │              ┌─ average ───┴─ regions (K vectors)
                   └ c5 /8 ─ 3x3 ─┴ pixels ─ relation ─┘
                                      │         └ context
                                      └ concatenate ─┘ ─ 1x1 ─ scores /8 ─ x8 ─ logits

    On HRNet its four resolutions, concatenated at stride 4, take the place of both c4 and c5.

Differs from the paper:
    - The relation is divided by the square root of its channels before the softmax, as released.
    - The region head has a convolution with batch normalisation before its scores, as released.
Differs from the releases, which disagree with each other:
    - On ResNet the region head is a 3x3 convolution of 512 channels, as in the authors' code;
      `region_channels=256` is mmsegmentation's, whose counts the networks then have. On HRNet it is
      a 1x1 convolution of all channels, as in the authors' HRNet-OCR, mmsegmentation and PaddleSeg.
    - The authors and PaddleSeg keep biases in front of batch normalisation, which cancels them.
      PaddleSeg's 3,086 parameters more than mmsegmentation's on HRNet-W18 are just these: 270 in
      the region head, 512 in the 3x3, 4 x 256 in queries and keys, 256 for the values, 512 behind
      the context and 512 in the last 1x1 (720 for 270 makes W48's 3,536).
    - The authors align the corners wherever they interpolate: the logits, and on HRNet the four
      resolutions that are concatenated and every exchange of the backbone. So does
      `align_corners=True`; mmsegmentation and PaddleSeg do not.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor, nn

from segkit.backbones.catalog import takes
from segkit.backbones.fitting import on_backbone
from segkit.backbones.hrnet import concatenate
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import ConvBNReLU, ResizeLogits, check_num_classes, init_decoder
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Object-Contextual Representations for Semantic Segmentation",
    authors="Yuan, Chen and Wang",
    venue="ECCV",
    year=2020,
    url="https://arxiv.org/abs/1909.11065",
    kind="attention",
)


class Regions(NamedTuple):
    """What the network thinks about objects.

    Attributes:
        maps: soft object regions, shape (B, K, h, w): the share of each pixel in the vector of
            region k; each map sums to 1.
        relation: shape (B, K, h, w): the share of region k in the context of each pixel; the K
            values of a pixel sum to 1.
    """

    maps: Tensor
    relation: Tensor


def soft_regions(logits: Tensor) -> Tensor:
    """Region logits (B, K, h, w) as shares of the pixels in each region; each map sums to 1."""
    return logits.flatten(2).softmax(dim=2).view_as(logits)


def gather(pixels: Tensor, maps: Tensor) -> Tensor:
    """Object region representations: the mean pixel of each region (f_k).

    Args:
        pixels: shape (B, C, h, w).
        maps: soft object regions, shape (B, K, h, w).

    Returns:
        Shape (B, C, K, 1), so that 1x1 convolutions see K places.
    """
    weights = maps.flatten(2).to(pixels.dtype)  # autocast leaves a softmax in float32
    return torch.bmm(pixels.flatten(2), weights.transpose(1, 2)).unsqueeze(3)


class ObjectContext(nn.Module):
    """Each pixel, augmented by the regions that fit it (z_i).

    Attention from h * w pixels to K regions: the relation is as small as the logits, so that it can
    be formed and looked at.

    Args:
        channels: of pixels, regions and result.
        key_channels: in which pixels and regions are compared.
        dropout: probability that a channel of the result is dropped in training.
    """

    def __init__(self, channels: int, key_channels: int, *, dropout: float = 0.05) -> None:
        super().__init__()

        def transform() -> nn.Sequential:
            return nn.Sequential(
                ConvBNReLU(channels, key_channels, 1), ConvBNReLU(key_channels, key_channels, 1)
            )

        self.query = transform()
        self.key = transform()
        self.value = ConvBNReLU(channels, key_channels, 1)
        self.expand = ConvBNReLU(key_channels, channels, 1)
        self.augment = nn.Sequential(ConvBNReLU(2 * channels, channels, 1), nn.Dropout2d(dropout))

    def relate(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """Pixel-region relation of pixels (B, C, h, w) and regions (B, C, K, 1): (B, K, h, w)."""
        query, key = self.query(pixels), self.key(regions)
        query = query * query.shape[1] ** -0.5  # before the product, which half precision may need
        scores = torch.bmm(key.flatten(2).transpose(1, 2), query.flatten(2))
        return scores.softmax(dim=1).unflatten(2, pixels.shape[-2:])

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        relation = self.relate(pixels, regions)
        value = self.value(regions).flatten(2)  # (B, key_channels, K)
        context = torch.bmm(value, relation.flatten(2).to(value.dtype))
        context = self.expand(context.unflatten(2, pixels.shape[-2:]))  # (B, C, h, w)
        return self.augment(torch.cat([context, pixels], dim=1))


class OCRNet(nn.Module):
    """OCRNet over a dilated backbone, or over one that keeps its resolution.

    Args:
        backbone: module images -> Stages, with the attributes `channels` and `strides`.
        num_classes: K, two or more; also the number of object regions.
        high_resolution: True takes regions and pixels from all stages, concatenated at the size of
            c2 (HRNet); False the regions from c4 and the pixels from c5 (dilated ResNet).
        channels: of pixels and regions.
        key_channels: in which the two are compared.
        region_channels: width of the region head on c4; with `high_resolution` it has the width of
            its input.
        dropout: probability, in the region head on c4 and before the scores.
        align_corners: whether the logits, and with `high_resolution` the stages, are interpolated
            with aligned corners; the backbone has an option of its own.

    Raises:
        ValueError: fewer than two classes, or c4 and c5 of different strides without
            `high_resolution`.

    Returns (forward):
        logits (B, K, H, W). In training, aux holds "ocr_regions", the region logits (B, K, h, w) at
        a quarter (HRNet) or an eighth (output stride 8) of the size.

    Example:
        >>> model = ocrnet_hrnet_w18_small(num_classes=5).eval()
        >>> images = torch.zeros(1, 3, 64, 90)
        >>> model(images).logits.shape, model.regions(images).relation.shape
        (torch.Size([1, 5, 64, 90]), torch.Size([1, 5, 16, 23]))
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {"ocr_regions": AuxLoss(0.4)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        high_resolution: bool,
        channels: int = 512,
        key_channels: int = 256,
        region_channels: int = 512,
        dropout: float = 0.05,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if not high_resolution and backbone.strides.c4 != backbone.strides.c5:
            raise ValueError(
                f"the backbone's strides are {tuple(backbone.strides)}; regions from c4 and pixels "
                "from c5 need the same size: pass a backbone with output_stride=8 or 16, or "
                "high_resolution=True"
            )
        self.high_resolution = high_resolution
        self.backbone = backbone
        if high_resolution:
            width = sum(backbone.channels)
            self.region_head = nn.Sequential(
                ConvBNReLU(width, width, 1), nn.Conv2d(width, num_classes, 1)
            )
        else:
            width = backbone.channels.c5
            self.region_head = nn.Sequential(
                ConvBNReLU(backbone.channels.c4, region_channels),
                nn.Dropout2d(dropout),
                nn.Conv2d(region_channels, num_classes, 1),
            )
        self.pixels = ConvBNReLU(width, channels)
        self.context = ObjectContext(channels, key_channels, dropout=dropout)
        self.head = nn.Conv2d(channels, num_classes, 1)
        self.align_corners = align_corners
        self.resize = ResizeLogits(align_corners=align_corners)

        init_decoder(self)

    def forward(self, images: Tensor) -> SegOutput:
        pixels, region_logits = self._describe(images)
        regions = gather(pixels, soft_regions(region_logits))
        logits = self.resize(self.head(self.context(pixels, regions)), images.shape[-2:])
        return SegOutput(logits, {"ocr_regions": region_logits} if self.training else {})

    def regions(self, images: Tensor) -> Regions:
        """The soft object regions, and which of them each pixel looks at; call it in eval mode.

        Args:
            images: shape (B, C, H, W).

        Returns:
            Two maps per class, at the resolution of the region logits.
        """
        pixels, region_logits = self._describe(images)
        maps = soft_regions(region_logits)
        return Regions(maps, self.context.relate(pixels, gather(pixels, maps)))

    def _describe(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pixel representations (B, C, h, w) and region logits (B, K, h, w)."""
        stages = self.backbone(images)
        if self.high_resolution:
            features = concatenate(stages, align_corners=self.align_corners)
            return self.pixels(features), self.region_head(features)
        return self.pixels(stages.c5), self.region_head(stages.c4)


class HRNetOptions(BackboneOptions, total=False):
    """What the builders on HRNet take.

    Attributes:
        align_corners: whether all interpolations align the corners, as in the authors' code.
    """

    align_corners: bool


class Options(HRNetOptions, total=False):
    """What the builders on a dilated backbone take.

    Attributes:
        region_channels: width of the region head, 512; 256 gives mmsegmentation's network.
    """

    region_channels: int


def ocrnet(*, backbone: str, **options: Unpack[Options]) -> OCRNet:
    """OCRNet on any backbone that can be dilated to stride 8: regions from c4, pixels from c5."""
    return on_backbone(OCRNet, backbone, output_stride=8, high_resolution=False, **options)


def ocrnet_resnet50(*, backbone: str = "resnet50", **options: Unpack[Options]) -> OCRNet:
    """OCRNet on ResNet-50 at stride 8: 38,869,606 parameters at 19 classes."""
    return ocrnet(backbone=backbone, **options)


def ocrnet_resnet101(*, backbone: str = "resnet101", **options: Unpack[Options]) -> OCRNet:
    """OCRNet on ResNet-101 at stride 8: 57,861,734 parameters at 19 classes."""
    return ocrnet(backbone=backbone, **options)


def _on_hrnet(backbone: str, **options: Unpack[HRNetOptions]) -> OCRNet:
    aligned = {"align_corners": options.get("align_corners", False)}
    of_hrnet = aligned if "align_corners" in takes(backbone) else {}
    return on_backbone(OCRNet, backbone, high_resolution=True, backbone_options=of_hrnet, **options)


def ocrnet_hrnet_w18_small(
    *, backbone: str = "hrnet_w18_small", **options: Unpack[HRNetOptions]
) -> OCRNet:
    """OCRNet on HRNet-W18-Small: 6,378,496 parameters at 19 classes."""
    return _on_hrnet(backbone, **options)


def ocrnet_hrnet_w18(*, backbone: str = "hrnet_w18", **options: Unpack[HRNetOptions]) -> OCRNet:
    """OCRNet on HRNet-W18: 12,080,036 parameters at 19 classes."""
    return _on_hrnet(backbone, **options)


def ocrnet_hrnet_w48(*, backbone: str = "hrnet_w48", **options: Unpack[HRNetOptions]) -> OCRNet:
    """OCRNet on HRNet-W48: 70,371,446 parameters at 19 classes."""
    return _on_hrnet(backbone, **options)


builders = (
    ocrnet,
    ocrnet_resnet50,
    ocrnet_resnet101,
    ocrnet_hrnet_w18_small,
    ocrnet_hrnet_w18,
    ocrnet_hrnet_w48,
)
