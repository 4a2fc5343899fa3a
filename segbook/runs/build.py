"""From a recipe's words and numbers to the objects that train: data, loss, optimizer, schedule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segbook.recipes.recipe import Recipe
from segbook.runs.optimizer import build_optimizer, build_schedule
from segkit import create_model, data, engine, losses, transforms
from segkit.catalog import MODELS, ON_ANY_BACKBONE, options_of
from segkit.data.statistics import class_pixels
from segkit.engine.freeze import freeze
from segkit.metrics.policies import check_policy
from segkit.weights import Loaded, fetch, load_for_classes, torchvision_weights

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

    No picture is decoded, nothing is trained, and none of torchvision's weights are downloaded: a
    damaged file shows when its turn comes.

    Raises:
        ValueError: an unknown model, option of it, loss or policy, missing data, weights of
            another network, something to freeze that is not there, or a value out of its range.
    """
    check_policy(recipe.policy)
    if recipe.loss not in LOSSES:
        raise ValueError(f"loss {recipe.loss!r} is unknown; choose from {sorted(LOSSES)}")
    named = torchvision_weights.is_name(recipe.weights)
    if named:
        check_named_weights(recipe)
    elif recipe.weights and "://" not in recipe.weights and not fetch(recipe.weights).is_file():
        raise ValueError(
            f"weights={recipe.weights!r}: there is no such file; give a .safetensors file, such as "
            "a run's checkpoints/best.safetensors, or torchvision's weights by name, such as "
            "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"
        )
    train_set = build_data(recipe)["train"]
    loads = recipe.weights and not named
    with torch.device("cpu" if loads else "meta"):  # on meta it takes no time or memory
        model = build_model(recipe, train_set.num_classes, pretrained=False)
    if loads:
        load_start(recipe, model, train_set.classes)
    freeze(model, recipe.freeze)
    build_optimizer(recipe, model)
    build_schedule(recipe)
    for _, crop, scale in recipe.schedule_of_crops():
        build_augmentation(recipe, crop, scale)


def check_named_weights(recipe: Recipe) -> None:
    """Refuse torchvision's weights that there are not, or of another network; downloads nothing.

    Raises:
        ValueError: no weights of this name, or not for the recipe's model.
    """
    name = str(torchvision_weights.find(recipe.weights)).partition(".")[0]
    model = name.removesuffix("_Weights").lower().replace("deeplabv3", "deeplab_v3")
    if recipe.model != model:
        raise ValueError(
            f"weights={recipe.weights!r} are for the model {model}, not for {recipe.model}"
        )


def load_start(recipe: Recipe, model: nn.Module, classes: Sequence[str]) -> Loaded:
    """Load the recipe's ``weights``, all but the scores where they are of other classes.

    Args:
        recipe: whose weights.
        model: the recipe's network, as `build_model` gives it.
        classes: of the data, in the order of their ids.

    Returns:
        What was loaded; as text, a line for the run's log.

    Raises:
        ValueError: another network's weights; and as `segkit.weights.load_for_classes`.
    """
    return load_for_classes(
        model,
        recipe.weights,
        rebuild=lambda number: build_model(recipe, number, pretrained=False),
        num_classes=len(classes),
        classes=classes,
    )


