"""LR-ASPP against torchvision."""

import functools

import torch

from segbook.certificates.parity import Pair
from segkit.models.lraspp import lraspp_mobilenet_v3_large
from segkit.weights.converters import from_torchvision


def torchvision_lraspp():
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=5)


@functools.cache
def their_names():
    """torchvision's name of each of our tensors, from the function that renames its weights."""
    with torch.device("meta"):
        names = list(torchvision_lraspp().state_dict())
    return dict(zip(from_torchvision(dict.fromkeys(names), network="LRASPP"), names, strict=True))


PAIRS = [
    Pair(
        name="lraspp_mobilenet_v3_large",
        package="torchvision",
        reference="torchvision.lraspp_mobilenet_v3_large",
        ours=lambda: lraspp_mobilenet_v3_large(num_classes=5),
        theirs=torchvision_lraspp,
        keys=[(".+", lambda key: their_names().get(key[0], key[0]))],
        stages={
            "c3": ("backbone.features.4", "backbone.4"),
            "c5": ("backbone.features.16", "backbone.16"),
            "gate": ("gate", "classifier.scale"),
            "scores": ("score_c5", "classifier.high_classifier"),
        },
        run_theirs=lambda model, images: model(images)["out"],
    )
]
