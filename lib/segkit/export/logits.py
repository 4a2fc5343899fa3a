"""A network that returns a tensor, for tools that take nothing else."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from segkit.inputs import check_network, logits_of

NO_SCRIPT = (
    "torch.jit.script cannot read the networks of segkit, whose blocks use super().forward and "
    "results by name. Take torch.export.export(segkit.export.LogitsOnly(model), (images,)), or, "
    "for images of one size only, torch.jit.trace(segkit.export.LogitsOnly(model), images)"
)


class LogitsOnly(nn.Module):
    """The logits of a network as a plain tensor, for `torch.export`, ONNX and `torch.jit.trace`.

    Args:
        model: the network, put into eval mode: what it trains with is left out.

    Returns (forward):
        logits (B, K, H, W) of images (B, C, H, W), of the example's size alone once it is traced.

    Raises:
        ValueError: no network, or images that it cannot take; `torch.jit.script` is refused.

    Example:
        >>> import segkit, torch
        >>> model = segkit.create_model("fast_scnn", num_classes=3)
        >>> LogitsOnly(model)(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 3, 64, 96])
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = check_network(model).eval()

    def forward(self, images: Tensor) -> Tensor:
        """The logits of images; see the class."""
        return logits_of(self.model, self.model(images))

    def __prepare_scriptable__(self) -> NoReturn:
        raise ValueError(NO_SCRIPT)
