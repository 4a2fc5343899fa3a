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
from dataclasses import dataclass, replace
from typing import Any

from segbook.bench.clock import Clock, Sample, Work, median, on_cpu, ratio, take_turns


@dataclass(frozen=True)
class Ratio:
    """One line of the table.

    Attributes:
        name: what is compared.
        ours: seconds of ours, median.
        theirs: seconds of the other, median.
        ratio: theirs / ours, median over the pairs: how many times faster ours is.
        wanted: smallest ratio that we promise.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    wanted: float

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.ratio >= self.wanted

    def __str__(self) -> str:
        mark = "ok" if self.kept else "MISSED"
        return (
            f"{self.name:58s} {1e3 * self.ours:9.1f} {1e3 * self.theirs:9.1f} "
            f"{self.ratio:7.2f}x  >= {self.wanted:4.2f}x  {mark}"
        )


def compare(
    name: str,
    ours: Work,
    theirs: Work,
    *,
    wanted: float,
    pairs: int,
    clock: Clock = "cpu",
    timer: Callable[[Work], Sample] = on_cpu,
) -> Ratio:
    """Time two functions in turn."""
    own, other = take_turns({0: ours, 1: theirs}, pairs, timer=timer).values()
    faster = ratio(other, own, clock).median
    return Ratio(name, median(own, clock), median(other, clock), faster, wanted)


def import_time(pairs: int) -> Ratio:
    """`import segkit` against importing torch and torchvision, each in a fresh interpreter."""

    def fresh(code: str) -> Work:
        return lambda: subprocess.run([sys.executable, "-P", "-c", code], check=True)

    return compare(
        "import segkit | import torch, torchvision",
        fresh("import segkit"),
        fresh("import torch, torchvision"),
        wanted=1 / 1.1,
        pairs=pairs,
    )


def command_time(pairs: int) -> Ratio:
    """`segbook list` against half a second, in wall time: what somebody waits for."""
    command = [sys.executable, "-P", "-m", "segbook", "list"]
    return compare(
        "segbook list | half a second (wall)",
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL),
        lambda: time.sleep(0.5),
        wanted=1.0,
        pairs=pairs,
        clock="wall",
    )


def confusion_time(pairs: int) -> Ratio:
    """The confusion matrix of one 512x1024 label map of 19 classes with void."""
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix

    from segkit.metrics import ConfusionMatrix

    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 19, (1, 512, 1024), generator=generator, dtype=torch.uint8)
    prediction = torch.randint(0, 19, (1, 512, 1024), generator=generator, dtype=torch.uint8)
    truth[:, :30] = 255

    counts = ConfusionMatrix(19)
    theirs = MulticlassConfusionMatrix(19, ignore_index=255)
    wide = prediction.long(), truth.long()  # torchmetrics does not take uint8
    counts.update(prediction, truth)
    theirs.update(*wide)
    assert torch.equal(counts.matrix[:19], theirs.compute().long())
    return compare(
        "confusion matrix, 512x1024, K=19 | torchmetrics",
        lambda: counts.update(prediction, truth),
        lambda: theirs.update(*wide),
        wanted=5.0,
        pairs=pairs,
    )


def tail_time(pairs: int) -> Ratio:
    """From logits at stride 8 to labels at 512x1024."""
    import torch
    from torch.nn import functional as F

    from segkit.metrics import argmax_resized

    logits = torch.randn(1, 19, 64, 128, generator=torch.Generator().manual_seed(0))

    def naive() -> torch.Tensor:
        large = F.interpolate(logits, size=(512, 1024), mode="bilinear", align_corners=False)
        return large.argmax(1)

    assert torch.equal(argmax_resized(logits, (512, 1024)).long(), naive())
    return compare(
        "argmax + resize x8 to 512x1024, K=19 | resize, argmax",
        lambda: argmax_resized(logits, (512, 1024)),
        naive,
        wanted=2.0,
        pairs=pairs,
    )


def transform_times(pairs: int) -> Iterator[Ratio]:
    """The training transform at 2048x1024: scale 0.125 to 1.5, crop 512x1024, flip, jitter.

    The same recipe in the order in which it is usually written (scale the whole image, pad, crop),
    with PIL and with torchvision's v2. Different random numbers are drawn by each, so it is their
    mean over the same number of images that is compared.
    """
    import numpy as np
    import torch
    from PIL import Image, ImageOps
    from torchvision import transforms as v1
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as v2f

    from segkit import transforms

    height, width, crop = 1024, 2048, (512, 1024)
    smallest, largest, images = 0.125, 1.5, 16
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 256, (1, 3, 64, 128), generator=generator).float()
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].byte()
    mask = torch.randint(0, 19, (64, 128), generator=generator, dtype=torch.uint8)
    mask = mask.repeat_interleave(16, 0).repeat_interleave(16, 1).contiguous()
    ours = transforms.train(crop, (smallest, largest), jitter=0.4)

    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    label_picture = Image.fromarray(mask.numpy())
    jitter = v1.ColorJitter(0.4, 0.4, 0.4)
    finish = v1.Compose([jitter, v1.ToTensor(), v1.Normalize(transforms.MEAN, transforms.STD)])

    def scaled() -> tuple[int, int]:
        factor = smallest + (largest - smallest) * float(torch.rand(()))
        return round(height * factor), round(width * factor)

    def window(tall: int, wide: int) -> tuple[int, int]:
        top, left = (
            torch.randint(0, tall - crop[0] + 1, ()),
            torch.randint(0, wide - crop[1] + 1, ()),
        )
        return int(top), int(left)

    def with_pil() -> None:
        tall, wide = scaled()
        x = picture.resize((wide, tall), Image.Resampling.BILINEAR)
        y = label_picture.resize((wide, tall), Image.Resampling.NEAREST)
        border = (0, 0, max(0, crop[1] - wide), max(0, crop[0] - tall))
        if any(border):
            x, y = ImageOps.expand(x, border), ImageOps.expand(y, border, fill=255)
        top, left = window(x.height, x.width)
        box = (left, top, left + crop[1], top + crop[0])
        x, y = x.crop(box), y.crop(box)
        if torch.rand(()) < 0.5:
            x, y = ImageOps.mirror(x), ImageOps.mirror(y)
        finish(x)
        torch.from_numpy(np.array(y)).long()

    tv_image, tv_mask = tv_tensors.Image(image), tv_tensors.Mask(mask)
    finish_v2 = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4),
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64}, scale=True),
            v2.Normalize(list(transforms.MEAN), list(transforms.STD)),
        ]
    )

    def with_v2() -> None:
        tall, wide = scaled()
        x = v2f.resize(tv_image, [tall, wide], antialias=True)
        y = v2f.resize(tv_mask, [tall, wide])
        border = [0, 0, max(0, crop[1] - wide), max(0, crop[0] - tall)]
        if any(border):
            x, y = v2f.pad(x, border), v2f.pad(y, border, fill=255)
        top, left = window(x.shape[-2], x.shape[-1])
        finish_v2(v2f.crop(x, top, left, *crop), v2f.crop(y, top, left, *crop))

    def several(one: Work) -> Work:
        def run() -> None:
            torch.manual_seed(0)
            for _ in range(images):
                one()

        return run

    for name, other in (("PIL", with_pil), ("torchvision v2", with_v2)):
        yield compare(
            f"transform 2048x1024 -> 512x1024, {images} images | {name}",
            several(lambda: ours(image, mask)),
            several(other),
            wanted=2.0,
            pairs=max(3, pairs // 4),
        )


def step_time(pairs: int) -> Ratio:
    """One training step of PP-LiteSeg-T, batch 4 at 360x480, against the plain float32 step.

    Ours is the recipe's default: the precision that the machine has, channels_last, auxiliary
    losses at their own resolution. The plain step upsamples each auxiliary output to the image, as
    the release does.
    """
    import torch
    from torch.nn import functional as F

    from segbook.bench.train import PLAIN, our_stepper
    from segbook.bench.train_cases import CASES, fake_batch
    from segkit import engine, losses

    case = replace(CASES["pp_liteseg_t"], size=(360, 480))
    precision = engine.best_precision("cpu")

    def stepper(fast: bool) -> Work:
        torch.manual_seed(0)
        network: Any = case.ours()
        combined = losses.combine(losses.cross_entropy, network.aux_losses)

        def at_full_size(output: Any, labels: torch.Tensor) -> tuple[torch.Tensor, dict]:
            aux = {
                name: F.interpolate(x, labels.shape[-2:], mode="bilinear", align_corners=False)
                for name, x in output.aux.items()
            }
            return combined(output._replace(aux=aux), labels)

        settings = PLAIN._replace(precision=precision, channels_last=True) if fast else PLAIN
        loss = combined if fast else at_full_size
        return our_stepper(network, fake_batch(case), settings, loss=loss)

    # Without bfloat16 in the hardware there is nothing to gain but the memory format and the aux.
    return compare(
        f"PP-LiteSeg-T step, 4x360x480, {precision} | plain float32",
        stepper(fast=True),
        stepper(fast=False),
        wanted=1.4 if precision == "bfloat16" else 1.0,
        pairs=pairs,
    )


def main(show: Callable[[str], None] = print, *, quick: bool = False) -> bool:
    """Run all comparisons.

    Args:
        show: is told the table, a line at a time.
        quick: few pairs each, to see that it works.

    Returns:
        Whether every promise was kept.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    show(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    show(f"{'ours | theirs':58s} {'ours ms':>9s} {'theirs ms':>9s} {'faster':>8s}  promised")
    kept = True
    try:
        for results in (
            [import_time(2 if quick else 5)],
            [command_time(2 if quick else 5)],
            [confusion_time(3 if quick else 30)],
            [tail_time(3 if quick else 30)],
            transform_times(3 if quick else 20),
            [step_time(2 if quick else 8)],
        ):
            for ratio in results:
                show(str(ratio))
                kept = kept and ratio.kept
    finally:
        torch.set_num_threads(threads)
    return kept
