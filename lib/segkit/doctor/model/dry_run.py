"""A training step on the meta device, which takes neither memory nor data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from segkit.doctor.finding import Finding, by_severity, error, note, warning
from segkit.engine.freeze import train_mode


class Reach(NamedTuple):
    """An atrous convolution and the map that it is given.

    Attributes:
        name: of the module.
        reach: how far its outer taps lie from its centre, (vertical, horizontal), in map pixels.
        size: (height, width) of its map.
    """

    name: str
    reach: tuple[int, int]
    size: tuple[int, int]


class DryRun(NamedTuple):
    """What a training step of a network is like at one size.

    Attributes:
        aux: names of the auxiliary outputs.
        without_gradient: trained weights that the losses do not depend on.
        atrous: the atrous convolutions.
        saved: bytes that the step keeps for its gradient, in float32; autocast to 16 bits keeps
            half of that and more.
        refusal: what the network had against the images; then the rest is empty.
        foreign: an error that may be the meta device's own; then the rest is empty.
        in_channels: of the images that the network takes, where these have others; then the rest
            is empty.
    """

    aux: tuple[str, ...] = ()
    without_gradient: tuple[str, ...] = ()
    atrous: tuple[Reach, ...] = ()
    saved: int = 0
    refusal: str = ""
    foreign: str = ""
    in_channels: int = 0


def dry_run(
    model: nn.Module, images: tuple[int, ...], *, aux_weight: float | None = None
) -> DryRun:
    """Run a training step without computing anything: forward in train mode, and backward.

    Weights, running statistics, gradients and random numbers of the network stay as they are.

    Args:
        model: a network on any device, the meta device too.
        images: shape (B, C, H, W), of volumes (B, C, D, H, W), of the batch of one process.
        aux_weight: of every auxiliary loss; None for those of ``model.aux_losses``. An output with
            a weight of 0 trains nothing.
    """
    aux_losses = getattr(model, "aux_losses", {})
    weights = {
        name: t.weight if aux_weight is None else aux_weight for name, t in aux_losses.items()
    }
    atrous: list[Reach] = []
    convolutions = {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Conv3d)}
    hooks = [
        module.register_forward_pre_hook(_measure(name, atrous))
        for name, module in convolutions.items()
        if isinstance(module, nn.Conv2d) and max(module.dilation) > 1
    ]
    hooks += [
        module.register_forward_pre_hook(_refuse_channels(images[1]))
        for module in convolutions.values()
        if module.in_channels != images[1]
    ]
    state = {
        name: torch.empty_like(weight, device="meta", requires_grad=weight.requires_grad)
        for name, weight in [*model.named_parameters(), *model.named_buffers()]
    }
    kept: dict[int, Tensor] = {}
    own = {weight.untyped_storage()._cdata for weight in state.values()}
    modes = {module: module.training for module in model.modules()}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    try:
        train_mode(model)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = functional_call(model, state, torch.empty(images, device="meta"))
        heads = [output.logits, *(aux for name, aux in output.aux.items() if weights.get(name, 1))]
        if any(weight.requires_grad for weight in state.values()):
            torch.stack([tensor.sum() for tensor in _tensors(heads)]).sum().backward()
    except _ChannelsError as error:
        return DryRun(in_channels=error.args[0])
    except ValueError as error:
        return DryRun(refusal=str(error))
    except (RuntimeError, NotImplementedError, TypeError) as error:
        return DryRun(foreign=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    without = [
        name for name, weight in state.items() if weight.requires_grad and weight.grad is None
    ]
    saved = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
    return DryRun(tuple(output.aux), tuple(without), tuple(atrous), saved)


def check_network(
    model: nn.Module,
    images: tuple[int, ...],
    *,
    aux_weight: float | None = None,
    processes: int = 1,
) -> tuple[DryRun, list[Finding]]:
    """Run a step dry and say what is wrong with it.

    Args:
        model: a network on any device, the meta device too.
        images: shape (B, C, H, W), of volumes (B, C, D, H, W), of the batch of one process.
        aux_weight: of every auxiliary loss; None for the network's own.
        processes: of the run, which share its batch.

    Returns:
        The dry run, and the findings.
    """
    step = dry_run(model, images, aux_weight=aux_weight)
    if step.foreign:
        what = f"a step could not be rehearsed on the meta device: {step.foreign}"
        why = "whether the network takes this batch shows at the first step"
        return step, [note("not_rehearsed", what, why, "")]
    if step.in_channels:
        return step, [
            error(
                "in_channels",
                f"the network takes images of {step.in_channels} channels, and these have "
                f"{images[1]}",
                "its first convolution would stop the first training step",
                f"build it with in_channels={images[1]}",
            )
        ]
    if step.refusal:
        return step, [_refused(model, images, step.refusal, processes)]
    crop = (images[-2], images[-1])
    findings = [*_check_heads(step, model, aux_weight), atrous_reach(step.atrous, crop)]
    return step, by_severity(findings)


def _refused(model: nn.Module, images: tuple[int, ...], refusal: str, processes: int) -> Finding:
    """What the network has against a batch: a single image, or its size.

    Image pooling leaves one value per channel of a single image, and BatchNorm cannot normalise
    one value. It is the batch of one *process* that counts. A smaller last batch is nothing to
    look for: `segkit.data.batches` runs on across epochs, so that all its batches are full, and
    evaluation, whose last batch may be one image, does not compute statistics.
    """
    batch, *image = images
    if batch == 1 and not dry_run(model, (2, *image)).refusal:
        return error(
            "batch_of_one",
            f"a batch of one image a process: {refusal}",
            "the first training step would end in this error",
            f"--set batch_size={2 * processes}, or more"
            + (f": each of {processes} processes takes its share" if processes > 1 else ""),
        )
    return error(
        "network_refuses",
        f"the network refuses a batch of shape {list(images)}: {refusal}",
        "the first training step would end in this error",
        f"--set crop='({'D, ' * (len(image) > 3)}H, W)' to a size that the network takes",
    )


def atrous_reach(atrous: tuple[Reach, ...], crop: tuple[int, int]) -> Finding | None:
    """Atrous convolutions whose outer taps see nothing but padding on a crop.

    A tap that lies further off than the map is large is multiplied by padding at every place, and
    so is never trained; on a larger image it adds random numbers.

    Args:
        atrous: from `dry_run`.
        crop: (height, width) in pixels.
    """
    blind = [one for one in atrous if any(r >= s for r, s in zip(one.reach, one.size, strict=True))]
    if not blind:
        return None
    worst = max(blind, key=lambda one: max(one.reach))
    needed = max(
        -(-(r + 1) * side // s)
        for one in blind
        for r, s, side in zip(one.reach, one.size, crop, strict=True)
    )
    return warning(
        "atrous_reach",
        f"on crops of {crop[0]}x{crop[1]} outer taps of {len(blind)} atrous convolution"
        f"{'s' * (len(blind) > 1)}, above and below or at both sides, meet padding only: "
        f"{worst.name} reaches {max(worst.reach)} pixels on a map of "
        f"{worst.size[0]}x{worst.size[1]}",
        "these taps are never trained, and disturb every image that is larger than the crop",
        f"--set crop='({max(needed, crop[0])}, {max(needed, crop[1])})', or smaller rates in "
        "model_options",
    )


def _check_heads(step: DryRun, model: nn.Module, aux_weight: float | None) -> Iterator[Finding]:
    """Auxiliary outputs, their losses and weights, and what no loss depends on."""
    aux_losses = getattr(model, "aux_losses", {})
    lonely = [f"output {name!r} has no loss" for name in step.aux if name not in aux_losses]
    lonely += [f"loss {name!r} has no output" for name in aux_losses if name not in step.aux]
    if lonely:
        yield error(
            "unused_aux",
            "auxiliary outputs and losses differ: " + ", ".join(lonely),
            "segkit.losses.combine refuses this at the first step",
            "give the network's aux_losses one segkit.losses.combine.AuxLoss for each key of its "
            "aux",
        )
    if aux_weight is not None and not step.aux:
        yield note(
            "aux_weight",
            f"aux_weight={aux_weight:g} has no effect: the network has no auxiliary outputs",
            "it may have been meant for another network",
            "--set aux_weight=none",
        )
    elif aux_weight == 0:
        yield warning(
            "aux_weight",
            f"aux_weight=0 switches off {', '.join(step.aux)}, which are computed at each step all "
            "the same",
            "their heads cost time and memory and learn nothing",
            "--set aux_weight=none for the network's own weights, or build it without these heads",
        )
    if (names := step.without_gradient) and aux_weight != 0:
        trained = sum(weight.requires_grad for weight in model.parameters())
        more = f" and {len(names) - 3} more" * (len(names) > 3)
        yield warning(
            "without_gradient",
            f"{len(names)} of {trained} weights get no gradient: {', '.join(names[:3])}{more}",
            "they keep their random values; DistributedDataParallel stops at such a step",
            "use these modules' results, remove them, or set requires_grad=False on them",
        )


class _ChannelsError(Exception):
    """A convolution is given the images, and takes another number of channels, its argument."""


def _refuse_channels(channels: int) -> Any:
    def hook(module: nn.Conv2d | nn.Conv3d, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].shape[1] == channels:
            raise _ChannelsError(module.in_channels)

    return hook


def _measure(name: str, atrous: list[Reach]) -> Any:
    def hook(module: nn.Conv2d, inputs: tuple[Tensor, ...]) -> None:
        vertical, horizontal = (
            d * (k // 2) for d, k in zip(module.dilation, module.kernel_size, strict=True)
        )
        height, width = inputs[0].shape[-2:]
        atrous.append(Reach(name, (vertical, horizontal), (height, width)))

    return hook


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors of an output, of whatever tuples and dicts it is made."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)
