"""How steps are made unless somebody says otherwise: a rule, so that no number hangs on a timing.

``segbook bench settings RECIPE`` measures the others on this machine; docs/trust.md has figures.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Settings(NamedTuple):
    """What changes the speed of a step, and the last digits of its numbers.

    Attributes:
        precision: of the network under autocast: "float32", "bfloat16" or "float16".
        channels_last: memory format of images and weights.
        fused: whether the optimizer updates all weights in one kernel.
    """

    precision: str
    channels_last: bool
    fused: bool

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "contiguous"
        return ", ".join([self.precision, layout, *["fused"] * self.fused])


def default_settings(device: torch.device | str, *, optimizer: str = "adamw") -> Settings:
    """The settings that measured fastest, on every machine and network that was tried.

    Args:
        device: where the network is trained.
        optimizer: "sgd" or "adamw". On a CPU the fused kernel of SGD is the slower one, as soon as
            the weights do not fit into the processor's caches. Where float16 is the best precision
            it reads a momentum that nobody wrote, after a first step that the scaler skipped.
    """
    kind, precision = torch.device(device).type, best_precision(device)
    slow_or_wrong = optimizer == "sgd" and (kind == "cpu" or precision == "float16")
    fused = kind in ("cpu", "cuda") and not slow_or_wrong
    return Settings(precision, channels_last=True, fused=fused)


def best_precision(device: torch.device | str) -> str:
    """The precision that a device computes fastest in without much loss.

    Args:
        device: where the network runs.

    Returns:
        "bfloat16" where the hardware has it, else "float16" on a CUDA GPU and "float32" elsewhere.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if kind != "cpu" or not torch.backends.mkldnn.is_available():
        return "float32"
    # Instructions of its own: oneDNN also runs bfloat16 where plain AVX-512 has to imitate it,
    # slower than float32.
    processor = torch.cpu.get_capabilities()
    native = any(processor.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bfloat16" if native else "float32"


def lay_out_channels_last(model: nn.Module) -> None:
    """Put the channels of a network's weights last in memory, of images and volumes alike.

    ``model.to(memory_format=...)`` takes one format, and fails on the weights of the other.
    """
    for parameter in model.parameters():
        if parameter.ndim in (4, 5):
            layout = memory_format(parameter, channels_last=True)
            parameter.data = parameter.data.to(memory_format=layout)


def memory_format(images: Tensor, channels_last: bool) -> torch.memory_format:
    """How images, or volumes, lie in memory: whether a pixel's channels are side by side."""
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if images.ndim == 5 else torch.channels_last
