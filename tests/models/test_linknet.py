"""LinkNet: the paper's table of channels, its sums, and odd sizes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.vgg import vgg16
from segkit.models import linknet
from segkit.models.linknet import FullConvBNReLU, LinkNet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_the_paper_has_11_5_million_parameters():
    """Table 1's decoder, m -> n: 512 -> 256, 256 -> 128, 128 -> 64, 64 -> 64."""
    with torch.device("meta"):
        model = linknet.linknet_resnet18(num_classes=20)
    assert round(parameters(model) / 1e6, 1) == 11.5
    channels = [(512, 256), (256, 128), (128, 64), (64, 64)]
    for block, (m, n) in zip(model.decoder, channels, strict=True):
        q = m // 4
        assert parameters(block) == m * q + 9 * q * q + q * n + 2 * (q + q + n)
    full, conv, last = model.head
    assert parameters(full) == 9 * 64 * 32 + 64
    assert parameters(conv) == 9 * 32 * 32 + 64
    assert parameters(last) == 4 * 32 * 20 + 20


def test_parameters():
    with torch.device("meta"):
        assert parameters(linknet.linknet_resnet18(num_classes=19)) == 11_535_635
        assert parameters(linknet.linknet_resnet34(num_classes=19)) == 21_643_795


@pytest.mark.parametrize(
    ("build", "total", "decoder"),
    [
        (lambda: linknet.linknet_resnet34(num_classes=19, form="smp"), 21_772_531, 487_232),
        (lambda: LinkNet(resnet50(), num_classes=19, form="smp"), 31_178_371, 7_669_712),
    ],
    ids=["resnet34", "resnet50"],
)
def test_parameters_of_smp(build, total, decoder):
    """smp 0.6.0, Linknet at 19 classes; their decoder includes the last block, here in the head."""
    with torch.device("meta"):
        model = build()
    assert parameters(model.decoder) + parameters(model.head[0]) == decoder
    assert parameters(model.head[1]) == 627
    assert parameters(model) == total


@torch.no_grad()
def test_forward_written_out():
    """On a size that 32 divides nothing is cropped."""
    torch.manual_seed(0)
    model = linknet.linknet_resnet18(num_classes=3).eval()
    net = model.backbone
    images = torch.randn(1, 3, 64, 96)
    e0 = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    e1 = net.layer1(e0)
    e2 = net.layer2(e1)
    e3 = net.layer3(e2)
    e4 = net.layer4(e3)
    d4 = model.decoder[0](e4) + e3
    d3 = model.decoder[1](d4) + e2
    d2 = model.decoder[2](d3) + e1
    d1 = model.decoder[3](d2) + e0
    assert d1.shape == (1, 64, 16, 24)
    torch.testing.assert_close(model(images).logits, model.head(d1))


@torch.no_grad()
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("kernel_size", [3, 4])
def test_cutting_off_is_a_smaller_output_padding(size, kernel_size):
    torch.manual_seed(0)
    block = FullConvBNReLU(2, 3, kernel_size).eval()
    x = torch.randn(1, 2, size, size)
    assert block(x).shape[-1] == 2 * size
    if kernel_size == 3:
        odd = F.conv_transpose2d(x, block.conv.weight, stride=2, padding=1)
        odd = block.relu(block.bn(odd))
        torch.testing.assert_close(block(x)[..., :-1, :-1], odd)


@pytest.mark.parametrize("form", ["paper", "smp"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (63, 65), (97, 34), (127, 129)])
def test_any_size(form, size):
    with torch.device("meta"):
        model = linknet.linknet_resnet18(num_classes=3, form=form)
        assert model(torch.empty(2, 3, *size)).logits.shape == (2, 3, *size)


def test_starts_as_the_authors_code():
    """Normal, of variance 2 / (kernel area times channels of the result)."""
    torch.manual_seed(0)
    model = linknet.linknet_resnet18(num_classes=3)
    reduce, full, expand = model.decoder[0]
    for conv in (reduce.conv, full.conv, expand.conv):
        fan_out = conv.out_channels * conv.kernel_size[0] ** 2
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)


def test_errors():
    with torch.device("meta"):
        with pytest.raises(ValueError, match="num_classes is 1"):
            linknet.linknet_resnet18(num_classes=1)
        with pytest.raises(ValueError, match="form is 'unet'"):
            linknet.linknet_resnet18(num_classes=3, form="unet")
        with pytest.raises(ValueError, match="VGG16 has no forward_with_stem"):
            LinkNet(vgg16(), num_classes=3)
        with pytest.raises(ValueError, match=r"strides are \(4, 8, 8, 8\)"):
            LinkNet(resnet50(output_stride=8), num_classes=3)
    assert LinkNet.aux_losses == {}
    assert isinstance(LinkNet(resnet18(), num_classes=3).head[2], nn.ConvTranspose2d)
