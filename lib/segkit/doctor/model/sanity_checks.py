"""Sanity checks: four things that every training can do, the easiest first.

    for finding in run_sanity_checks(build_model, train, held_out, build_optimizer=optimizer_of):
        print(finding)

A training that fails says little about why. These experiments take a minute and tell the network,
the optimizer and the data apart: the first that fails names the fault.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from segkit import engine, losses, random_state
from segkit.doctor.finding import Finding, note
from segkit.engine.freeze import train_mode
from segkit.outputs import IGNORE

Pairs = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N, H, W)."""
Training = tuple[nn.Module, Any, Optimizer]
"""A network, its loss and its optimizer."""

CAUSES = {
    "start": (
        "the last layer starts with large weights or biases: draw them small, biases 0",
        "images are not normalised, or normalised twice: values should lie around -2..2",
        "softmax is applied before the loss, which takes raw logits",
    ),
    "gradients": (
        "a branch is cut off: .detach(), torch.no_grad(), .data or .item() inside forward",
        "a module is built and not used, or its auxiliary output has no loss",
        "activations are dead: a ReLU on inputs that are never positive",
        "NaN: a division, logarithm or square root at 0 inside the network or the loss",
    ),
    "one_batch": (
        "the learning rate is 0, or too low or too high by a factor of ten and more",
        "the optimizer was built over other weights: before the model was replaced or frozen",
        "the loss has the wrong sign, or compares with other labels than those shown",
        "the network is too small or its output too coarse; masks that do not belong to their "
        "images need a larger one",
    ),
    "true_labels": (
        "images and masks do not belong together: pairs by sorted lists that differ in a file",
        "image and mask are augmented by different random numbers (flipped, cropped apart)",
        "the masks say nothing that the images show, or all images are nearly the same",
        "too few steps: try again with more",
    ),
}
"""What it usually means when a check fails, the most frequent first."""

HEAD_START = 1.0
"""Nats above ln K that a fresh network may start at, or ln K once more where that is larger. Logits
of variance s around 0 cost about s / 2; networks that end in sums or products of maps, as FPN and
PAN do, begin with a variance of several."""
LEARNABLE = 0.05
"""Nats of entropy of the labels below which two images hold too little to be learned by heart."""
FITTED = 0.8
"""Share of the labels' entropy below which a batch counts as learned. A network that ignores its
image can reach the entropy itself, by the frequencies of the classes."""
BETTER = 0.95
"""What the held-out loss with true labels is at most, in terms of that with shuffled ones."""


