"""DeepLabV3+: counts of the release and of smp, the decoder by hand, and what it is given."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.mobilenet_v2 import mobilenet_v2
from segkit.backbones.resnet import resnet18, resnet34, resnet50
from segkit.models import deeplab_v3_plus
from segkit.models.deeplab_v3_plus import DeepLabV3Plus


def parameters(model):
    return sum(p.numel() for p in model.parameters())


# smp 0.6.0, DeepLabV3Plus at 19 classes; its last network keeps MobileNet's last convolution.
@pytest.mark.parametrize(
    ("build", "options", "expected"),
    [
        (resnet34, {}, 22_442_083),
        (resnet50, {}, 26_682_211),
        (mobilenet_v2, {"last_conv": True}, 4_383_139),
    ],
)
def test_parameters_of_smp(build, options, expected):
    with torch.device("meta"):
        backbone = build(output_stride=16, **options)
        model = DeepLabV3Plus(backbone, num_classes=19, decoder_convs=1, depthwise_bn=False)
        moved = DeepLabV3Plus(backbone, num_classes=19, depthwise_bn=False)
    assert parameters(model) == expected
    assert parameters(moved) == expected  # the paper's order of the same convolutions


def test_parameters_by_part():
    with torch.device("meta"):
        model = deeplab_v3_plus.deeplab_v3_plus_resnet50(num_classes=19)
    plain = 2 * (2048 * 256 + 512) + 1280 * 256 + 512  # 1x1, mean and projection
    separable = 2048 * 9 + 2 * 2048 + 2048 * 256 + 512
    assert parameters(model.backbone) == 23_508_032
    assert parameters(model.aspp) == plain + 3 * separable == 3_019_776
    assert parameters(model.low) == 256 * 48 + 96
    decoder = 304 * 9 + 608 + 304 * 256 + 512 + 256 * 9 + 512 + 256 * 256 + 512
    assert parameters(model.decoder) == decoder == 150_544
    assert parameters(model.head) == 256 * 19 + 19
    assert parameters(model) == 26_695_619


def test_xception_is_the_release():
    """41,258,213 in github.com/bonlime/keras-deeplab-v3-plus, which holds the released weights.

    At 21 classes, and counting running means and variances, which Keras does.
    """
    with torch.device("meta"):
        model = deeplab_v3_plus.deeplab_v3_plus_xception65(num_classes=21)
    running = sum(b.numel() for name, b in model.named_buffers() if ".running_" in name)
    assert parameters(model) == 41_055_413
    assert parameters(model) + running == 41_258_213


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", 12_338_115),
        ("resnet101", 45_687_747),
        ("mobilenet_v2", 2_719_299),
        ("xception65", 41_054_899),
    ],
)
def test_totals(name, expected):
    with torch.device("meta"):
        model = getattr(deeplab_v3_plus, f"deeplab_v3_plus_{name}")(num_classes=19)
    assert parameters(model) == expected


@pytest.mark.parametrize(("stride", "expected"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
@pytest.mark.parametrize("name", ["resnet18", "xception65", "mobilenet_v2"])
def test_rates_follow_the_stride(name, stride, expected):
    with torch.device("meta"):
        build = getattr(deeplab_v3_plus, f"deeplab_v3_plus_{name}")
        model = build(num_classes=3, output_stride=stride)
    assert model.backbone.strides.c5 == stride
    assert [branch[0].conv.dilation[0] for branch in model.aspp.convs[1:]] == expected


def small(**arguments):
    torch.manual_seed(0)
    backbone = resnet18(output_stride=16)
    return DeepLabV3Plus(backbone, num_classes=3, channels=16, **arguments)


@pytest.mark.parametrize("decoder_convs", [1, 2])
def test_decoder_written_out(decoder_convs):
    model = small(decoder_convs=decoder_convs).double().eval()
    images = torch.randn(1, 3, 49, 65, dtype=torch.float64)
    c2, _, _, c5 = model.backbone(images)
    context = model.aspp(c5)
    if decoder_convs == 1:
        context = model.smooth(context)
    context = F.interpolate(context, (13, 17), mode="bilinear", align_corners=True)
    x = torch.cat([context, model.low(c2)], dim=1)
    assert x.shape == (1, 16 + 48, 13, 17)
    assert len(model.decoder) == decoder_convs
    for conv in model.decoder:
        x = conv(x)
    scores = F.conv2d(x, model.head.weight, model.head.bias)
    expected = F.interpolate(scores, (49, 65), mode="bilinear", align_corners=True)
    logits = model(images).logits
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[..., ::4, ::4], scores, rtol=0, atol=1e-9)  # 16k + 1 pixels


def test_every_3x3_convolution_is_separable():
    model = small()
    for part in (model.aspp, model.decoder):
        spatial = [m for m in part.modules() if isinstance(m, nn.Conv2d) and m.kernel_size[0] > 1]
        assert spatial
        assert all(conv.groups == conv.in_channels for conv in spatial)


def test_in_training_there_is_no_aux():
    model = small()
    assert model.aux_losses == {}
    assert model(torch.randn(2, 3, 33, 47)).aux == {}


def test_refusals():
    with pytest.raises(ValueError, match="batch of 2 or more"):
        small()(torch.randn(1, 3, 33, 47))
    with pytest.raises(ValueError, match="decoder_convs is 3"):
        small(decoder_convs=3)
    with torch.device("meta"), pytest.raises(ValueError, match="num_classes is 1"):
        deeplab_v3_plus.deeplab_v3_plus_resnet50(num_classes=1)
