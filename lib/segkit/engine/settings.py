"""What a machine computes fastest in."""

from __future__ import annotations

import torch


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


__all__ = ["best_precision"]
