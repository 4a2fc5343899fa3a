"""FCN: the classifier that became convolutions, the skips, and torchvision's dilated form."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.vgg import vgg16
from segkit.losses import AuxLoss
from segkit.models import fcn
from segkit.outputs import Stages
from segkit.weights.converters import from_torchvision


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def small_fcn(**arguments):
    torch.manual_seed(0)
    model = fcn.FCN(vgg16(), num_classes=3, fc_channels=16, **arguments).eval()
    for name, parameter in model.named_parameters():
        if name.startswith("score"):  # zero at the start, and so would be everything compared
            nn.init.normal_(parameter, std=0.1)
    return model


VGG = 14_714_688 + (512 * 49 + 1) * 4096 + (4096 + 1) * 4096  # features, fc6, fc7
SCORE_FR = (4096 + 1) * 21
POOL4 = (512 + 1) * 21 + 21 * 21 * 4 * 4  # scores and the x2 before them
POOL3 = (256 + 1) * 21 + 21 * 21 * 4 * 4


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (fcn.fcn32s_vgg16, VGG + SCORE_FR),
        (fcn.fcn16s_vgg16, VGG + SCORE_FR + POOL4),
        (fcn.fcn8s_vgg16, VGG + SCORE_FR + POOL4 + POOL3),
        (fcn.fcn_resnet50, 35_322_218),
        (fcn.fcn_resnet101, 54_314_346),
    ],
)
def test_parameter_counts(build, expected):
    with torch.device("meta"):
        model = build(num_classes=21)
    assert parameters(model) == expected
    assert all(p.requires_grad for p in model.parameters())
    if expected == VGG + SCORE_FR:
        assert expected == 134_346_581


def test_bilinear_kernel_by_hand():
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    assert torch.equal(fcn.bilinear_kernel(2), taps[:, None] * taps)
    assert fcn.bilinear_kernel(32).shape == (64, 64)


@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_upscore_starts_as_bilinear_interpolation(factor, learned):
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 5)
    upscore = fcn.Upscore(3, factor, learned=learned)
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
    torch.testing.assert_close(upscore(x), expected, rtol=0, atol=1e-5)
    assert parameters(upscore) == (9 * 4 * factor**2 if learned else 0)


def test_upscore_without_extension_is_a_bare_transposed_convolution():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 4, 5)
    bare = nn.ConvTranspose2d(3, 3, 16, stride=8, bias=False)
    upscore = fcn.Upscore(3, 8, extend=False)
    nn.init.normal_(upscore.weight)
    bare.weight = upscore.weight
    torch.testing.assert_close(upscore(x), bare(x), rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("paper_border", [False, True])
@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(32, 32), (33, 63), (97, 34)])
def test_logits_have_the_images_size(size, stride, paper_border):
    model = small_fcn(stride=stride, paper_border=paper_border)
    with torch.no_grad():
        output = model(torch.randn(1, 3, *size))
    assert output.logits.shape == (1, 3, *size)
    assert output.aux == {}


class Coordinates(nn.Module):
    """A backbone whose features hold the image's column, averaged over each cell."""

    channels = Stages(1, 1, 1, 1)
    strides = Stages(4, 8, 16, 32)

    def forward(self, images):
        return Stages(*(F.avg_pool2d(images, s, ceil_mode=True) for s in self.strides))


