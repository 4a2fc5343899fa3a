"""Any encoder of timm that gives feature maps, as a backbone.

timm (PyTorch Image Models, https://github.com/huggingface/pytorch-image-models) holds several
hundred encoders, most with ImageNet weights. Their features come as lists of different lengths,
strides and layouts; here they become c2 to c5, and a stem at stride 2 where there is one:

    image ─ pad to whole cells ─ timm encoder ─ /2 (stem)
                                              ─ /4 = c2 ─ /8 = c3 ─ /16 = c4 ─ /32 = c5
                                 plain ViT    ─ four depths, all /16: c2, c3, c4, c5

timm is an extra: pip install 'segbook[timm]'. It is imported here and only when it is asked for.
"""

from __future__ import annotations

import difflib
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.backbones.batch_of_one import require_two_values
from segkit.backbones.dilation import DilationError, check_output_stride
from segkit.outputs import Stages


class TimmBackbone(nn.Module):
    """A timm network that returns features, as a backbone.

    Sizes that the strides do not divide are padded with zeros at the right and at the bottom, and
    the features cropped, so that each covers the image and no more.

    Args:
        network: of ``timm.create_model(..., features_only=True)``: four features, or five with the
            first at stride 2.

    Attributes:
        channels: Stages of int.
        strides: Stages of int: (4, 8, 16, 32) for most, (16, 16, 16, 16) for a plain ViT. Sizes are
            rounded up, so any H and W will do where the encoder takes any size.
        stem_channels: channels of the stride-2 feature; 0 where there is none, and then there is
            nothing to ask `forward_with_stem` for.

    Raises:
        ValueError: in training, when batch normalisation would see a single value per channel.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        channels, strides = network.feature_info.channels(), network.feature_info.reduction()
        self.channels = Stages(*channels[-4:])
        self.strides = Stages(*strides[-4:])
        self.stem_channels = channels[0] if len(channels) == 5 else 0
        self.all_strides = strides
        # A feature is (B, C, H, W), but the Swin family keeps the channels last.
        self.channels_last = str(getattr(network, "output_fmt", None)).endswith("NHWC")
        self.network = network

    def forward(self, images: Tensor) -> Stages[Tensor]:
        return Stages(*self._features(images)[-4:])

    def forward_with_stem(self, images: Tensor) -> tuple[Tensor, Stages[Tensor]]:
        """Also give the feature at stride 2, which a U-Net's decoder can use.

        Args:
            images: shape (B, C, H, W).

        Returns:
            The stem, shape (B, stem_channels, H/2, W/2), and the stages that `forward` gives.

        Raises:
            ValueError: the encoder has no feature at stride 2.
        """
        if not self.stem_channels:
            raise ValueError(
                f"this encoder's first feature has stride {self.strides.c2}: call forward, or take "
                "a convolutional encoder, such as resnet18 or efficientnet_b0"
            )
        stem, *stages = self._features(images)
        return stem, Stages(*stages)

    def _features(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        step = self.strides.c5
        require_two_values("the encoder", self.network, images, step=step, stride=step)
        if height % step or width % step:
            images = F.pad(images, (0, -width % step, 0, -height % step))
        features = self.network(images)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return [
            feature[..., : -(-height // stride), : -(-width // stride)]
            for feature, stride in zip(features, self.all_strides, strict=True)
        ]


def timm_backbone(
    name: str, *, in_channels: int = 3, output_stride: int = 32, weights: str | None = None
) -> TimmBackbone:
    """Build an encoder of timm.

    Args:
        name: one of ``timm.list_models()``, also with the tag of its weights:
            "convnext_atto.d2_in1k".
        in_channels: channels of the images; timm adapts pretrained weights to them.
        output_stride: of c5: 32 leaves the encoder as it is; 16 or 8 where timm can dilate it.
        weights: the tag of timm's weights, downloaded on first use: "d2_in1k", or "DEFAULT" for
            those that timm takes first; None draws them at random.

    Raises:
        ImportError: timm is not installed.
        ValueError: no encoder has this name (the closest three are told), it has no such weights,
            it gives no features at strides 4, 8, 16 and 32 or four at the same one, or timm cannot
            dilate it.

    Example:
        >>> features = timm_backbone("resnet18").eval()(torch.zeros(1, 3, 64, 96))
        >>> features.c2.shape, features.c5.shape
        (torch.Size([1, 64, 16, 24]), torch.Size([1, 512, 2, 3]))
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise ImportError(
            f"the encoder {name!r} is timm's, which is not installed: pip install 'segbook[timm]'"
        ) from error
    if ":" not in name and not timm.is_model(name):  # "hf-hub:owner/name" is looked up by timm
        closest = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.0)
        raise ValueError(
            f"timm has no encoder named {name!r}; the closest names are {', '.join(closest)}. "
            "timm.list_models() lists all of them"
        )
    if weights is not None:
        name = _tagged(name, weights, timm.list_pretrained(f"{name.partition('.')[0]}.*"))
    with torch.device("meta"):  # a look at it that costs nothing
        probe = timm.create_model(name, pretrained=False)
    strides = [info["reduction"] for info in getattr(probe, "feature_info", [])]
    chosen = _choose(name, strides)
    options: dict[str, Any] = _any_size(probe)
    if dilated := check_output_stride(output_stride) not in (32, strides[chosen[-1]]):
        options["output_stride"] = output_stride
    try:
        network: Any = timm.create_model(
            name,
            pretrained=weights is not None,
            in_chans=in_channels,
            features_only=True,
            out_indices=chosen,
            **options,
        )
    except (TypeError, AssertionError) as error:  # an unknown option, or a known one refused
        if not dilated:
            raise
        raise _not_dilated(name, output_stride) from error
    if dilated and network.feature_info.reduction()[-1] != output_stride:
        raise _not_dilated(name, output_stride)
    return TimmBackbone(network)


