"""A network made ready for prediction: fused, channels_last, in the precision the machine has.

    fast = segkit.export.optimize_for_inference(model)
    labels = segkit.engine.predict(fast, images)

On a CPU with bfloat16 it is two to three times as fast as the network as it was built;
``segbook bench model NAME`` measures both and counts the labels that change.
"""

from __future__ import annotations

import copy
from typing import NoReturn

import torch
from torch import Tensor, nn

from segkit.engine.settings import best_precision
from segkit.engine.train import PRECISIONS
from segkit.export.fold_batch_norm import CONVOLUTIONS, fold_batch_norm
from segkit.export.logits import NO_SCRIPT
from segkit.export.surgery import replace, tensors, watch
from segkit.inputs import check_network, check_tensor, device_of
from segkit.metrics import argmax, argmax_resized
from segkit.nn import ResizeLogits
from segkit.outputs import SegOutput

_SIDE = 256  # of the image that is traced: enough for every network, and it costs nothing


class InferenceNetwork(nn.Module):
    """What `optimize_for_inference` returns: a network that predicts and does not train.

    Attributes:
        network: the copy that runs.
        resize: its last step, taken out of it, where that is `segkit.nn.ResizeLogits`. Then
            `predict_labels` does without the resized logits; otherwise, with None, it compares what
            the network gives.
        precision: "float32", "bfloat16" or "float16".
        channels_last: whether a pixel's channels lie side by side in memory.
        fused: batch normalisations that went into the convolution before them; 0 where the network
            then gives something else.
    """

    def __init__(
        self, network: nn.Module, *, precision: str, channels_last: bool, example: Tensor
    ) -> None:
        super().__init__()
        self.precision, self.channels_last = precision, channels_last
        plain = copy.deepcopy(network).float().eval().requires_grad_(False)
        self.network = copy.deepcopy(plain)
        self.fused = fold_batch_norm(self.network, example)
        if self.fused and not _agree(plain, self.network, example):
            self.network, self.fused = plain, 0  # it asks what its parts are
        self.resize = take_resize(self.network, example)
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
        return self._run(images, self.resize)

    @torch.inference_mode()
    def scores(self, images: Tensor) -> Tensor:
        """Logits before the last resizing, (B, K, h, w); at full size where there is none."""
        return self._run(images, None).logits

    @torch.inference_mode()
    def predict_labels(self, images: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
        """The most probable class of each pixel.

        Args:
            images: normalised, shape (B, C, H, W).
            size: (height, width) of the labels where it is not that of the images; the logits are
                resized from the one to the other.

        Returns:
            Labels, uint8, shape (B, H, W), or (B, height, width) of ``size``.
        """
        logits, shape = self.scores(images), (images.shape[2], images.shape[3])
        size = size or shape
        if logits.shape[2:] == size:
            return argmax(logits)
        logits = logits.float().contiguous()  # exact where it is resized, class by class
        # Two resizings stay two: the network's own, then that to the size.
        if self.resize is not None and (self.resize.align_corners or size != shape):
            logits = self.resize(logits, shape)
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

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which asks for this."""
        raise ValueError(NO_SCRIPT)

    def extra_repr(self) -> str:
        """What was done, for print."""
        return f"precision={self.precision}, channels_last={self.channels_last}, fused={self.fused}"

    def _run(self, images: Tensor, resize: ResizeLogits | None) -> SegOutput:
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            raise ValueError(
                "a network of optimize_for_inference cannot be traced by torch.jit: trace the one "
                "that it was made from, torch.jit.trace(segkit.export.LogitsOnly(model), images)"
            )
        size = images.shape[2:]
        if images.is_floating_point():
            images = images.float()
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        dtype = PRECISIONS[self.precision]
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None):
            output = self.network(images)
            return output if resize is None else SegOutput(resize(output.logits, size), output.aux)


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
    check_network(model)
    if example is not None:
        check_tensor("example", example, "images (B, C, H, W) that the network takes")
    if isinstance(model, InferenceNetwork):
        raise ValueError(
            f"the network is one of optimize_for_inference already, in {model.precision}: use it "
            "as it is, or give the network that it was made from"
        )
    device = device_of(model)
    if precision == "auto":
        precision = best_precision(device)
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is unknown; choose from {['auto', *PRECISIONS]}")
    if example is None:
        example = example_for(model)
    example = example.to("meta", torch.float32)
    try:
        return InferenceNetwork(
            model, precision=precision, channels_last=channels_last, example=example
        )
    except RuntimeError as error:
        raise ValueError(
            f"the network does not run without numbers on images of shape "
            f"{tuple(example.shape)}: {error}. Give images that it takes as example="
        ) from error


def example_for(model: nn.Module) -> Tensor:
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
    return all(
        torch.allclose(a, b, rtol=0, atol=1e-3 * float(a.abs().max()), equal_nan=True)
        for a, b in zip(tensors(one(images)), tensors(other(images)), strict=True)
    )


def _lower(network: nn.Module, dtype: torch.dtype, example: Tensor) -> None:
    """Keep weights in half precision, or autocast would convert them anew for every batch."""
    calls, _ = watch(network, example, CONVOLUTIONS)
    kept = [network.get_submodule(call.name) for call in calls if call.input is example]
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)) and module not in kept:
            module.to(dtype)
    for conv in kept:
        replace(network, conv, _InFloat32(conv, dtype))


class _Unresized(nn.Module):
    """Stands where `ResizeLogits` was."""

    def forward(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return logits


def take_resize(network: nn.Module, example: Tensor) -> ResizeLogits | None:
    """Take the last step out of a network, in place, where that is `ResizeLogits` to the image.

    Args:
        network: in eval mode.
        example: images that it takes, on the meta device.

    Returns:
        The step, to be applied to what the network gives from now on; None for a network that ends
        in another way, which stays as it was.
    """
    calls, output = watch(network, example, (ResizeLogits,))
    # Called once, and its result is what the network returns, at the size of the images: only then
    # can the step be left to the one who compares the scores.
    if len(calls) != 1 or calls[0].output is not output.logits:
        return None
    if output.logits.shape[2:] != example.shape[2:]:
        return None
    resize = network.get_submodule(calls[0].name)
    assert isinstance(resize, ResizeLogits)
    replace(network, resize, _Unresized())
    return resize
