"""PP-LiteSeg: the release's counts, the switches of its ablation, training and precision."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.losses import combine, cross_entropy
from segkit.models.pp_liteseg import (
    SPPM,
    ChannelAttention,
    PPLiteSeg,
    pp_liteseg_b,
    pp_liteseg_t,
)
from segkit.outputs import Stages


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


class ThinBackbone(nn.Module):
    """Average pools, so that the tests of the decoder cost nothing."""

    channels = Stages(4, 8, 12, 16)
    strides = Stages(4, 8, 16, 32)

    def forward(self, images):
        def stage(stride, channels):
            x = F.avg_pool2d(images, stride, ceil_mode=True)
            return x.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)

        return Stages(*(stage(s, c) for s, c in zip(self.strides, self.channels, strict=True)))


def thin(backbone=None, **options):
    torch.manual_seed(0)
    settings = {
        "num_classes": 3,
        "decoder_channels": (4, 6, 8),
        "head_channels": (5, 5, 5),
        "context": SPPM(16, 8),
    }
    return PPLiteSeg(backbone or ThinBackbone(), **{**settings, **options})


# By submodule; the release keeps a frozen scalar in each UAFM.
RELEASE = {
    pp_liteseg_t: {
        "backbone": 5_318_304,
        "context": 542_208,
        "uafm3": 166_177 - 1,
        "uafm4": 664_033 - 1,
        "uafm5": 1_327_713 - 1,
        "head": 9_888,
        "aux_head4": 38_208,
        "aux_head5": 75_072,
    },
    pp_liteseg_b: {
        "backbone": 9_348_768,
        "context": 542_208,
        "uafm3": 276_897 - 1,
        "uafm4": 700_961 - 1,
        "uafm5": 1_327_713 - 1,
        "head": 38_208,
        "aux_head4": 56_640,
        "aux_head5": 75_072,
    },
}


@pytest.mark.parametrize("build", RELEASE)
def test_parameters_of_every_submodule_are_those_of_the_release(build):
    model = on_meta(build)
    assert {n: count(m) for n, m in model.named_children() if count(m)} == RELEASE[build]


@pytest.mark.parametrize(
    ("build", "options", "total", "in_eval"),
    [
        (pp_liteseg_t, {}, 8_141_603 - 3, 8_028_323 - 3),
        (pp_liteseg_b, {}, 12_366_467 - 3, 12_234_755 - 3),
        (pp_liteseg_t, {"num_classes": 11}, 8_140_323 - 3, 8_028_067 - 3),
        (pp_liteseg_b, {"num_classes": 11}, 12_364_931 - 3, 12_234_243 - 3),
        (pp_liteseg_t, {"attention": "channel"}, 8_234_432, 8_121_152),
        (pp_liteseg_b, {"attention": "channel"}, 12_472_192, 12_340_480),
        (pp_liteseg_t, {"attention": None}, 8_141_312, 8_028_032),
        (pp_liteseg_b, {"attention": None}, 12_366_176, 12_234_464),
    ],
)
def test_parameters_in_training_and_in_eval_are_those_of_the_release(
    build, options, total, in_eval
):
    model = on_meta(build, **options)
    assert count(model) == total
    assert count(model) - count(model.aux_head4) - count(model.aux_head5) == in_eval


@pytest.mark.parametrize(
    ("build", "size", "gflops"),
    [
        (pp_liteseg_t, (512, 1024), 22.8423),
        (pp_liteseg_t, (720, 960), 30.27),
        (pp_liteseg_b, (512, 1024), 38.4551),
        (pp_liteseg_b, (720, 960), 50.9176),
    ],
)
def test_computation_is_that_of_the_release(build, size, gflops):
    model = on_meta(build).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, *size, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=1e-4)


def test_two_uafms_as_in_the_text_are_the_release_without_the_first():
    model = on_meta(pp_liteseg_t, fuse_c5=False)
    assert model.uafm5 is None
    assert count(model) == 8_141_600 - 1_327_712


def test_without_the_flexible_decoder_every_level_has_96_channels():
    model = on_meta(pp_liteseg_b, fld=False)
    widths = [uafm.smooth.conv.out_channels for uafm in (model.uafm3, model.uafm4, model.uafm5)]
    assert widths == [96, 96, 96]
    assert model.context.fuse.conv.out_channels == 96


def test_without_sppm_a_1x1_convolution_takes_its_place():
    model = on_meta(pp_liteseg_t, sppm=False)
    assert count(model) == 8_141_600 - 542_208 + (1024 * 128 + 2 * 128)
    assert not any(isinstance(module, SPPM) for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("fld", [True, False])
@pytest.mark.parametrize("sppm", [True, False])
@pytest.mark.parametrize("attention", ["spatial", "channel", None])
@pytest.mark.parametrize("fuse_c5", [True, False])
def test_every_row_of_the_ablation_gives_logits(fld, sppm, attention, fuse_c5):
    model = on_meta(pp_liteseg_t, fld=fld, sppm=sppm, attention=attention, fuse_c5=fuse_c5)
    assert model(torch.empty(2, 3, 64, 96, device="meta")).logits.shape == (2, 19, 64, 96)


def test_unknown_attention_names_the_known_ones():
    with pytest.raises(ValueError, match="'spatial', 'channel' or None"):
        on_meta(pp_liteseg_t, attention="spatail")


@pytest.mark.parametrize("build", [pp_liteseg_t, pp_liteseg_b])
def test_pooling_leaves_the_padding_out_as_the_release(build):
    def pools(**options):
        return {
            module.count_include_pad
            for module in on_meta(build, **options).modules()
            if isinstance(module, nn.AvgPool2d)
        }

    assert pools() == {False}
    assert pools(count_include_pad=True) == {True}
    assert pools(backbone="resnet18") == set()
    with pytest.raises(ValueError, match="the backbone resnet18 has no count_include_pad"):
        on_meta(build, backbone="resnet18", count_include_pad=True)


def test_attention_maps_can_be_seen_by_a_hook_on_public_names():
    model = thin().eval()
    seen = {}
    for level in (3, 4, 5):
        getattr(model, f"uafm{level}").attention.register_forward_hook(
            lambda _module, _inputs, alpha, level=level: seen.update({level: alpha})
        )
    model(torch.randn(1, 3, 64, 96))
    assert {level: tuple(alpha.shape) for level, alpha in seen.items()} == {
        3: (1, 1, 8, 12),
        4: (1, 1, 4, 6),
        5: (1, 1, 2, 3),
    }
    assert all(0 < alpha.min() and alpha.max() < 1 for alpha in seen.values())


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 47)])
def test_aux_logits_are_at_strides_16_and_32(size):
    aux = thin()(torch.randn(2, 3, *size)).aux
    shapes = {key: tuple(value.shape) for key, value in aux.items()}
    assert shapes == {
        "p4": (2, 3, math.ceil(size[0] / 16), math.ceil(size[1] / 16)),
        "p5": (2, 3, math.ceil(size[0] / 32), math.ceil(size[1] / 32)),
    }


def test_each_aux_loss_counts_like_the_main_one():
    model = thin()
    labels = torch.randint(0, 3, (2, 64, 64))
    total, parts = combine(cross_entropy, model.aux_losses)(
        model(torch.randn(2, 3, 64, 64)), labels
    )
    assert set(parts) == {"main", "p4", "p5"}
    torch.testing.assert_close(total, sum(parts.values()))


def test_any_backbone_and_context_will_do():
    context = nn.Conv2d(16, 8, 1)
    model = thin(context=context, attention=ChannelAttention)
    assert model.context is context
    assert model(torch.randn(2, 3, 40, 72)).logits.shape == (2, 3, 40, 72)


def test_a_given_backbone_keeps_its_weights():
    backbone = ThinBackbone()
    backbone.conv = nn.Conv2d(1, 1, 1)
    nn.init.constant_(backbone.conv.weight, 7.0)
    thin(backbone)
    assert backbone.conv.weight.item() == 7.0


def test_every_parameter_learns_but_the_biases_that_normalisation_cancels():
    torch.manual_seed(0)
    model = pp_liteseg_t(num_classes=3)
    images, labels = torch.randn(2, 3, 64, 96), torch.randint(0, 3, (2, 64, 96))
    total, _ = combine(cross_entropy, model.aux_losses)(model(images), labels)
    total.backward()
    cancelled = {name for name, _ in model.named_parameters() if name.endswith("conv.bias")}
    assert len(cancelled) == 4
    still = {name for name, p in model.named_parameters() if not p.grad.abs().max() > 1e-7}
    assert still - cancelled == set()


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model = thin(context=None)
    images = torch.randn(2, 3, 64, 64)
    labels = F.interpolate(F.avg_pool2d(images.mean(1, keepdim=True), 16), scale_factor=16)
    labels = (labels[:, 0] > 0).long()
    loss = combine(cross_entropy, model.aux_losses)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    totals = []
    for _ in range(30):
        total, _ = loss(model(images), labels)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.5 * totals[0]


def test_one_image_in_training_is_refused_by_layer_and_cure():
    model = thin()
    with pytest.raises(ValueError, match=r"ConvBNReLU\(16, 8, 1\).*batch of 2 or more"):
        model(torch.randn(1, 3, 64, 64))


def test_one_image_in_training_works_with_frozen_normalisation():
    model = thin()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    assert set(model(torch.randn(1, 3, 64, 64)).aux) == {"p4", "p5"}


def test_mixed_precision_stays_in_bfloat16_from_the_stem_to_the_logits():
    model = pp_liteseg_t(num_classes=3)
    dtypes = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_pre_hook(
                lambda _module, inputs, name=name: dtypes.update({name: inputs[0].dtype})
            )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(torch.randn(2, 3, 32, 64)).logits
    assert logits.dtype == torch.bfloat16
    assert {name for name, dtype in dtypes.items() if dtype != torch.bfloat16} == {
        "backbone.stem.conv"
    }


def test_mixed_precision_works_where_autocast_resizes_in_float32(monkeypatch):
    interpolate = F.interpolate  # as autocast does on CUDA
    monkeypatch.setattr(F, "interpolate", lambda x, **how: interpolate(x.float(), **how))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = thin()(torch.randn(2, 3, 64, 64))
    assert output.logits.dtype == torch.float32
    assert output.aux["p4"].dtype == torch.bfloat16


def test_channels_last_holds_to_the_head_and_logits_are_planes():
    torch.manual_seed(0)
    model = pp_liteseg_t(num_classes=3).eval()
    images = torch.randn(2, 3, 64, 96)
    expected = model(images).logits

    features = []
    model.uafm3.register_forward_hook(lambda _module, _inputs, p3: features.append(p3))
    model.to(memory_format=torch.channels_last)
    logits = model(images.contiguous(memory_format=torch.channels_last)).logits
    assert features[0].is_contiguous(memory_format=torch.channels_last)
    assert logits.is_contiguous()
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_one_export_serves_any_size():
    model = thin(attention=ChannelAttention).eval()
    free = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    program = torch.export.export(
        model, (torch.randn(2, 3, 64, 96),), dynamic_shapes={"images": free}
    ).module()
    for shape in [(2, 3, 64, 96), (3, 3, 65, 97), (2, 3, 40, 33)]:
        images = torch.randn(shape)
        torch.testing.assert_close(program(images).logits, model(images).logits)
