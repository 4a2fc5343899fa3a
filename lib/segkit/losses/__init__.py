"""Losses: pure functions of (logits, labels), and `combine` for a network's auxiliary outputs."""

from segkit.losses.combine import AuxLoss, combine, labels_at
from segkit.losses.cross_entropy import cross_entropy, focal, ohem_cross_entropy

__all__ = [
    "AuxLoss",
    "combine",
    "cross_entropy",
    "focal",
    "labels_at",
    "ohem_cross_entropy",
]
