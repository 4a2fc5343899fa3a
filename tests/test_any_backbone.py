"""Networks on a backbone by its name: ours and timm's, what fits and what does not."""

import pytest
import torch
from torch import nn
from torchvision import models

import segkit
from segkit.backbones.fitting import FIT
from segkit.catalog import MODELS, ON_ANY_BACKBONE, options_of
from segkit.losses import combine, cross_entropy
from segkit.weights import save_weights

PLAIN = (
    *("fcn_hrnet", "fpn", "pp_liteseg", "segformer", "stdc_seg", "upernet"),
    *("fcn8s_resnet18", "ocrnet_hrnet_w18", "unet"),
)
"""Of strides 4, 8, 16 and 32."""
STEM = ("linknet", "manet", "unet_plus_plus")
"""These too, and with a feature at stride 2."""
DILATED = (
    *("deeplab_v1", "deeplab_v2", "deeplab_v3", "deeplab_v3_plus", "fcn", "lraspp"),
    *("non_local", "ocnet", "ocrnet", "pan", "pspnet"),
)
"""Of strides that end at 8 or 16."""
K = 3


def build(name, backbone, **options):
    if backbone.startswith("timm:"):
        pytest.importorskip("timm", reason="pip install 'segbook[timm]'")
    return segkit.create_model(name, backbone=backbone, num_classes=K, **options)


def fitting():
    """Two small backbones that fit every network, and others of networks with known needs."""
    for name in dict.fromkeys((*PLAIN, *STEM, *DILATED, *ON_ANY_BACKBONE)):
        others = ("stdc1", "timm:convnext_atto") if name in PLAIN else ()
        others = ("timm:efficientnet_b0",) if name in (*STEM, *DILATED) else others
        for backbone in ("mobilenet_v2", "resnet18", *others):
            yield pytest.param(name, backbone, marks=[pytest.mark.full] * (backbone != "resnet18"))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "backbone"), [*fitting()])
def test_shape_gradient_and_round_trip(name, backbone, tmp_path):
    torch.manual_seed(0)
    model = build(name, backbone)
    # What starts at zero, scores or the normalisation that ends a block, hides what is before.
    for key, p in model.named_parameters():
        if not p.any() and (p.dim() > 1 or key.endswith("bn.weight")):
            nn.init.normal_(p, std=0.01)
    output = model(torch.randn(2, 3, 64, 70))
    assert output.logits.shape == (2, K, 64, 70)
    labels = torch.randint(0, K, (2, 64, 70))
    total, _ = combine(cross_entropy, model.aux_losses)(output, labels)
    total.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert [n for n, p in model.named_parameters() if p.dim() > 1 and not p.grad.any()] == []

    header = {"builder": name, "arguments": {"num_classes": K, "backbone": backbone}}
    save_weights(model, tmp_path / "x.safetensors", header=header)
    loaded, _ = segkit.load_model(tmp_path / "x.safetensors")
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(images).logits, model.eval()(images).logits)


@pytest.mark.full
@pytest.mark.parametrize("name", [n for n in MODELS if "backbone" in options_of(n)])
def test_every_variant_takes_another_backbone(name):
    with torch.device("meta"):
        model = build(name, "mobilenet_v2", in_channels=4)
        assert model.backbone.stem_channels == 16
        logits = model.eval()(torch.empty(1, 4, 64, 96)).logits
    assert logits.shape == (1, K, 64, 96)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PLAIN, *STEM, *DILATED])
def test_the_backbones_that_an_error_names_do_fit(name):
    for backbone in FIT:
        with torch.device("meta"):
            build(name, backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PLAIN, *STEM, *DILATED])
@pytest.mark.parametrize("backbone", ["vit_b_16", "timm:vit_tiny_patch16_224"])
def test_a_plain_vit_fits_nowhere(name, backbone):
    message = rf"{backbone} does not fit: it has strides \(16, 16, 16, 16\), channels \(\d+, .*"
    message += r"needs strides \(4, 8, \d+, \d+\).*such as resnet50, mobilenet_v2 or mobilenet_v3"
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build(name, backbone)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["stdc1", "hrnet_w18", "timm:swin_tiny_patch4_window7_224"])
@pytest.mark.parametrize("name", DILATED)
def test_what_cannot_be_dilated_is_refused(name, backbone):
    message = rf"{backbone} does not fit: it has strides \(4, 8, 16, 32\), .*, the last ones dilat"
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build(name, backbone)


@pytest.mark.parametrize("name", [*PLAIN, *STEM])
def test_what_is_dilated_is_refused_where_sizes_must_double(name):
    with pytest.raises(ValueError, match=r"\(4, 8, 8, 8\).*needs strides \(4, 8, 16, 32\)"):
        build(name, "vgg16_atrous")


@pytest.mark.parametrize("name", STEM)
@pytest.mark.parametrize("backbone", ["mit_b0", "timm:convnext_atto"])
def test_a_missing_stem_is_named(name, backbone):
    with pytest.raises(ValueError, match="no feature at stride 2, and this.*, and a feature at st"):
        build(name, backbone)


