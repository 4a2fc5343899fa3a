"""Numerical parity: the same random weights in our network and in another implementation's.

A `Pair` says how to build both and which parameter is which; `compare` copies the weights over and
measures how far the results are apart, in float64, in eval and in train mode. The pairs themselves
are in ``tests/parity/``, one file a paper, since they need packages that no user does.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.nn import BATCH_NORMS
from segkit.outputs import SegOutput

CONVOLUTIONAL = 1e-9
"""Largest absolute difference in float64 that a convolutional network may show."""

ATTENTION = 1e-6
"""The same where there is attention, whose fused kernels sum in another order."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Our network, another implementation of it, and which parameter is which.

    Attributes:
        name: of the catalogue, or of a backbone as ``backbones.resnet18``.
        package: what must be importable: "torchvision", "segmentation_models_pytorch", "timm" …
        reference: the other implementation, as a person would call it.
        ours: builds our network.
        theirs: builds the other one; imports its package inside.
        keys: (regular expression, replacement) rules, applied in this order to the names of our
            state dict, which give theirs.
        stages: what is compared on the way, as name -> (our submodule, theirs); each must return
            one tensor in the forward pass.
        run_theirs: calls their network: images -> logits, at the size of the images, or a dict of
            "logits" and our names of aux outputs (ours that theirs lack are not compared).
        run_ours: the same for ours; the default takes ``SegOutput.logits``.
        theirs_alone: a regular expression of their tensors that no forward pass uses.
        size: height and width of the images.
        tolerance: largest absolute difference allowed, at any stage and at the logits.
        modes: "eval", "train" or both. In train mode dropout and stochastic depth are switched off
            in both, and batch normalisation uses the batch.
        variant: what was set in ours to be theirs, where the default differs and why.
    """

    name: str
    package: str
    reference: str
    ours: Callable[[], nn.Module]
    theirs: Callable[[], nn.Module]
    keys: Sequence[tuple[str, str]] = ()
    stages: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    run_theirs: Callable[[nn.Module, Tensor], Any] = lambda model, images: model(images)
    run_ours: Callable[[nn.Module, Tensor], Any] = lambda model, images: model(images)
    theirs_alone: str = r"(?!)"
    size: tuple[int, int] = (64, 96)
    tolerance: float = CONVOLUTIONAL
    modes: tuple[str, ...] = ("eval", "train")
    variant: str = ""

    @property
    def id(self) -> str:
        """A name for a test: ours and whose."""
        return f"{self.name}~{self.reference}"

    def translate(self, key: str) -> str:
        """Their name of our tensor ``key``."""
        for pattern, replacement in self.keys:
            key = re.sub(pattern, replacement, key)
        return key


def load_pairs(folder: Path) -> list[Pair]:
    """All pairs of a folder: of each ``*.py`` that is no test, the list ``PAIRS``."""
    pairs: list[Pair] = []
    for path in sorted(folder.glob("[a-z]*.py")):
        if path.name.startswith(("test_", "conftest")):
            continue
        spec = importlib.util.spec_from_file_location(f"parity_{path.stem}", path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        pairs += module.PAIRS
    return pairs


def compare(pair: Pair, *, seed: int = 0) -> dict[str, dict[str, float]]:
    """Copy random weights from our network to the other and measure how far apart they compute.

    Args:
        pair: the two networks.
        seed: of weights and images.

    Returns:
        For each mode, the largest absolute difference at each stage and at "logits" (and at each
        aux output that `run_theirs` gives); in train mode also at the running statistics of batch
        normalisation after the step ("running").

    Raises:
        ValueError: a tensor of one network has no partner in the other, or another shape.
    """
    torch.manual_seed(seed)
    ours, theirs = pair.ours().double(), pair.theirs().double()
    _randomise(ours)
    start = _copy(pair, ours, theirs)
    images = torch.randn(2, 3, *pair.size, dtype=torch.float64)
    differences = {}
    for mode in pair.modes:
        ours.load_state_dict(start)
        _copy(pair, ours, theirs)
        for model in (ours, theirs):
            model.train(mode == "train")
            _silence(model)
        with torch.no_grad():
            left = _run(ours, images, pair.run_ours, {k: v[0] for k, v in pair.stages.items()})
            right = _run(theirs, images, pair.run_theirs, {k: v[1] for k, v in pair.stages.items()})
        if not right.keys() <= left.keys():
            raise ValueError(f"{pair.id}: ours gives {[*left]}, theirs {[*right]}")
        if silent := pair.stages.keys() - right.keys():
            raise ValueError(f"{pair.id}: nothing went through {sorted(silent)} in {mode} mode")
        if not right.keys() - pair.stages.keys():
            raise ValueError(f"{pair.id}: no result to compare, only stages")
        differences[mode] = {k: _distance(pair, k, left[k], right[k]) for k in right}
        if mode == "train":
            differences[mode]["running"] = _running_distance(pair, ours, theirs)
    return differences


def largest(differences: Mapping[str, Mapping[str, float]]) -> float:
    """The largest of the differences that `compare` measured."""
    return max(value for stages in differences.values() for value in stages.values())


def without_aligned_corners(model: nn.Module, images: Tensor) -> Any:
    """Call a network that enlarges with aligned corners as if it did not: for `Pair.run_theirs`.

    Every ``F.interpolate`` of the call, also those of ``nn.Upsample``, loses its ``align_corners``.

    Args:
        model: the other implementation.
        images: shape (B, C, H, W).

    Returns:
        What ``model(images)`` returns.
    """
    interpolate = F.interpolate

    def free(
        x: Tensor,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        **how: Any,
    ) -> Tensor:
        return interpolate(x, size, scale_factor, mode, **how)

    with mock.patch.object(F, "interpolate", free):
        return model(images)


def _randomise(model: nn.Module) -> None:
    """Make every tensor matter: a batch normalisation at 1 and 0 would hide a wrong key."""
    for module in model.modules():
        if isinstance(module, BATCH_NORMS) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    for parameter in model.parameters():
        if parameter.dim() > 1 and parameter.std() == 0:
            nn.init.normal_(parameter, std=0.02)
        elif parameter.dim() == 1 and not parameter.any():
            nn.init.uniform_(parameter, -0.1, 0.1)


def _copy(pair: Pair, ours: nn.Module, theirs: nn.Module) -> dict[str, Tensor]:
    state = {k: v.clone() for k, v in ours.state_dict().items()}
    target = theirs.state_dict()
    renamed = {pair.translate(key): tensor for key, tensor in state.items()}
    unknown = sorted(renamed.keys() - target.keys())
    alone = sorted(
        k for k in target.keys() - renamed.keys() if not re.fullmatch(pair.theirs_alone, k)
    )
    if unknown or alone or len(renamed) != len(state):
        raise ValueError(
            f"{pair.id}: ours have no partner: {unknown[:8]}; theirs have none: {alone[:8]}; "
            f"{len(state) - len(renamed)} of ours went to the same name"
        )
    for key, tensor in renamed.items():
        if tensor.numel() != target[key].numel():
            raise ValueError(
                f"{pair.id}: {key} has shape {[*target[key].shape]}, ours {[*tensor.shape]}"
            )
        target[key] = tensor.reshape(target[key].shape)
    theirs.load_state_dict(target)
    return state


def _silence(model: nn.Module) -> None:
    """Switch off what draws random numbers, by whatever name an implementation has for it."""
    for module in model.modules():
        name = type(module).__name__.lower()
        if "drop" in name or "stochasticdepth" in name:
            module.eval()


def _run(
    model: nn.Module,
    images: Tensor,
    call: Callable[[nn.Module, Tensor], Any],
    stages: Mapping[str, str],
) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    hooks = []
    for name, path in stages.items():

        def keep(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            values[name] = output

        hooks.append(model.get_submodule(path).register_forward_hook(keep))
    try:
        result = call(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(result, SegOutput):
        return {**values, "logits": result.logits, **result.aux}
    if isinstance(result, Mapping):
        return {**values, **result}
    if hasattr(result, "_asdict"):  # the Stages of a backbone
        return {**values, **result._asdict()}
    return {**values, "logits": result}


def _distance(pair: Pair, name: str, left: Tensor, right: Tensor) -> float:
    if left.shape != right.shape:
        raise ValueError(f"{pair.id}: {name} is {[*left.shape]} here and {[*right.shape]} there")
    if left.numel() and left.std() == 0:
        raise ValueError(f"{pair.id}: {name} is constant, which proves nothing")
    if not (left.isfinite().all() and right.isfinite().all()):
        raise ValueError(f"{pair.id}: {name} is not finite, which proves nothing")
    return (left - right).abs().max().item()


def _running_distance(pair: Pair, ours: nn.Module, theirs: nn.Module) -> float:
    target = theirs.state_dict()
    return max(
        (
            (value - target[pair.translate(key)].reshape(value.shape)).abs().max().item()
            for key, value in ours.state_dict().items()
            if key.endswith(("running_mean", "running_var"))
        ),
        default=0.0,
    )