@pytest.mark.parametrize("paper_border", [False, True])
@pytest.mark.parametrize(
    ("stride", "layers"),
    [(32, ["fr"]), (16, ["pool4"]), (8, ["pool3"]), (16, ["fr"]), (8, ["fr", "pool4", "pool3"])],
)
def test_scores_lie_where_they_were_seen(stride, layers, paper_border):
    """Every level alone, and all together, put the column number back on its own pixel."""
    model = fcn.FCN(
        Coordinates(), num_classes=2, fc_channels=1, stride=stride, paper_border=paper_border
    ).eval()
    for layer in (model.fc6, model.fc7):
        nn.init.zeros_(layer.weight)
        layer.weight.data[..., layer.weight.shape[-2] // 2, layer.weight.shape[-1] // 2] = 1
    for layer in layers:
        getattr(model, f"score_{layer}").weight.data[0] = 1 / len(layers)
    size = 320
    # With the border, the outermost scores still see padding: the image starts at its 99th pixel.
    columns = torch.arange(size, dtype=torch.float32).expand(1, 1, size, size)

    logits = model(columns).logits

    inside = slice(100, 220)
    torch.testing.assert_close(
        logits[0, 0, inside, inside], columns[0, 0, inside, inside], rtol=0, atol=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(58, 90), (61, 75)])
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_paper_border_is_the_authors_network(stride, height, width):
    """Written out as in the authors' net.py: pad 100, bare deconvolutions, crops of 5, 9 and 31."""
    model = small_fcn(stride=stride, paper_border=True)
    K = 3

    def deconv(x, factor, weight=None):
        layer = nn.ConvTranspose2d(K, K, 2 * factor, stride=factor, bias=False)
        if weight is None:
            weight = torch.zeros(K, K, 2 * factor, 2 * factor)
            for k in range(K):
                weight[k, k] = fcn.bilinear_kernel(factor)
        layer.weight = nn.Parameter(weight)
        return layer(x)

    images = torch.randn(1, 3, height, width)
    layers = model.backbone.features
    x = F.relu(F.conv2d(images, layers[0].weight, layers[0].bias, padding=100))
    pools = []
    for layer in layers[2:]:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            pools.append(x)
    _, _, pool3, pool4, pool5 = pools
    x = model.score_fr(F.relu(model.fc7(F.relu(model.fc6(pool5)))))
    if stride <= 16:
        x = deconv(x, 2, model.upscore2.weight)
        x = x + model.score_pool4(pool4)[:, :, 5 : 5 + x.shape[2], 5 : 5 + x.shape[3]]
    if stride == 8:
        x = deconv(x, 2, model.upscore_pool4.weight)
        x = x + model.score_pool3(pool3)[:, :, 9 : 9 + x.shape[2], 9 : 9 + x.shape[3]]
    x = deconv(x, stride)
    crop = {32: 19, 16: 27, 8: 31}[stride]
    expected = x[:, :, crop : crop + height, crop : crop + width]

    logits = model(images).logits

    assert logits.std() > 0.01
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_convolutionalised_classifier_is_vgg():
    """On 224x224 pixels pool5 is 7x7, and fc6 at its centre sees what the classifier sees."""
    torch.manual_seed(0)
    theirs = models.VGG(vgg16().features, init_weights=False)
    # Torchvision's own layers, but 64 wide: 4096 would be 0.5 GB twice and prove no more.
    theirs.classifier[0] = nn.Linear(512 * 7 * 7, 64)
    theirs.classifier[3] = nn.Linear(64, 64)
    theirs.classifier[6] = nn.Linear(64, 10)
    theirs.eval()
    model = fcn.FCN(vgg16(), num_classes=10, fc_channels=64, stride=32).eval()
    images = torch.randn(1, 3, 224, 224)

    fcn.load_vgg16(model, theirs.state_dict())
    last = theirs.classifier[6].state_dict()
    model.score_fr.load_state_dict(
        {"weight": last["weight"][..., None, None], "bias": last["bias"]}
    )

    with torch.no_grad():
        scores = model.score_fr(F.relu(model.fc7(F.relu(model.fc6(model.backbone(images).c5)))))
        expected = theirs(images)
    assert scores.shape == (1, 10, 7, 7)
    assert expected.std() > 0.01
    torch.testing.assert_close(scores[:, :, 3, 3], expected, rtol=1e-5, atol=1e-5)


def test_load_vgg16_refuses_what_does_not_fit():
    model = small_fcn()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: torch.ones_like(v) for k, v in model.backbone.state_dict().items()}
    state |= {
        "classifier.0.weight": torch.ones(16, 512 * 49),
        "classifier.0.bias": torch.ones(16),
        "classifier.3.weight": torch.ones(16, 16),
        "classifier.3.bias": torch.ones(16),
    }
    for key, value, message in (
        ("classifier.3.bias", None, "classifier.3.bias is missing; fc7.bias needs"),
        ("classifier.0.weight", torch.ones(8, 512 * 49), r"shape \(8, 25088\); fc6.weight"),
        ("classifier.3.weight", torch.full((16, 16), torch.nan), "not finite"),
        ("features.0.weight", torch.ones(64, 1, 3, 3), r"backbone.features.0.weight needs"),
    ):
        bad = {k: v for k, v in state.items() if k != key} | ({} if value is None else {key: value})
        with pytest.raises(ValueError, match=message):
            fcn.load_vgg16(model, bad)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    fcn.load_vgg16(model, state)
    assert model.fc6.weight.eq(1).all()
    assert torch.equal(model.score_fr.weight, before["score_fr.weight"])