def test_a_backbone_with_strides_of_its_own_fits_without_being_dilated():
    with torch.device("meta"):
        assert build("pspnet", "vgg16_atrous").backbone.strides == (4, 8, 8, 8)


def test_a_unet_has_a_skip_at_stride_2_where_there_is_one():
    with torch.device("meta"):
        assert build("unet", "resnet18").stem
        assert not build("unet", "mit_b0").stem
        assert not build("unet_resnet18", "stdc1").stem


def test_other_mistakes_are_answered():
    with pytest.raises(ValueError, match="no backbone named 'resnet-18'; the closest .* resnet18"):
        build("pspnet", "resnet-18")
    with pytest.raises(ValueError, match="pspnet is on any backbone: name one"):
        segkit.create_model("pspnet", num_classes=K)
    with pytest.raises(ValueError, match="segnet does not take backbone; it takes num_classes"):
        build("segnet", "resnet18")
    with pytest.raises(ValueError, match="mobilenet_v2 has no multi_grid"):
        build("deeplab_v3", "mobilenet_v2", multi_grid=(1, 2, 4))
    with pytest.raises(ValueError, match="no backbone is named"):
        segkit.create_model("unet", num_classes=K, weights_backbone="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="card for each of its variants"):
        segkit.catalog.model_card("pspnet")


# --- weights of the backbone


def test_weights_of_another_backbone_are_its_own(monkeypatch):
    torch.manual_seed(0)
    state = models.mobilenet_v2().state_dict()
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *_, **__: dict(state))
    model = build("deeplab_v3_plus_resnet18", "mobilenet_v2", weights_backbone="IMAGENET1K_V1")
    assert all(torch.equal(t, state[k]) for k, t in model.backbone.state_dict().items())


def test_weights_that_there_are_not():
    message = "stdc1 has no weights to start from, asked for 'IMAGENET1K_V1'.*resnet50"
    with pytest.raises(ValueError, match=message):
        build("unet", "stdc1", weights_backbone="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="hrnet_w18 has no weights"):
        MODELS["ocrnet_hrnet_w18"](num_classes=K, weights_backbone="IMAGENET1K_V1")
    with pytest.raises(ValueError, match="there are IMAGENET1K_V1, IMAGENET1K_V2"):
        build("unet", "resnet50", weights_backbone="imagenet")


def test_timms_weights_are_named_by_their_tags(monkeypatch):
    timm = pytest.importorskip("timm", reason="pip install 'segbook[timm]'")
    asked, create = [], timm.create_model

    def offline(name, *, pretrained=False, **options):
        if pretrained:
            asked.append(name)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    build("unet", "timm:resnet18", weights_backbone="DEFAULT")
    build("unet", "timm:resnet18.a1_in1k", weights_backbone="DEFAULT")
    build("unet", "timm:resnet18", weights_backbone="a2_in1k")
    assert asked == ["resnet18", "resnet18.a1_in1k", "resnet18.a2_in1k"]
    with pytest.raises(ValueError, match="resnet18 has no weights 'x'; it has .*a1_in1k"):
        build("unet", "timm:resnet18", weights_backbone="x")


# --- files and recipes


@pytest.mark.parametrize("backbone", ["timm:hf-hub:owner/name", "timm:local-dir:/etc"])
def test_a_header_looks_no_backbone_up_elsewhere(tmp_path, backbone):
    header = {"builder": "unet", "arguments": {"num_classes": K, "backbone": backbone}}
    save_weights(nn.Linear(1, 1), tmp_path / "x.safetensors", header=header)
    with pytest.raises(ValueError, match=r"x\.safetensors says .*which is looked up elsewhere"):
        segkit.load_model(tmp_path / "x.safetensors")


def test_a_recipe_names_a_backbone(tmp_path):
    from segbook.builders.check import check
    from segbook.builders.model import build_model, model_arguments
    from segbook.recipes import Recipe

    def recipe(**fields):
        return Recipe(**{"name": "r", "model": "unet_resnet18", "steps": 1, "lr": 0.1, **fields})

    with torch.device("meta"):
        model = build_model(recipe(backbone="mobilenet_v2"), K)
        assert build_model(recipe(model="fpn", backbone="stdc1"), K).backbone.strides.c5 == 32
        assert type(build_model(recipe(), K).backbone).__name__ == "ResNet"
    assert model.backbone.stem_channels == 16
    assert model_arguments(recipe(backbone="stdc1")) == {"backbone": "stdc1"}
    assert model_arguments(recipe()) == {}
    check(recipe(backbone="mobilenet_v2", weights_backbone="IMAGENET1K_V1"))
    for fields, message in [
        ({"backbone": "vit_b_16"}, "vit_b_16 does not fit"),
        ({"model": "segnet", "backbone": "resnet18"}, "segnet has no backbone to exchange"),
        ({"model_options": {"backbone": "stdc1"}}, "--set backbone=stdc1"),
        ({"backbone": "stdc1", "weights_backbone": "IMAGENET1K_V1"}, "no weights for the backbone"),
        ({"model": "fpn"}, "fpn is on any backbone: name one"),
    ]:
        with pytest.raises(ValueError, match=message):
            check(recipe(**fields))
