"""Metrics: one int64 confusion matrix and its mIoU policies; boundary IoU; counting; label maps."""

from segkit.metrics.boundary import boundary_counts, boundary_iou, inner_boundary
from segkit.metrics.cases import CaseScores
from segkit.metrics.confusion import ConfusionMatrix
from segkit.metrics.labels import argmax, argmax_resized
from segkit.metrics.oracle import oracle_labels, oracle_matrix
from segkit.metrics.policies import POLICIES
from segkit.metrics.regions import count_regions, matched_regions, number_regions
from segkit.metrics.surface import hd95

__all__ = [
    "POLICIES",
    "CaseScores",
    "ConfusionMatrix",
    "argmax",
    "argmax_resized",
    "boundary_counts",
    "boundary_iou",
    "count_regions",
    "hd95",
    "inner_boundary",
    "matched_regions",
    "number_regions",
    "oracle_labels",
    "oracle_matrix",
]
