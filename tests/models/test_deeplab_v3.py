"""DeepLabV3: torchvision's networks, their weights, and the rates that follow the stride."""

from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import segmentation

from segkit.backbones.resnet import resnet18
from segkit.losses import AuxLoss
from segkit.models import deeplab_v3
from segkit.models.deeplab_v3 import DeepLabV3
from segkit.weights.converters import from_torchvision


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def rates(aspp):
    return tuple(branch.conv.dilation[0] for branch in aspp.convs[1:])


# torchvision 0.29: by submodule of deeplabv3_*(aux_loss=True).
@pytest.mark.parametrize(
    ("build", "classes", "backbone", "classifier", "aux"),
    [
        ("deeplab_v3_resnet50", 21, 23_508_032, 16_130_837, 2_365_205),
        ("deeplab_v3_resnet50", 19, 23_508_032, 16_130_323, 2_364_691),
        ("deeplab_v3_resnet101", 21, 42_500_160, 16_130_837, 2_365_205),
        ("deeplab_v3_mobilenet_v3_large", 21, 2_971_952, 8_053_525, 3_851),
        ("deeplab_v3_mobilenet_v3_large", 19, 2_971_952, 8_053_011, 3_829),
    ],
)
def test_parameters(build, classes, backbone, classifier, aux):
    with torch.device("meta"):
        model = getattr(deeplab_v3, build)(num_classes=classes)
    assert parameters(model.backbone) == backbone
    assert sum(map(parameters, (model.aspp, model.head_conv, model.head))) == classifier
    assert parameters(model.aux_head) == aux
    assert parameters(model) == backbone + classifier + aux


def test_the_totals_are_the_published_ones():
    assert 23_508_032 + 16_130_837 + 2_365_205 == 42_004_074
    assert 42_500_160 + 16_130_837 + 2_365_205 == 60_996_202
    assert 2_971_952 + 8_053_525 + 3_851 == 11_029_328


NAMES = ["resnet50", "resnet101", "mobilenet_v3_large"]


@pytest.mark.parametrize("name", NAMES)
def test_torchvisions_weights_fit_and_the_layers_are_alike(name):
    """Also each convolution's stride, dilation and padding: small maps would not show a rate."""
    with torch.device("meta"):
        theirs = getattr(segmentation, f"deeplabv3_{name}")(
            weights=None, weights_backbone=None, num_classes=7, aux_loss=True
        )
        ours = getattr(deeplab_v3, f"deeplab_v3_{name}")(num_classes=7)
    renamed = from_torchvision(theirs.state_dict(), network="DeepLabV3")
    assert {k: v.shape for k, v in renamed.items()} == {
        k: v.shape for k, v in ours.state_dict().items()
    }

    def layers(model, rename):
        names = {k: f"{k}.weight" for k, m in model.named_modules() if isinstance(m, nn.Conv2d)}
        return {
            next(iter(rename({key: None}))): (m.stride, m.dilation, m.padding)
            for k, key in names.items()
            for m in [model.get_submodule(k)]
        }

    assert layers(ours, dict) == layers(theirs, partial(from_torchvision, network="DeepLabV3"))


def test_from_torchvision_gives_the_same_logits():
    torch.manual_seed(0)
    theirs = segmentation.deeplabv3_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=7, aux_loss=True
    ).eval()
    ours = deeplab_v3.deeplab_v3_mobilenet_v3_large(num_classes=7).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict(), network="DeepLabV3"))
    images = torch.randn(1, 3, 49, 65)
    with torch.no_grad():
        expected = theirs(images)["out"]
        logits = ours(images).logits
    assert expected.std() > 1e-3
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


def test_rates_follow_the_stride():
    with torch.device("meta"):
        at8 = deeplab_v3.deeplab_v3_resnet50(num_classes=3)
        at16 = deeplab_v3.deeplab_v3_resnet50(num_classes=3, output_stride=16)
        mobile = deeplab_v3.deeplab_v3_mobilenet_v3_large(num_classes=3)
    assert (at8.backbone.strides.c5, rates(at8.aspp)) == (8, (12, 24, 36))
    assert (at16.backbone.strides.c5, rates(at16.aspp)) == (16, (6, 12, 18))
    assert (mobile.backbone.strides.c5, rates(mobile.aspp)) == (16, (12, 24, 36))


def test_multi_grid():
    """Section 3.2: at stride 16 the three units have rates 2, 4 and 8."""
    with torch.device("meta"):
        model = deeplab_v3.deeplab_v3_resnet101(
            num_classes=3, output_stride=16, multi_grid=(1, 2, 4)
        )
        plain = deeplab_v3.deeplab_v3_resnet101(num_classes=3)
    assert [unit.conv2.dilation[0] for unit in model.backbone.layer4] == [2, 4, 8]
    assert parameters(model) == parameters(plain)


def test_the_texts_head_and_another_width():
    with torch.device("meta"):
        backbone = resnet18(output_stride=8)
        text = DeepLabV3(backbone, num_classes=3, head_conv=False)
        wide = deeplab_v3.deeplab_v3_resnet50(num_classes=19, aspp_channels=512)
    assert not [*text.head_conv.parameters()]
    assert text.eval()(torch.empty(1, 3, 33, 47, device="meta")).logits.shape == (1, 3, 33, 47)
    # mmsegmentation 1.2.2, decode_head of deeplabv3_r50-d8 at 512 channels: 42,221,075 with one 3x3
    # convolution of 5 * 512 channels where this has a 1x1 and a 3x3.
    fused, apart = 2560 * 512 * 9, 2560 * 512 + 2 * 512 + 512 * 512 * 9
    own = sum(map(parameters, (wide.aspp, wide.head_conv, wide.head)))
    assert own - apart == 42_221_075 - fused


@pytest.mark.parametrize(("aux", "shape"), [("c4", (2, 3, 5, 6)), ("c3", (2, 3, 5, 6)), (None, ())])
def test_aux(aux, shape):
    torch.manual_seed(0)
    model = DeepLabV3(resnet18(output_stride=8), num_classes=3, aspp_channels=8, aux=aux)
    output = model(torch.randn(2, 3, 33, 47))
    assert model.aux_losses == ({aux: AuxLoss(0.5)} if aux else {})
    assert {k: tuple(v.shape) for k, v in output.aux.items()} == ({aux: shape} if aux else {})


def test_refusals():
    model = DeepLabV3(resnet18(output_stride=8), num_classes=3, aspp_channels=8)
    with pytest.raises(ValueError, match="batch of 2 or more"):
        model(torch.randn(1, 3, 33, 47))
    with torch.device("meta"):
        with pytest.raises(ValueError, match="aux is 'c1'"):
            DeepLabV3(resnet18(), num_classes=3, aux="c1")
        with pytest.raises(ValueError, match="num_classes is 1"):
            deeplab_v3.deeplab_v3_resnet50(num_classes=1)
        with pytest.raises(ValueError, match="output_stride is 4"):
            deeplab_v3.deeplab_v3_resnet50(num_classes=2, output_stride=4)
