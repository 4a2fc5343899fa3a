"""From a recipe's words and numbers to the objects that train: data, loss, optimizer, schedule."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segkit import create_model, data, engine, losses, transforms
from segkit.catalog import MODELS
from segkit.data.statistics import class_pixels
from segkit.metrics.policies import check_policy
from segkit.weights import load_weights

LOSSES: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in [
        losses.cross_entropy,
        losses.dice,
        losses.focal,
        losses.jaccard,
        losses.lovasz_softmax,
        losses.ohem_cross_entropy,
        losses.tversky,
    ]
}
"""The main losses that a recipe may name."""


def check(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be built, before there is a run folder for it.

    No picture is decoded and nothing is trained: a damaged file shows when its turn comes.

    Raises:
        ValueError: an unknown model, option of it, loss or policy, missing data, weights of
            another network, or a value out of its range.
    """
    check_policy(recipe.policy)
    if recipe.loss not in LOSSES:
        raise ValueError(f"loss {recipe.loss!r} is unknown; choose from {sorted(LOSSES)}")
    if recipe.weights and "://" not in recipe.weights and not Path(recipe.weights).is_file():
        raise ValueError(
            f"weights={recipe.weights!r}: there is no such file; give a .safetensors file, such as "
            "a run's checkpoints/best.safetensors"
        )
    num_classes = build_data(recipe)["train"].num_classes
    with torch.device("cpu" if recipe.weights else "meta"):  # on meta it takes no time or memory
        model = build_model(recipe, num_classes)
    if recipe.weights:
        load_weights(model, recipe.weights)
    build_optimizer(recipe, model)
    build_schedule(recipe)
    for _, crop, scale in recipe.schedule_of_crops():
        build_augmentation(recipe, crop, scale)


def build_model(recipe: Recipe, num_classes: int) -> nn.Module:
    """The recipe's network, on torch's default device, with random weights."""
    options = recipe.model_options
    if recipe.model in MODELS:
        taken = list(inspect.signature(MODELS[recipe.model]).parameters)
        taken.remove("num_classes")  # the data's to say
        if unknown := options.keys() - taken:
            raise ValueError(
                f"model_options hold {', '.join(sorted(unknown))}, but {recipe.model} takes "
                f"{', '.join(taken)}"
            )
    return create_model(recipe.model, num_classes=num_classes, **options)


def build_augmentation(
    recipe: Recipe, crop: tuple[int, int], scale: tuple[float, float]
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases."""
    return transforms.train(
        crop, scale, flip=recipe.flip, jitter=recipe.jitter, elastic=recipe.elastic or None
    )


def build_data(recipe: Recipe) -> dict[str, Any]:
    """The data sets of a recipe by split; images are cached in memory as uint8."""
    if recipe.data == "synthetic":
        lengths = {"train": recipe.length, "val": None, "test": None}
        return {
            split: data.SyntheticStreets(split, size=recipe.image_size, length=length)
            for split, length in lengths.items()
        }
    if not recipe.data_root:
        raise ValueError(f"data={recipe.data!r} needs data_root: the folder of the data")
    if recipe.data == "camvid":
        return {s: data.CamVid(recipe.data_root, s) for s in ("train", "val", "test")}
    root = Path(recipe.data_root)
    if not root.is_dir():
        raise ValueError(f"data_root={recipe.data_root!r}: there is no such folder")
    splits = [
        split
        for split in ("train", "val", "test")
        if (root / split).is_dir() or (root / f"{split}.txt").is_file()
    ]
    if not {"train", "val"} <= set(splits):
        raise ValueError(
            f"{root} has no train and val split: make the folders train/ and val/ with images/ and "
            "masks/ in each, or images/ and masks/ with lists of stems train.txt and val.txt"
        )
    return {split: data.FolderDataset(root, split) for split in splits}


def build_loss(
    recipe: Recipe, model: nn.Module, train_set: Any
) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """The recipe's loss over a network's main and auxiliary outputs."""
    function = LOSSES[recipe.loss]
    weighted = {}
    if recipe.class_weights != "none":
        pixels, present = class_pixels(train_set)
        if recipe.class_weights == "median":
            weight = losses.median_frequency_weights(pixels, present)
        else:
            weight = losses.inverse_log_frequency_weights(pixels)
        argument = "alpha" if function is losses.focal else "weight"
        weighted[argument] = weight.float().to(next(model.parameters()).device)

    def main(logits: Tensor, labels: Tensor) -> Tensor:
        return function(logits, labels, **weighted)

    aux = dict(model.aux_losses)
    if recipe.aux_weight is not None:
        aux = {name: term._replace(weight=recipe.aux_weight) for name, term in aux.items()}
    return losses.combine(main, aux)


def build_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over the weights that are trained."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            weights, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay)


def build_schedule(recipe: Recipe) -> engine.schedules.Schedule:
    """The recipe's learning-rate schedule."""
    if recipe.schedule == "poly":
        return engine.poly(recipe.steps, power=recipe.power, warmup=recipe.warmup)
    make = engine.cosine if recipe.schedule == "cosine" else engine.constant
    return make(recipe.steps, warmup=recipe.warmup)


def choose_precision(wanted: str) -> str:
    """The precision that "auto" means on this machine: bfloat16 where it is in the hardware."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 third parties draw from the global one
    torch.manual_seed(seed)
