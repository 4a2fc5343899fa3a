"""Autocast, without the gradients that oneDNN gets wrong in bfloat16.

Where a kernel is longer than the image that it moves over, 3 rows over 2, say, oneDNN's bfloat16
kernels leave some of the weights' gradients as they found the memory, and write past its end
(torch 2.14 on a processor with ``avx512_bf16``; float32 is right). Deep layers meet it on
small crops, volumes at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

_TRANSPOSED = {F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
_KERNELS = {F.conv1d, F.conv2d, F.conv3d, *_TRANSPOSED}


def autocast(device: torch.device, dtype: torch.dtype | None) -> contextlib.AbstractContextManager:
    """What the forward pass of a training step runs in.

    Args:
        device: of the network.
        dtype: `torch.autocast`'s, or None for float32 throughout.
    """
    stack = contextlib.ExitStack()
    stack.enter_context(torch.autocast(device.type, dtype=dtype, enabled=dtype is not None))
    if device.type == "cpu" and dtype is torch.bfloat16:
        stack.enter_context(_LongKernelsInFloat32())
    return stack


class _LongKernelsInFloat32(TorchFunctionMode):
    """A convolution whose kernel is longer than its image, in any direction, runs in float32."""

    def __torch_function__(
        self,
        function: Callable,
        types: Iterable[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function not in _KERNELS:  # every function of torch comes by here
            return result
        image, weight = args[:2]
        # A transposed convolution is the backward pass of one over its own output.
        over = result if function in _TRANSPOSED else image
        if all(n >= k for n, k in zip(over.shape[2:], weight.shape[2:], strict=True)):
            return result
        with torch.autocast("cpu", enabled=False):
            exact = function(
                *map(_in_float32, args), **{k: _in_float32(v) for k, v in kwargs.items()}
            )
        return exact.to(result.dtype)


def _in_float32(argument: Any) -> Any:
    return argument.float() if isinstance(argument, Tensor) else argument
