"""From a recipe's words and numbers to the objects that train: data, loss, optimizer, schedule."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segkit import data, engine, losses
from segkit.data.statistics import class_pixels

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
    if recipe.loss not in LOSSES:
        raise ValueError(f"loss {recipe.loss!r} is unknown; choose from {sorted(LOSSES)}")
    function = LOSSES[recipe.loss]
    weight = None
    if recipe.class_weights != "none":
        pixels, present = class_pixels(train_set)
        if recipe.class_weights == "median":
            weight = losses.median_frequency_weights(pixels, present)
        else:
            weight = losses.inverse_log_frequency_weights(pixels)
        weight = weight.float().to(next(model.parameters()).device)

    def main(logits: Tensor, labels: Tensor) -> Tensor:
        return (
            function(logits, labels) if weight is None else function(logits, labels, weight=weight)
        )

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
