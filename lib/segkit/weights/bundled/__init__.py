"""Trained weights in the box: small networks that predict at once, with nothing downloaded.

    model, header = segkit.load_model("pp_liteseg_t_camvid")

Each is a file NAME.safetensors in this folder, in float16 (see `half`), which every loader turns
into float32; ``segbook report RUN --weights NAME.safetensors`` makes one of a finished run. Its
header says on which data it was trained, under which terms, and what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
SUFFIX = ".safetensors"


def names() -> list[str]:
    """The names of the weights in the box, sorted."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def find(source: str | os.PathLike[str]) -> Path | None:
    """The file of a name in the box; None for what is no such name."""
    return FOLDER / f"{source}{SUFFIX}" if str(source) in names() else None


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in float16, at half the size; norms, biases and running statistics as they are.

    Those are few, and a variance may lie below what float16 can tell from 0.

    Args:
        state: tensors by name.

    Raises:
        ValueError: a weight beyond the largest number of float16, 65504.
    """
    halved = {
        name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in state.items()
    }
    for name, tensor in halved.items():
        if tensor.dtype == torch.float16 and not tensor.isfinite().all():
            raise ValueError(f"{name} has numbers that float16 has not: keep these as float32")
    return halved
