"""FCN on dilated ResNets against torchvision."""

import functools

import torch

from segbook.certificates.parity import Pair
from segkit.models.fcn import fcn_resnet50, fcn_resnet101
from segkit.weights.converters import from_torchvision


def torchvision_fcn(name):
    from torchvision.models import segmentation

    build = getattr(segmentation, name)
    return build(weights=None, weights_backbone=None, num_classes=5, aux_loss=True)


@functools.cache
def their_names(name):
    """torchvision's name of each of our tensors, from the function that renames its weights."""
    with torch.device("meta"):
        names = list(torchvision_fcn(name).state_dict())
    return dict(
        zip(from_torchvision(dict.fromkeys(names), network="DilatedFCN"), names, strict=True)
    )


STAGES = {
    "c2": ("backbone.layer1", "backbone.layer1"),
    "c5": ("backbone.layer4", "backbone.layer4"),
    "scores": ("head", "classifier"),
}


def pair(build, **changes):
    arguments = {
        "name": build.__name__,
        "package": "torchvision",
        "reference": f"torchvision.{build.__name__}",
        "ours": lambda: build(num_classes=5),
        "theirs": lambda: torchvision_fcn(build.__name__),
        "keys": [(".+", lambda key: their_names(build.__name__).get(key[0], key[0]))],
        "stages": STAGES,
        "run_theirs": lambda model, images: model(images)["out"],
        "size": (48, 64),
    }
    return Pair(**arguments | changes)


PAIRS = [
    pair(fcn_resnet50),
    pair(
        fcn_resnet50,
        reference="torchvision.fcn_resnet50, auxiliary head",
        stages={"c4": ("aux_head", "aux_classifier")},  # ours has it in training only
        modes=("train",),
    ),
    pair(fcn_resnet101),
]
