"""FCN: a classifier whose fully connected layers become convolutions sees every pixel at once.

Paper: Long, Shelhamer and Darrell, "Fully Convolutional Networks for Semantic Segmentation",
    CVPR 2015, https://arxiv.org/abs/1411.4038; extended in PAMI 2017,
    https://arxiv.org/abs/1605.06211
Idea:  a fully connected layer on a 7x7 map is a 7x7 convolution, so an ImageNet classifier slides
    over an image of any size and gives a coarse map of scores. Transposed convolutions, which start
    as bilinear interpolation, bring it back to the pixels, and skips add the scores of earlier,
    finer layers on the way: FCN-32s has none, FCN-16s adds pool4, FCN-8s also pool3.

    image ─ VGG-16 ─ pool5 /32 ─ fc6 ─ fc7 ─ score_fr ─ x2 ─ + /16 ─ x2 ─ + /8 ─ x8 ─ logits
                     pool4 /16 ─ score_pool4 ────────────────┘             │
                     pool3 /8  ─ score_pool3 ──────────────────────────────┘

Differs from the paper:
    - The authors pad the image by 100 pixels and crop the scores. Here fc6 is padded by 3, and the
      transposed convolutions repeat the border where theirs fade out. `paper_border=True` is the
      authors' form, crop offsets included, at more than twice the cost for 500x375 pixels.
    - The last upsampling is fixed, so it has no parameters; the authors store a KxK bank of kernels
      whose off-diagonal is zero. The x2 ones learn, as in the paper; in their later code they do
      not.
    - The authors' all-at-once variant scales pool4 by 0.01 and pool3 by 0.0001, for Caffe's VGG on
      pixels of 0..255. Here images are normalised and both are 1; `skip_scales` changes that.
    - `fcn_resnet50` and `fcn_resnet101` are torchvision's later form: a dilated ResNet (stride 8),
      a 3x3 convolution for fc6 and fc7, no skips, an auxiliary head on c4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.fitting import on_backbone
from segkit.builder import BackboneOptions, Paper
from segkit.losses import AuxLoss
from segkit.nn import FCNHead, check_num_classes, init_kaiming
from segkit.outputs import Backbone, SegOutput

PAPER = Paper(
    title="Fully Convolutional Networks for Semantic Segmentation",
    authors="Long, Shelhamer and Darrell",
    venue="CVPR",
    year=2015,
    url="https://arxiv.org/abs/1411.4038",
    kind="classic",
)


def bilinear_kernel(factor: int) -> Tensor:
    """The kernel with which a transposed convolution of stride `factor` interpolates bilinearly.

    Args:
        factor: the upsampling, in output pixels per input pixel, even.

    Returns:
        Shape (2 * factor, 2 * factor); its sum is factor squared.

    Source: section 3.3.
    """
    taps = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    return taps[:, None] * taps


class Upscore(nn.Module):
    """Transposed convolution of kernel 2 * factor and stride factor, bilinear at the start.

    Args:
        channels: K, channels of input and result.
        factor: the upsampling, even.
        learned: whether there is a KxK bank of kernels to train; else each channel is interpolated.
        extend: True repeats the border, which makes the start equal to bilinear interpolation
            everywhere and the result `factor` times as large; False is a bare transposed
            convolution, `factor` pixels larger than that and fading to zero there.
    """

    def __init__(
        self, channels: int, factor: int, *, learned: bool = True, extend: bool = True
    ) -> None:
        super().__init__()
        self.factor = factor
        self.extend = extend
        self.weight = None
        if learned:
            weight = torch.eye(channels)[:, :, None, None] * bilinear_kernel(factor)
            self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        weight, groups = self.weight, 1
        if weight is None:
            groups = x.shape[1]
            weight = bilinear_kernel(self.factor).to(x).expand(groups, 1, -1, -1)
        margin = 0
        if self.extend:
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
            margin = self.factor + self.factor // 2  # the repeated pixel, and half a kernel
        return F.conv_transpose2d(x, weight, stride=self.factor, padding=margin, groups=groups)


class FCN(nn.Module):
    """FCN-32s, FCN-16s or FCN-8s.

    The class scores start at zero, as in the paper: the first step trains the score layers only,
    and the backbone from the second step on. The paper trains in stages, each from the one before:
    ``fcn16s.load_state_dict(fcn32s.state_dict(), strict=False)``.

    Args:
        backbone: gives Stages at strides 4, 8, 16 and 32, sizes rounded up.
        num_classes: K, two or more.
        stride: of the finest scores, 32, 16 or 8.
        fc_channels: width of fc6 and fc7.
        dropout: probability after fc6 and after fc7.
        skip_scales: what pool4 and pool3 are multiplied by before they are scored.
        paper_border: pad by 100 pixels and crop, as the authors' code does.

    Raises:
        ValueError: fewer than two classes, another stride, or a backbone of other strides.

    Example:
        >>> from segkit.backbones.vgg import vgg16
        >>> model = FCN(vgg16(), num_classes=5, fc_channels=64).eval()
        >>> model(torch.zeros(1, 3, 64, 70)).logits.shape
        torch.Size([1, 5, 64, 70])
    """

    aux_losses: ClassVar[dict[str, AuxLoss]] = {}

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_classes: int,
        stride: int = 8,
        fc_channels: int = 4096,
        dropout: float = 0.5,
        skip_scales: tuple[float, float] = (1.0, 1.0),
        paper_border: bool = False,
    ) -> None:
        super().__init__()
        check_num_classes(num_classes)
        if stride not in (8, 16, 32):
            raise ValueError(f"stride is {stride}; an FCN is FCN-8s, FCN-16s or FCN-32s")
        if tuple(backbone.strides[1:]) != (8, 16, 32):
            raise ValueError(
                f"the backbone's strides are {tuple(backbone.strides)}; FCN's skips need 4, 8, 16, "
                "32: use a backbone without dilation, or DilatedFCN"
            )
        self.skip_scales = skip_scales
        # The first convolution pads by 1 itself: 99 more make the authors' 100. The crop offsets
        # follow from it: 7x7 without padding starts 3 pixels in, each x2 without a border 1 back.
        self.border = 99 if paper_border else 0
        self.pool4_offset, self.pool3_offset = (5, 9) if paper_border else (0, 0)
        self.offset = {32: 19, 16: 27, 8: 31}[stride] if paper_border else 0
        extend = not paper_border

        self.backbone = backbone
        self.fc6 = nn.Conv2d(backbone.channels.c5, fc_channels, 7, padding=0 if paper_border else 3)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.score_fr = nn.Conv2d(fc_channels, num_classes, 1)
        self.upscore2 = self.score_pool4 = None
        if stride <= 16:
            self.upscore2 = Upscore(num_classes, 2, extend=extend)
            self.score_pool4 = nn.Conv2d(backbone.channels.c4, num_classes, 1)
        self.upscore_pool4 = self.score_pool3 = None
        if stride == 8:
            self.upscore_pool4 = Upscore(num_classes, 2, extend=extend)
            self.score_pool3 = nn.Conv2d(backbone.channels.c3, num_classes, 1)
        self.upscore = Upscore(num_classes, stride, learned=False, extend=extend)

        init_kaiming(nn.ModuleList([self.fc6, self.fc7]))
        for score in (self.score_fr, self.score_pool4, self.score_pool3):
            if score is not None:
                nn.init.zeros_(score.weight)
                nn.init.zeros_(cast(Tensor, score.bias))

    def forward(self, images: Tensor) -> SegOutput:
        _, c3, c4, c5 = self.backbone(F.pad(images, [self.border] * 4))
        x = self.dropout(F.relu(self.fc6(c5)))  # (B, 4096, H/32, W/32)
        x = self.dropout(F.relu(self.fc7(x)))
        x = self.score_fr(x)  # (B, K, H/32, W/32)

        if self.score_pool4 is not None and self.upscore2 is not None:
            skip = self.score_pool4(c4 * self.skip_scales[0])
            x = self._fuse(self.upscore2(x), skip, self.pool4_offset)  # (B, K, H/16, W/16)
        if self.score_pool3 is not None and self.upscore_pool4 is not None:
            skip = self.score_pool3(c3 * self.skip_scales[1])
            x = self._fuse(self.upscore_pool4(x), skip, self.pool3_offset)  # (B, K, H/8, W/8)

        x = self.upscore(x)
        height, width = images.shape[-2:]
        top = left = self.offset
        return SegOutput(x[..., top : top + height, left : left + width], {})

    @staticmethod
    def _fuse(upscored: Tensor, skip: Tensor, offset: int) -> Tensor:
        if offset:  # with the authors' border the skip's map is the larger one
            height, width = upscored.shape[-2:]
            return upscored + skip.narrow(-2, offset, height).narrow(-1, offset, width)
        height, width = skip.shape[-2:]  # rounded up, so doubling may have made one too many
        return upscored.narrow(-2, 0, height).narrow(-1, 0, width) + skip


class DilatedFCN(nn.Module):
    """FCN without skips on a backbone that keeps its resolution, as in torchvision.

    Args:
        backbone: gives Stages; c5 is scored and interpolated to the image's size.
        num_classes: K, two or more.
        aux: whether c4 is scored too in training: aux "c4", shape (B, K, H/s, W/s), weight 0.5 as
            in torchvision's reference training.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> from segkit.backbones.resnet import resnet18
        >>> output = DilatedFCN(resnet18(), num_classes=5)(torch.zeros(2, 3, 64, 70))
        >>> output.logits.shape, output.aux["c4"].shape
        (torch.Size([2, 5, 64, 70]), torch.Size([2, 5, 4, 5]))
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, aux: bool = True) -> None:
        super().__init__()
        check_num_classes(num_classes)
        self.aux_losses: dict[str, AuxLoss] = {"c4": AuxLoss(0.5)} if aux else {}
        self.backbone = backbone
        self.head = FCNHead(backbone.channels.c5, num_classes)
        self.aux_head = FCNHead(backbone.channels.c4, num_classes) if aux else None

    def forward(self, images: Tensor) -> SegOutput:
        _, _, c4, c5 = self.backbone(images)
        logits = F.interpolate(self.head(c5), images.shape[-2:], mode="bilinear")
        aux = {}
        if self.training and self.aux_head is not None:
            aux["c4"] = self.aux_head(c4)
        return SegOutput(logits, aux)


def load_vgg16(model: FCN, state_dict: Mapping[str, Tensor]) -> None:
    """Convolutionalise: give an FCN the weights of a VGG-16 classifier, fc6 and fc7 included.

    The first fully connected layer reads a 7x7 map flattened channel by channel, so its matrix is
    a bank of 7x7 kernels in another shape, and the second is a bank of 1x1 kernels. The third,
    which scores ImageNet's classes, is left out.

    Args:
        model: an FCN on VGG16, for images of three channels.
        state_dict: torchvision's, as of ``VGG16_Weights.DEFAULT.get_state_dict()``.

    Raises:
        ValueError: a tensor is missing, does not fit or is not finite (IMAGENET1K_FEATURES has no
            classifier); nothing is loaded then.

    Source: section 3.1.
    """
    sources = {f"backbone.{name}": name for name in model.get_submodule("backbone").state_dict()}
    for layer, linear in (("fc6", "classifier.0"), ("fc7", "classifier.3")):
        sources |= {f"{layer}.{part}": f"{linear}.{part}" for part in ("weight", "bias")}
    own = model.state_dict()
    state = {}
    for name, source in sources.items():
        tensor, shape = state_dict.get(source), own[name].shape
        if tensor is None or len(tensor) != shape[0] or tensor.numel() != shape.numel():
            given = "missing" if tensor is None else f"of shape {tuple(tensor.shape)}"
            raise ValueError(
                f"{source} is {given}; {name} needs {tuple(shape)} (the matrix may be flat): give "
                "the state dict of torchvision's vgg16 to an FCN of its width, in_channels=3"
            )
        if not tensor.isfinite().all():
            raise ValueError(f"{source} is not finite; take weights that include the classifier")
        state[name] = tensor.reshape(shape)
    model.load_state_dict(state, strict=False)  # the scores are not VGG's


