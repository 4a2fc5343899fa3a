"""Settings of a training that are allowed and hurt: each check a function of plain arguments.

A check gives a `Finding`, or None where there is nothing to say. Fixes name the fields of a recipe,
as ``segbook train RECIPE --set FIELD=VALUE`` takes them. In all checks ``device`` is "cpu" or
"cuda", ``optimizer`` "sgd" or "adamw", and a crop or a size is (height, width) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from segkit.doctor.finding import Finding, error, note, warning
from segkit.nn import BATCH_NORMS

TINY_BATCH = 4
"""Images of one process below which BatchNorm's statistics are called poor. Wu and He, "Group
Normalization", ECCV 2018, figure 1: the error of a BatchNorm network rises below 8 to 16."""

RATES = {"sgd": (1e-5, 1.0), "adamw": (1e-7, 5e-3)}
"""Learning rates outside of which nearly no published training of each optimizer lies."""
FAR, WIDE = 1.0, 2.5
"""Mean of normalised images, and factor of their deviation, from which on it is a warning. An
image of mean 0.05, such as fluorescence, is at -1.9 by ImageNet's numbers."""
RARE = 1e-3
"""Share of the labelled pixels below which a class is called rare."""


def normalisation(
    stored: Mapping[str, Sequence[float]] | None, mean: Sequence[float], std: Sequence[float]
) -> Finding | None:
    """Whether images are normalised as those that the weights were trained on.

    Args:
        stored: {"mean": [...], "std": [...]} of the weights' header, RGB in 0..1; None where
            nothing is stored.
        mean: what the transforms subtract, RGB in 0..1.
        std: what the transforms divide by.
    """
    if not stored:
        return None
    was, now = [*stored.get("mean", ()), *stored.get("std", ())], [*mean, *std]
    if len(was) == len(now) and all(abs(a - b) < 2e-3 for a, b in zip(was, now, strict=True)):
        return None  # 0.4850 and 0.4851 are both ImageNet's
    return warning(
        "normalisation",
        f"the weights were trained with mean {stored.get('mean')} and std {stored.get('std')}, "
        f"images are normalised with mean {list(mean)} and std {list(std)}",
        "every pixel is another number than the weights know: the pretraining is partly lost",
        "normalise by the weights' numbers (a recipe's mean and std, or "
        "segkit.transforms.train(mean=, std=)), or take other weights",
    )


def unnormalised_images(
    measured: tuple[Sequence[float], Sequence[float]], mean: Sequence[float], std: Sequence[float]
) -> Finding | None:
    """Images that are far from mean 0 and deviation 1 once they are normalised.

    Args:
        measured: mean and standard deviation of some training images, a number a channel, 0..1.
        mean: what the transforms subtract.
        std: what the transforms divide by.
    """
    middles = [(m - taken) / by for m, taken, by in zip(measured[0], mean, std, strict=True)]
    widths = [s / by for s, by in zip(measured[1], std, strict=True)]
    far = max(map(abs, middles)) > FAR
    if not far and min(widths) >= 1 / WIDE and max(widths) <= WIDE:
        return None
    middle, width = (", ".join(f"{one:.2f}" for one in each) for each in (middles, widths))
    own = [",".join(f"{one:.3g}" for one in each) for each in measured]
    own = own if len(mean) > 1 else [f"[{one}]" for one in own]
    return warning(
        "unnormalised_images",
        f"normalised training images have mean {middle} and deviation {width}",
        "networks are initialised for a mean near 0 and a deviation near 1: learning is slower, or "
        "begins with dead units",
        f"--set mean='{own[0]}' --set std='{own[1]}' takes the images' own",
    )


