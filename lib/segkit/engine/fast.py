"""A network made ready for prediction: fused, channels_last, in the precision the machine has.

    fast = segkit.engine.optimize_for_inference(model)
    labels = segkit.engine.predict(fast, images)

On a CPU with bfloat16 it is two to three times as fast as the network as it was built;
``segbook bench model NAME`` measures both and counts the labels that change.
"""

from __future__ import annotations

import copy
import functools
import platform
import types
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves

from segkit.engine.fuse import CONVOLUTIONS, fuse_batch_norm, replace
from segkit.engine.train import PRECISIONS
from segkit.metrics import argmax, argmax_resized
from segkit.nn import resize
from segkit.outputs import SegOutput

_SIDE = 256  # of the image that is traced: enough for every network, and it costs nothing


class InferenceNetwork(nn.Module):
    """What `optimize_for_inference` returns: a network that predicts and does not train.

    Attributes:
        network: the copy that runs.
        precision: "float32", "bfloat16" or "float16".
        channels_last: whether a pixel's channels lie side by side in memory.
        fused: batch normalisations that went into the convolution before them; 0 where the network
            then gives something else.
        left: batch normalisations that stayed: they follow something else, or only train.
        ends_in_resize: whether the network ends in `segkit.nn.resize_logits`. Then `labels` does
            without the resized logits; otherwise it compares what the network gives.
    """

    def __init__(
        self, network: nn.Module, *, precision: str, channels_last: bool, example: Tensor
    ) -> None:
        super().__init__()
        self.precision, self.channels_last = precision, channels_last
        plain = copy.deepcopy(network).float().eval().requires_grad_(False)
        self.network = copy.deepcopy(plain)
        self.fused = fuse_batch_norm(self.network, example)
        if self.fused and not _agree(plain, self.network, example):
            self.network, self.fused = plain, 0  # it asks what its parts are
        self.left = sum(isinstance(module, _BatchNorm) for module in self.network.modules())
        self._unresized = without_resize(self.network, example)
        self.ends_in_resize = self._unresized is not None
        if (dtype := PRECISIONS[precision]) is not None:
            _lower(self.network, dtype, example)
        if channels_last:
            for parameter in self.network.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.eval()

    @torch.inference_mode()
    def forward(self, images: Tensor) -> SegOutput:
        """Logits as the network's own, without a graph for gradients, in `precision`."""
        return self._run(self.network, images)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Logits before the last resizing, (B, K, h, w); at full size where there is none."""
        return self._run(self._unresized or self.network, images).logits

    @torch.inference_mode()
    def labels(self, images: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
        """The most probable class of each pixel.

        Args:
            images: normalised, shape (B, C, H, W).
            size: (height, width) of the labels where it is not that of the images; the logits are
                resized from the one to the other.

        Returns:
            Labels, uint8, shape (B, H, W) or (B, *size).
        """
        logits, shape = self.scores(images), tuple(images.shape[2:])
        size = size or shape
        if logits.shape[2:] == size:
            return argmax(logits)
        logits = logits.float().contiguous()  # exact where it is resized, one plane per class
        aligned = self._unresized is not None and self._unresized.align_corners
        # Two resizings stay two: the network's own, then that to the size.
        if logits.shape[2:] != shape and (aligned or size != shape):
            logits = resize(logits, shape, align_corners=aligned)
        return argmax_resized(logits, size)

    def train(self, mode: bool = True) -> InferenceNetwork:
        """Refuse to train: without its batch normalisation this is another network."""
        if mode:
            raise ValueError(
                "a network of optimize_for_inference cannot be trained, its batch normalisation "
                "is part of its convolutions: train the network that it was made from"
            )
        super().train(False)
        return self

    def extra_repr(self) -> str:
        """What was done, for print."""
        return (
            f"precision={self.precision}, channels_last={self.channels_last}, "
            f"fused={self.fused}, left={self.left}, ends_in_resize={self.ends_in_resize}"
        )

    def _run(self, network: Callable[[Tensor], SegOutput], images: Tensor) -> SegOutput:
        if images.is_floating_point():
            images = images.float()
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            return network(images)


def optimize_for_inference(
    model: nn.Module,
    *,
    precision: str = "auto",
    channels_last: bool = True,
    example: Tensor | None = None,
) -> InferenceNetwork:
    """Copy a network for prediction; the network itself stays as it is.

    A batch normalisation goes into the convolution before it, where a run without numbers shows
    that it alone reads what the convolution makes. Weights of convolutions and linear layers are
    kept in `precision`; the rest is float32, whatever it was, and runs under autocast.

    Args:
        model: the network, on the device on which it will run.
        precision: "float32", "bfloat16", "float16", or "auto": what `best_precision` says.
        channels_last: whether a pixel's channels lie side by side in memory.
        example: images that the network takes, of any values; by default one of 256 pixels a side
            with as many channels as the first convolution reads. A network that branches on their
            size needs one that takes the branches of the images to come.

    Returns:
        The copy in eval mode; it is called as the network is, and `segkit.engine.predict` takes it.

    Raises:
        ValueError: unknown precision; a network that this function has made; or one that does not
            run on the example.
    """
    if isinstance(model, InferenceNetwork):
        raise ValueError(
            f"the network is one of optimize_for_inference already, in {model.precision}: use it "
            "as it is, or give the network that it was made from"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if precision == "auto":
        precision = best_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; choose from {['auto', *PRECISIONS]}")
    if example is None:
        example = _example(model)
    example = example.to("meta", torch.float32)
    try:
        return InferenceNetwork(
            model, precision=precision, channels_last=channels_last, example=example
        )
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"the network does not run without numbers on images of shape "
            f"{tuple(example.shape)}: {error}. Give images that it takes as example="
        ) from error


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
    if kind != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "float32"
    # oneDNN also runs bfloat16 where AVX-512 has to imitate it, slower than float32.
    imitated = platform.machine().lower() in ("x86_64", "amd64") and not (
        torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    )
    return "float32" if imitated else "bfloat16"


def _example(model: nn.Module) -> Tensor:
    """One image that a network most likely takes."""
    for module in model.modules():
        if isinstance(module, CONVOLUTIONS):
            return torch.empty(
                1, module.in_channels, *[_SIDE] * (module.weight.ndim - 2), device="meta"
            )
    raise ValueError("the network has no convolution that tells what it reads: give example=images")


class _InFloat32(nn.Module):
    """A convolution that reads the images, whose colours a half precision would round.

    It has few channels and costs little. In PP-LiteSeg it makes three quarters of the difference.
    """

    def __init__(self, conv: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv, self.dtype = conv, dtype
        self.weight, self.bias = conv.weight, conv.bias  # for a network that reads them itself

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return self.conv(images.float()).to(self.dtype)


@torch.inference_mode()
def _agree(one: nn.Module, other: nn.Module, example: Tensor) -> bool:
    """Whether two networks give the same for random numbers, up to the rounding of float32."""
    device = next(one.parameters()).device
    images = torch.randn(example.shape, generator=torch.Generator().manual_seed(0)).to(device)
    pairs = zip(tree_leaves(one(images)), tree_leaves(other(images)), strict=True)
    return all(
        torch.allclose(a, b, rtol=0, atol=1e-3 * float(a.abs().max()), equal_nan=True)
        for a, b in pairs
        if isinstance(a, Tensor)
    )


def _lower(network: nn.Module, dtype: torch.dtype, example: Tensor) -> None:
    """Keep weights in half precision, or autocast would convert them anew for every batch."""
    exact: list[str] = []
    twin = copy.deepcopy(network).to("meta")
    for name, module in twin.named_modules():
        if isinstance(module, CONVOLUTIONS):

            def note(conv: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                if inputs[0] is example:
                    exact.append(name)

            module.register_forward_pre_hook(note)
    with torch.no_grad():
        twin(example)
    kept = [network.get_submodule(name) for name in exact]
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)) and module not in kept:
            module.to(dtype)
    for conv in kept:
        replace(network, conv, _InFloat32(conv, dtype))


class _Unresized:
    """A network's forward without the `resize_logits` that ends it; called as the network is."""

    def __init__(self, network: nn.Module, align_corners: bool) -> None:
        self.network, self.align_corners = network, align_corners

    def __call__(self, images: Tensor) -> SegOutput:
        return _forward_with(self.network, lambda logits, size, *, align_corners=False: logits)(
            images
        )


