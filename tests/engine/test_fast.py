"""The fast form of a network gives the same logits and labels, and says what it did."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit import create_model, engine
from segkit.engine.fast import best_precision, optimize_for_inference, without_resize
from segkit.engine.fuse import fuse_batch_norm
from segkit.metrics import argmax
from segkit.nn import resize_logits
from segkit.outputs import SegOutput

K = 5
bf16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
images = torch.randn(1, 3, 42, 65, generator=torch.Generator().manual_seed(0))


def lived_in(network: nn.Module) -> nn.Module:
    """In eval mode, with normalisations that do something."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 2.0, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    return network.eval()


FAMILIES = {
    "pp_liteseg_t": 46,
    "unet_resnet18": 30,
    "deeplab_v3_plus_resnet18": 34,
    "segformer_b0": 1,
    "bisenet_v2": 53,
    "lraspp_mobilenet_v3_large": 47,
    "espnet": 4,  # its other normalisations follow a concatenation
    "unet_padded": 18,
    "fcn_hrnet_w18_small": pytest.param(145, marks=pytest.mark.slow),
    "deeplab_v3_plus_xception65": pytest.param(146, marks=pytest.mark.slow),
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((name, n.values[0]), marks=n.marks) if hasattr(n, "marks") else (name, n)
        for name, n in FAMILIES.items()
    ],
    ids=lambda param: param[0],
)
def family(request):
    name, fused = request.param
    torch.manual_seed(0)
    network = lived_in(create_model(name, num_classes=K))
    with torch.no_grad():
        return network, network(images).logits, fused


def relative(found, expected):
    return float((found.float() - expected).abs().max() / expected.abs().max())


def test_the_same_logits_and_labels_in_float32(family):
    network, expected, fused = family
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fast = optimize_for_inference(network, precision="float32")
    assert fast.fused == fused
    assert relative(fast(images).logits, expected) < 1e-4
    labels = engine.predict(fast, images)
    assert labels.dtype == torch.uint8
    assert (labels != argmax(expected)).float().mean() < 1e-3
    assert before.keys() == network.state_dict().keys()  # the network stays as it was
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


@pytest.mark.skipif(not bf16, reason="this torch has no bfloat16 convolutions here")
def test_nearly_the_same_in_bfloat16(family):
    network, expected, _ = family
    fast = optimize_for_inference(network, precision="bfloat16")
    assert fast(images).logits.dtype == torch.bfloat16
    assert relative(fast(images).logits, expected) < 0.1
    assert (fast.labels(images) != argmax(expected)).float().mean() < 0.1


def fused(network: nn.Module) -> int:
    """Fuse a copy, and require that it computes the same."""
    lived_in(network)
    copied = copy.deepcopy(network)
    count = fuse_batch_norm(copied, torch.empty(1, 4, 8, 8, device="meta"))
    x = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for found, expected in zip(copied(x), network(x), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    return count


class Block(nn.Module):
    """A convolution and a normalisation, used as `how` says."""

    def __init__(self, how, conv=None):
        super().__init__()
        self.how = how
        self.bn = nn.BatchNorm2d(4)  # registered first: the order of registration says nothing
        self.conv = conv or nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.BatchNorm2d(4)

    def forward(self, x):
        return self.how(self, x)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1, bias=False),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2),
        nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False),
    ],
)
def test_a_convolution_takes_its_normalisation(conv):
    assert fused(Block(lambda self, x: (self.bn(self.conv(x)),), conv)) == 1


@pytest.mark.parametrize(
    "how",
    [
        lambda self, x: (self.conv(self.bn(x)),),  # pre-activation
        lambda self, x: (self.bn(y := self.conv(x)) + y,),  # read twice, by an addition
        lambda self, x: (self.bn(y := self.conv(x)), y),  # read by who called
        lambda self, x: (self.bn(y := self.conv(x)), self.other(y)),
        lambda self, x: (self.bn(self.conv(self.conv(x))),),  # a convolution used twice
        lambda self, x: (self.bn(self.conv(x)), self.bn(x)),  # a normalisation used twice
        lambda self, x: (self.bn(self.conv(x).relu_()),),  # changed in place between them
        lambda self, x: (self.bn(self.conv(x)), F.conv2d(x, self.conv.weight)),
        lambda self, x: (self.bn(F.conv2d(x, self.conv.weight)),),
        lambda self, x: (self.bn(self.conv(x)), x + self.conv.bias.sum()),
        lambda self, x: (self.bn(self.conv(x)) * self.bn.weight.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.bias.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.running_mean.mean(),),
        lambda self, x: (self.bn(self.conv(x)) + self.bn.running_var.sum(),),
    ],
)
def test_what_is_not_proven_stays(how):
    assert fused(Block(how)) == 0


def test_a_watched_convolution_stays():
    block = Block(lambda self, x: (self.bn(self.conv(x)),))
    block.conv.register_forward_hook(lambda *_: None)
    assert fused(block) == 0


def squared(self, x):
    return nn.BatchNorm2d.forward(self, x) ** 2


def with_bounded_weights(self, x):
    return F.conv2d(x, self.weight.tanh())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda block: setattr(block.bn, "forward", types.MethodType(squared, block.bn)),
        lambda block: setattr(
            block.conv, "forward", types.MethodType(with_bounded_weights, block.conv)
        ),
        lambda block: block.bn.train(),
    ],
)
def test_what_computes_something_of_its_own_stays(spoil):
    block = lived_in(Block(lambda self, x: (self.bn(self.conv(x)),)))
    spoil(block)
    assert fuse_batch_norm(block, torch.empty(1, 4, 16, 16, device="meta")) == 0


