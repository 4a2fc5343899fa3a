"""From a recipe to weights and groups of weights."""

from __future__ import annotations

import pytest
import torch

import segkit
from segbook import recipes, training
from segbook.builders.check import check
from segbook.builders.model import build_model, load_start
from segbook.builders.optimizer import build_optimizer, group_weights
from segbook.preflight import examine
from segbook.recipes.recipe import Recipe
from segkit.catalog import MODELS
from segkit.engine.freeze import freeze
from segkit.weights import fine_tuning, load_weights, save_weights


def plain(model="pp_liteseg_t", **fields):
    return Recipe(name="r", model=model, steps=1, **{"lr": 0.1} | fields)


def rates(recipe, model):
    """The learning rate of each weight, by name."""
    of = {id(p): g["lr"] for g in group_weights(recipe, model) for p in g["params"]}
    return {name: of[id(p)] for name, p in model.named_parameters() if id(p) in of}


def test_stages_of_the_backbone_learn_slower_and_slower():
    recipe = plain("fcn8s_resnet18", stage_lr=0.5, head_lr=10.0)
    with torch.device("meta"):
        model = build_model(recipe, 5)
    found = rates(recipe, model)
    assert found["score_fr.weight"] == pytest.approx(1.0)
    for name, depth in [("layer4.0", 1), ("layer3.0", 2), ("layer2.0", 3), ("layer1.0", 4)]:
        assert found[f"backbone.{name}.conv1.weight"] == pytest.approx(0.1 * 0.5**depth)
    assert found["backbone.conv1.weight"] == found["backbone.bn1.bias"] == 0.1 * 0.5**5
    assert set(rates(plain("fcn8s_resnet18"), model).values()) == {0.1}


def test_what_is_frozen_is_left_out():
    recipe = plain(freeze="backbone")
    with torch.device("meta"):
        model = build_model(recipe, 5)
    freeze(model, recipe.freeze)
    found = rates(recipe, model)
    assert found
    assert not any(name.startswith("backbone.") for name in found)
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="every weight of pp_liteseg_t is frozen"):
        build_optimizer(recipe, model)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_fused_steps_are_those_of_plain_ones(optimizer):
    results = []
    for fused in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Conv2d(3, 4, 3)
        made = build_optimizer(plain(optimizer=optimizer), model, fused=fused)
        assert bool(made.defaults["fused"]) is fused
        for _ in range(3):
            made.zero_grad()
            model(torch.ones(1, 3, 4, 4)).square().sum().backward()
            made.step()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"model": "unet", "stage_lr": 0.5}, "stage_lr=0.5 is for .* unet has no backbone"),
        ({"model": "unet", "freeze": "backbone"}, "freeze='backbone' is for a network with"),
        ({"model": "segformer_b0", "freeze": "backbone_norms"}, "MiT has no BatchNorm"),
        ({"model_options": {"weights": "x.safetensors"}}, r"--set weights=x\.safetensors"),
        ({"model_options": {"weights_backbone": "IMAGENET1K_V1"}}, "--set weights_backbone=IMAGE"),
        ({"weights": "."}, "is a folder, not a weights file: give a .safetensors file"),
        ({"weights": "nowhere.safetensors"}, "no such file.*weights by name.*or torchvision's"),
        ({"weights": "FCN_ResNet50_Weights.DEFAULT"}, "for the model fcn_resnet50, not for pp_"),
        ({"weights": "FCN_ResNet50_Weights.COCO"}, "no segmentation weights named"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused(fields, match):
    with pytest.raises(ValueError, match=match):
        check(plain(**fields))


def test_named_weights_are_not_downloaded_by_the_check(monkeypatch):
    from torchvision.models import WeightsEnum

    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: pytest.fail("downloaded"))
    check(plain("fcn_resnet50", weights="FCN_ResNet50_Weights.DEFAULT"))


# --- weights of other classes


def saved(path, model, num_classes, **header):
    torch.manual_seed(1)
    network = segkit.create_model(model, num_classes=num_classes)
    save_weights(network, path, header=header)
    return network.state_dict()


@pytest.mark.parametrize(
    ("model", "modules"),
    [
        ("pp_liteseg_t", ["aux_head4.1", "aux_head5.1", "head.1"]),
        ("ocrnet_hrnet_w18_small", ["head", "region_head.1"]),
        ("linknet_resnet18", ["head.2"]),  # its scores' classes are in the second dimension
        ("fcn8s_resnet18", ["score_fr", "score_pool3", "score_pool4", "upscore2", "upscore_pool4"]),
    ],
)
def test_only_the_scores_start_anew(tmp_path, model, modules):
    state = saved(tmp_path / "x.safetensors", model, 7)
    recipe = plain(model, weights=str(tmp_path / "x.safetensors"))
    torch.manual_seed(2)
    network = build_model(recipe, 4, pretrained=False)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    random = torch.get_rng_state()
    loaded = load_start(recipe, network, ["a", "b", "c", "d"])
    assert torch.equal(torch.get_rng_state(), random)
    assert sorted({name.rpartition(".")[0] for name in loaded.fresh}) == modules
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, (before if name in loaded.fresh else state)[name]), name
    line = str(loaded)
    assert "made for 7 classes, now 4" in line
    assert all(module in line for module in modules)


