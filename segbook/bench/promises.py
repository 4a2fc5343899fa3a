"""`segbook bench`: what the library's speed is measured against, side by side in one run.

Each comparison runs ours and theirs in turn, with one thread, and takes the median of the paired
ratios of CPU seconds: on a busy machine wall time says more about the neighbours. Before a pair is
timed, their results are asserted equal wherever they compute the same thing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segbook.bench.clock import Clock, Row, Sample, Work, compared, on_cpu, take_turns
from segkit import engine, metrics, transforms


def compare(
    what: str,
    ours: Work,
    theirs: Work,
    *,
    promised: float,
    pairs: int,
    clock: Clock = "cpu",
    timer: Callable[[Work], Sample] = on_cpu,
) -> Row:
    """Time two functions in turn: the row of `compared`, with "promised" and "kept"."""
    own, other = take_turns({0: ours, 1: theirs}, pairs, timer=timer).values()
    row = compared(what, own, other, clock)
    return row | {"promised": promised, "kept": row["ratio"]["median"] >= promised}


def format_row(row: Row) -> str:
    """A line of the table."""
    return (
        f"{row['what']:58s} {1e3 * row['ours']:9.1f} {1e3 * row['base']:9.1f} "
        f"{row['ratio']['median']:7.2f}x  >= {row['promised']:4.2f}x  "
        f"{'ok' if row['kept'] else 'MISSED'}"
    )


def start_times(pairs: int) -> Iterator[Row]:
    """What somebody waits for: imports, in a fresh interpreter each, and a command."""

    def fresh(*arguments: str) -> Work:
        command = [sys.executable, "-P", *arguments]
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    yield compare(
        "import segkit | import torch, torchvision",
        fresh("-c", "import segkit"),
        fresh("-c", "import torch, torchvision"),
        promised=1 / 1.1,
        pairs=pairs,
    )
    yield compare(
        "segbook list | half a second (wall)",
        fresh("-m", "segbook", "list"),
        lambda: time.sleep(0.5),
        promised=1.0,
        pairs=pairs,
        clock="wall",
    )


def confusion_time(pairs: int) -> Iterator[Row]:
    """The confusion matrix of one 512x1024 label map of 19 classes with void."""
    from torchmetrics.classification import MulticlassConfusionMatrix

    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 19, (1, 512, 1024), generator=generator, dtype=torch.uint8)
    prediction = torch.randint(0, 19, (1, 512, 1024), generator=generator, dtype=torch.uint8)
    truth[:, :30] = 255

    counts = metrics.ConfusionMatrix(19)
    theirs = MulticlassConfusionMatrix(19, ignore_index=255)
    wide = prediction.long(), truth.long()  # torchmetrics does not take uint8
    counts.update(prediction, truth)
    theirs.update(*wide)
    assert torch.equal(counts.matrix[:19], theirs.compute().long())
    yield compare(
        "confusion matrix, 512x1024, K=19 | torchmetrics",
        lambda: counts.update(prediction, truth),
        lambda: theirs.update(*wide),
        promised=5.0,
        pairs=pairs,
    )


def argmax_time(pairs: int) -> Iterator[Row]:
    """From logits at stride 8 to labels at 512x1024."""
    logits = torch.randn(1, 19, 64, 128, generator=torch.Generator().manual_seed(0))

    def naive() -> Tensor:
        large = F.interpolate(logits, size=(512, 1024), mode="bilinear", align_corners=False)
        return large.argmax(1)

    assert torch.equal(metrics.argmax_resized(logits, (512, 1024)).long(), naive())
    yield compare(
        "argmax + resize x8 to 512x1024, K=19 | resize, argmax",
        lambda: metrics.argmax_resized(logits, (512, 1024)),
        naive,
        promised=2.0,
        pairs=pairs,
    )


def transform_times(pairs: int) -> Iterator[Row]:
    """The training transform at 2048x1024: scale 0.125 to 1.5, crop 512x1024, flip, jitter.

    The same recipe in the order in which it is usually written (scale the whole image, pad, crop),
    with torchvision's v2 on PIL's images and on tensors. Different random numbers are drawn by
    each, so it is their mean over the same number of images that is compared.
    """
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as v2f

    height, width, crop = 1024, 2048, (512, 1024)
    smallest, largest, images = 0.125, 1.5, 16
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (1, 3, 64, 128), generator=generator).float()
    image = F.interpolate(coarse, (height, width), mode="bilinear")[0].byte()
    mask = torch.randint(0, 19, (64, 128), generator=generator, dtype=torch.uint8)
    mask = mask.repeat_interleave(16, 0).repeat_interleave(16, 1).contiguous()
    ours = transforms.train(crop, (smallest, largest), jitter=0.4)
    flip, jitter = v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4)
    finish = v2.Compose(
        [
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(transforms.MEAN), list(transforms.STD)),
        ]
    )

    def usual(x: Any, y: Any) -> None:
        factor = smallest + (largest - smallest) * float(torch.rand(()))
        tall, wide = round(height * factor), round(width * factor)
        x, y = (
            v2f.resize(x, [tall, wide]),
            v2f.resize(y, [tall, wide], v2f.InterpolationMode.NEAREST),
        )
        border = [0, 0, max(0, crop[1] - wide), max(0, crop[0] - tall)]
        if any(border):
            x, y = v2f.pad(x, border), v2f.pad(y, border, fill=255)
        tall, wide = v2f.get_size(x)
        top, left = (
            int(torch.randint(0, tall - crop[0] + 1, ())),
            int(torch.randint(0, wide - crop[1] + 1, ())),
        )
        x, y = flip(v2f.crop(x, top, left, *crop), v2f.crop(y, top, left, *crop))
        finish(jitter(x))
        v2f.pil_to_tensor(y).long() if not isinstance(y, Tensor) else y.long()

    def several(one: Work) -> Work:
        def run() -> None:
            torch.manual_seed(0)
            for _ in range(images):
                one()

        return run

    pictures = v2f.to_pil_image(image), v2f.to_pil_image(mask)
    tensors = tv_tensors.Image(image), tv_tensors.Mask(mask)
    for name, pair in (("PIL", pictures), ("torchvision v2", tensors)):
        yield compare(
            f"transform 2048x1024 -> 512x1024, {images} images | {name}",
            several(lambda: ours(image, mask)),
            several(lambda pair=pair: usual(*pair)),
            promised=2.0,
            pairs=max(3, pairs // 4),
        )


def step_time(pairs: int) -> Iterator[Row]:
    """A training step of PP-LiteSeg-T, batch 4 at 360x480: our defaults against plain float32."""
    from segbook.bench.train import compare_case
    from segbook.bench.train_cases import CASES

    [row] = compare_case(replace(CASES["pp_liteseg_t"], size=(360, 480)), pairs, "cpu")
    precision = engine.best_precision("cpu")
    # Without bfloat16 in the hardware there is nothing to gain but the memory format.
    promised = 1.4 if precision == "bfloat16" else 1.0
    yield row | {
        "what": f"PP-LiteSeg-T step, 4x360x480, {precision} | plain float32",
        "promised": promised,
        "kept": row["ratio"]["median"] >= promised,
    }


def main(show: Callable[[str], None] = print, *, quick: bool = False) -> bool:
    """Run all comparisons.

    Args:
        show: is told the table, a line at a time.
        quick: few pairs each, to see that it works.

    Returns:
        Whether every promise was kept.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    show(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    show(f"{'ours | theirs':58s} {'ours ms':>9s} {'theirs ms':>9s} {'faster':>8s}  promised")
    kept = True
    try:
        for times, pairs in (
            (start_times, 5), (confusion_time, 30), (argmax_time, 30), (transform_times, 20),
            (step_time, 8),
        ):  # fmt: skip
            for row in times(min(pairs, 3) if quick else pairs):
                show(format_row(row))
                kept = kept and row["kept"]
    finally:
        torch.set_num_threads(threads)
    return kept
