"""Fine-tuning a part of a network: what is frozen keeps its weights and its statistics."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from segkit.nn import BATCH_NORMS


def freeze(model: nn.Module, part: Literal["none", "backbone", "backbone_norms"]) -> str:
    """Freeze a network's backbone, or only the backbone's BatchNorms.

    A frozen BatchNorm has ``module.frozen = True``: `segkit.engine.train` leaves it in eval mode,
    so that it normalises by the statistics that it came with and does not change them. Call this
    after the weights are loaded and BatchNorms are made to count over processes, and before the
    optimizer and DistributedDataParallel see the network.

    Args:
        model: the network, changed in place.
        part: "backbone" leaves all the weights of ``model.backbone`` as they are, "backbone_norms"
            those of its BatchNorms, "none" does nothing.

    Returns:
        A line that says what is frozen; empty for "none".

    Raises:
        ValueError: another part, a network without a backbone, or a backbone without BatchNorms
            where only these are to be frozen.
    """
    if part == "none":
        return ""
    if part not in ("backbone", "backbone_norms"):
        raise ValueError(f'part is {part!r}; give "backbone", "backbone_norms" or "none"')
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"freeze={part!r} is for a network with a backbone, and {type(model).__name__} has "
            'none: take freeze="none"'
        )
    norms: list[Any] = [module for module in backbone.modules() if isinstance(module, BATCH_NORMS)]
    if part == "backbone_norms" and not norms:
        raise ValueError(
            f"freeze={part!r}: {type(backbone).__name__} has no BatchNorm; take "
            'freeze="backbone" or "none"'
        )
    for norm in norms:
        norm.frozen = True
        norm.eval()
    whole = part == "backbone"
    frozen = (backbone if whole else nn.ModuleList(norms)).requires_grad_(False)
    count, of = (sum(p.numel() for p in module.parameters()) for module in (frozen, model))
    what, whose = ("backbone", "its BatchNorms'") if whole else ("backbone's BatchNorms", "their")
    statistics = f", and {whose} statistics" if norms else ""
    return f"frozen: the {what}, {count:,} of {of:,} parameters{statistics}"


def train_mode(model: nn.Module) -> None:
    """Put a network into train mode, its frozen modules into eval mode."""
    model.train()
    for module in model.modules():
        if getattr(module, "frozen", False):
            module.eval()
