"""Metrics: one int64 confusion matrix and the mIoU policies derived from it; fast label maps."""

from segkit.metrics.confusion import ConfusionMatrix
from segkit.metrics.labels import argmax, argmax_resized
from segkit.metrics.oracle import oracle_labels, oracle_matrix
from segkit.metrics.policies import POLICIES

__all__ = [
    "POLICIES",
    "ConfusionMatrix",
    "argmax",
    "argmax_resized",
    "oracle_labels",
    "oracle_matrix",
]
