"""`segbook bench train`: training steps, ours and others', timed in turn.

Unless wall time is asked for, seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from segbook.bench.train_cases import Case, cases, copy_weights, fake_batch, require_smp
from segbook.bench.turns import WARM_UP, Apart, Spread, Stepper, take_turns


def our_stepper(
    network: Any,
    batch: tuple[Any, Any],
    settings: Any,
    *,
    make: Callable[..., Any] | None = None,
    loss: Callable[..., Any] | None = None,
    compiled: bool = False,
) -> Stepper:
    """Our training loop over one batch.

    Args:
        network: on the device where it is trained.
        batch: images and labels.
        settings: `segkit.engine.Settings`.
        make: makes the optimizer of some weights; None for `plain_sgd`.
        loss: None for cross-entropy, of the auxiliary outputs, too.
        compiled: whether the network goes through ``torch.compile``.
    """
    import torch

    from segkit import engine, losses

    def batches() -> Iterator[tuple[Any, Any]]:
        while True:
            yield batch

    engine.keep_memory()
    stream = engine.train(
        torch.compile(network) if compiled else network,
        batches(),
        loss=loss or losses.combine(losses.cross_entropy, network.aux_losses),
        optimizer=(make or plain_sgd)(network.parameters(), fused=settings.fused or None),
        steps=10**9,
        precision=settings.precision,
        channels_last=settings.channels_last,
    )
    return lambda: next(stream).loss


def their_stepper(network: Any, batch: tuple[Any, Any]) -> Stepper:
    """The loop that a user of the other library writes: float32, torch's own loss."""
    from torch.nn import functional as F

    optimizer = plain_sgd(network.parameters())
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


def plain_sgd(parameters: Any, **options: Any) -> Any:
    """SGD with momentum, as torch makes it."""
    import torch

    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9, **options)


def build_stepper(case: Case, way: str) -> Stepper:
    """One way of training a network: "theirs", or ours as "float32" or "default"."""
    import torch

    from segkit import engine

    torch.manual_seed(0)
    network, batch = case.ours(), fake_batch(case)
    if way == "theirs":
        ours, network = network, case.theirs()
        copy_weights(ours, network)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device)
    torch.manual_seed(0)  # the same units are dropped out
    if way == "theirs":
        return their_stepper(network, batch)
    plain = engine.Settings("float32", channels_last=False, fused=False)
    default = engine.default_settings(device, optimizer="sgd")
    return our_stepper(network, batch, default if way == "default" else plain)


@contextlib.contextmanager
def steppers_of(case: Case, *, apart: bool = False) -> Iterator[dict[str, Stepper]]:
    """What a case compares: "theirs" where there is one, "float32" and "default", ours.

    Args:
        case: the network.
        apart: whether each has a process of its own, forked: torch must not have computed in this
            one with several threads.

    Raises:
        ValueError: the first losses of theirs and ours differ, so that it is not the same network.
    """
    steppers: dict[str, Stepper] = {}
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
    case: Case, rounds: int, *, apart: bool = False, **how: Any
) -> list[dict[str, Any]]:
    """The lines of one network: our loop with their settings, and with our defaults.

    Args:
        case: the network.
        rounds: steps of each that are timed.
        apart: as `steppers_of` has it. Loops in one process share how it handles memory.
        how: for `take_turns`.

    Returns:
        Rows of "what", "ours" and "base" (seconds a step), "ratio", "promised" and "kept": a
        promise counts as broken where it is above the upper quartile of the rounds.
    """
    with steppers_of(case, apart=apart) as steppers:
        turns = take_turns(steppers, rounds, **how)
    base = "theirs" if case.theirs else "float32"
    versus = "smp, float32" if case.theirs else "our float32"
    pairs = [("default", f"our defaults | {versus}", case.promised)]
    if case.theirs:
        pairs.insert(0, ("float32", f"all else equal | {versus}", 1.0))
    rows = []
    for name, words, promised in pairs:
        ratio = turns.ratio(name, base)
        rows.append(
            {
                "what": f"{case.title}, {words}",
                "ours": turns.seconds(name),
                "base": turns.seconds(base),
                "ratio": ratio._asdict(),
                "promised": promised,
                "kept": promised is None or ratio.high >= promised,
            }
        )
    return rows


def spell(row: Mapping[str, Any]) -> str:
    """A row of the table."""
    promise, ratio = "", Spread(**row["ratio"])
    if (promised := row.get("promised")) is not None:
        kept = "ok" if round(ratio.median, 2) >= promised else "within the noise"
        promise = f"  >= {promised:.1f}x  {kept if row['kept'] else 'MISSED'}"
    return f"{row['what']:66s} {1e3 * row['ours']:8.0f} ms  {ratio}{promise}"


@click.command("train")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--rounds", default=9, show_default=True, help="Steps of each that are timed.")
@click.option("--wall", is_flag=True, help="Wall time with all threads, not CPU time of one.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="CamVid's folder for `data`; else synthetic streets.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def command(
    names: tuple[str, ...], rounds: int, wall: bool, data_root: Path | None, as_json: bool
) -> None:
    """Time training steps against segmentation-models-pytorch's, in turn.

    NAME is unet_resnet18, deeplab_v3_resnet50, deeplab_v3_plus_resnet18, pp_liteseg_t, `options`
    (memory format, precision, optimizer kernels, one by one) or `data` (cache, workers, and what
    share of a step waits for data; in wall time). Without a NAME all of them.

    Exit code 1 where a promise is broken.
    """
    import torch
    from tqdm import tqdm

    from segbook.bench import train_options
    from segkit.doctor.finding import counted

    known = cases()
    chosen = names or (*known, *train_options.WAYS)
    if unknown := [name for name in chosen if name not in (*known, *train_options.WAYS)]:
        allowed = ", ".join((*known, *train_options.WAYS))
        raise ValueError(f"no comparison {unknown[0]!r}; choose from {allowed}")
    if any(name in known and known[name].theirs for name in chosen):
        require_smp()
    threads = torch.get_num_threads()
    wall = wall or torch.cuda.is_available()
    if not wall:
        torch.set_num_threads(1)
    chosen = sorted(chosen, key=train_options.WAYS.__contains__)  # no fork after threads computed
    apart = sys.platform == "linux" and not torch.cuda.is_available()
    clock = "wall time" if wall else "CPU time"
    head = (
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{counted(torch.get_num_threads(), 'thread')}, {clock} of a step; median ratio (quartiles)"
    )
    rows = []
    try:
        ways = train_options.WAYS | {n: 3 if case.theirs else 2 for n, case in known.items()}
        steps = (rounds + WARM_UP) * sum(ways[name] for name in chosen)
        with tqdm(total=steps, unit="step", disable=not sys.stderr.isatty()) as bar:
            how = {"clock": time.perf_counter if wall else time.process_time, "tick": bar.update}
            if not as_json:
                tqdm.write(head)
            for name in chosen:
                bar.set_description(name)
                if name in known:
                    found = compare_case(known[name], rounds, apart=apart, **how)
                else:
                    found = train_options.measure(name, rounds, data_root, **how)
                rows += found
                for row in () if as_json else found:
                    tqdm.write(row.get("text") or spell(row))
    finally:
        torch.set_num_threads(threads)
    if as_json:
        click.echo(json.dumps({"machine": head, "rounds": rounds, "rows": rows}, indent=1))
    if not all(row.get("kept", True) for row in rows):
        sys.exit(1)