def build_model(recipe: Recipe, num_classes: int, *, pretrained: bool = True) -> nn.Module:
    """The recipe's network, on torch's default device.

    Args:
        recipe: whose network.
        num_classes: K.
        pretrained: whether the backbone begins with the recipe's ``weights_backbone``, unless
            ``weights`` will replace them; everything else begins with random weights.

    Raises:
        ValueError: an unknown model, an option that it does not take, or weights for a backbone
            that has none.
    """
    if given := sorted({"weights", "weights_backbone", "backbone"} & recipe.model_options.keys()):
        raise ValueError(
            f"model_options hold {' and '.join(given)}, for which the recipe itself has fields: "
            f"--set {given[0]}={recipe.model_options[given[0]]}"
        )
    options = model_arguments(recipe)
    if recipe.model in MODELS or recipe.model in ON_ANY_BACKBONE:
        taken = options_of(recipe.model, recipe.backbone)
        taken.remove("num_classes")  # the data's to say
        if recipe.backbone and "backbone" not in taken:
            raise ValueError(
                f"backbone={recipe.backbone!r}: {recipe.model} has no backbone to exchange; leave "
                f"it empty, or take one of {', '.join(ON_ANY_BACKBONE)}"
            )
        if recipe.weights_backbone and "weights_backbone" not in taken:
            raise ValueError(
                f"weights_backbone={recipe.weights_backbone!r}: there are no weights for the "
                f"backbone of {recipe.model}; leave it empty to start from random ones"
            )
        if unknown := options.keys() - taken:
            raise ValueError(
                f"model_options hold {', '.join(sorted(unknown))}, but {recipe.model} takes "
                f"{', '.join(taken)}"
            )
    if pretrained and recipe.weights_backbone and not recipe.weights:
        options["weights_backbone"] = recipe.weights_backbone
    return create_model(recipe.model, num_classes=num_classes, **options)


def model_arguments(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says to its model's builder, the classes and weights aside."""
    return {**recipe.model_options, **({"backbone": recipe.backbone} if recipe.backbone else {})}


def build_augmentation(
    recipe: Recipe, crop: tuple[int, int], scale: tuple[float, float]
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases."""
    return transforms.train(
        crop, scale, flip=recipe.flip, jitter=recipe.jitter, elastic=recipe.elastic or None
    )


def build_data(recipe: Recipe) -> dict[str, Any]:
    """The data sets of a recipe by split.

    Images are cached in memory as uint8, except those of Cityscapes, ADE20K and VOC, which would
    take up to 25 GB: give such recipes workers.

    Raises:
        ValueError: no data, or not where the recipe says.
    """
    if recipe.data == "synthetic":
        lengths = {"train": recipe.length, "val": None, "test": None}
        return {
            split: data.SyntheticStreets(split, size=recipe.image_size, length=length)
            for split, length in lengths.items()
        }
    if not recipe.data_root:
        raise ValueError(
            f"data={recipe.data!r} needs data_root: the data set's own folder, such as data/camvid"
        )
    if recipe.data == "camvid":
        return {s: data.CamVid(recipe.data_root, s) for s in ("train", "val", "test")}
    if recipe.data in ("cityscapes", "ade20k"):  # the labels of their test splits are not public
        kind = data.Cityscapes if recipe.data == "cityscapes" else data.ADE20K
        return {split: kind(recipe.data_root, split) for split in ("train", "val")}
    if recipe.data in ("voc", "voc_aug"):
        train = "train" if recipe.data == "voc" else "train_aug"
        return {
            "train": data.VOC2012(recipe.data_root, train),
            "val": data.VOC2012(recipe.data_root, "val"),
        }
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
    try:
        return {split: data.FolderDataset(root, split) for split in splits}
    except ValueError as error:
        raise ValueError(f"{error}. `segbook doctor {root}` lists all that is wrong") from error


def count_classes(recipe: Recipe, train_set: Any) -> list[Tensor]:
    """What a recipe's class weights are made from, see `class_pixels`; empty where it has none."""
    return [] if recipe.class_weights == "none" else list(class_pixels(train_set))


def build_loss(
    recipe: Recipe, model: nn.Module, counts: list[Tensor]
) -> Callable[..., tuple[Tensor, dict[str, Tensor]]]:
    """The recipe's loss over a network's main and auxiliary outputs, from `count_classes`."""
    function = LOSSES[recipe.loss]
    weighted = {}
    if counts:
        pixels, present = counts
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


def choose_precision(wanted: str) -> str:
    """The precision that "auto" means on this machine: bfloat16 where it is in the hardware."""
    if wanted != "auto":
        return wanted
    return engine.best_precision("cuda" if torch.cuda.is_available() else "cpu")


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 third parties draw from the global one
    torch.manual_seed(seed)
