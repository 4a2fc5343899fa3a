"""The papers' recipes: what decides a figure is pinned, and each can be built."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segbook import recipes
from segbook.builders.check import check, check_settings
from segbook.builders.data import build_augmentation, build_data, build_normalisation
from segbook.builders.loss import LOSSES, _options
from segbook.builders.model import build_model
from segbook.builders.optimizer import build_optimizer, build_schedule, group_weights
from segbook.recipes import Recipe
from segkit.data.catalog import find

PINNED = {
    # name: (data, crop, scale, batch_size, steps, lr, head_lr, weight_decay, paper_miou)
    "deeplab_v1_vgg16_voc":
        ("voc_aug", (321, 321), (1.0, 1.0), 10, 20_000, 1e-3, 10, 5e-4, 0.6588),
    "deeplab_v3_resnet101_voc":
        ("voc_aug", (513, 513), (0.5, 2.0), 16, 30_000, 0.007, 1, 1e-4, 0.7721),
    "deeplab_v2_vgg16_voc":
        ("voc_aug", (321, 321), (1.0, 1.0), 10, 20_000, 1e-3, 10, 5e-4, 0.6896),
    "deeplab_v3_resnet101_cityscapes":
        ("cityscapes", (769, 769), (0.5, 2.0), 16, 90_000, 0.007, 1, 1e-4, None),
    "deeplab_v3_plus_resnet101_voc":
        ("voc_aug", (513, 513), (0.5, 2.0), 16, 30_000, 0.007, 1, 1e-4, 0.7885),
    "deeplab_v3_plus_resnet50_cityscapes":
        ("cityscapes", (769, 769), (0.5, 2.0), 16, 90_000, 0.007, 1, 1e-4, None),
    "deeplab_v3_plus_xception65_cityscapes":
        ("cityscapes", (769, 769), (0.5, 2.0), 16, 90_000, 0.007, 1, 4e-5, 0.7879),
    "pspnet_resnet50_ade20k":
        ("ade20k", (473, 473), (0.5, 2.0), 16, 150_000, 0.01, 10, 1e-4, 0.4168),
    "pspnet_resnet101_cityscapes":
        ("cityscapes", (713, 713), (0.5, 2.0), 16, 90_000, 0.01, 10, 1e-4, None),
    "fcn_hrnet_w48_cityscapes":
        ("cityscapes", (512, 1024), (0.5, 2.1), 12, 120_000, 0.01, 1, 5e-4, 0.811),
    "fcn_hrnet_w18_small_cityscapes":
        ("cityscapes", (512, 1024), (0.5, 2.1), 12, 120_000, 0.01, 1, 5e-4, 0.762),
    "fcn8s_vgg16_voc":
        ("voc_aug", (500, 500), (1.0, 1.0), 1, 300_000, 1e-10 * 500 * 375, 1, 5e-4, None),
    "segnet_camvid":
        ("camvid", (360, 480), (1.0, 1.0), 5, 40_000, 1e-3, 1, 5e-4, None),
    "upernet_resnet101_ade20k":
        ("ade20k", (512, 512), (0.5, 1.5), 16, 200_000, 0.02, 1, 1e-4, None),
    "ocrnet_resnet101_cityscapes":
        ("cityscapes", (512, 1024), (0.5, 2.0), 8, 40_000, 0.01, 1, 5e-4, None),
    "ocrnet_resnet101_ade20k":
        ("ade20k", (520, 520), (0.5, 2.0), 16, 150_000, 0.02, 1, 1e-4, None),
    "segformer_b5_ade20k":
        ("ade20k", (640, 640), (0.5, 2.0), 16, 160_000, 6e-5, 10, 0.01, 0.510),
    "segformer_b2_cityscapes":
        ("cityscapes", (1024, 1024), (0.5, 2.0), 8, 160_000, 6e-5, 10, 0.01, 0.810),
    "pp_liteseg_b_cityscapes":
        ("cityscapes", (512, 1024), (0.125, 1.5), 16, 160_000, 0.005, 1, 5e-4, None),
    "stdc2_seg_camvid":
        ("camvid", (720, 960), (0.5, 2.5), 24, 10_000, 0.01, 10, 5e-4, 0.739),
    "bisenet_v2_cityscapes":
        ("cityscapes", (512, 1024), (0.375, 1.0), 16, 150_000, 0.05, 1, 5e-4, None),
    "fast_scnn_cityscapes":
        ("cityscapes", (1024, 2048), (0.5, 2.0), 12, 248_000, 0.045, 1, 4e-5, 0.6862),
}  # fmt: skip


@pytest.mark.parametrize("name", PINNED)
def test_the_numbers_are_the_papers(name):
    r = recipes.get(name)
    assert PINNED[name] == (
        r.data, r.crop, r.scale, r.batch_size, r.steps, r.lr, r.head_lr, r.weight_decay,
        r.paper_miou,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "first", "highest"),
    [
        ("pp_liteseg_t_camvid", 1e-5, (200, 0.01)),  # PaddleSeg: warmup_start_lr, learning_rate
        ("pp_liteseg_b_camvid", 1e-5, (200, 0.01)),
        ("pp_liteseg_t_camvid_release", 1e-5, (200, 0.01)),
        ("pp_liteseg_b_cityscapes_release", 1e-5, (1000, 0.005)),
        ("stdc1_seg_cityscapes", 1e-5, (1000, 0.01)),
        ("stdc2_seg_camvid", 1e-5, (200, 0.01)),
        ("bisenet_v2_cityscapes", 0.005, (1000, 0.05)),
        ("dpt_vit_b16_ade20k", 6e-11, (1500, 6e-5)),
        ("segformer_b0_ade20k", 6e-11, (1500, 6e-5 * (1 - 1500 / 160_000))),  # as released
    ],
)
def test_a_warmup_ends_where_the_source_has_it(name, first, highest):
    recipe = recipes.get(name)
    factor = build_schedule(recipe)
    step, lr = highest
    assert recipe.lr * factor(0) == pytest.approx(first)
    assert recipe.lr * factor(step) == pytest.approx(lr)
    assert max(range(recipe.steps), key=factor) == step


QUARTERS = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
RELEASED = {
    # name: (scales, undersized, share of OHEM's pixels, hue, probability of a distortion, mean)
    "pp_liteseg_t_camvid_release":
        ([*QUARTERS, 2.25, 2.5], "pad_bottom_right", "all", 18 / 255, 0.5, 0.5),
    "pp_liteseg_b_camvid_release":
        ([*QUARTERS, 2.25, 2.5], "pad_bottom_right", "all", 18 / 255, 0.5, 0.5),
    "pp_liteseg_b_cityscapes_release":
        (QUARTERS, "pad_bottom_right", "all", 18 / 255, 0.5, 0.5),
    "stdc1_seg_cityscapes":
        ([0.125 * i for i in range(1, 13)], "enlarge", "all", 0, 1, 0.485),
    "fcn_hrnet_w48_cityscapes":
        ([0.5 + 0.1 * i for i in range(17)], "pad_bottom_right", None, 0, 1, 0.485),
    "ocrnet_hrnet_w48_cityscapes":
        ([0.5 + 0.1 * i for i in range(17)], "pad_bottom_right", None, 0, 1, 0.485),
}  # fmt: skip


@pytest.mark.parametrize("name", RELEASED)
def test_images_are_changed_as_the_release_changes_them(name):
    scales, undersized, share, hue, probability, mean = RELEASED[name]
    recipe = recipes.get(name)
    crop, *others, normalize = build_augmentation(recipe, recipe.crop, recipe.scale).transforms
    drawn = sorted({round(crop._draw(), 6) for _ in range(1000)})
    assert drawn == pytest.approx(scales)
    assert crop.undersized == undersized
    assert (crop.mean[0], normalize.mean[0]) == (mean, mean)
    assert build_normalisation(recipe).transforms == (normalize,)
    assert recipe.loss_options.get("share_of") == share
    assert (recipe.jitter_hue, recipe.jitter_probability) == (hue, probability)
    for jitter in others[1:]:
        assert (jitter.hue, jitter.probability) == (hue, probability)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"loss": "lovas"}, "loss takes one of .*got .lovas."),
        (
            {"loss_options": {"share_of": "all"}},
            r"hold share_of, but cross_entropy takes label_smo",
        ),
        ({"loss": "dice", "loss_options": {"gamma": 1}}, "but dice takes none"),
        ({"loss": "focal", "loss_options": {"alpha": 1}}, "alpha, but focal takes gamma .*class_w"),
        (
            {"loss": "tversky", "loss_options": {"ignore": 0}},
            "ignore, but tversky takes alpha, beta",
        ),
        ({"loss": "ohem_cross_entropy", "loss_options": {"keep": 2}}, "'keep': 2}: .*keep 2"),
        ({"loss": "ohem_cross_entropy", "loss_options": {"keep": "much"}}, "'keep': 'much'}: "),
        ({"loss": "bootstrapped_cross_entropy", "loss_options": {"top": 0}}, "top is 0"),
        ({"scale_step": 9.0}, "step=9.0: give 0, or a step within the scale"),
        ({"std": (0.5, 0.5, 0.0)}, "must be above 0"),
        ({"warmup_ramp": "exponential"}, "a recipe's warmup_start"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_built(fields, match):
    with pytest.raises(ValueError, match=match):
        check_settings(plain(**fields))


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_takes_what_its_options_say(name):
    options = {"threshold": 0.5} if "threshold" in _options(name) else {}
    check_settings(plain(loss=name, loss_options=options))


def test_a_name_says_model_and_data():
    for name in recipes.names():
        recipe = recipes.get(name)
        entry = find(recipe.data)
        if not entry.cached:
            data = entry.root.removeprefix("data/")
            plain = re.sub("_(release|local_bn|sync_bn)$", "", name)
            assert plain == f"{recipe.model}_{data}"
            assert recipe.workers > 0, "its images are not kept in memory"
        large = recipe.data == "cityscapes"
        assert (0 < recipe.eval_batch_size <= 2) == large, "2048x1024, in one piece"


@pytest.mark.parametrize(
    "model", sorted({recipes.get(n).model for n in recipes.names() if recipes.get(n).head_lr != 1})
)
def test_head_lr_is_for_networks_with_a_backbone(model):
    recipe = next(r for r in map(recipes.get, recipes.names()) if r.model == model)
    with torch.device("meta"):
        network = build_model(recipe, 19, pretrained=False)
    rates = {group["lr"] for group in build_optimizer(recipe, network).param_groups}
    assert rates == {recipe.lr, recipe.lr * recipe.head_lr}


def test_pretrained_backbones_are_of_builders_that_have_them():
    from segkit.catalog import MODELS, options_of

    for recipe in map(recipes.get, recipes.names()):
        if recipe.weights_backbone and recipe.model in MODELS:
            assert "weights_backbone" in options_of(recipe.model, recipe.backbone), recipe.name


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 2, 1)


def plain(**fields):
    return Recipe(name="r", model="unet", steps=1, lr=0.1, weight_decay=0.01, **fields)


def test_weights_are_one_group_unless_told_apart():
    network = Network()
    (group,) = group_weights(plain(), network)
    assert group["params"] == list(network.parameters())
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.01)


def test_weights_are_told_apart():
    network = Network()
    conv, norm, head = network.backbone[0], network.backbone[1], network.head
    network.backbone[0].weight.requires_grad_(False)
    groups = group_weights(plain(head_lr=10.0, decay_norms=False), network)
    found = {(round(g["lr"], 9), g["weight_decay"]): g["params"] for g in groups}
    assert found == {
        (0.1, 0.0): [conv.bias, norm.weight, norm.bias],
        (1.0, 0.01): [head.weight],
        (1.0, 0.0): [head.bias],
    }
    network.backbone[0].weight.requires_grad_(True)
    assert group_weights(plain(decay_norms=False), network)[0]["params"] == [
        conv.weight, head.weight,
    ]  # fmt: skip


def test_what_a_network_cannot_have_is_refused():
    with pytest.raises(ValueError, match="unet has no backbone: leave it at 1"):
        group_weights(plain(head_lr=10.0), nn.Conv2d(3, 4, 1))
    with pytest.raises(ValueError, match=r"no weights for the backbone of unet by name"):
        check(plain(weights_backbone="IMAGENET1K_V1"))
    with pytest.raises(ValueError, match="head_lr takes a number, above 0; got 0.0"):
        plain(head_lr=0.0)


def test_backbone_weights_are_asked_for_once(monkeypatch):
    asked = []

    def create(name, *, num_classes, **options):
        asked.append(options)
        return torch.nn.Identity()

    monkeypatch.setattr("segbook.builders.model.create_model", create)
    recipe = recipes.get("fcn_resnet50_camvid")
    recipe = recipes.override(recipe, {"weights_backbone": "IMAGENET1K_V1"})
    build_model(recipe, 11)
    build_model(recipe, 11, pretrained=False)
    build_model(recipes.override(recipe, {"weights": "best.safetensors"}), 11)
    assert asked == [{"weights_backbone": "IMAGENET1K_V1"}, {}, {}]
    assert recipe.model_options == {}, "a checkpoint's header asks for no download"


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


IMAGE, MASK = Image.new("RGB", (60, 40)), Image.fromarray(np.full((40, 60), 7, np.uint8))


def fill_cityscapes(root):
    for split in ("train", "val"):
        save(root / "leftImg8bit" / split / "ulm" / f"ulm_{split}_leftImg8bit.png", IMAGE)
        save(root / "gtFine" / split / "ulm" / f"ulm_{split}_gtFine_labelIds.png", MASK)


def fill_ade20k(root):
    for part in ("training", "validation"):
        save(root / "images" / part / "ADE_1.jpg", IMAGE)
        save(root / "annotations" / part / "ADE_1.png", MASK)


def fill_voc(root):
    folder = root / "VOCdevkit" / "VOC2012"
    for stem in "abc":
        save(folder / "JPEGImages" / f"{stem}.jpg", IMAGE)
        save(folder / "SegmentationClassAug" / f"{stem}.png", MASK)
        save(folder / "SegmentationClass" / f"{stem}.png", MASK)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, stem in {"train": "a", "val": "b"}.items():
        (folder / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(f"{stem}\n")


@pytest.mark.filterwarnings("ignore:.*the papers use:UserWarning")
@pytest.mark.parametrize(
    ("data", "fill", "pairs", "num_classes", "label"),
    [
        ("cityscapes", fill_cityscapes, (1, 1), 19, 0),
        ("ade20k", fill_ade20k, (1, 1), 150, 6),
        ("voc", fill_voc, (1, 1), 21, 7),
        ("voc_aug", fill_voc, (2, 1), 21, 7),
    ],
)
def test_the_data_of_a_recipe(tmp_path, data, fill, pairs, num_classes, label):
    fill(tmp_path)
    sets = build_data(plain(data=data, data_root=str(tmp_path)))
    assert list(sets) == ["train", "val"]
    assert tuple(map(len, sets.values())) == pairs
    assert {subset.num_classes for subset in sets.values()} == {num_classes}
    assert sets["train"].raw(0)[1].unique().tolist() == [label]
    with pytest.raises(ValueError, match="needs data_root"):
        build_data(plain(data=data))
