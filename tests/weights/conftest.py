"""A small network and its weights file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from segkit.weights import save_weights

HEADER = {
    "builder": "pp_liteseg_t",
    "arguments": {"num_classes": 2},
    "classes": ["Sky", "Straße"],
    "palette": [[128, 128, 128], [128, 64, 128]],
    "normalisation": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "metric": "miou",
    "value": 0.61,
    "policy": "dataset",
    "licence": "Apache-2.0",
    "source": "run 7",
}


def small_model(classes=2, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in state.items())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(small_model(), path, header=HEADER)
    return path
