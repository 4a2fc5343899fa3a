"""Whether a recipe can be built, found out before there is a run folder for it."""

from __future__ import annotations

import torch

from segbook.builders.data import (
    build_augmentation,
    build_data,
    settle_images,
    watched_indices,
)
from segbook.builders.loss import check_loss
from segbook.builders.model import build_model, check_named_weights, load_start
from segbook.builders.optimizer import build_optimizer, build_schedule
from segbook.recipes.recipe import Recipe
from segkit.engine.freeze import freeze
from segkit.files import nearby_said
from segkit.weights import bundled, fetch, torchvision_weights


def check_settings(recipe: Recipe, *, begun: bool = False) -> None:
    """Refuse what can be told without the data and the network.

    Args:
        recipe: to be trained.
        begun: whether a checkpoint takes the place of the weights to start from.

    Raises:
        ValueError: unknown weights, a crop or a schedule that cannot be.
    """
    check_loss(recipe)
    weights = "" if begun else recipe.weights
    if torchvision_weights.is_name(weights):
        check_named_weights(recipe)
    elif weights and "://" not in weights and not fetch(weights).is_file():
        raise ValueError(
            f"weights={weights!r}: there is no such file{nearby_said(weights)}; give a "
            ".safetensors file, such as a run's checkpoints/best.safetensors, or weights by name: "
            f"those in the box ({', '.join(bundled.names()) or 'none'}) or torchvision's, such as "
            "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"
        )
    build_schedule(recipe)
    for _, crop, scale in recipe.schedule_of_crops():
        build_augmentation(recipe, crop, scale)


def check(recipe: Recipe, *, begun: bool = False) -> None:
    """Refuse a recipe that cannot be built, where something else will build it.

    No picture is decoded, nothing is trained, and none of torchvision's weights are downloaded: a
    damaged file shows when its turn comes.

    Args:
        recipe: to be trained.
        begun: whether a checkpoint takes the place of the weights to start from.

    Raises:
        ValueError: an unknown model or option of it, missing data, weights of
            another network, something to freeze that is not there, or a value out of its range.
    """
    recipe, _ = settle_images(recipe)
    check_settings(recipe, begun=begun)
    sets = build_data(recipe)
    watched_indices(recipe, sets["val"])
    train_set = sets["train"]
    loads = recipe.weights and not begun and not torchvision_weights.is_name(recipe.weights)
    with torch.device("cpu" if loads else "meta"):  # on meta it takes no time or memory
        model = build_model(recipe, train_set.num_classes, pretrained=False)
    if loads:
        load_start(recipe, model, train_set.classes)
    freeze(model, recipe.freeze)
    build_optimizer(recipe, model)
