"""What timm says of encoders that we have ourselves, restated; the package is not needed.

Source: huggingface/pytorch-image-models 1.0.31, `feature_info` and the parameters of
``create_model(name, features_only=True)``, read from it (Apache-2.0).
"""

import functools

import pytest
import torch

from segkit.backbones import create_backbone
from segkit.outputs import Stages

ENCODERS = [  # ours, timm's, channels of the stem (0: none) and c2 to c5, parameters
    ("resnet18", "resnet18", 64, (64, 128, 256, 512), 11_176_512),
    ("resnet34", "resnet34", 64, (64, 128, 256, 512), 21_284_672),
    ("resnet50", "resnet50", 64, (256, 512, 1024, 2048), 23_508_032),
    ("resnet101", "resnet101", 64, (256, 512, 1024, 2048), 42_500_160),
    ("resnet18_vd", "resnet18d", 64, (64, 128, 256, 512), 11_195_744),
    ("resnet50_v1c", "resnet50c", 64, (256, 512, 1024, 2048), 23_527_264),
    ("resnet50_vd", "resnet50d", 64, (256, 512, 1024, 2048), 23_527_264),
    ("resnet101_vd", "resnet101d", 64, (256, 512, 1024, 2048), 42_519_392),
    ("mobilenet_v2", "mobilenetv2_100", 16, (24, 32, 96, 320), 1_811_712),
    ("mobilenet_v3_large", "mobilenetv3_large_100", 16, (24, 40, 112, 960), 2_971_952),
    ("mobilenet_v3_small", "mobilenetv3_small_100", 16, (16, 24, 48, 576), 927_008),
    ("xception41", "xception41", 0, (256, 728, 1024, 2048), 24_920_560),
    ("xception65", "xception65", 0, (256, 728, 1024, 2048), 37_867_312),
    ("xception71", "xception71", 0, (256, 728, 1024, 2048), 40_289_736),
    ("vgg16", "vgg16", 0, (128, 256, 512, 512), 14_714_688),
    ("vit_b_16", "vit_base_patch16_224", 0, (768,) * 4, 85_797_120),
]
encoders = pytest.mark.parametrize("row", ENCODERS, ids=lambda row: row[1])


@functools.cache
def build(name, **options):
    with torch.device("meta"):
        return create_backbone(name, **options).eval()


@encoders
def test_channels(row):
    name, _, stem, channels, _ = row
    backbone = build(name)
    assert backbone.channels == Stages(*channels)
    if stem:
        assert backbone.stem_channels == stem


@encoders
def test_strides(row):
    strides = (16,) * 4 if row[0].startswith("vit") else (4, 8, 16, 32)
    assert build(row[0]).strides == Stages(*strides)


@encoders
def test_parameters(row):
    assert sum(p.numel() for p in build(row[0]).parameters()) == row[4]


@pytest.mark.parametrize("size", [(224, 224), (96, 160)])
@encoders
def test_features_have_the_sizes_that_the_strides_say(row, size):
    """timm's test_models checks every feature of every encoder so."""
    backbone = build(row[0])
    with torch.device("meta"):
        maps = backbone(torch.zeros(1, 3, *size))
    for found, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert found.shape == (1, channels, size[0] // stride, size[1] // stride)


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "xception41", "vgg16", "mit_b0"])
def test_an_output_stride_is_given_or_refused(name, stride):
    """As in timm's test of ``output_stride``: honoured, or an error that says so."""
    if name in ("vgg16", "mit_b0"):
        with pytest.raises(ValueError, match="those that do are mobilenet_v1, "):
            build(name, output_stride=stride)
    else:
        assert build(name, output_stride=stride).strides.c5 == stride


@pytest.mark.parametrize("stride", [0, 4, 12, 64, "8", None])
def test_no_other_output_stride(stride):
    with pytest.raises(ValueError, match="it may be 8, 16 or 32"):
        build("resnet18", output_stride=stride)
