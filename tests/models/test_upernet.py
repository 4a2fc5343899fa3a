"""UPerNet: widths, the order of its sums, and the forward pass written out."""

import pytest
import torch
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.vgg import vgg16
from segkit.models import upernet
from segkit.models.upernet import UPerNet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("build", "backbone"),
    [(upernet.upernet_resnet50, 23_508_032), (upernet.upernet_resnet101, 42_500_160)],
)
def test_parameters(build, backbone):
    """Decoder and aux head as mmsegmentation 1.2.2, upernet_r50 and r101 at 19 classes."""
    with torch.device("meta"):
        model = build(num_classes=19)
    assert parameters(model.backbone) == backbone
    assert parameters(model.aux_head) == 2_364_691
    assert parameters(model) == backbone + 40_523_283 + 2_364_691


def test_parameters_of_smp():
    """smp 0.6.0: 13,776,384 in the decoder, 7,680 of them in layer normalisation of the stages."""
    with torch.device("meta"):
        model = upernet.upernet_resnet50(num_classes=19, channels=256)
    decoder = [model.pyramid, model.context, model.laterals, model.smooth, model.fuse]
    assert sum(map(parameters, decoder)) == 13_776_384 - 2 * 3840
    assert parameters(model.head) == 4_883


@torch.no_grad()
def test_forward_written_out():
    torch.manual_seed(0)
    model = UPerNet(resnet18(), num_classes=3, channels=8).eval()
    images = torch.randn(1, 3, 70, 101)
    c2, c3, c4, c5 = model.backbone(images)

    def up(x, like):
        return F.interpolate(x, like.shape[-2:], mode="bilinear")

    sums = [model.context(model.pyramid(c5))]
    for lateral, stage in zip(reversed(model.laterals), (c4, c3, c2), strict=True):
        sums.append(lateral(stage) + up(sums[-1], stage))
    p5, s4, s3, s2 = sums
    levels = [model.smooth[0](s2), model.smooth[1](s3), model.smooth[2](s4), p5]
    x = model.fuse(torch.cat([up(level, c2) for level in levels], dim=1))
    expected = F.interpolate(model.head(x), (70, 101), mode="bilinear")
    torch.testing.assert_close(model(images).logits, expected)


def test_aux_is_on_c4_and_may_be_left_out():
    model = UPerNet(resnet18(), num_classes=3, channels=8)
    images = torch.randn(2, 3, 33, 47)
    assert model(images).aux["c4"].shape == (2, 3, 3, 3)
    assert model.aux_losses["c4"].weight == 0.4
    assert model.aux_head[0].out_channels == 256
    assert model.eval()(images).aux == {}
    bare = UPerNet(resnet18(), num_classes=3, channels=8, aux=False)
    assert bare(images).aux == bare.aux_losses == {}


@pytest.mark.parametrize("build", [vgg16, lambda: resnet50(output_stride=8)], ids=["vgg", "os8"])
def test_any_backbone(build):
    with torch.device("meta"):
        model = UPerNet(build(), num_classes=3, channels=8)
        assert model(torch.empty(2, 3, 65, 97)).logits.shape == (2, 3, 65, 97)


def test_errors():
    with pytest.raises(ValueError, match="num_classes is 1"), torch.device("meta"):
        upernet.upernet_resnet50(num_classes=1)
    model = UPerNet(resnet18(), num_classes=3, channels=8)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.randn(1, 3, 96, 96))