def run_sanity_checks(
    build_model: Callable[[], nn.Module],
    train: Pairs,
    held_out: Pairs,
    *,
    build_optimizer: Callable[[nn.Module], Optimizer],
    loss: Callable[[Any, Tensor], tuple[Tensor, dict[str, Tensor]]] | None = None,
    steps: int = 100,
    batch_size: int = 4,
    pretrained: bool = False,
    seed: int = 0,
) -> Iterator[Finding]:
    """Run the checks in their order, up to the first error; a bad start is a warning only.

    1. learning_start: the cross-entropy of a fresh network is near ln K, that of knowing nothing.
    2. learning_gradients: every trained weight gets a finite gradient that is not always 0.
    3. learning_one_batch: two images are learned by heart.
    4. learning_true_labels: after as many steps, unseen images are labelled better than by a
       network that was given the labels of other images.

    Everything is float32, without schedule and augmentation. The random generators of the caller
    stay as they are.

    Args:
        build_model: gives a new network on the device where it is to be trained.
        train: 8 pairs or more, different images.
        held_out: some other pairs.
        build_optimizer: gives the optimizer of a network.
        loss: as `segkit.engine.train` takes it; None for cross-entropy and the network's own
            auxiliary losses.
        steps: most steps of the third check, and steps of each of the fourth's networks.
        batch_size: images a step.
        pretrained: whether the head starts from trained weights: its loss may be far below ln K.
        seed: of weights and batches.

    Yields:
        A note for each check that is passed, a warning for a bad start, or an error.

    Raises:
        ValueError: too few pairs, or pairs without labels.
    """
    images, labels = train
    if len(images) < max(8, batch_size) or not len(held_out[0]):
        raise ValueError(
            f"{len(images)} training and {len(held_out[0])} held-out pairs: the sanity checks need "
            f"{max(8, batch_size)} or more for training, and one that is held out"
        )
    if not (labels != IGNORE).any() or not (held_out[1] != IGNORE).any():
        raise ValueError("no pixel is labelled: there is nothing to learn")
    # Those with most to learn first: a mask of one class cannot show whether anything is learned.
    order = torch.tensor([_constant(mask)[0] for mask in labels]).argsort(descending=True)
    batch = images[order[:batch_size]], labels[order[:batch_size]]

    def fresh() -> Training:
        random_state.seed(seed)
        model = build_model()
        train_mode(model)
        whole = loss or losses.combine(losses.cross_entropy, getattr(model, "aux_losses", {}))
        return model, whole, build_optimizer(model)

    # Half the set further: no image keeps its label, nor gets that of a neighbour in a film.
    shuffled = labels.roll(len(labels) // 2, 0)
    streams = [_stream(images, given, batch_size, seed) for given in (labels, shuffled)]
    for check in (
        lambda: _start(fresh()[0], batch, pretrained),
        lambda: _gradients(*fresh(), batch),
        lambda: _one_batch(*fresh(), (images[order[:2]], labels[order[:2]]), steps),
        lambda: _true_labels(fresh, streams, held_out, steps),
    ):
        with random_state.preserved():
            finding = check()
        yield finding
        if finding.severity == "error":
            return


def _start(model: nn.Module, batch: Pairs, pretrained: bool) -> Finding:
    with torch.no_grad():
        logits = model(_move(batch, model)[0]).logits
    uniform = math.log(logits.shape[1])
    found = float(losses.cross_entropy(logits, batch[1].to(logits.device)))
    low, high = 0.0 if pretrained else uniform / 2, uniform + max(HEAD_START, uniform)
    what = f"loss at the start {found:.2f}; normal is {low:.2f} to {high:.2f}, as knowing nothing "
    what += f"costs ln {logits.shape[1]} = {uniform:.2f}"
    return _finding("start", low <= found <= high, what)


def _gradients(model: nn.Module, loss: Any, optimizer: Optimizer, batch: Pairs) -> Finding:
    """Three steps, because a scale that starts at 0 hides what is behind it from the first.

    A bias in front of a BatchNorm, which takes it away again, may have a gradient of 0.
    """
    trained = {name: w for name, w in model.named_parameters() if w.requires_grad}
    reached: set[str] = set()
    wrong: list[str] = []
    images, labels = _move(batch, model)
    for _ in range(3):
        model.zero_grad(set_to_none=True)
        loss(model(images), labels)[0].backward()
        given = {name: w.grad for name, w in trained.items() if w.grad is not None}
        wrong = [name for name, gradient in given.items() if not gradient.isfinite().all()]
        if wrong:
            break
        reached |= {name for name, grad in given.items() if grad.ndim < 2 or grad.any()}
        optimizer.step()
    missing = [name for name in trained if name not in reached]
    what = f"{len(reached)} of {len(trained)} weight tensors got a gradient"
    if names := wrong or missing:
        kind = "NaN or infinity" if wrong else "none"
        some = ", ".join(names[:3]) + ", …" * (len(names) > 3)
        what = f"{len(names)} of {len(trained)} weight tensors got {kind}: {some}"
    return _finding("gradients", bool(trained) and not names, what)


def _one_batch(
    model: nn.Module, loss: Any, optimizer: Optimizer, batch: Pairs, steps: int
) -> Finding:
    before = [weight.detach().clone() for weight in model.parameters()]
    entropy, most = _constant(batch[1])
    taken, found, accuracy = 0, math.inf, 0.0
    try:
        same = itertools.repeat(batch)
        for step in engine.train(model, same, loss=loss, optimizer=optimizer, steps=steps):
            taken = step.index
            if taken % 10 == 0 or taken == steps:
                found, accuracy = _score(model, batch)
                if found < FITTED * entropy and accuracy > most:
                    break
    except engine.NonFiniteLossError as error:
        return _finding("one_batch", False, str(error))
    pairs = zip(before, model.parameters(), strict=True)
    moved = sum(not torch.equal(a, b.detach()) for a, b in pairs) / len(before)
    what = (
        f"after {taken} steps on two images: loss {found:.2f}, accuracy {accuracy:.0%}; the best "
        f"constant answer has {entropy:.2f} and {most:.0%}"
    )
    if moved < 1:
        what += f"; {moved:.0%} of the weights have changed"
    passed = found < FITTED * entropy and accuracy > most
    return _finding("one_batch", passed, what, entropy)


def _true_labels(
    fresh: Callable[[], Training], streams: Sequence[Iterator[Pairs]], held_out: Pairs, steps: int
) -> Finding:
    found = []
    for pairs in streams:
        model, loss, optimizer = fresh()
        for _ in engine.train(model, pairs, loss=loss, optimizer=optimizer, steps=steps):
            pass
        found.append(_score(model, held_out))
    (true, accuracy), (shuffled, guessed) = found
    what = (
        f"after {steps} steps, on unseen images: loss {true:.2f} (accuracy {accuracy:.0%}), with "
        f"shuffled labels {shuffled:.2f} ({guessed:.0%})"
    )
    return _finding("true_labels", true < BETTER * shuffled, what, _constant(held_out[1])[0])


def _finding(name: str, passed: bool, what: str, entropy: float = math.inf) -> Finding:
    if entropy < LEARNABLE:
        passed, what = True, what + "; nearly all is one class, so that this cannot tell"
    if passed:
        return note(f"learning_{name}", what, "", "")
    return Finding(
        "warning" if name == "start" else "error",  # from a bad start one may still learn
        f"learning_{name}",
        what,
        "a training that cannot do this has a fault, whatever its loss curve looks like",
        "\n         or ".join(CAUSES[name]),
    )


def _stream(images: Tensor, labels: Tensor, batch_size: int, seed: int) -> Iterator[Pairs]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        for chosen in torch.randperm(len(images), generator=generator).split(batch_size):
            if len(chosen) == batch_size:
                yield images[chosen], labels[chosen]


@torch.no_grad()
def _score(model: nn.Module, pairs: Pairs) -> tuple[float, float]:
    """Cross-entropy and accuracy, in train mode: running statistics lag behind a short training."""
    train_mode(model)
    images, labels = _move(pairs, model)
    logits = model(images).logits
    labelled = labels != IGNORE
    accuracy = float((logits.argmax(1) == labels)[labelled].float().mean())
    return float(losses.cross_entropy(logits, labels)), accuracy


def _constant(labels: Tensor) -> tuple[float, float]:
    """Cross-entropy and accuracy of the best answer that does not look at the image."""
    shares = labels[labels != IGNORE].bincount(minlength=1).double()
    shares /= shares.sum().clamp(min=1)
    return float(torch.special.entr(shares).sum()), float(shares.max())


def _move(pairs: Pairs, model: nn.Module) -> Pairs:
    device = next(model.parameters()).device
    return pairs[0].to(device), pairs[1].to(device)