def tiny_batchnorm(
    model: nn.Module,
    batch_size: int,
    *,
    processes: int = 1,
    synchronised: bool = False,
    device: str = "cuda",
) -> Finding | None:
    """BatchNorm that computes its statistics over very few images.

    ``accumulate`` does not help: statistics are those of a single forward pass.

    Args:
        model: the network; norms that `segkit.engine.freeze` has frozen do not count.
        batch_size: images of all processes.
        synchronised: whether the statistics are those of all processes.
        processes: that share the batch.
        device: on a CPU nothing can be synchronised.
    """
    norms = [module for module in model.modules() if isinstance(module, BATCH_NORMS)]
    layers = sum(not getattr(norm, "frozen", False) for norm in norms)
    images = batch_size if synchronised else batch_size // processes
    if not layers or images >= TINY_BATCH:
        return None
    fix = f"--set batch_size={8 * processes}"
    if processes > 1 and not synchronised and device != "cpu":
        fix += ", or --set sync_bn=on"
    return warning(
        "tiny_batchnorm",
        f"{layers} BatchNorm layers see {images} image{'s' * (images != 1)} at a time",
        "their statistics are noise, and evaluation, which uses averages, sees another network; "
        "accumulate does not help",
        fix + ", or --set freeze=backbone_norms with pretrained weights",
    )


def synchronised_batchnorm(layers: int, *, processes: int, device: str) -> Finding | None:
    """Synchronised BatchNorm, so many layers of it, that has nothing to synchronise with."""
    if not layers or (processes > 1 and device != "cpu"):
        return None
    if device == "cpu":
        return error(
            "synchronised_batchnorm",
            f"{layers} SyncBatchNorm layers on a CPU",
            "torch's SyncBatchNorm works on GPUs only: the first step would end in an error",
            "--set sync_bn=auto",
        )
    return warning(
        "synchronised_batchnorm",
        f"{layers} SyncBatchNorm layers, but there is one process and no process group",
        "without a group they are ordinary BatchNorm: the batch is smaller than you believe",
        "segbook train RECIPE --nproc 2 (or more), or --set sync_bn=auto",
    )


