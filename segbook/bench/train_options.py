"""What each option of the training loop brings on this machine, and what data costs."""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from segbook.bench.train import our_stepper, plain_sgd
from segbook.bench.train_cases import cases, fake_batch
from segbook.bench.turns import WARM_UP, take_turns
from segkit import create_model, data, engine, losses, transforms
from segkit.doctor.finding import counted
from segkit.engine import Settings

WAYS = {"options": 9, "data": 6}
"""What can be measured, and how many ways of making a step each compares."""
WAITING = 0.05
"""The share of a step that may go into waiting for data."""
SIZE, IMAGES, BATCH = (360, 480), 16, 4


def measure(name: str, rounds: int, data_root: Path | None, **how: Any) -> list[dict[str, Any]]:
    """Rows for ``options`` or ``data``, as `segbook.bench.train.compare_case` gives them."""
    if name == "options":
        return compare_options(rounds, **how)
    return compare_data(rounds, data_root, tick=how["tick"])


def compare_options(rounds: int, **how: Any) -> list[dict[str, Any]]:
    """PP-LiteSeg-T with one option after the other, against float32, contiguous and torch's SGD."""
    case = cases()["pp_liteseg_t"]
    batch = fake_batch(case)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = engine.best_precision(device)
    sgd = functools.partial(torch.optim.SGD, lr=0.01, momentum=0.9)
    adamw = functools.partial(torch.optim.AdamW, lr=0.001)
    plain = Settings("float32", channels_last=False, fused=False)
    fast = plain._replace(precision=half, channels_last=True)
    fused = fast._replace(fused=True)
    base = str(plain)
    ways: dict[str, tuple[Settings, Callable[..., Any], bool]] = {
        base: (plain, sgd, False),
        "channels_last": (plain._replace(channels_last=True), sgd, False),
        half: (plain._replace(precision=half), sgd, False),
        f"{half}, channels_last": (fast, sgd, False),
        "... and foreach SGD": (fast, functools.partial(sgd, foreach=True), False),
        "... and fused SGD": (fused, sgd, False),
        "... and AdamW": (fast, adamw, False),
        "... and foreach AdamW": (fast, functools.partial(adamw, foreach=True), False),
        "... and fused AdamW": (fused, adamw, False),
    }
    if device.type == "cuda":
        ways["... and compiled"] = (fast, sgd, True)
    steppers = {
        name: our_stepper(case.ours().to(device), batch, settings, make=make, compiled=compiled)
        for name, (settings, make, compiled) in ways.items()
    }
    turns = take_turns(steppers, rounds, **how)
    rows: list[dict[str, Any]] = [
        {
            "what": f"{case.title}, {name}",
            "ours": turns.seconds(name),
            "base": turns.seconds(base),
            "ratio": turns.ratio(name, base)._asdict(),
        }
        for name in ways
    ]
    if device.type != "cuda":
        rows.append(
            {
                "what": "torch.compile",
                "text": "torch.compile is tried on a GPU only: on a CPU it takes minutes, and what "
                "it gives bfloat16 with channels_last has already",
            }
        )
    return rows


class First:
    """The first images of a data set, so that a short measurement sees each of them again."""

    def __init__(self, pairs: Any) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return min(IMAGES, len(self.pairs))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.pairs[index]


def write_streets(folder: Path) -> None:
    """Write synthetic streets as PNG files: images/, masks/ and classes.txt."""
    streets = data.SyntheticStreets("train", size=SIZE, length=IMAGES)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(IMAGES):
        image, mask = streets[index]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"images/{index:02}.png")
        Image.fromarray(mask.numpy()).save(folder / f"masks/{index:02}.png")
    (folder / "classes.txt").write_text("\n".join(streets.classes), encoding="utf-8")


def compare_data(
    rounds: int, data_root: Path | None, *, tick: Callable[[], Any] = lambda: None
) -> list[dict[str, Any]]:
    """PP-LiteSeg-T at 480x360: wall time of a step, and the share that waits for data.

    Args:
        rounds: steps timed of each way.
        data_root: CamVid's folder; None writes synthetic streets as PNG files.
        tick: is called after each step.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if data_root:
            make: Callable[..., Any] = functools.partial(data.CamVid, data_root, "train")
        else:
            write_streets(Path(folder))
            make = functools.partial(data.FolderDataset, folder)
        for cached, workers in itertools.product((True, False), (0, 1, 2)):
            torch.manual_seed(0)
            network = create_model("pp_liteseg_t", num_classes=11)
            network.to("cuda" if torch.cuda.is_available() else "cpu")
            settings = engine.default_settings(next(network.parameters()).device, optimizer="sgd")
            pairs = make(cache=cached, transform=transforms.train(SIZE, (0.75, 1.5), jitter=0.4))
            few = First(pairs)
            if cached and not workers:  # each worker would fill a cache of its own, as in training
                for index in range(len(few)):
                    few[index]
            stream = engine.train(
                network,
                data.batches(few, batch_size=BATCH, seed=0, workers=workers),
                loss=losses.combine(losses.cross_entropy, network.aux_losses),
                optimizer=plain_sgd(network.parameters(), fused=settings.fused or None),
                steps=WARM_UP + rounds,
                precision=settings.precision,
                channels_last=settings.channels_last,
            )
            steps = []
            for step in stream:
                steps.append(step)
                tick()
            timed = steps[WARM_UP:]
            waiting = sum(s.waited for s in timed) / sum(s.seconds for s in timed)
            seconds = statistics.median(s.seconds for s in timed)
            held = waiting < WAITING
            row: dict[str, Any] = {
                "what": f"data {'cached as uint8' if cached else 'decoded each time'}, "
                f"{counted(workers, 'worker')}",
                "ours": seconds,
                "waiting": waiting,
            }
            mark = ""
            if cached and not workers:  # what recipes do
                row |= {"promised": WAITING, "kept": held}
                mark = f"  < {WAITING:.0%}  {'ok' if held else 'MISSED'}"
            row["text"] = f"{row['what']:66s} {1e3 * seconds:8.0f} ms  waits {waiting:6.1%}{mark}"
            rows.append(row)
    rows.append(
        {
            "what": "prefetch by a thread",
            "text": "a thread that prefetches is not offered: samples are made under seeded global "
            "generators, from which dropout draws at the same time; a worker is a process",
        }
    )
    return rows