def test_scores_start_at_zero_and_the_backbone_learns_from_the_second_step():
    torch.manual_seed(0)
    model = fcn.FCN(vgg16(), num_classes=3, fc_channels=16, dropout=0.0)
    images, labels = torch.randn(1, 3, 32, 32), torch.randint(3, (1, 32, 32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = model.backbone.features[0].weight

    logits = model(images).logits
    F.cross_entropy(logits, labels).backward()
    assert logits.eq(0).all()
    assert first.grad.eq(0).all()
    assert model.score_pool3.weight.grad.abs().sum() > 0

    optimizer.step()
    optimizer.zero_grad()
    F.cross_entropy(model(images).logits, labels).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_stages_of_training_hand_on_their_weights():
    coarse = small_fcn(stride=32)
    fine = fcn.FCN(vgg16(), num_classes=3, fc_channels=16, stride=8).eval()
    skipped = fine.load_state_dict(coarse.state_dict(), strict=False)
    assert not skipped.unexpected_keys
    assert {k.split(".")[0] for k in skipped.missing_keys} == {
        *("upscore2", "score_pool4", "upscore_pool4", "score_pool3")
    }
    # The new skips add nothing yet and x2 x2 x8 is nearly x32: the finer network starts as good.
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        a, b = coarse(images).logits, fine(images).logits
    assert (a - b).abs().max() < 0.2 * a.abs().max()


def test_skip_scales():
    plain, scaled = small_fcn(), small_fcn(skip_scales=(0.01, 0.0001))
    scaled.score_pool4.weight.data.mul_(100)
    scaled.score_pool3.weight.data.mul_(10_000)
    images = torch.randn(1, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(
            plain(images).logits, scaled(images).logits, rtol=1e-4, atol=1e-4
        )


def test_fcn_refuses():
    with pytest.raises(ValueError, match="num_classes is 1"):
        fcn.FCN(Coordinates(), num_classes=1)
    with pytest.raises(ValueError, match="stride is 4; an FCN is FCN-8s"):
        fcn.FCN(Coordinates(), num_classes=2, stride=4)
    with pytest.raises(ValueError, match=r"strides are \(4, 8, 8, 8\).*DilatedFCN"):
        with torch.device("meta"):
            fcn.FCN(resnet50(output_stride=8), num_classes=2)
    with pytest.raises(ValueError, match="num_classes is 1"), torch.device("meta"):
        fcn.fcn_resnet50(num_classes=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn_resnet50", "fcn_resnet101"])
def test_dilated_fcn_is_torchvisions(name):
    torch.manual_seed(0)
    theirs = getattr(models.segmentation, name)(
        weights=None, weights_backbone=None, num_classes=7, aux_loss=True
    )
    ours = getattr(fcn, name)(num_classes=7)
    ours.load_state_dict(from_torchvision(theirs.state_dict(), network="DilatedFCN"))
    images = torch.randn(2, 3, 49, 65)

    for model in (ours, theirs):
        model.eval()
    with torch.no_grad():
        output, expected = ours(images), theirs(images)
    assert expected["out"].std() > 0.01
    torch.testing.assert_close(output.logits, expected["out"], rtol=0, atol=1e-5)
    assert output.aux == {}

    for model in (ours, theirs):
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
    with torch.no_grad():
        output, expected = ours(images), theirs(images)
    assert output.aux["c4"].shape == (2, 7, 7, 9)  # at its own resolution
    enlarged = F.interpolate(output.aux["c4"], images.shape[-2:], mode="bilinear")
    torch.testing.assert_close(output.logits, expected["out"], rtol=0, atol=1e-4)
    torch.testing.assert_close(enlarged, expected["aux"], rtol=0, atol=1e-4)
    assert ours.aux_losses == {"c4": AuxLoss(0.5)}


def test_dilated_fcn_without_aux():
    torch.manual_seed(0)
    theirs = models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=4)
    ours = fcn.DilatedFCN(resnet50(output_stride=8), num_classes=4, aux=False)
    ours.load_state_dict(from_torchvision(theirs.state_dict(), network="DilatedFCN"))
    assert ours.aux_losses == {}
    assert ours(torch.randn(2, 3, 32, 32)).aux == {}


def test_builders_pass_their_arguments_on():
    with torch.device("meta"):
        assert fcn.fcn_resnet50(num_classes=3, in_channels=4).backbone.conv1.in_channels == 4
        model = fcn.fcn16s_vgg16(num_classes=3, in_channels=4)
    assert model.backbone.features[0].in_channels == 4
    assert model.score_pool3 is None
    assert model.upscore.factor == 16


def test_any_backbone_carries_an_fcn():
    torch.manual_seed(0)
    model = fcn.FCN(resnet18(), num_classes=3, fc_channels=16).eval()
    assert model(torch.randn(1, 3, 47, 80)).logits.shape == (1, 3, 47, 80)