def without_resize(network: nn.Module, example: Tensor) -> _Unresized | None:
    """The network without its last step, where that is `resize_logits` to the images' size.

    Args:
        network: in eval mode; it is not changed.
        example: images that it takes, on the meta device.

    Returns:
        What takes images and gives the smaller logits; None for a network that ends in another way.
    """
    if "resize_logits" not in type(network).forward.__globals__:
        return None
    if "forward" in vars(network) or network._forward_hooks or network._forward_pre_hooks:
        return None  # calling it does more than its class's forward
    calls: list[tuple[Tensor, tuple[int, ...], bool]] = []

    def note(logits: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
        calls.append((logits, tuple(size), align_corners))
        return logits

    with torch.no_grad():
        found = _forward_with(copy.deepcopy(network).to("meta"), note)(example).logits
    # One call, to the size of the images, and its result is what the network returns: only then
    # can it be left to the one who compares the scores.
    if len(calls) != 1 or calls[0][0] is not found or calls[0][1] != tuple(example.shape[2:]):
        return None
    return _Unresized(network, calls[0][2])


def _forward_with(
    network: nn.Module, resize_logits: Callable[..., Tensor]
) -> Callable[[Tensor], SegOutput]:
    """The network's forward with another function of that name.

    The same code is given globals of its own: nothing in the network knows of it, and no other
    thread sees it.
    """
    forward = type(network).forward
    function = types.FunctionType(
        forward.__code__,
        {**forward.__globals__, "resize_logits": resize_logits},
        argdefs=forward.__defaults__,
        closure=forward.__closure__,
    )
    function.__kwdefaults__ = forward.__kwdefaults__
    return functools.partial(function, network)


__all__ = ["InferenceNetwork", "best_precision", "optimize_for_inference", "without_resize"]