class Asking(nn.Module):
    """Skips what it does not take for a normalisation."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList([nn.Conv2d(3, K, 3, padding=1), nn.BatchNorm2d(K)])

    def forward(self, x):
        for part in self.parts:
            x = part(x)
            if isinstance(part, nn.BatchNorm2d):
                x = x + 1
        return SegOutput(x, {})


def test_a_network_that_asks_for_its_parts_is_left_whole():
    network = lived_in(Asking())
    fast = optimize_for_inference(network, precision="float32")
    assert fast.fused == 0
    with torch.no_grad():
        torch.testing.assert_close(fast(images).logits, network(images).logits)


def mirrored(self, x):
    return type(self).forward(self, x.flip(1))


@pytest.mark.parametrize("how", ["forward hook", "pre-hook", "own forward"])
def test_what_is_done_around_a_network_is_done_for_labels_too(how):
    network = lived_in(create_model("fast_scnn", num_classes=K))
    if how == "forward hook":
        network.register_forward_hook(lambda _, __, output: SegOutput(-output.logits, {}))
    elif how == "pre-hook":
        network.register_forward_pre_hook(lambda _, given: (given[0].flip(1),))
    else:
        network.forward = types.MethodType(mirrored, network)
    big = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    fast = optimize_for_inference(network, precision="float32")
    with torch.no_grad():
        assert (fast.labels(big) == argmax(network(big).logits)).float().mean() > 0.99


class Twice(nn.Module):
    """Reads the images' convolution a second time, by its weight and on features."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, K, 1)

    def forward(self, x):
        x = F.conv2d(self.conv(self.conv(x)), self.conv.weight, self.conv.bias, padding=1)
        return SegOutput(self.last(x), {})


def test_the_convolution_of_the_images_may_be_read_again():
    network = Twice().eval()
    fast = optimize_for_inference(network, precision="bfloat16")
    with torch.no_grad():
        expected = network(images).logits
    torch.testing.assert_close(fast(images).logits.float(), expected, atol=0.02, rtol=0.05)


class Tail(nn.Module):
    """Scores at half the size, and then `end`."""

    def __init__(self, end):
        super().__init__()
        self.conv, self.end = nn.Conv2d(3, K, 3, stride=2, padding=1), end

    def forward(self, images):
        logits = resize_logits(self.conv(images), images.shape[-2:], align_corners=self.end == "on")
        return SegOutput(logits * 2 if self.end == "more" else logits, {})


@pytest.mark.parametrize(("end", "taken"), [("", True), ("on", True), ("more", False)])
@pytest.mark.parametrize("size", [None, (42, 65), (60, 40)])
def test_the_last_resizing_is_left_to_the_labels(end, taken, size):
    network = Tail(end).eval()
    fast = optimize_for_inference(network, precision="float32")
    assert fast.ends_in_resize is taken
    assert fast.scores(images).shape[-2:] == ((21, 33) if taken else (42, 65))
    with torch.no_grad():
        expected = network(images).logits
        if size:
            expected = F.interpolate(expected, size, mode="bilinear", align_corners=False)
    assert (fast.labels(images, size=size) != expected.argmax(1)).float().mean() < 1e-3
    assert fast(images).logits.shape[-2:] == (42, 65)  # as before


def test_a_network_that_ends_otherwise_is_compared_as_it_is():
    network = create_model("unet_resnet18", num_classes=K).eval()
    assert without_resize(network, torch.empty(1, 3, 64, 64, device="meta")) is None


def test_options_average_the_fast_network_too():
    fast = optimize_for_inference(Tail("").eval(), precision="float32")
    labels = engine.predict(fast, images, flip=True)
    assert labels.shape == (1, 42, 65)


def test_it_does_not_train():
    fast = optimize_for_inference(create_model("pp_liteseg_t", num_classes=K))
    assert not fast.training
    with pytest.raises(ValueError, match="cannot be trained"):
        fast.train()
    assert not any(module.training for module in fast.modules())
    assert "fused=46" in repr(fast)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_what_is_optimised_already_is_refused(precision):
    fast = optimize_for_inference(Tail("").eval(), precision="float32")
    with pytest.raises(ValueError, match=r"already, in float32: use it as it is, or give the net"):
        optimize_for_inference(fast, precision=precision)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_network_of_another_precision_is_taken(dtype):
    network = lived_in(create_model("pp_liteseg_t", num_classes=K)).to(dtype)
    fast = optimize_for_inference(network, precision="float32", example=images.to(dtype))
    found = fast(images.to(dtype)).logits
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(images.to(dtype).double()).logits
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-4
    assert {p.dtype for p in network.parameters()} == {dtype}  # stays as it was


def test_the_precision_of_the_machine():
    assert best_precision("cpu") in ("float32", "bfloat16")
    assert best_precision("mps") == "float32"
    assert optimize_for_inference(Tail("").eval()).precision == best_precision("cpu")


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="int4.*auto.*bfloat16"):
        optimize_for_inference(Tail(""), precision="int4")


def test_without_a_convolution_an_example_is_needed():
    class Flat(nn.Module):
        def forward(self, images):
            return SegOutput(images, {})

    with pytest.raises(ValueError, match="example"):
        optimize_for_inference(Flat())
    fast = optimize_for_inference(Flat(), example=images, precision="float32")
    assert torch.equal(fast.labels(images).long(), images.argmax(1))


def test_a_network_that_does_not_take_the_example_is_told():
    with pytest.raises(ValueError, match=r"\(1, 4, 64, 64\).*example="):
        optimize_for_inference(Tail("").eval(), example=torch.empty(1, 4, 64, 64))
