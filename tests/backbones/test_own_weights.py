"""A backbone's weights from a file: whose names they are, what does not fit, and what timm says."""

import hashlib

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from segbook import recipes
from segbook.builders.model import build_model
from segbook.recipes.file import absolute
from segkit import create_model

LRASPP = {"num_classes": 3, "backbone": "mobilenet_v3_small"}


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(1)
    return models.mobilenet_v3_small().state_dict()


def assert_loaded(model, state, prefix=""):
    own = model.backbone.state_dict()
    assert own
    assert all(torch.equal(value, state[prefix + name]) for name, value in own.items())


@pytest.mark.parametrize("form", ["pth", "wrapped.pth", "safetensors", "network"])
def test_a_file_of_any_form_fills_the_backbone(form, classifier, tmp_path):
    path, state = tmp_path / f"encoder.{form}", dict(classifier)
    if form == "network":
        trained = create_model("lraspp", **LRASPP)
        path, state = tmp_path / "best.safetensors", trained.backbone.state_dict()
        save_file({k: v.contiguous() for k, v in trained.state_dict().items()}, path)
    elif form == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state} if "wrapped" in form else state, path)
    assert_loaded(create_model("lraspp", **LRASPP, weights_backbone=path), state)


def test_kernels_are_adapted_to_other_channels(classifier, tmp_path):
    torch.save(classifier, tmp_path / "encoder.pth")
    grey = create_model(
        "lraspp", in_channels=1, **LRASPP, weights_backbone=str(tmp_path / "encoder.pth")
    )
    first = next(p for p in grey.backbone.parameters())
    torch.testing.assert_close(first, next(iter(classifier.values())).sum(1, keepdim=True))


def test_what_does_not_fit_is_named(classifier, tmp_path):
    lacking = {k: v for k, v in classifier.items() if k != "features.0.0.weight"}
    lacking["features.0.1.bias"] = torch.zeros(7)
    torch.save(lacking, tmp_path / "encoder.pth")
    give = {**LRASPP, "weights_backbone": str(tmp_path / "encoder.pth")}
    with pytest.raises(ValueError, match=r"lacks features\.0\.0\.weight of .* \(7,\) for \(16,\)"):
        create_model("lraspp", **give)
    with pytest.raises(ValueError, match="no such file"):
        create_model("lraspp", **LRASPP, weights_backbone="nowhere/encoder.pth")
    with pytest.raises(ValueError, match="no attribute backbone"):
        create_model("espnet", num_classes=3, weights_backbone=give["weights_backbone"])


def test_a_recipe_takes_it_for_a_backbone_without_weights_of_a_name(tmp_path, monkeypatch):
    base = recipes.get("one_protocol_pp_liteseg_t")
    body = build_model(base, 3).backbone.state_dict()
    torch.save(body, tmp_path / "stdc.pth")
    monkeypatch.chdir(tmp_path)
    recipe = absolute(recipes.override(base, {"weights_backbone": "stdc.pth"}))
    assert recipe.weights_backbone == str(tmp_path / "stdc.pth")
    monkeypatch.chdir("/")
    assert_loaded(build_model(recipe, 5), body)
    with pytest.raises(ValueError, match="give a file of them"):
        build_model(recipes.override(base, {"weights_backbone": "IMAGENET1K_V1"}), 5)


def test_an_address_is_downloaded_once_and_checked(serve_bytes, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGBOOK_CACHE", str(tmp_path / "cache"))
    torch.save(classifier, tmp_path / "encoder.pth")
    content = (tmp_path / "encoder.pth").read_bytes()
    url, asked = serve_bytes(content, "encoder.pth")
    url += f"#sha256={hashlib.sha256(content).hexdigest()}"
    for _ in range(2):
        assert_loaded(create_model("lraspp", **LRASPP, weights_backbone=url), classifier)
    assert asked == ["/encoder.pth"]
    with pytest.raises(ValueError, match="sha256"):
        create_model("lraspp", **LRASPP, weights_backbone=url[:-64] + "0" * 64)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_timm_takes_a_file_of_its_classifier(name, tmp_path):
    timm = pytest.importorskip("timm")
    whole = timm.create_model(name)
    torch.save(whole.state_dict(), tmp_path / "encoder.pth")
    path = str(tmp_path / "encoder.pth")
    model = create_model("upernet", num_classes=3, backbone=f"timm:{name}", weights_backbone=path)
    state = {k.replace(".", "_", 1): v for k, v in whole.state_dict().items()}
    state = {**state, **whole.state_dict()}
    assert_loaded(model, {f"network.{k}": v for k, v in state.items()})


def test_timm_without_a_connection_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="could not be downloaded by timm") as error:
        create_model(
            "upernet", num_classes=3, backbone="timm:test_resnet", weights_backbone="r160_in1k"
        )
    assert "\n" not in str(error.value)
