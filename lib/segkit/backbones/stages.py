"""Which stage of a backbone each of its weights belongs to, counted from the head."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from segkit.backbones.hrnet import HRNet

HRNET = {"stem": 5, "stage1": 4, "enter": 3, "down2": 3, "stage2": 3, "down3": 2, "stage3": 2}
"""Depths in HRNet, whose last stage, at depth 1, mixes all the others into each of the maps."""


def stage_depths(backbone: nn.Module) -> dict[str, int]:
    """How many stages from the head each weight of a backbone is.

    A weight belongs to the first of the backbone's maps, stem, c2, c3, c4 and c5, that it has a
    part in: autograd says which, on a copy that has no memory. In ResNet the weights of
    layer4 are at depth 1, those of layer1 at 4 and conv1 and bn1, which make the stem, at 5; where
    a backbone gives no stem at stride 2, what comes before c2 is at 4 with it. HRNet, whose maps
    all come at its end, is cut where its branches begin; most of another backbone of this kind
    counts as one stage.

    Args:
        backbone: gives Stages; on any device, also on meta.

    Returns:
        Depth by name of the weight, 1 for the last stage; weights without a part in any map are in
        the last.
    """
    names = [name for name, _ in backbone.named_parameters()]
    if isinstance(backbone, HRNet):
        return {name: HRNET.get(name.partition(".")[0], 1) for name in names}
    # A copy without memory, which leaves the backbone and its statistics alone.
    memo: dict[int, Any] = {id(t): t.to("meta") for t in backbone.buffers()}
    memo |= {id(t): nn.Parameter(t.detach().to("meta")) for t in backbone.parameters()}
    twin: Any = copy.deepcopy(backbone, memo).eval()
    weights = list(twin.parameters())
    first = next(module for module in twin.modules() if isinstance(module, nn.Conv2d))
    image = first.weight.new_empty(1, first.in_channels, 64, 64)
    with torch.enable_grad():
        if getattr(twin, "stem_channels", 0):
            stem, stages = twin.forward_with_stem(image)
            maps = [stem, *stages]
        else:
            maps = list(twin(image))
        depths = dict.fromkeys(names, 1)
        for depth, feature in enumerate(reversed(maps), start=1):
            found = torch.autograd.grad(
                feature.sum(), weights, retain_graph=True, allow_unused=True
            )
            depths |= {n: depth for n, grad in zip(names, found, strict=True) if grad is not None}
    return depths
