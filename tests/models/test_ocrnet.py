"""OCRNet: counts by submodule, regions and relation worked by hand."""

import math

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from segkit.backbones.resnet import resnet18, resnet50
from segkit.models.ocrnet import (
    ObjectContext,
    OCRNet,
    gather,
    ocrnet_hrnet_w18,
    ocrnet_hrnet_w18_small,
    ocrnet_hrnet_w48,
    ocrnet_resnet50,
    ocrnet_resnet101,
    soft_regions,
)
from segkit.nn import ConvBN
from segkit.outputs import Stages


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


class ThinBackbone(nn.Module):
    """Strided convolutions, so that the tests of the head cost nothing."""

    channels = Stages(4, 8, 12, 16)
    strides = Stages(4, 8, 8, 8)

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(3, c, 1, stride=s) for c, s in zip(self.channels, self.strides, strict=True)
        )

    def forward(self, images):
        return Stages(*(conv(images) for conv in self.convs))


def thin(**options):
    torch.manual_seed(0)
    settings = {"num_classes": 3, "high_resolution": False, "channels": 16, "key_channels": 8}
    return OCRNet(ThinBackbone(), region_channels=8, **{**settings, **options})


# mmsegmentation 1.2.2, ocrnet_hr18s, hr18 and hr48: total, backbone, both heads, GFLOPs 512x1024.
MMSEG = {
    ocrnet_hrnet_w18_small: (6_378_496, 3_860_720, 2_517_776, 177.7253),
    ocrnet_hrnet_w18: (12_080_036, 9_562_260, 2_517_776, 212.9974),
    ocrnet_hrnet_w48: (70_371_446, 65_325_120, 5_046_326, 648.9489),
}


@pytest.mark.slow
@pytest.mark.parametrize("build", MMSEG)
def test_parameters_and_computation_on_hrnet_are_those_of_mmsegmentation(build):
    total, backbone, heads, gflops = MMSEG[build]
    model = on_meta(build).eval()
    assert count(model) == total
    assert count(model.backbone) == backbone
    assert count(model) - count(model.backbone) == heads
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=1e-3)


@pytest.mark.parametrize(
    ("build", "difference", "paddleseg"),
    [(ocrnet_hrnet_w18, 3_086, 12_083_122), (ocrnet_hrnet_w48, 3_536, 70_374_982)],
)
def test_paddleseg_has_biases_more_in_front_of_batch_normalisation(build, difference, paddleseg):
    model = on_meta(build)
    heads = (model.region_head, model.pixels, model.context, model.head)
    blocks = [m for head in heads for m in head.modules() if isinstance(m, ConvBN)]
    assert sum(block.conv.out_channels for block in blocks) == difference
    assert count(model) + difference == paddleseg


def test_parameters_on_resnet101_are_those_of_mmsegmentation():
    model = on_meta(ocrnet_resnet101, region_channels=256)
    assert {n: count(m) for n, m in model.named_children() if count(m)} == {
        "backbone": 42_500_160,  # torchvision's stem; mmsegmentation's has 19,232 more
        "region_head": 2_364_691,
        "pixels": 9_438_208,
        "context": 1_184_256,
        "head": 9_747,
    }
    assert count(model) - count(model.backbone) == 12_996_902


@pytest.mark.parametrize(
    ("build", "total"), [(ocrnet_resnet50, 38_869_606), (ocrnet_resnet101, 57_861_734)]
)
def test_region_head_on_resnet_is_the_authors(build, total):
    model = on_meta(build)
    assert count(model) == total
    assert count(model.region_head) == 4_729_363  # 1024 -> 512 -> 19, as in sssegmentation
    assert count(model) - count(model.backbone) - count(model.region_head) == 10_632_211


def test_aligned_corners_reach_the_backbone_the_concatenation_and_the_logits(monkeypatch):
    model = ocrnet_hrnet_w18_small(num_classes=3, align_corners=True).eval()
    seen = []

    def interpolate(x, size, *, mode, align_corners):
        seen.append(align_corners)
        return whole(x, size, mode=mode, align_corners=align_corners)

    whole = torch.nn.functional.interpolate
    monkeypatch.setattr(torch.nn.functional, "interpolate", interpolate)
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64))
    assert len(seen) > 20
    assert all(seen)
    assert on_meta(ocrnet_resnet50, align_corners=True).resize.align_corners
    plain = on_meta(ocrnet_hrnet_w18_small)
    assert not plain.resize.align_corners
    assert not plain.backbone.stage4[0].align_corners
    on_meta(ocrnet_hrnet_w18, backbone="resnet18", align_corners=True)  # has no way up of its own


def test_aux_are_the_region_logits_at_their_own_size():
    images = torch.empty(2, 3, 33, 47, device="meta")
    for build, size in ((ocrnet_resnet50, (5, 6)), (ocrnet_hrnet_w18_small, (9, 12))):
        model = on_meta(build).train()
        assert model.aux_losses["ocr_regions"].weight == 0.4
        output = model(images)
        assert output.logits.shape == (2, 19, 33, 47)
        assert output.aux["ocr_regions"].shape == (2, 19, *size)


def test_a_region_is_the_mean_of_its_pixels():
    logits = torch.full((1, 2, 2, 2), -math.inf)
    logits[0, 0, 0] = logits[0, 1, 1] = 3.0  # region 0 is the first row, region 1 the second
    pixels = torch.tensor([[[[1.0, 3.0], [10.0, 20.0]], [[0.0, 2.0], [4.0, 4.0]]]])
    maps = soft_regions(logits)
    assert maps[0, 0].tolist() == [[0.5, 0.5], [0.0, 0.0]]
    assert gather(pixels, maps)[0, :, :, 0].tolist() == [[2.0, 15.0], [1.0, 4.0]]


def test_context_is_the_relation_times_the_values():
    torch.manual_seed(0)
    context = ObjectContext(16, 8).double().eval()
    pixels = torch.randn(2, 16, 5, 6, dtype=torch.float64)
    regions = torch.randn(2, 16, 3, 1, dtype=torch.float64)
    query, key, value = context.query(pixels), context.key(regions), context.value(regions)
    scores = torch.einsum("bchw,bck->bkhw", query, key[..., 0]) / math.sqrt(8)
    relation = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
    mixed = torch.einsum("bkhw,bck->bchw", relation, value[..., 0])

    torch.testing.assert_close(context.relate(pixels, regions), relation)
    expected = context.augment(torch.cat([context.expand(mixed), pixels], dim=1))
    torch.testing.assert_close(context(pixels, regions), expected)


@pytest.mark.parametrize("high_resolution", [False, True])
@torch.no_grad()
def test_regions_show_what_forward_uses(high_resolution):
    model = thin(high_resolution=high_resolution).eval()
    images = torch.randn(2, 3, 33, 47)
    size = (9, 12) if high_resolution else (5, 6)
    maps, relation = model.regions(images)
    assert maps.shape == relation.shape == (2, 3, *size)
    torch.testing.assert_close(maps.sum(dim=(2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(relation.sum(dim=1), torch.ones(2, *size))

    seen = []
    model.context.value.register_forward_hook(lambda m, args, value: seen.append(args[0]))
    model(images)
    pixels, _ = model._describe(images)
    torch.testing.assert_close(seen[0], gather(pixels, maps))


@torch.no_grad()
def test_the_order_of_the_regions_does_not_matter():
    model = thin().eval()
    images = torch.randn(1, 3, 33, 47)
    before, relation = model(images).logits, model.regions(images).relation
    scores = model.region_head[-1]
    order = torch.tensor([2, 0, 1])
    scores.weight.copy_(scores.weight[order])
    scores.bias.copy_(scores.bias[order])
    torch.testing.assert_close(model(images).logits, before)
    torch.testing.assert_close(model.regions(images).relation, relation[:, order])


def test_relation_is_finite_in_half_precision():
    context = ObjectContext(16, 256).eval()
    pixels, regions = 300 * torch.randn(1, 16, 8, 8), 300 * torch.randn(1, 16, 3, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert context(pixels, regions).isfinite().all()


def test_regions_and_pixels_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="output_stride=8 or 16"), torch.device("meta"):
        OCRNet(resnet18(), num_classes=3, high_resolution=False)
    with torch.device("meta"):
        OCRNet(resnet50(output_stride=16), num_classes=3, high_resolution=False)
