"""`segbook bench model`: what a prediction costs, in three scopes, plain and fast side by side.

Published frame rates count different things, and are not comparable: the network alone; with its
last resizing and the argmax; or from a large image that is made smaller, and back (PP-LiteSeg,
arXiv:2204.02681, section 4.1). So all three are measured, each in the plain form (float32, as
built, ``logits.argmax(1)``, no gradients) and in the fast one, that of
`segkit.export.optimize_for_inference`.
"""

from __future__ import annotations

import copy
import itertools
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from segbook.bench.clock import Sample, Work, median, on_cpu, on_gpu, ratio, take_turns
from segbook.certificates.measure import flops
from segkit.catalog import MODELS, create_model, load_model, model_card
from segkit.engine.train import PRECISIONS
from segkit.export.inference import optimize_for_inference, take_resize

SCOPES = {
    "network": "network, as far as its own logits",
    "labels": "network + resize + argmax",
    "end_to_end": "image of twice the size: resize, network, resize back, argmax",
}
FORMS = ("plain", "fast")


def bench_models(
    names: Sequence[str],
    *,
    size: tuple[int, int] = (512, 1024),
    image: Path | None = None,
    num_classes: int = 19,
    precision: str = "auto",
    runs: int = 20,
    device: str = "cpu",
    timer: Callable[[Work], Sample] | None = None,
    tick: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Measure one network, or several in turn.

    Args:
        names: names of the catalogue, with random weights, or weights files of runs.
        size: (height, width) in pixels at which the network works.
        image: a picture to predict; default a smooth random one.
        num_classes: K of a network of the catalogue.
        precision: of the fast form, as `optimize_for_inference`.
        runs: rounds; each calls every form of every scope once.
        device: "cpu" or "cuda".
        timer: times one call; default `on_cpu` or `on_gpu`.
        tick: is called after each warm-up and each call.

    Returns:
        "machine" (device, threads, torch), "protocol", "models" (a list) and, of several, "ratios":
        how many times faster the first is than each other. Plain numbers, ready for JSON.

    Raises:
        ValueError: an unknown network, a network for volumes, a size below 32, no run, or a device
            that is not there.
    """
    _check(names, size, runs, device)
    subjects = [_Subject(name, size, num_classes, precision, device, image) for name in names]
    timer = timer or (on_gpu if device == "cuda" else on_cpu)
    works = {
        (index, *way): subject.works[way]
        for way in itertools.product(SCOPES, FORMS)
        for index, subject in enumerate(subjects)
    }
    with torch.inference_mode(False), torch.no_grad():
        samples = take_turns(works, runs, timer=timer, tick=tick)
        precisions = {"float32", *(subject.fast.precision for subject in subjects)}
        peaks = {precision: _peak(precision, device, timer) for precision in precisions}
    threads = torch.get_num_threads()
    models = []
    for index, subject in enumerate(subjects):
        properties = subject.properties()
        scopes: dict[str, Any] = {scope: {} for scope in SCOPES}
        for scope, form in itertools.product(SCOPES, FORMS):
            scopes[scope][form] = timing = summarise(samples[index, scope, form], threads)
            if scope == "network":
                peak = peaks[subject.fast.precision if form == "fast" else "float32"]
                # CPU seconds where there are any: neighbours on the machine take none of them.
                per_second = properties["flops"] / (timing["cpu"] or timing["wall"])
                timing["share_of_peak"] = per_second / peak
        for scope in SCOPES:
            slow, fast = (samples[index, scope, form] for form in FORMS)
            scopes[scope]["ratio"] = ratios(slow, fast)
        models.append(properties | {"scopes": scopes})
    against = [
        {"model": names[index]}
        | {
            scope: {
                form: ratios(samples[index, scope, form], samples[0, scope, form]) for form in FORMS
            }
            for scope in SCOPES
        }
        for index in range(1, len(names))
    ]
    return {
        "machine": {
            "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
            "threads": threads,
            "torch": torch.__version__,
            "peak_gflops": {name: round(peak / 1e9, 1) for name, peak in peaks.items()},
        },
        "protocol": {"size": list(size), "batch": 1, "image": str(image or "random"), "runs": runs},
        "models": models,
        "ratios": against,
    }


class _Subject:
    """A network with its six functions."""

    def __init__(
        self,
        name: str,
        size: tuple[int, int],
        num_classes: int,
        precision: str,
        device: str,
        image: Path | None,
    ) -> None:
        self.name = name
        self.random = name in MODELS
        if self.random:
            torch.manual_seed(0)
            plain = create_model(name, num_classes=num_classes).eval().to(device)
        else:
            plain = load_model(name)[0].to(device)
        self.plain = plain
        self.fast = fast = optimize_for_inference(plain, precision=precision)
        channels = next(p for p in plain.parameters() if p.ndim > 1).shape[1]
        large = _picture(image, channels, [2 * side for side in size]).to(device)
        self.images = images = _resize(large, size)
        alone = copy.deepcopy(plain)
        take_resize(alone, images.to("meta"))
        whole = (2 * size[0], 2 * size[1])

        def plain_end_to_end() -> Tensor:
            logits = plain(_resize(large, size)).logits
            return _resize(logits, whole).argmax(1)

        self.works: dict[tuple[str, str], Callable[[], Any]] = {
            ("network", "plain"): lambda: alone(images).logits,
            ("network", "fast"): lambda: fast.scores(images),
            ("labels", "plain"): lambda: plain(images).logits.argmax(1),
            ("labels", "fast"): lambda: fast.predict_labels(images),
            ("end_to_end", "plain"): plain_end_to_end,
            ("end_to_end", "fast"): lambda: fast.predict_labels(_resize(large, size), size=whole),
        }

    @torch.no_grad()
    def properties(self) -> dict[str, Any]:
        """What it is, what it costs in numbers, and how many labels the fast form changes."""
        fast = self.fast
        changed = {
            scope: (self.works[scope, "plain"]() != self.works[scope, "fast"]()).float().mean()
            for scope in ("labels", "end_to_end")
        }
        images = self.images
        plain = copy.deepcopy(self.plain).to("meta")
        operations = flops(plain, images.shape[2:], in_channels=images.shape[1])
        return {
            "name": self.name,
            "weights": "random" if self.random else "trained",
            "parameters": sum(p.numel() for p in self.plain.parameters()),
            "flops": operations,
            "macs": operations // 2,
            "precision": fast.precision,
            "fused": fast.fused,
            "ends_in_resize": fast.resize is not None,
            "labels_changed": {scope: float(share) for scope, share in changed.items()},
        }


def _check(names: Sequence[str], size: tuple[int, int], runs: int, device: str) -> None:
    for name in names:
        if not Path(name).is_file() and model_card(name)["name"] == "no_new_net":
            raise ValueError("no_new_net is for volumes; give a network for images")
    if min(size) < 32:
        raise ValueError(f"the size is {size[0]}x{size[1]} pixels; it is at least 32x32")
    if runs < 1:
        raise ValueError(f"runs is at least 1, got {runs}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("this torch sees no CUDA GPU; give --device cpu")


def summarise(samples: Sequence[Sample], threads: int) -> dict[str, Any]:
    """What several calls took.

    Returns:
        "wall" and "cpu", median seconds, the latter None on a GPU; "p5" and "p95" of the wall
        seconds; "runs"; and "busy": whether the threads got less than nine tenths of the processors
        they asked for.
    """
    walls = sorted(sample.wall for sample in samples)
    cpus = [sample.cpu for sample in samples if sample.cpu is not None]
    last = len(walls) - 1
    return {
        "wall": median(samples, "wall"),
        "p5": walls[round(0.05 * last)],
        "p95": walls[round(0.95 * last)],
        "cpu": median(samples, "cpu") if cpus else None,
        "runs": len(walls),
        "busy": bool(cpus) and sum(cpus) < 0.9 * sum(walls) * threads,
    }


def ratios(slow: Sequence[Sample], fast: Sequence[Sample]) -> dict[str, float | None]:
    """How many times faster the second is by "wall" and by "cpu", which is None on a GPU."""
    on_cpu = all(sample.cpu for sample in (*slow, *fast))
    cpu = ratio(slow, fast, "cpu").median if on_cpu else None
    return {"wall": ratio(slow, fast, "wall").median, "cpu": cpu}


def _peak(precision: str, device: str, timer: Callable[[Work], Sample]) -> float:
    """Operations a second that a 3x3 convolution of 256 channels reaches.

    A second is one of CPU time, of one thread, where there is a CPU: of wall time on a GPU.
    """
    side = 64 if device == "cpu" else 256
    how = {"device": device, "dtype": PRECISIONS[precision] or torch.float32}
    images = torch.randn(1, 256, side, side, **how).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, **how).contiguous(memory_format=torch.channels_last)
    samples = [timer(lambda: F.conv2d(images, kernel, padding=1)) for _ in range(7)]
    seconds = min(sample.cpu or sample.wall for sample in samples[2:])
    return 2 * 9 * 256 * 256 * side * side / seconds


def _picture(path: Path | None, channels: int, size: Sequence[int]) -> Tensor:
    """A normalised picture of a size, (1, C, H, W)."""
    if path is None:
        coarse = torch.randn(1, channels, 16, 32, generator=torch.Generator().manual_seed(0))
        return _resize(coarse, size)
    from segkit import transforms
    from segkit.data.images import read_image

    image = transforms.Normalize(transforms.MEAN, transforms.STD).image(read_image(path))
    return _resize(image[None], size)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
