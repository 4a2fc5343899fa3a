"""A recipe's data sets, the transform that they are trained with, and their class counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from segbook.recipes.recipe import Recipe
from segkit import data, transforms
from segkit.data.statistics import class_pixels


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


def build_augmentation(
    recipe: Recipe, crop: tuple[int, int], scale: tuple[float, float]
) -> transforms.Compose:
    """The recipe's transform of training for one of its phases."""
    return transforms.train(
        crop, scale, flip=recipe.flip, jitter=recipe.jitter, elastic=recipe.elastic or None
    )


def count_classes(recipe: Recipe, train_set: Any) -> list[Tensor]:
    """What a recipe's class weights are made from, see `class_pixels`; empty where it has none."""
    return [] if recipe.class_weights == "none" else list(class_pixels(train_set))
