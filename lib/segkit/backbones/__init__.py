"""Feature extractors: images in, Stages(c2, c3, c4, c5) out. One file per family."""

from segkit.backbones.catalog import BACKBONES, create_backbone

__all__ = ["BACKBONES", "create_backbone"]
