"""U-Net++: the authors' and PaddleSeg's counts, the nest written out, and what pruning leaves."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit.backbones.resnet import resnet18
from segkit.backbones.vgg import vgg16
from segkit.models import unet_plus_plus as file
from segkit.models.unet_plus_plus import BackboneUNetPlusPlus, UNetPlusPlus, unet_plus_plus


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small(**arguments):
    torch.manual_seed(0)
    arguments = {"num_classes": 3, "in_channels": 1, "channels": (4, 5, 6, 7, 8)} | arguments
    model = UNetPlusPlus(**arguments)
    for p in model.parameters():
        if p.dim() == 1:
            nn.init.normal_(p, std=0.1)
    return model.eval()


def test_the_authors_count():
    """9,041,601 in their Keras code, with one channel, one class (here two at least), one head."""
    with torch.device("meta"):
        assert parameters(unet_plus_plus(num_classes=2, in_channels=1, deep_supervision=False)) == (
            9_041_601 + 33
        )
        model = unet_plus_plus(num_classes=2, in_channels=1)
    assert parameters(model) == 9_041_601 + 33 + 3 * 66


def test_paddleseg_count_by_module():
    """PaddleSeg keeps a bias in front of batch normalisation, which has a mean of its own."""
    with torch.device("meta"):
        model = unet_plus_plus(num_classes=19, batch_norm=True, upsample="bilinear")

    def count(module):
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        return parameters(module) + sum(m.num_features for m in norms)

    assert [count(m) for m in model.column] == [10_272, 55_680, 221_952, 886_272, 3_542_016]
    assert {name: count(m) for name, m in model.nodes.items()} == {
        **{"x01": 29_920, "x11": 119_232, "x21": 476_032, "x31": 1_902_336},
        **{"x02": 39_136, "x12": 156_096, "x22": 623_488},
        **{"x03": 48_352, "x13": 192_960, "x04": 57_568},
    }
    assert {count(m) for m in model.heads.values()} == {627}
    assert count(model) == 8_363_820


@pytest.mark.parametrize(
    ("name", "decoder", "total"),
    [("resnet34", 4_793_792, 26_081_219), ("resnet50", 25_477_568, 48_988_355)],
)
def test_smp_counts(name, decoder, total):
    with torch.device("meta"):
        model = getattr(file, f"unet_plus_plus_{name}")(num_classes=19)
    assert parameters(model.nodes) + parameters(model.last) == decoder
    assert parameters(model.head) == 2_755
    assert parameters(model) == total


def test_network_is_the_paper_written_out():
    model = small()
    images = torch.randn(1, 1, 32, 48)

    def convolve(block, x):
        x = F.relu(F.conv2d(x, block[0].weight, block[0].bias, padding=1))
        return F.relu(F.conv2d(x, block[2].weight, block[2].bias, padding=1))

    def node(name, below, *skips):
        up = model.nodes[name].up
        x = F.conv_transpose2d(below, up.weight, up.bias, stride=2)
        return convolve(model.nodes[name].convs, torch.cat([x, *skips], dim=1))

    x00 = convolve(model.column[0], images)
    x10 = convolve(model.column[1], F.max_pool2d(x00, 2))
    x20 = convolve(model.column[2], F.max_pool2d(x10, 2))
    x30 = convolve(model.column[3], F.max_pool2d(x20, 2))
    x40 = convolve(model.column[4], F.max_pool2d(x30, 2))
    x01, x11 = node("x01", x10, x00), node("x11", x20, x10)
    x21, x31 = node("x21", x30, x20), node("x31", x40, x30)
    x02, x12 = node("x02", x11, x01, x00), node("x12", x21, x11, x10)
    x22 = node("x22", x31, x21, x20)
    x03, x13 = node("x03", x12, x02, x01, x00), node("x13", x22, x12, x11, x10)
    x04 = node("x04", x13, x03, x02, x01, x00)
    row = {"x01": x01, "x02": x02, "x03": x03, "x04": x04}
    scores = {
        name: F.conv2d(x, model.heads[name].weight, model.heads[name].bias)
        for name, x in row.items()
    }
    mean = torch.stack([x.softmax(dim=1) for x in scores.values()]).mean(dim=0)
    torch.testing.assert_close(model(images).logits.softmax(dim=1), mean)
    torch.testing.assert_close(model(images).logits, mean.log())

    output = model.train()(images)
    torch.testing.assert_close(output.logits, scores.pop("x04"))
    torch.testing.assert_close(output.aux, scores)
    assert {name: aux.weight for name, aux in model.aux_losses.items()} == dict.fromkeys(scores, 1)


@pytest.mark.parametrize("kind", [{}, {"batch_norm": True, "upsample": "bilinear"}])
@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_pruned_network_is_one_head_and_what_it_needs(level, kind):
    model = small(**kind)
    pruned = model.prune(level)
    images = torch.randn(2, 1, 33, 47)
    rows = {}
    model.heads[f"x0{level}"].register_forward_hook(lambda _, x, y: rows.update(score=y))
    model(images)
    torch.testing.assert_close(pruned(images).logits, rows["score"], rtol=0, atol=0)

    assert parameters(pruned) < parameters(model)
    assert len(pruned.column) == level + 1
    assert len(pruned.nodes) == level * (level + 1) // 2
    # The same network as one built with fewer levels.
    other = small(channels=(4, 5, 6, 7, 8)[: level + 1], deep_supervision=False, **kind)
    assert other.state_dict().keys() == pruned.state_dict().keys()
    other.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(other(images).logits, pruned(images).logits)
    # It can be trained further, and the original is whole.
    output = pruned.train()(images)
    assert output.aux == pruned.aux_losses == {}
    output.logits.square().mean().backward()
    assert all(p.grad is not None for p in pruned.parameters())
    assert all(p.grad is None for p in model.parameters())
    assert set(model.aux_losses) == {"x01", "x02", "x03"}


def test_levels_of_the_paper_shrink():
    """Each level costs several times the one before."""
    with torch.device("meta"):
        model = unet_plus_plus(num_classes=2, in_channels=1)
        counts = [parameters(model.prune(level)) for level in (1, 2, 3, 4)]
    assert counts == sorted(counts)
    assert counts[0] * 80 < counts[3] == parameters(model) - 3 * 66


def test_a_bilinear_node_may_convolve_before_it_enlarges():
    model = small(upsample="bilinear")
    node = model.nodes["x01"]
    below, skip = torch.randn(1, 5, 16, 24), torch.randn(1, 4, 32, 48)
    x = F.interpolate(below, scale_factor=2, mode="bilinear", align_corners=False)
    expected = node.convs(torch.cat([node.up(x), skip], dim=1))
    torch.testing.assert_close(node(below, [skip], (32, 48)), expected)


def test_u_net_plus_plus_refuses():
    with pytest.raises(ValueError, match=r"level is 5; heads are on levels 1, 2, 3, 4"):
        small().prune(5)
    with pytest.raises(ValueError, match=r"level is 1; heads are on levels 4"):
        small(deep_supervision=False).prune(1)
    with pytest.raises(ValueError, match="two to ten"):
        small(channels=(4,))
    with pytest.raises(ValueError, match="upsample is 'cubic'"):
        small(upsample="cubic")
    with pytest.raises(ValueError, match="num_classes is 1"):
        small(num_classes=1)
    with torch.device("meta"):
        with pytest.raises(ValueError, match="VGG16 has no forward_with_stem"):
            BackboneUNetPlusPlus(vgg16(), num_classes=2)
        with pytest.raises(ValueError, match="give five"):
            BackboneUNetPlusPlus(resnet18(), num_classes=2, decoder_channels=(8, 8))
        with pytest.raises(ValueError, match="num_classes is 1"):
            file.unet_plus_plus_resnet34(num_classes=1)
