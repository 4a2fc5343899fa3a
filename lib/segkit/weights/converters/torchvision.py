"""Torchvision's names of the tensors of whole segmentation networks, turned into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

FCN = ((r"^classifier\.", "head."), (r"^aux_classifier\.", "aux_head."))

DEEPLAB_V3 = (
    (r"^backbone\.(\d)", r"backbone.features.\1"),  # MobileNet, whose blocks have numbers
    (r"^classifier\.0\.convs\.4\.1\.", "aspp.pool.conv."),
    (r"^classifier\.0\.convs\.4\.2\.", "aspp.pool.bn."),
    (r"^classifier\.0\.(.*)\.0\.(\w+)$", r"aspp.\1.conv.\2"),
    (r"^classifier\.0\.(.*)\.1\.(\w+)$", r"aspp.\1.bn.\2"),
    (r"^classifier\.1\.", "head_conv.conv."),
    (r"^classifier\.2\.", "head_conv.bn."),
    (r"^classifier\.4\.", "head."),
    (r"^aux_classifier\.", "aux_head."),
)

LRASPP = (
    (r"^backbone\.", "backbone.features."),
    (r"^classifier\.cbr\.0\.", "project.conv."),
    (r"^classifier\.cbr\.1\.", "project.bn."),
    (r"^classifier\.scale\.", "gate."),
    (r"^classifier\.low_classifier\.", "score_c3."),
    (r"^classifier\.high_classifier\.", "score_c5."),
)

RULES = {"DilatedFCN": FCN, "DeepLabV3": DEEPLAB_V3, "LRASPP": LRASPP}
"""What to replace in a name, one rule after the other, by the class of our network."""


def from_torchvision(state_dict: Mapping[str, Tensor], *, network: str) -> dict[str, Tensor]:
    """Rename the state dict of a network of torchvision for ours.

    Args:
        state_dict: ``torchvision.models.segmentation.fcn_resnet50(...).state_dict()`` and the like;
            without an auxiliary head it fits a network that was built without one too.
        network: the name of our class, a key of `RULES`.

    Returns:
        The same tensors under our names.

    Raises:
        ValueError: a name that no segmentation network of torchvision has.
    """
    renamed = {}
    for name, tensor in state_dict.items():
        if not re.match(r"(backbone|classifier|aux_classifier)\.", name):
            raise ValueError(f"{name} is of another network than torchvision's for segmentation")
        for pattern, replacement in RULES[network]:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed
