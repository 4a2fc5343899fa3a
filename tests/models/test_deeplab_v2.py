"""DeepLabV2: the sum of four classifiers, and the largest score over several scales."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18
from segkit.losses import AuxLoss, combine, cross_entropy
from segkit.models.deeplab_v2 import DeepLabV2, deeplab_v2_resnet101, deeplab_v2_vgg16
from segkit.outputs import Stages


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small(**arguments):
    torch.manual_seed(0)
    backbone = resnet18(output_stride=8)
    return DeepLabV2(backbone, num_classes=3, **arguments)


def test_parameters():
    with torch.device("meta"):
        resnet = deeplab_v2_resnet101(num_classes=21)
        vgg = deeplab_v2_vgg16(num_classes=21)
    assert parameters(resnet.backbone) == 42_500_160  # torchvision's
    assert parameters(resnet.branches) == 4 * (2048 * 21 * 9 + 21)
    assert parameters(resnet) == 44_048_532
    branch = (512 * 9 + 1) * 1024 + (1024 + 1) * 1024 + (1024 + 1) * 21
    assert parameters(vgg) == 14_714_688 + 4 * branch == 37_877_652
    assert [b[0].dilation[0] for b in vgg.branches] == [6, 12, 18, 24]
    assert [b.dilation[0] for b in resnet.branches] == [6, 12, 18, 24]
    assert resnet.backbone.strides == vgg.backbone.strides == Stages(4, 8, 8, 8)


class Plain(nn.Module):
    """The image itself as c5, with one convolution's worth of parameters."""

    channels = Stages(1, 1, 1, 3)
    strides = Stages(1, 1, 1, 1)

    def forward(self, images):
        return Stages(images, images, images, images)


def test_the_branches_are_added():
    torch.manual_seed(0)
    model = DeepLabV2(Plain(), num_classes=4).double().eval()
    images = torch.randn(1, 3, 60, 70, dtype=torch.float64)
    expected = sum(
        F.conv2d(images, b.weight, b.bias, padding=rate, dilation=rate)
        for b, rate in zip(model.branches, (6, 12, 18, 24), strict=True)
    )
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(images).logits, expected, rtol=0, atol=1e-12)


def test_the_largest_score_of_several_scales_counts():
    model = small(scales=(0.5, 0.75, 1.0)).double().eval()
    single = small().double().eval()
    single.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 65, 97, dtype=torch.float64)
    seen = []
    scores = []
    for size in [(33, 49), (49, 73), (65, 97)]:  # corners on corners
        resized = F.interpolate(images, size, mode="bilinear", align_corners=True)
        c5 = single.backbone(resized).c5
        score = sum(branch(c5) for branch in single.branches)
        seen.append(score.shape[-2:])
        scores.append(F.interpolate(score, (9, 13), mode="bilinear", align_corners=True))
    assert [tuple(s) for s in seen] == [(5, 7), (7, 10), (9, 13)]
    largest = torch.stack(scores).amax(dim=0)
    expected = F.interpolate(largest, (65, 97), mode="bilinear", align_corners=True)
    logits = model(images).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-9)
    assert (logits - single(images).logits).abs().max() > 1e-3


def test_each_scale_is_trained():
    model = small(scales=(0.5, 0.75, 1.0))
    assert model.aux_losses == {"x0.5": AuxLoss(1.0), "x0.75": AuxLoss(1.0), "x1": AuxLoss(1.0)}
    images, labels = torch.randn(2, 3, 33, 47), torch.randint(3, (2, 33, 47))
    output = model(images)
    assert {name: tuple(a.shape) for name, a in output.aux.items()} == {
        "x0.5": (2, 3, 3, 3),
        "x0.75": (2, 3, 4, 5),
        "x1": (2, 3, 5, 6),
    }
    total, parts = combine(cross_entropy, model.aux_losses)(output, labels)
    total.backward()
    assert set(parts) == {"main", *model.aux_losses}
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
    assert model.eval()(images).aux == {}


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_several_scales_compile_without_breaks(training):
    with torch.device("meta"):
        model = small(scales=(0.5, 1.0)).train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    output = compiled(torch.empty(2, 3, 64, 96, device="meta"))
    assert output.logits.shape == (2, 3, 64, 96)
    assert set(output.aux) == ({"x0.5", "x1"} if training else set())


def test_one_scale_has_no_aux():
    model = small()
    assert model.aux_losses == {}
    assert model(torch.randn(2, 3, 33, 47)).aux == {}


def test_refusals():
    with pytest.raises(ValueError, match=r"scales is \(0.5,\); the images' own size"):
        DeepLabV2(Plain(), num_classes=2, scales=(0.5,))
    with pytest.raises(ValueError, match="must be among them"):
        DeepLabV2(Plain(), num_classes=2, scales=(0.0, 1.0))
    with pytest.raises(ValueError, match="num_classes is 1"):
        DeepLabV2(Plain(), num_classes=1)


class Coordinates(nn.Module):
    """A backbone that tells where it looks: c5 holds the column of each eighth pixel."""

    channels = strides = Stages(1, 1, 1, 1)

    def forward(self, images):
        c5 = images[:, :1, ::8, ::8]
        return Stages(c5, c5, c5, c5)


@torch.no_grad()
def test_scales_lie_on_each_other():
    model = DeepLabV2(Coordinates(), num_classes=2, rates=(1,), scales=(0.5, 1.0)).train()
    kernel = torch.zeros(2, 1, 3, 3)
    kernel[:, :, 1, 1] = 1
    model.branches[0].weight.copy_(kernel)
    columns = torch.arange(321.0).expand(1, 1, 321, 321)
    output = model(columns.repeat(1, 3, 1, 1))
    small, whole = output.aux["x0.5"], output.aux["x1"]
    assert small.shape[-1] == 21
    torch.testing.assert_close(small[0, 0, 0], whole[0, 0, 0, ::2], atol=1e-3, rtol=0)
    torch.testing.assert_close(output.logits[0, 0, 0], torch.arange(321.0), atol=1e-3, rtol=0)