def crop_padding(
    sizes: Sequence[tuple[int, int]], crop: tuple[int, int], scale: tuple[float, float]
) -> Finding | None:
    """Crops that are larger than the images, and so are filled with padding.

    Args:
        sizes: of some images.
        crop: as it is cut.
        scale: (smallest, largest) random factor of the images' size.

    Returns:
        A warning from a quarter of padding on, averaged over images and scales; a note where only
        the smallest scale has more than half.
    """
    if not sizes:
        return None

    def padding(factor: float) -> float:
        covered = sum(min(h * factor, crop[0]) * min(w * factor, crop[1]) for h, w in sizes)
        return 1 - covered / (len(sizes) * crop[0] * crop[1])

    low, high = scale
    mean = sum(padding(low + (high - low) * (n + 0.5) / 20) for n in range(20)) / 20
    if mean < 0.25 and padding(low) <= 0.5:
        return None
    height, width = sorted(sizes)[len(sizes) // 2]
    return Finding(
        "warning" if mean >= 0.25 else "note",
        "crop_larger_than_images",
        f"crops of {crop[0]}x{crop[1]} from images of {height}x{width} are {mean:.0%} padding on "
        f"average and {padding(low):.0%} at the smallest scale, {low:g}",
        "padding is void: it costs time and teaches nothing, and the network sees borders that no "
        "image has",
        f"--set crop='({min(crop[0], height)}, {min(crop[1], width)})', or a larger smallest scale",
    )


def labelled_share(share: float) -> Finding | None:
    """How much of the training crops carries a label.

    Args:
        share: of the pixels of some transformed samples that are neither void nor padding, 0..1.
    """
    if share >= 0.25:
        return None
    return Finding(
        "warning" if share else "error",
        "labelled_share",
        f"{share:.1%} of the pixels of the training crops carry a label",
        "the rest is void (255) or padding, is computed and teaches nothing",
        "look at the masks (is a class stored as 255?), then --set crop= nearer to the image size",
    )


def rare_classes(pixels: Tensor, classes: Sequence[str], *, weighted: bool) -> Finding | None:
    """Classes that are too rare for an unweighted loss to care.

    Args:
        pixels: labelled pixels of each class in a sample of masks, shape (K,).
        classes: their names.
        weighted: whether the loss has class weights, or rare classes are drawn more often.
    """
    if weighted:
        return None
    total = float(pixels.sum())
    found = [
        f"{name} ({count / total:.2%})"
        for name, count in zip(classes, pixels.tolist(), strict=True)
        if 0 < count < RARE * total
    ]
    if not found:
        return None
    return note(
        "rare_classes",
        f"{len(found)} of {len(classes)} classes have less than {RARE:.1%} of the pixels: "
        + ", ".join(found[:5]),
        "a network may ignore them and lose almost nothing; mIoU counts them like all others",
        "--set rare_class_sampling=0.5, --set class_weights=inverse_log (or median), or --set "
        "loss=dice",
    )


def learning_rate(
    lr: float, batch: int, *, reference_lr: float, reference_batch: int, optimizer: str
) -> Finding | None:
    """Learning rate and batch, one of which was changed and the other not.

    Goyal et al., "Accurate, Large Minibatch SGD", 2017: the rate of SGD goes with the batch. With
    Adam's kind it goes with its square root (Malladi et al., "On the SDEs and Scaling Rules for
    Adaptive Gradient Algorithms", 2022).

    Args:
        lr: learning rate.
        batch: images a step.
        reference_lr: of the recipe as it was published.
        reference_batch: of the recipe as it was published.
        optimizer: of both.
    """
    power = 1.0 if optimizer == "sgd" else 0.5
    expected = reference_lr * (batch / reference_batch) ** power
    factor = lr / expected
    if 2 / 3 < factor < 1.5:
        return None
    more = "more" if factor > 1 else "less"
    what = f"lr={lr:g} with {batch} images a step, where the recipe has {reference_lr:g} with "
    what += f"{reference_batch}: {max(factor, 1 / factor):.1f} times {more}"
    rule = "goes with the batch" if optimizer == "sgd" else "goes with the batch's square root"
    return Finding(
        "warning" if batch != reference_batch or factor >= 4 else "note",
        "learning_rate",
        f"{what} for this batch",
        f"the rate of {optimizer} {rule}: too high a rate diverges, too low a one learns slowly",
        f"--set lr={expected:.2g}",
    )


def learning_rate_range(lr: float, optimizer: str) -> Finding | None:
    """A learning rate that belongs to another optimizer, or to a slip of the keyboard."""
    low, high = RATES[optimizer]
    if low <= lr < high:
        return None
    usual = 0.01 if optimizer == "sgd" else 1e-4
    return warning(
        "learning_rate_range",
        f"lr={lr:g} is far from what {optimizer} is used with ({low:g} to {high:g})",
        "the loss will become NaN or stand still" if lr >= high else "nothing will be learned",
        f"--set lr={usual:g}, or the optimizer that this rate was meant for",
    )


def short_schedule(
    steps: int, images: int, length: int, *, warmup: int = 0, evaluate_every: int = 0
) -> Iterator[Finding]:
    """Steps, warm-up and intervals that do not go together.

    Args:
        steps: of the training.
        images: a step, all processes and accumulated batches together.
        length: images of the training set.
        warmup: steps of linear warm-up.
        evaluate_every: steps between validations; 0 for the end only.
    """
    if steps * images < length:
        yield warning(
            "less_than_an_epoch",
            f"{steps} steps of {images} images see {steps * images:,} of {length:,}",
            "part of the training set is never looked at",
            f"--set steps={math.ceil(length / images)} for one epoch",
        )
    if warmup > steps / 2:
        yield warning(
            "long_warmup",
            f"warmup={warmup} is more than half of {steps} steps",
            "most of the training runs below its learning rate",
            f"--set warmup={steps // 10}",
        )
    if evaluate_every > steps:
        yield note(
            "late_validation",
            f"evaluate_every={evaluate_every} with {steps} steps: only the end is validated",
            "the best weights are simply the last",
            f"--set evaluate_every={max(1, steps // 5)}",
        )