def _tagged(name: str, weights: str, known: list[str]) -> str:
    """An encoder's name with the tag of its weights."""
    if ":" in name or (weights == "DEFAULT" and known):
        return name
    tagged = f"{name.partition('.')[0]}.{weights}"
    if tagged not in known:
        tags = ", ".join(full.partition(".")[2] for full in known)
        raise ValueError(
            f"timm's {name} has no weights {weights!r}; it has {tags or 'none at all'}. "
            + ('"DEFAULT" takes the first that timm would, ' if known else "")
            + "None draws them at random"
        )
    return tagged


def _any_size(network: nn.Module) -> dict[str, bool]:
    """The option by which a transformer takes images of another size than it was trained on."""
    accepted = inspect.signature(type(network).__init__).parameters
    if "dynamic_img_size" in accepted:
        return {"dynamic_img_size": True}
    return {"strict_img_size": False} if "strict_img_size" in accepted else {}


def _choose(name: str, strides: list[int]) -> tuple[int, ...]:
    """Which of an encoder's features become the stem, where there is one, and c2 to c5."""
    if len(strides) >= 4 and len(set(strides)) == 1:  # a plain ViT: four depths, the last included
        return tuple((quarter * len(strides)) // 4 - 1 for quarter in (1, 2, 3, 4))
    last = {stride: index for index, stride in enumerate(strides)}
    if not {4, 8, 16, 32} <= last.keys():
        raise ValueError(
            f"timm's {name} gives features at strides {strides or 'that it does not tell'}; a "
            "backbone needs 4, 8, 16 and 32, or four at one stride. Take another encoder: resnet, "
            "convnext, efficientnet, swin, hrnet and vit have them"
        )
    return tuple(last[stride] for stride in (2, 4, 8, 16, 32) if stride in last)


def _not_dilated(name: str, output_stride: int) -> DilationError:
    return DilationError(
        f"output_stride is {output_stride}, but timm cannot dilate {name}: take output_stride=32, "
        "or an encoder that it can, such as resnet18 or efficientnet_b0"
    )
