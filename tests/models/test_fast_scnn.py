"""Fast-SCNN: the paper's tables, the counts of its implementations, its blocks written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from segkit.losses import combine, cross_entropy
from segkit.models.fast_scnn import Bottleneck, FastSCNN, FeatureFusion, fast_scnn


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(**options):
    with torch.device("meta"):
        return fast_scnn(**{"num_classes": 19, **options})


def aux(model):
    return count(model.aux_head_downsampled) + count(model.aux_head_global)


def test_parameters_of_every_submodule_are_those_of_tramac():
    """Tramac/Fast-SCNN-pytorch, 19 classes, aux=True; it has one of the two auxiliary heads."""
    model = on_meta()
    assert count(model.downsample) == 6_640
    assert count(model.bottlenecks) + count(model.pyramid) == 1_066_112
    assert count(model.fusion) == 26_752 - 2 * 128  # biases before batch normalisation
    assert count(model.head) == 38_547
    assert count(model.aux_head_downsampled) == 19_123
    assert count(model) - aux(model) == 1_138_051 - 2 * 128 == 1_137_795
    assert count(model) == 1_194_473


def test_with_a_3x3_after_the_pyramid_it_is_mmsegmentation():
    model = on_meta(pyramid_kernel=3)
    body = (model.downsample, model.bottlenecks, model.pyramid, model.fusion)
    assert sum(map(count, body)) == 1_361_392
    assert count(model.head) == 38_547
    assert aux(model) == 56_678
    assert count(model) - aux(model) == 1_399_939
    assert count(model) == 1_456_617


@pytest.mark.parametrize(
    ("kernel", "gflops", "tolerance"),
    [(1, 3.3538, 2e-3), (3, 3.6236, 1e-4)],  # Tramac's first convolution is not padded
)
def test_computation_is_that_of_tramac_and_of_mmsegmentation(kernel, gflops, tolerance):
    model = on_meta(pyramid_kernel=kernel).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=tolerance)


def test_every_row_of_table_1():
    model = on_meta()
    x = torch.empty(2, 3, 1024, 2048, device="meta")
    shapes = []
    for layer in (*model.downsample, *model.bottlenecks, model.pyramid):
        x = layer(x)
        shapes.append(tuple(x.shape[1:]))
    assert shapes == [
        (32, 512, 1024),
        (48, 256, 512),
        (64, 128, 256),
        *[(64, 64, 128)] * 3,
        *[(96, 32, 64)] * 3,
        *[(128, 32, 64)] * 4,
    ]


def test_no_relu_between_the_halves_of_a_separable_convolution():
    """Section 3.2.1."""
    model = on_meta()
    for separable in (*model.downsample[1:], *model.head[:2]):
        kinds = [type(m).__name__ for m in separable.modules() if not list(m.children())]
        assert kinds == ["Conv2d", "BatchNorm2d", "Conv2d", "BatchNorm2d", "ReLU"]


def test_bottleneck_adds_its_input_where_it_can():
    x = torch.randn(2, 8, 5, 7)
    for layer, shape in [
        (Bottleneck(8, 8), (2, 8, 5, 7)),
        (Bottleneck(8, 12), (2, 12, 5, 7)),
        (Bottleneck(8, 8, stride=2), (2, 8, 3, 4)),
    ]:
        assert layer.convs[1].conv.groups == 48
        nn.init.zeros_(layer.eval().convs[2].conv.weight)
        assert layer(x).shape == shape
        assert torch.equal(layer(x), x if layer.residual else torch.zeros(shape))


def test_fusion_written_out():
    """Table 3: upsample, dilated depthwise and ReLU, 1x1; 1x1; add, ReLU."""
    layer = FeatureFusion(3, 4, 6).eval()
    assert layer.spread.conv.dilation == (4, 4)
    assert layer.spread.conv.groups == 4
    detail, context = torch.randn(2, 3, 9, 13), torch.randn(2, 4, 3, 4)
    large = F.interpolate(context, (9, 13), mode="bilinear", align_corners=False)
    scale = (1 + 1e-5) ** 0.5  # of batch normalisation as it starts
    spread = F.conv2d(large, layer.spread.conv.weight, padding=4, dilation=4, groups=4) / scale
    sides = (
        F.conv2d(spread.relu(), layer.context.conv.weight),
        F.conv2d(detail, layer.detail.conv.weight),
    )
    expected = (sum(sides) / scale).relu()
    torch.testing.assert_close(layer(detail, context), expected)


def test_aux_losses_weigh_what_the_paper_says():
    """Section 4.1: at the end of learning to downsample and of the global features, 0.4 each."""
    model = on_meta()
    given = model(torch.empty(2, 3, 64, 96, device="meta")).aux
    assert given.keys() == model.aux_losses.keys()
    assert given["downsampled"].shape == (2, 19, 8, 12)
    assert given["global"].shape == (2, 19, 2, 3)
    assert all(loss.weight == 0.4 and loss.loss is None for loss in model.aux_losses.values())
    assert model.eval()(torch.empty(1, 3, 64, 96, device="meta")).aux == {}


def test_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"):
        on_meta(num_classes=1)
    with pytest.raises(ValueError, match="pyramid_kernel is 5"):
        on_meta(pyramid_kernel=5)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        FastSCNN(num_classes=2)(torch.randn(1, 3, 64, 64))


@pytest.mark.slow
def test_network_trains():
    """Left is class 0, right class 1, below left class 2, by colour and noise; void on top."""
    torch.manual_seed(0)
    model = fast_scnn(num_classes=3)
    labels = torch.zeros(4, 64, 64, dtype=torch.long)
    for i, edge in enumerate((12, 28, 36, 52)):
        labels[i, :, edge:] = 1
        labels[i, 40:, :edge] = 2
    images = F.one_hot(labels, 3).movedim(-1, 1) + 0.3 * torch.randn(4, 3, 64, 64)
    labels[:, :3] = 255
    loss_of = combine(cross_entropy, model.aux_losses)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(40):
        loss, parts = loss_of(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(parts)
    assert all(losses[-1][name] < 0.5 * losses[0][name] for name in losses[0])
