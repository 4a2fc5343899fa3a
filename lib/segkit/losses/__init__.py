"""Losses: pure functions of (logits, labels), and `combine` for a network's auxiliary outputs."""

from segkit.losses.border_weights import border_weights
from segkit.losses.class_weights import inverse_log_frequency_weights, median_frequency_weights
from segkit.losses.combine import AuxLoss, combine, labels_at
from segkit.losses.cross_entropy import (
    bootstrapped_cross_entropy,
    cross_entropy,
    focal,
    ohem_cross_entropy,
)
from segkit.losses.lovasz import lovasz_softmax
from segkit.losses.overlap import dice, dice_cross_entropy, jaccard, tversky

__all__ = [
    "AuxLoss",
    "bootstrapped_cross_entropy",
    "border_weights",
    "combine",
    "cross_entropy",
    "dice",
    "dice_cross_entropy",
    "focal",
    "inverse_log_frequency_weights",
    "jaccard",
    "labels_at",
    "lovasz_softmax",
    "median_frequency_weights",
    "ohem_cross_entropy",
    "tversky",
]
