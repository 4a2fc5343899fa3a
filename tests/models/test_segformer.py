"""SegFormer: the released sizes, and a decoder that mixes channels only."""

import pytest
import torch
from torch import nn

from segkit.backbones.resnet import resnet18
from segkit.models import segformer
from segkit.outputs import Stages

# At 19 classes: transformers 5.23.0 and PaddleSeg, backbone, decoder and head.
RELEASED = {
    "segformer_b0": (3_719_027, 3_319_392, 394_752, 4_883),
    "segformer_b1": (13_682_131, 13_151_424, 525_824, 4_883),
    "segformer_b2": (27_361_235, 24_196_288, 3_150_336, 14_611),
    "segformer_b3": (47_237_075, 44_072_128, 3_150_336, 14_611),
    "segformer_b4": (64_007_635, 60_842_688, 3_150_336, 14_611),
    "segformer_b5": (84_607_955, 81_443_008, 3_150_336, 14_611),
}
# smp 0.6.0, whose decoder is 256 wide for all.
NARROW = {"segformer_b2": 24_726_995, "segformer_b3": 44_602_835, "segformer_b5": 81_973_715}


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(name, **arguments):
    with torch.device("meta"):
        return getattr(segformer, name)(num_classes=19, **arguments)


@pytest.mark.parametrize("name", RELEASED)
def test_parameters_of_the_release(name):
    model = on_meta(name)
    parts = (model, model.backbone, model.decoder, model.head)
    assert tuple(parameters(part) for part in parts) == RELEASED[name]


@pytest.mark.parametrize("name", NARROW)
def test_parameters_with_a_narrow_decoder(name):
    assert parameters(on_meta(name, decoder_channels=256)) == NARROW[name]


@torch.no_grad()
def test_decoder_is_linear_layers_at_each_pixel():
    """Eq. 4, with linear layers on vectors in the place of the convolutions."""
    torch.manual_seed(0)
    decoder = segformer.AllMLPDecoder(Stages(3, 4, 5, 6), 7).eval()
    constant = [torch.randn(1, width) for width in (3, 4, 5, 6)]  # enlarging keeps a constant map
    maps = [
        vector[..., None, None].expand(-1, -1, side, side)
        for vector, side in zip(constant, (8, 4, 2, 1), strict=True)
    ]
    vectors = [
        nn.functional.linear(vector, layer.weight.flatten(1), layer.bias)
        for vector, layer in zip(constant, decoder.linear, strict=True)
    ]
    fused = nn.functional.linear(
        torch.cat(vectors[::-1], dim=1), decoder.fuse.conv.weight.flatten(1)
    )
    expected = (fused / (1 + 1e-5) ** 0.5).relu()

    result = decoder(Stages(*maps))

    assert result.shape == (1, 7, 8, 8)
    torch.testing.assert_close(result, expected[..., None, None].expand_as(result))


@torch.no_grad()
def test_logits_are_those_at_stride_4_enlarged():
    torch.manual_seed(0)
    model = segformer.segformer_b0(num_classes=4).eval()
    images = torch.randn(1, 3, 33, 47)
    small = model.head(model.decoder(model.backbone(images)))
    assert small.shape == (1, 4, 9, 12)
    expected = nn.functional.interpolate(small, (33, 47), mode="bilinear", align_corners=False)
    output = model(images)
    torch.testing.assert_close(output.logits, expected)
    assert output.aux == {}


def test_dropout_takes_whole_channels():
    torch.manual_seed(0)
    model = on_meta("segformer_b0")
    kept = model.dropout(torch.ones(2, 256, 3, 3)).flatten(2).ne(0)
    assert (kept.all(-1) | ~kept.any(-1)).all()
    assert 0.02 < 1 - kept.float().mean() < 0.2


@torch.no_grad()
def test_any_backbone_will_do():
    model = segformer.SegFormer(resnet18(), num_classes=3, decoder_channels=32).eval()
    assert model(torch.randn(1, 3, 40, 50)).logits.shape == (1, 3, 40, 50)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes=2"):
        segformer.segformer_b0(num_classes=1)
