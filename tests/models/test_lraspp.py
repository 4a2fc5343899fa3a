"""LR-ASPP against torchvision's counts and names, and its gate."""

import pytest
import torch
from torch import nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large as torchvisions

from segkit.backbones.resnet import resnet18
from segkit.models.lraspp import LRASPP, lraspp_mobilenet_v3_large
from segkit.weights.converters import from_torchvision


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("num_classes", "count"), [(19, 3_221_198), (21, 3_221_538)])
def test_parameters_are_torchvisions(num_classes, count):
    with torch.device("meta"):
        model = lraspp_mobilenet_v3_large(num_classes=num_classes)
    assert parameters(model) == count
    assert parameters(model.backbone) == 2_971_952
    scores = parameters(model.score_c3) + parameters(model.score_c5)
    assert parameters(model.project) == 960 * 128 + 2 * 128
    assert parameters(model.gate) == 960 * 128
    assert scores == (40 + 1 + 128 + 1) * num_classes


@torch.no_grad()
def test_torchvisions_state_dict_gives_torchvisions_logits():
    theirs = torchvisions(weights=None, weights_backbone=None, num_classes=5).eval()
    ours = lraspp_mobilenet_v3_large(num_classes=5).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), network="LRASPP"))
    images = torch.randn(1, 3, 65, 97)
    logits = ours(images).logits
    assert logits.std() > 0
    torch.testing.assert_close(logits, theirs(images)["out"], rtol=0, atol=1e-6)


def test_scores_come_from_stride_8_and_context_from_stride_16():
    model = lraspp_mobilenet_v3_large(num_classes=4).eval()
    assert model.backbone.strides == (4, 8, 16, 16)
    shapes = {}
    for name in ("gate", "project", "score_c3", "score_c5"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda m, a, y, name=name: shapes.update({name: y.shape}))
    model(torch.zeros(1, 3, 64, 96))
    assert shapes == {
        "gate": (1, 128, 1, 1),
        "project": (1, 128, 4, 6),
        "score_c3": (1, 4, 8, 12),
        "score_c5": (1, 4, 8, 12),
    }


@torch.no_grad()
def test_a_closed_gate_leaves_the_fine_scores():
    model = lraspp_mobilenet_v3_large(num_classes=4).eval()
    nn.init.constant_(model.gate[1].weight, -1e4)
    model.gate[1].register_forward_pre_hook(lambda m, args: (args[0].abs() + 1,))
    images = torch.randn(1, 3, 64, 64)
    fine = model.score_c3(model.backbone(images).c3) + model.score_c5.bias[:, None, None]
    expected = nn.functional.interpolate(fine, (64, 64), mode="bilinear")
    torch.testing.assert_close(model(images).logits, expected)


def test_reduced_tail_halves_the_last_stage():
    with torch.device("meta"):
        model = lraspp_mobilenet_v3_large(num_classes=19, reduced_tail=True)
    assert parameters(model.gate) == 480 * 128
    assert parameters(model) < 1_750_000


def test_any_backbone_and_size():
    model = LRASPP(resnet18(output_stride=16), num_classes=3).eval()
    assert model(torch.zeros(1, 3, 33, 47)).logits.shape == (1, 3, 33, 47)


def test_backbone_weights_are_asked_by_name():
    with pytest.raises(ValueError, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        lraspp_mobilenet_v3_large(num_classes=5, weights_backbone="imagenet")


def test_one_small_image_in_training():
    model = lraspp_mobilenet_v3_large(num_classes=3)
    assert model(torch.randn(1, 3, 32, 32)).logits.isfinite().all()
