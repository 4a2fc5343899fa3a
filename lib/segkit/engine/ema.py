"""A moving average of a network's weights, which is what is evaluated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's weights and running statistics.

    The average's memory grows with training, decay_n = min(decay, (1 + n) / (10 + n)), so that the
    first, random weights are forgotten early. Evaluate ``averaged(...).module``.

    Args:
        model: the network that will be trained.
        decay: share of the old average kept at each step, in (0, 1).

    Raises:
        ValueError: decay outside (0, 1).

    Source: Polyak and Juditsky, 1992; the ramp is that of TensorFlow's ExponentialMovingAverage.
    """
    if not 0 < decay < 1:
        raise ValueError(f"the decay of a moving average lies in (0, 1), got {decay}")

    @torch.no_grad()
    def average(old: Tensors, new: Tensors, updates: Tensor | int) -> None:
        count = int(updates)
        kept = min(decay, (1 + count) / (10 + count))
        if old[0].is_floating_point():
            get_ema_multi_avg_fn(kept)(old, new, count)
        else:  # BatchNorm's counters
            for counter, newest in zip(old, new, strict=True):
                counter.copy_(newest)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
