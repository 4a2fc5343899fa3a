"""What `segbook bench train` times: training steps, ours and others', in turn."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segbook.bench.clock import Apart, Clock, Row, Spread, Work, compared, take_turns
from segbook.bench.train_cases import Case, copy_weights, fake_batch
from segkit import engine, losses
from segkit.engine import Settings

PLAIN = Settings("float32", channels_last=False, fused=False)


def default_device() -> torch.device:
    """The GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def plain_sgd(network: nn.Module, **options: Any) -> torch.optim.Optimizer:
    """SGD with momentum, as torch makes it."""
    return torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, **options)


def our_stepper(network: Any, batch: tuple[Tensor, Tensor], *how: Any, **options: Any) -> Work:
    """`our_loop` over one batch; each call makes a step and returns its loss."""
    engine.keep_memory()
    stream = our_loop(network, itertools.repeat(batch), *how, **options)
    return lambda: next(stream).loss


def our_loop(
    network: Any,
    batches: Iterable[tuple[Tensor, Tensor]],
    settings: Settings,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    loss: Callable[..., Any] | None = None,
) -> Generator[engine.Step, None, None]:
    """Our training loop, for as long as it is asked for steps.

    Args:
        network: on the device where it is trained.
        batches: images and labels.
        settings: of the loop.
        optimizer: of the network's weights; None for `plain_sgd`.
        loss: None for cross-entropy, of the auxiliary outputs, too.
    """
    return engine.train(
        network,
        batches,
        loss=loss or losses.combine(losses.cross_entropy, network.aux_losses),
        optimizer=optimizer or plain_sgd(network, fused=settings.fused or None),
        steps=10**9,
        precision=settings.precision,
        channels_last=settings.channels_last,
    )


def their_stepper(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Work:
    """The loop that a user of the other library writes: float32, torch's own loss."""
    optimizer = plain_sgd(network)
    network.train()
    device = next(network.parameters()).device

    def step() -> float:
        images, labels = (tensor.to(device) for tensor in batch)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels, ignore_index=255)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def build_stepper(case: Case, way: str) -> Work:
    """One way of training a network: "theirs", or ours as "float32" or "default"."""
    torch.manual_seed(0)
    network, batch, device = case.ours(), fake_batch(case), default_device()
    if way == "theirs":
        assert case.theirs
        ours, network = network, case.theirs()
        copy_weights(ours, network)
    network.to(device)
    torch.manual_seed(0)  # the same units are dropped out
    if way == "theirs":
        return their_stepper(network, batch)
    default = engine.default_settings(device, optimizer="sgd")
    return our_stepper(network, batch, default if way == "default" else PLAIN)


@contextlib.contextmanager
def steppers_of(case: Case, *, apart: bool = False) -> Iterator[dict[str, Work]]:
    """What a case compares: "theirs" where there is one, "float32" and "default", ours.

    Args:
        case: the network.
        apart: whether each has a process of its own, forked: torch must not have computed in this
            one with several threads.

    Raises:
        ValueError: the first losses of theirs and ours differ, so that it is not the same network.
    """
    steppers: dict[str, Work] = {}
    first: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for way in ("theirs", "float32", "default") if case.theirs else ("float32", "default"):
            build = functools.partial(build_stepper, case, way)
            steppers[way] = (
                stack.enter_context(contextlib.closing(Apart(build))) if apart else build()
            )
            first[way] = steppers[way]()
        ours, theirs = first["float32"], first.get("theirs", first["float32"])
        if abs(theirs - ours) > 1e-4 * abs(ours):
            raise ValueError(
                f"{case.title}: not the same network, the first losses are {theirs} of theirs and "
                f"{ours} of ours"
            )
        yield steppers


def compare_case(
    case: Case, rounds: int, clock: Clock, *, apart: bool = False, **how: Any
) -> list[Row]:
    """The lines of one network: our loop with their settings, and with our defaults.

    Args:
        case: the network.
        rounds: steps of each that are timed.
        clock: whose seconds are compared.
        apart: as `steppers_of` has it. Loops in one process share how it handles memory.
        how: for `take_turns`.

    Returns:
        Rows of "what", "ours" and "base" (seconds a step), "ratio", "promised" and "kept": a
        promise counts as broken where it is above the upper quartile of the rounds.
    """
    with steppers_of(case, apart=apart) as steppers:
        samples = take_turns(steppers, rounds, **how)
    base = samples["theirs" if case.theirs else "float32"]
    versus = "smp, float32" if case.theirs else "our float32"
    pairs = [("default", f"our defaults | {versus}", case.promised)]
    if case.theirs:
        pairs.insert(0, ("float32", f"all else equal | {versus}", 1.0))
    rows = []
    for name, words, promised in pairs:
        row = compared(f"{case.title}, {words}", samples[name], base, clock)
        kept = promised is None or row["ratio"]["high"] >= promised
        rows.append({**row, "promised": promised, "kept": kept})
    return rows


def format_row(row: Mapping[str, Any]) -> str:
    """A row of the table."""
    start, mark = f"{row['what']:66s} {1e3 * row['ours']:8.0f} ms  ", ""
    if "waiting" in row:
        if "promised" in row:
            mark = f"  < {row['promised']:.0%}  {'ok' if row['kept'] else 'MISSED'}"
        return f"{start}waits {row['waiting']:6.1%}{mark}"
    spread = Spread(**row["ratio"])
    if (promised := row.get("promised")) is not None:
        kept = "ok" if round(spread.median, 2) >= promised else "within the noise"
        mark = f"  >= {promised:.1f}x  {kept if row['kept'] else 'MISSED'}"
    return f"{start}{spread}{mark}"
