"""A recipe's network, and the weights that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from segbook.recipes.recipe import Recipe
from segbook.text import shell
from segkit import create_model, outside, transforms
from segkit.backbones import own_weights
from segkit.catalog import MODELS, ON_ANY_BACKBONE, options_of
from segkit.inputs import spatial_dims
from segkit.weights import Loaded, load_for_classes, torchvision_weights

RGB = len(transforms.MEAN)
"""Channels of most images."""


def channels_of(recipe: Recipe) -> int:
    """Channels of what a recipe's data give: of volumes as many as it says to the network."""
    if recipe.is_of_volumes:
        return recipe.model_options.get("in_channels", 1)
    return len(recipe.mean)


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
        rest = {k: v for k, v in recipe.model_options.items() if k not in given}
        words = ["--set", f"model_options={rest}"]
        for one in given:
            words += ["--set", f"{one}={recipe.model_options[one]}"]
        raise ValueError(
            f"model_options hold {' and '.join(given)}, for which the recipe itself has fields: "
            + shell(*words)
        )
    options = model_arguments(recipe)
    known = recipe.model in MODELS or recipe.model in ON_ANY_BACKBONE
    if known or outside.is_outside(recipe.model):
        name = outside.short(recipe.model)
        taken = options_of(recipe.model, recipe.backbone)
        taken = [option for option in taken if option != "num_classes"]  # the data's to say
        if recipe.backbone and "backbone" not in taken:
            raise ValueError(
                f"backbone={recipe.backbone!r}: {name} has no backbone to exchange; leave "
                f"it empty, or take one of {', '.join(ON_ANY_BACKBONE)}"
            )
        file = own_weights.is_file(recipe.weights_backbone)
        if recipe.weights_backbone and not file and "weights_backbone" not in taken:
            raise ValueError(
                f"weights_backbone={recipe.weights_backbone!r}: there are no weights for the "
                f"backbone of {name} by name; give a file of them, my_encoder.safetensors, or "
                "leave it empty to start from random ones"
            )
        if (unknown := options.keys() - taken) and known:
            raise ValueError(
                f"model_options hold {', '.join(sorted(unknown))}, but {name} takes "
                f"{', '.join(taken)}"
            )
    read = channels_of(recipe)
    if (channels := options.get("in_channels", RGB)) != read and not recipe.is_of_volumes:
        as_what = "as RGB, " if read == RGB else ""
        raise ValueError(
            f"model_options hold in_channels={channels!r}, and images are read {as_what}of {read} "
            "channels: leave it out, " + _set(model_options={**options, "in_channels": read})
        )
    if pretrained and recipe.weights_backbone and not recipe.weights:
        options["weights_backbone"] = recipe.weights_backbone
    network = create_model(recipe.model, num_classes=num_classes, **options)
    dims, wanted = spatial_dims(network), 3 if recipe.is_of_volumes else 2
    if dims not in (0, wanted):
        kinds = {1: "signals", 2: "images", 3: "volumes"}
        raise ValueError(
            f"model={outside.short(recipe.model)!r} is a network of {kinds[dims]}, and "
            f"crop={recipe.crop} is of {kinds[wanted]}: `segbook recipes` lists what goes together"
        )
    return network


def _set(**change: Any) -> str:
    """What `segbook train` takes to change a field."""
    [(field, value)] = change.items()
    return shell("--set", f"{field}={value!r}")


def model_arguments(recipe: Recipe) -> dict[str, Any]:
    """What the recipe says to its model's builder, the classes and weights aside."""
    channels = channels_of(recipe)
    said = channels != RGB or outside.is_outside(recipe.model) or recipe.is_of_volumes
    return {
        **({"in_channels": channels} if said else {}),
        **recipe.model_options,
        **({"backbone": recipe.backbone} if recipe.backbone else {}),
    }


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
