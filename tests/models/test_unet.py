"""U-Net: the paper's arithmetic, its mirrored border, and U-Nets on other backbones."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.stdc import stdc1
from segkit.backbones.vgg import vgg16
from segkit.models import unet


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small(**arguments):
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "in_channels": 1, "channels": (4, 5, 6, 7, 8)} | arguments
    return unet.UNet(**arguments).eval()


def test_paper_has_23_convolutions_and_31_030_658_parameters():
    with torch.device("meta"):
        model = unet.unet(num_classes=2, in_channels=1)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert [m.kernel_size[0] for m in convolutions].count(3) == 18
    assert all(m.padding == (0, 0) and m.bias is not None for m in convolutions)
    assert parameters(model) == 31_030_658
    # By hand: two 3x3 a level down and up, a 2x2 between levels, a 1x1 at the end.
    widths = [64, 128, 256, 512, 1024]
    down = sum(9 * i * o + o + 9 * o * o + o for i, o in zip([1, *widths], widths, strict=False))
    up = sum((4 * 2 * o * o + o) + (9 * 2 * o * o + o) + (9 * o * o + o) for o in widths[:-1])
    assert down + up + 64 * 2 + 2 == 31_030_658


def test_paper_sizes():
    """Figure 1: 572 pixels in, 388 out, the maps between them as drawn."""
    with torch.device("meta"):
        model = unet.unet(num_classes=2, in_channels=1).eval()
    seen = []
    for module in (*model.contract, *model.expand):
        module.register_forward_hook(lambda _, x, y: seen.append((x[0].shape[-1], y.shape[-1])))
    with torch.device("meta"):
        logits = model(torch.empty(1, 1, 388, 388)).logits
    assert logits.shape == (1, 2, 388, 388)
    assert seen == [
        *[(572, 568), (284, 280), (140, 136), (68, 64), (32, 28)],
        *[(56, 52), (104, 100), (200, 196), (392, 388)],
    ]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 100), (388, 34)])
def test_logits_have_the_images_size(size, padded):
    model = small(padded=padded)
    pooled = []
    model.pool.register_forward_hook(lambda _, x, y: pooled.append(x[0].shape[-2:]))
    with torch.no_grad():
        output = model(torch.randn(2, 1, *size))
    assert output.logits.shape == (2, 3, *size)
    assert output.aux == {}
    # "all 2x2 max-pooling operations are applied to a layer with an even x- and y-size"
    assert len(pooled) == 4
    assert all(h % 2 == 0 and w % 2 == 0 for h, w in pooled)


def test_mirror_is_reflect_where_that_is_possible():
    images = torch.randn(2, 3, 40, 50)
    expected = F.pad(images, (30, 25, 30, 11), mode="reflect")
    result = unet.mirror(images, before=30, height=81, width=105)
    assert torch.equal(result, expected)


def test_mirror_repeats_on_small_images():
    row = torch.tensor([0.0, 1, 2]).expand(1, 1, 3, 3)
    result = unet.mirror(row, before=7, height=3, width=15)
    assert result[0, 0, 0].tolist() == [1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


def test_tiles_are_seamless():
    """Figure 2: inside its border, a tile has the logits of the whole image."""
    model = small()
    image = torch.randn(1, 1, 400, 400)
    with torch.no_grad():
        whole = model(image).logits
        # 16 pixels on, where the poolings fall on the same pixels. A logit sees 92 pixels to each
        # side, and up to 16 more, for its cell of the lowest level is 16 pixels large.
        tile = model(image[..., 16:, 16:]).logits
    assert whole.std() > 0.01
    inside = tile[..., 108:-108, 108:-108]
    torch.testing.assert_close(inside, whole[..., 124:-108, 124:-108], rtol=1e-4, atol=1e-5)


def test_unpadded_network_is_the_paper_written_out():
    """The forward pass in the paper's words, on the paper's tile cut from a mirrored image."""
    model = small()
    images = torch.randn(1, 1, 100, 100)
    x = F.pad(images, (92, 92, 92, 92), mode="reflect")  # 284 = 16 * 14 + 60
    skips = []
    for level, block in enumerate(model.contract):
        if level:
            x = F.max_pool2d(x, 2)
        x = F.relu(F.conv2d(x, block[0].weight, block[0].bias))
        x = F.relu(F.conv2d(x, block[2].weight, block[2].bias))
        skips.append(x)
    for up, block, skip in zip(model.up_convs, model.expand, reversed(skips[:-1]), strict=True):
        x = F.conv_transpose2d(x, up.weight, up.bias, stride=2)
        margin = (skip.shape[-1] - x.shape[-1]) // 2
        skip = skip[..., margin : margin + x.shape[-1], margin : margin + x.shape[-1]]
        x = torch.cat([x, skip], dim=1)
        x = F.relu(F.conv2d(x, block[0].weight, block[0].bias))
        x = F.relu(F.conv2d(x, block[2].weight, block[2].bias))
    expected = F.conv2d(x, model.head.weight, model.head.bias)
    assert expected.shape[-1] == 100
    torch.testing.assert_close(model(images).logits, expected, rtol=1e-5, atol=1e-5)


def test_initialisation_keeps_unit_variance():
    """Section 3: a Gaussian of standard deviation sqrt(2 / N), N the incoming values."""
    torch.manual_seed(0)
    model = unet.UNet(num_classes=2, in_channels=1, channels=(32, 64, 128))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            incoming = module.in_channels * module.kernel_size[0] ** 2
        elif isinstance(module, nn.ConvTranspose2d):
            incoming = module.in_channels  # stride 2, kernel 2: one pixel of each channel
        else:
            continue
        if module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx((2 / incoming) ** 0.5, rel=0.05)
        assert module.bias.eq(0).all()


def test_dropout_is_at_the_end_of_the_contracting_path():
    model = small().train()
    shapes = []
    model.dropout.register_forward_hook(lambda _, x, y: shapes.append(x[0].shape[1]))
    images = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        first, second = model(images).logits, model(images).logits
    assert shapes == [7, 8, 7, 8]  # channels of the last two levels
    assert model.dropout.p == 0.5
    assert not torch.equal(first, second)


def test_padded_form():
    with torch.device("meta"):
        model = unet.unet_padded(num_classes=2, in_channels=1)
        plain = unet.unet_padded(num_classes=2, in_channels=1, batch_norm=False)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 18
    # A convolution before batch normalisation has no bias; the normalisation has two values.
    assert parameters(model) == 31_030_658 + sum(m.num_features for m in norms)
    assert parameters(plain) == 31_030_658
    assert model.dropout.p == 0
    assert all(
        m.padding == (1, 1) for m in model.modules() if getattr(m, "kernel_size", 0) == (3, 3)
    )


@pytest.mark.parametrize(
    ("build", "expected"),
    [(unet.unet_resnet34, 24_438_979), (unet.unet_resnet50, 32_523_715)],
)
def test_backbone_unet_has_the_parameters_of_smp(build, expected):
    with torch.device("meta"):
        assert parameters(build(num_classes=19)) == expected


def test_backbone_unet_written_out():
    """On sizes that are multiples of 32 the way up is: double, concatenate, convolve."""
    torch.manual_seed(0)
    model = unet.unet_resnet18(num_classes=3).eval()
    images = torch.randn(1, 3, 64, 96)
    stem, stages = model.backbone.forward_with_stem(images)
    x = stages.c5
    skips = (stages.c4, stages.c3, stages.c2, stem, None)
    for block, skip in zip(model.decoder, skips, strict=True):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        if skip is not None:
            x = torch.cat([x, skip], dim=1)
        x = block.convs(x)
    expected = F.conv2d(x, model.head.weight, model.head.bias, padding=1)
    torch.testing.assert_close(model(images).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [32, 33, 47, 63, 65, 97, 127])
def test_nearest_to_a_rounded_size_is_doubling_and_cropping(length):
    """What makes the decoder exact for any size."""
    while length > 1:
        half = (length + 1) // 2
        x = torch.arange(float(half)).reshape(1, 1, 1, half)
        doubled = x.repeat_interleave(2, dim=-1)[..., :length]
        assert torch.equal(F.interpolate(x, (1, length), mode="nearest"), doubled)
        length = half


@pytest.mark.parametrize(
    "build",
    [
        lambda: unet.BackboneUNet(resnet18(), num_classes=3, stem=True),
        lambda: unet.BackboneUNet(resnet50(output_stride=8), num_classes=3),
        lambda: unet.BackboneUNet(vgg16(), num_classes=3),
        lambda: unet.BackboneUNet(stdc1(), num_classes=3, decoder_channels=(64, 32, 16, 8, 8)),
    ],
    ids=["resnet18", "resnet50 at stride 8", "vgg16", "stdc1"],
)
def test_any_backbone(build):
    torch.manual_seed(0)
    model = build()
    output = model(torch.randn(2, 3, 37, 50))
    assert output.logits.shape == (2, 3, 37, 50)
    output.logits.square().mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_unets_refuse():
    for build in (unet.unet, unet.unet_padded, unet.unet_resnet18):
        with pytest.raises(ValueError, match="num_classes is 1"), torch.device("meta"):
            build(num_classes=1)
    with torch.device("meta"):
        with pytest.raises(ValueError, match="five"):
            unet.BackboneUNet(vgg16(), num_classes=2, decoder_channels=(64, 32))
        with pytest.raises(ValueError, match="VGG16 has no forward_with_stem"):
            unet.BackboneUNet(vgg16(), num_classes=2, stem=True)


def test_builders_pass_their_arguments_on():
    with torch.device("meta"):
        assert unet.unet(num_classes=3, in_channels=4).contract[0][0].in_channels == 4
        assert unet.unet_resnet18(num_classes=3, in_channels=4).backbone.conv1.in_channels == 4
        assert unet.unet_padded(num_classes=3, dropout=0.25).dropout.p == 0.25
        assert unet.UNet(num_classes=2).aux_losses == {}
