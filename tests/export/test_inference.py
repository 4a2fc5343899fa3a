"""The fast form of a network gives the same logits and labels, and says what it did."""

from __future__ import annotations

import copy
import types

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from segkit import create_model, engine
from segkit.engine import best_precision
from segkit.export import optimize_for_inference
from segkit.export.inference import take_resize
from segkit.metrics import argmax
from segkit.nn import ResizeLogits
from segkit.outputs import SegOutput

K = 5
bf16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bw", "bf16"))
images = torch.randn(1, 3, 42, 65, generator=torch.Generator().manual_seed(0))


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
def family(request, lived_in):
    name, fused = request.param
    torch.manual_seed(0)
    network = lived_in(create_model(name, num_classes=K))
    with torch.no_grad():
        return network, network(images).logits, fused


def relative(found, expected):
    return float((found.float() - expected).abs().max() / expected.abs().max())


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.skipif(not bf16, reason="this torch has no bfloat16 convolutions here")
def test_nearly_the_same_in_bfloat16(family):
    network, expected, _ = family
    fast = optimize_for_inference(network, precision="bfloat16")
    assert fast(images).logits.dtype == torch.bfloat16
    assert relative(fast(images).logits, expected) < 0.1
    assert (fast.predict_labels(images) != argmax(expected)).float().mean() < 0.1


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


def test_a_network_that_asks_for_its_parts_is_left_whole(lived_in):
    network = lived_in(Asking())
    fast = optimize_for_inference(network, precision="float32")
    assert fast.fused == 0
    with torch.no_grad():
        torch.testing.assert_close(fast(images).logits, network(images).logits)


def mirrored(self, x):
    return type(self).forward(self, x.flip(1))


@pytest.mark.parametrize("how", ["forward hook", "pre-hook", "own forward"])
def test_what_is_done_around_a_network_is_done_for_labels_too(lived_in, how):
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
        assert (fast.predict_labels(big) == argmax(network(big).logits)).float().mean() > 0.99


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
        self.resize = ResizeLogits(align_corners=end == "on")

    def forward(self, images):
        logits = self.resize(self.conv(images), images.shape[-2:])
        if self.end == "more":
            logits = logits * 2
        elif self.end == "cropped":
            logits = self.resize(logits, [side + 3 for side in images.shape[-2:]])[..., 3:, 3:]
        elif self.end == "again":
            logits = self.resize(-logits, images.shape[-2:])
        return SegOutput(logits, {})


@pytest.mark.parametrize(
    ("end", "taken"),
    [("", True), ("on", True), *((end, False) for end in ("more", "cropped", "again"))],
)
@pytest.mark.parametrize("size", [None, (42, 65), (60, 40)])
def test_the_last_resizing_is_left_to_the_labels(end, taken, size):
    network = Tail(end).eval()
    fast = optimize_for_inference(network, precision="float32")
    assert (fast.resize is not None) is taken
    assert fast.scores(images).shape[-2:] == ((21, 33) if taken else (42, 65))
    with torch.no_grad():
        expected = network(images).logits
        if size:
            expected = F.interpolate(expected, size, mode="bilinear", align_corners=False)
    assert (fast.predict_labels(images, size=size) != expected.argmax(1)).float().mean() < 1e-3
    assert fast(images).logits.shape[-2:] == (42, 65)  # as before


@pytest.mark.parametrize("name", ["unet_resnet18", "dpt_vit_b16"])
def test_a_network_that_ends_otherwise_stays_as_it_is(name):
    with torch.device("meta"):
        network = create_model(name, num_classes=K).eval()
    before = str(network)
    assert take_resize(network, torch.empty(1, 3, 60, 70, device="meta")) is None
    assert str(network) == before


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
def test_a_network_of_another_precision_is_taken(lived_in, dtype):
    network = lived_in(create_model("pp_liteseg_t", num_classes=K)).to(dtype)
    fast = optimize_for_inference(network, precision="float32", example=images.to(dtype))
    found = fast(images.to(dtype)).logits
    with torch.no_grad():
        expected = copy.deepcopy(network).double()(images.to(dtype).double()).logits
    assert found.dtype == torch.float32
    assert relative(found, expected) < 1e-4
    assert {p.dtype for p in network.parameters()} == {dtype}  # stays as it was


def test_the_precision_is_the_machines():
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
    assert torch.equal(fast.predict_labels(images).long(), images.argmax(1))


def test_a_network_that_does_not_take_the_example_is_told():
    with pytest.raises(ValueError, match=r"\(1, 4, 64, 64\).*example="):
        optimize_for_inference(Tail("").eval(), example=torch.empty(1, 4, 64, 64))