def fcn32s_vgg16(*, backbone: str = "vgg16", **options: Unpack[BackboneOptions]) -> FCN:
    """FCN-32s: no skips. At 21 classes 134,346,581 parameters."""
    return on_backbone(FCN, backbone, stride=32, **options)


def fcn16s_vgg16(*, backbone: str = "vgg16", **options: Unpack[BackboneOptions]) -> FCN:
    """FCN-16s: adds the scores of pool4. At 21 classes 134,364,410 parameters."""
    return on_backbone(FCN, backbone, stride=16, **options)


def fcn8s_vgg16(*, backbone: str = "vgg16", **options: Unpack[BackboneOptions]) -> FCN:
    """FCN-8s: adds the scores of pool4 and pool3. At 21 classes 134,376,863 parameters."""
    return on_backbone(FCN, backbone, stride=8, **options)


def fcn8s_resnet18(*, backbone: str = "resnet18", **options: Unpack[BackboneOptions]) -> FCN:
    """FCN-8s on ResNet-18, fc layers 256 wide: no paper's network, but it learns from scratch.

    VGG-16 has no batch normalisation and needs its ImageNet weights; this one trains on two CPU
    cores in minutes, which lessons need.
    """
    return on_backbone(FCN, backbone, stride=8, fc_channels=256, **options)


def fcn(*, backbone: str, **options: Unpack[BackboneOptions]) -> DilatedFCN:
    """FCN without skips, on any backbone that can be dilated to stride 8."""
    return on_backbone(DilatedFCN, backbone, output_stride=8, **options)


def fcn_resnet50(*, backbone: str = "resnet50", **options: Unpack[BackboneOptions]) -> DilatedFCN:
    """FCN on ResNet-50 at stride 8: 35,322,218 parameters at 21 classes, as torchvision's."""
    return fcn(backbone=backbone, **options)


def fcn_resnet101(*, backbone: str = "resnet101", **options: Unpack[BackboneOptions]) -> DilatedFCN:
    """FCN on ResNet-101 at stride 8: 54,314,346 parameters at 21 classes, as torchvision's."""
    return fcn(backbone=backbone, **options)


builders = (
    fcn32s_vgg16,
    fcn16s_vgg16,
    fcn8s_vgg16,
    fcn8s_resnet18,
    fcn,
    fcn_resnet50,
    fcn_resnet101,
)
