"""What a run writes down of its steps and its evaluations."""

from __future__ import annotations

import time
from typing import Any

from segkit import engine
from segkit.metrics import ConfusionMatrix


def scores(counts: ConfusionMatrix, policy: str) -> dict[str, Any]:
    """An evaluation's scores: mIoU under a policy, pixel accuracy, and each class's IoU."""
    return {
        "miou": counts.miou(policy),
        "policy": policy,
        "accuracy": counts.pixel_accuracy(),
        "iou": [None if v != v else round(v, 5) for v in counts.iou().tolist()],
    }


def summarise(window: list[engine.Step]) -> dict[str, Any]:
    """One record of several steps: means, the last learning rate, and the time of all."""
    count = len(window)
    parts = {
        name: round(sum(step.parts[name] for step in window) / count, 5) for name in window[0].parts
    }
    return {
        "step": window[-1].index,
        "loss": round(sum(step.loss for step in window) / count, 5),
        "parts": parts,
        "lr": window[-1].lr,
        "images_per_second": round(sum(s.images_per_second for s in window) / count, 2),
        "waited": round(sum(s.waited for s in window) / sum(s.seconds for s in window), 4),
        "time": round(time.time(), 1),
    }