@pytest.mark.full
@pytest.mark.parametrize("name", MODELS)
def test_the_scores_of_every_network_are_found(name):
    def rebuild(number):
        return MODELS[name](num_classes=number)

    with torch.device("meta"):
        own, theirs = rebuild(11).state_dict(), rebuild(19).state_dict()
    assert fine_tuning._classes_of(own, theirs, 11, rebuild) == 19
    fresh = fine_tuning.other_shapes(own, theirs)
    assert fresh
    assert not any(tensor.startswith("backbone.") for tensor in fresh)


def test_classes_of_the_same_name_keep_their_rows(tmp_path):
    path = tmp_path / "x.safetensors"
    state = saved(path, "linknet_resnet18", 4, classes=["Sky", "Road", "Traffic Light", "Car"])
    network = segkit.create_model("linknet_resnet18", num_classes=3)
    recipe = plain("linknet_resnet18", weights=str(path))
    loaded = load_start(recipe, network, ["car", "pole", "traffic_light"])
    assert loaded.kept == ("car", "traffic_light")
    weight, old = network.head[2].weight, state["head.2.weight"]
    assert torch.equal(weight[:, [0, 2]], old[:, [3, 2]])
    assert not any(torch.equal(weight[:, 1], old[:, i]) for i in range(4))
    assert torch.equal(network.head[2].bias[[0, 2]], state["head.2.bias"][[3, 2]])
    assert str(loaded).endswith("but for the rows of car, traffic_light")


def test_the_same_classes_in_another_order_are_moved(tmp_path):
    path = tmp_path / "x.safetensors"
    state = saved(path, "segformer_b0", 3, classes=["a", "b", "c"])
    network = segkit.create_model("segformer_b0", num_classes=3)
    loaded = load_start(plain("segformer_b0", weights=str(path)), network, ["c", "a", "b"])
    assert torch.equal(network.head.weight, state["head.weight"][[2, 0, 1]])
    assert loaded.kept == ("c", "a", "b")


@pytest.mark.parametrize(
    ("classes", "words"),
    [(["a", "b", "c"], "all of them"), (["x", "y", "z"], "though its classes have other names")],
)
def test_as_many_classes_are_taken_whole(tmp_path, classes, words):
    path = tmp_path / "x.safetensors"
    state = saved(path, "pp_liteseg_t", 3, classes=["a", "b", "c"])
    network = segkit.create_model("pp_liteseg_t", num_classes=3)
    loaded = load_start(plain(weights=str(path)), network, classes)
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    assert str(loaded).endswith(words)


@pytest.mark.parametrize("change", ["missing", "wider", "another network"])
def test_what_differs_in_more_than_its_classes_is_refused(tmp_path, change):
    network = segkit.create_model("pp_liteseg_t", num_classes=7)
    state = dict(network.state_dict())
    if change == "missing":
        del state["backbone.stem.conv.weight"]
    elif change == "wider":
        state["backbone.stem.conv.weight"] = torch.zeros(64, 3, 3, 3)
    else:
        state = dict(segkit.create_model("unet_resnet18", num_classes=7).state_dict())
    save_weights(state, tmp_path / "x.safetensors", header={})
    model = segkit.create_model("pp_liteseg_t", num_classes=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"x\.safetensors does not fit PPLiteSeg"):
        load_start(plain(weights=str(tmp_path / "x.safetensors")), model, ["a", "b", "c", "d"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_a_users_load_stays_strict(tmp_path):
    saved(tmp_path / "x.safetensors", "pp_liteseg_t", 7)
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(segkit.create_model("pp_liteseg_t", num_classes=4), tmp_path / "x.safetensors")


def test_channels_that_no_image_has_are_refused():
    recipe = recipes.override(recipes.get("unet_synthetic"), {"model_options": {"in_channels": 4}})
    for build in (check, examine_errors, training.build):
        with pytest.raises(ValueError, match=r"in_channels=4, and images are read as RGB, of 3"):
            build(recipe)


def examine_errors(recipe):
    [first, *_] = [one for one in examine(recipe) if one.severity == "error"]
    raise ValueError(first.what)
