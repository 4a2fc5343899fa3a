"""STDC-Seg: the counts of its implementations, its decoder written out, its detail head."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.losses import combine, cross_entropy
from segkit.losses.detail import Detail, detail_loss
from segkit.models.stdc_seg import (
    AttentionRefinement,
    ContextPath,
    FeatureFusion,
    STDCSeg,
    stdc1_seg,
    stdc2_seg,
)
from segkit.outputs import Stages

IMAGENET_TAIL = 3_125_248
UNUSED_DETAIL_HEADS = 295_104 + 37_056 + 18_624  # at strides 16, 4 and 2


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build=stdc1_seg, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


def in_eval(model):
    return count(model) - sum(map(count, (model.aux_head3, model.aux_head4, model.detail_head)))


class ThinBackbone(nn.Module):
    """Average pools, so that the tests of the decoder cost nothing."""

    channels = Stages(4, 8, 12, 16)
    strides = Stages(4, 8, 16, 32)

    def forward(self, images):
        def stage(stride, channels):
            x = F.avg_pool2d(images, stride, ceil_mode=True)
            return x.mean(dim=1, keepdim=True) * torch.arange(1.0, channels + 1).view(1, -1, 1, 1)

        return Stages(*(stage(s, c) for s, c in zip(self.strides, self.channels, strict=True)))


def thin():
    torch.manual_seed(0)
    return STDCSeg(ThinBackbone(), num_classes=3, context_channels=4, channels=8, aux_channels=5)


@pytest.mark.parametrize(
    ("build", "backbone", "release"),
    [(stdc1_seg, 5_318_304, 12_048_928), (stdc2_seg, 9_348_768, 16_079_392)],
)
def test_parameters_of_every_submodule_are_those_of_the_release(build, backbone, release):
    """MichaelFan01/STDC-Seg, models/model_stages.py, 19 classes; its cp holds the backbone."""
    model = on_meta(build)
    context = {5_318_304: 10_673_568, 9_348_768: 14_704_032}[backbone] - backbone - IMAGENET_TAIL
    assert {n: count(m) for n, m in model.named_children() if count(m)} == {
        "backbone": backbone,
        "context": context,
        "fusion": 131_584,
        "head": 595_200,
        "aux_head3": 75_072,
        "aux_head4": 75_072,
        "detail_head": 147_648,
    }
    assert count(model) == release - IMAGENET_TAIL - UNUSED_DETAIL_HEADS


@pytest.mark.parametrize(
    ("build", "total", "mmseg", "paddle"),
    [
        (stdc1_seg, 8_572_896, 8_275_123, 8_276_851),
        (stdc2_seg, 12_603_360, 12_305_587, 12_307_315),
    ],
)
def test_parameters_in_eval_are_those_of_the_others_up_to_biases(build, total, mmseg, paddle):
    model = on_meta(build)
    assert count(model) == total
    assert in_eval(model) == mmseg - 19  # of the scores
    context, fusion, head = 7 * 128, 256 + 64 + 256, 256 + 19  # one for each convolution's channel
    assert in_eval(model) == paddle - context - fusion - head


@pytest.mark.parametrize(("build", "gflops"), [(stdc1_seg, 33.7263), (stdc2_seg, 46.9132)])
def test_computation_is_that_of_mmsegmentation_and_paddleseg(build, gflops):
    model = on_meta(build).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=1e-4)


# Blocks, written out


def test_attention_refinement_weighs_channels_by_their_average():
    layer = AttentionRefinement(6, 4).eval()
    x = torch.randn(2, 6, 5, 7)
    feature = layer.conv(x)
    weight = (layer(x) / feature)[feature > 0.1]
    assert weight.min() > 0
    assert weight.max() < 1
    average = feature.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(layer(x), feature * layer.attention(average).sigmoid())


def test_context_path_written_out():
    layer = ContextPath(Stages(2, 3, 4, 5), 6).eval()
    c3, c4, c5 = torch.randn(2, 3, 8, 12), torch.randn(2, 4, 4, 6), torch.randn(2, 5, 2, 3)

    def double(x):
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    p5 = layer.refine5(c5) + layer.average(c5.mean(dim=(2, 3), keepdim=True))
    p4 = layer.smooth4(double(p5))
    p3 = layer.smooth3(double(layer.refine4(c4) + p4))
    given = layer(Stages(None, c3, c4, c5))
    torch.testing.assert_close(given, (p3, p4))


def test_feature_fusion_strengthens_by_at_most_two():
    layer = FeatureFusion(10, 8).eval()
    detail, context = torch.randn(2, 4, 5, 7), torch.randn(2, 6, 5, 7)
    mixed = layer.mix(torch.cat([detail, context], dim=1))
    ratio = (layer(detail, context) / mixed)[mixed > 0.1]
    assert 1 < ratio.min()
    assert ratio.max() < 2
    nn.init.zeros_(layer.attention[2].weight)  # sigmoid(0) is a half
    torch.testing.assert_close(layer(detail, context), 1.5 * mixed)


def test_logits_are_enlarged_with_corners_aligned():
    model = thin().eval()
    scores = []
    model.head.register_forward_hook(lambda _, x, y: scores.append(y))
    logits = model(torch.randn(2, 3, 64, 96)).logits
    corners = (slice(None), slice(None), slice(None, None, 63), slice(None, None, 95))
    expected = scores[0][:, :, ::7, ::11]
    torch.testing.assert_close(logits[corners], expected)


# Training


@pytest.mark.parametrize("size", [(64, 96), (33, 47)])
def test_aux_outputs(size):
    model = on_meta()
    aux = model(torch.empty(2, 3, *size, device="meta")).aux
    rows, columns = (-(-n // 8) for n in size)
    assert list(aux) == ["p3", "p4", "detail"] == list(model.aux_losses)
    assert aux["p3"].shape == (2, 19, rows, columns)
    assert aux["p4"].shape == (2, 19, -(-rows // 2), -(-columns // 2))
    assert type(aux["detail"]) is Detail
    assert aux["detail"].logits.shape == (2, 1, rows, columns)
    assert [loss.weight for loss in model.aux_losses.values()] == [1, 1, 1]
    assert [loss.loss for loss in model.aux_losses.values()] == [None, None, detail_loss]
    assert model.eval()(torch.empty(1, 3, *size, device="meta")).aux == {}


def test_detail_head_learns_from_labels_at_full_size():
    model = thin()
    images, labels = torch.randn(2, 3, 48, 64), torch.randint(0, 3, (2, 48, 64))
    output = model(images)
    total, parts = combine(cross_entropy, model.aux_losses)(output, labels)
    torch.testing.assert_close(parts["detail"], detail_loss(output.aux["detail"], labels).detach())
    torch.testing.assert_close(total.detach(), sum(parts.values()))
    total.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"):
        on_meta(num_classes=1)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        thin()(torch.randn(1, 3, 64, 64))


@pytest.mark.slow
def test_network_trains():
    """Left is class 0, right class 1, below left class 2, by colour and noise; void on top."""
    torch.manual_seed(0)
    model = stdc1_seg(num_classes=3)
    labels = torch.zeros(4, 64, 64, dtype=torch.long)
    for i, edge in enumerate((12, 28, 36, 52)):
        labels[i, :, edge:] = 1
        labels[i, 40:, :edge] = 2
    images = F.one_hot(labels, 3).movedim(-1, 1) + 0.3 * torch.randn(4, 3, 64, 64)
    labels[:, :3] = 255
    loss_of = combine(cross_entropy, model.aux_losses)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(25):
        loss, parts = loss_of(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(parts)
    for name in ("main", "p3", "p4"):
        assert losses[-1][name] < 0.5 * losses[0][name]
    assert losses[-1]["detail"] < 0.8 * losses[0]["detail"]
