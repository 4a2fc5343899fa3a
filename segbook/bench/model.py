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
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from segbook.bench.clock import Sample, Work, median, on_cpu, on_gpu, ratio, take_turns
from segbook.certificates.measure import flops
from segkit import transforms
from segkit.catalog import MODELS, create_model, load_model, model_card
from segkit.data.images import read_image
from segkit.doctor.finding import counted
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
) -> dict[str, Any]:
    """Measure one network, or several in turn.

    Args:
        names: names of the catalogue, with random weights, or weights files of runs.
        size: (height, width) in pixels at which the network works, 32 or more.
        image: a picture to predict; default a smooth random one.
        num_classes: K of a network of the catalogue.
        precision: of the fast form, as `optimize_for_inference`.
        runs: rounds, one or more; each calls every form of every scope once.
        device: "cpu" or "cuda".
        timer: times one call; default `on_cpu` or `on_gpu`.

    Returns:
        "machine" (device, threads, torch), "protocol", "models" (a list) and, of several, "ratios":
        how many times faster the first is than each other. Plain numbers, ready for JSON.

    Raises:
        ValueError: an unknown network, a network for volumes, or a device that is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("this torch sees no CUDA GPU; give --device cpu")
    for name in names:
        if not Path(name).is_file() and model_card(name)["name"] in ("no_new_net", "unet_3d"):
            raise ValueError(f"{name} is for volumes; give a network for images")
    subjects = [_prepare(name, size, num_classes, precision, device, image) for name in names]
    works = {
        (index, *way): subjects[index][0][way]
        for way in itertools.product(SCOPES, FORMS)
        for index in range(len(names))
    }
    timer = timer or (on_gpu if device == "cuda" else on_cpu)
    used = {"plain": ["float32"] * len(names), "fast": [made["precision"] for _, made in subjects]}
    with torch.no_grad():
        samples = take_turns(works, runs, timer=timer)
        peaks = {name: _peak(name, device, timer) for name in {"float32", *used["fast"]}}
    threads = torch.get_num_threads()
    models = []
    for index, (_, properties) in enumerate(subjects):
        scopes: dict[str, Any] = {}
        for scope in SCOPES:
            plain, fast = (samples[index, scope, form] for form in FORMS)
            scopes[scope] = {
                "plain": summarise(plain, threads),
                "fast": summarise(fast, threads),
                "ratio": ratios(plain, fast),
            }
        for form in FORMS:
            timing = scopes["network"][form]
            # CPU seconds where there are any: neighbours on the machine take none of them.
            per_second = properties["flops"] / (timing["cpu"] or timing["wall"])
            timing["share_of_peak"] = per_second / peaks[used[form][index]]
        models.append(properties | {"scopes": scopes})
    against = []
    for index in range(1, len(names)):
        row: dict[str, Any] = {"model": names[index]}
        for scope in SCOPES:
            row[scope] = {
                form: ratios(samples[index, scope, form], samples[0, scope, form]) for form in FORMS
            }
        against.append(row)
    return {
        "machine": {
            "device": torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
            "threads": threads,
            "torch": torch.__version__,
            "peak_gflops": {name: round(peak / 1e9, 1) for name, peak in sorted(peaks.items())},
        },
        "protocol": {"size": list(size), "batch": 1, "image": str(image or "random"), "runs": runs},
        "models": models,
        "ratios": against,
    }


@torch.no_grad()
def _prepare(
    name: str,
    size: tuple[int, int],
    num_classes: int,
    precision: str,
    device: str,
    image: Path | None,
) -> tuple[dict[tuple[str, str], Work], dict[str, Any]]:
    """A network's functions by scope and form; what it is, and what it costs in numbers."""
    if random := name in MODELS:
        torch.manual_seed(0)
        plain = create_model(name, num_classes=num_classes).eval().to(device)
    else:
        plain = load_model(name)[0].to(device)
    fast = optimize_for_inference(plain, precision=precision)
    channels = next(p for p in plain.parameters() if p.ndim > 1).shape[1]
    whole = (2 * size[0], 2 * size[1])
    large = _picture(image, channels, whole).to(device)
    images = _resize(large, size)
    alone = copy.deepcopy(plain)
    take_resize(alone, images.to("meta"))
    works: dict[tuple[str, str], Work] = {
        ("network", "plain"): lambda: alone(images).logits,
        ("network", "fast"): lambda: fast.scores(images),
        ("labels", "plain"): lambda: plain(images).logits.argmax(1),
        ("labels", "fast"): lambda: fast.predict_labels(images),
        ("end_to_end", "plain"): lambda: _resize(plain(_resize(large, size)).logits, whole).argmax(
            1
        ),
        ("end_to_end", "fast"): lambda: fast.predict_labels(_resize(large, size), size=whole),
    }
    operations = flops(copy.deepcopy(plain).to("meta"), size, in_channels=channels)
    return works, {
        "name": name,
        "weights": "random" if random else "trained",
        "parameters": sum(p.numel() for p in plain.parameters()),
        "flops": operations,
        "macs": operations // 2,
        "precision": fast.precision,
        "fused": fast.fused,
        "ends_in_resize": fast.resize is not None,
        "labels_changed": {
            scope: float((works[scope, "plain"]() != works[scope, "fast"]()).float().mean())
            for scope in ("labels", "end_to_end")
        },
    }


def summarise(samples: Sequence[Sample], threads: int) -> dict[str, Any]:
    """What several calls took.

    Returns:
        "wall" and "cpu", median seconds, the latter None on a GPU; "p5" and "p95" of the wall
        seconds; "runs"; and "busy": whether the threads got less than nine tenths of the processors
        they asked for.
    """
    walls = [sample.wall for sample in samples]
    cpus = [sample.cpu for sample in samples if sample.cpu is not None]
    p5, p95 = np.quantile(walls, [0.05, 0.95]).tolist()
    return {
        "wall": median(samples, "wall"),
        "p5": p5,
        "p95": p95,
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
    return 2 * 9 * 256 * 256 * side * side / min(s.cpu or s.wall for s in samples[2:])


def _picture(path: Path | None, channels: int, size: Sequence[int]) -> Tensor:
    """A normalised picture of a size, (1, C, H, W)."""
    if path is None:
        coarse = torch.randn(1, channels, 16, 32, generator=torch.Generator().manual_seed(0))
        return _resize(coarse, size)
    image = transforms.Normalize(transforms.MEAN, transforms.STD).image(read_image(path))
    return _resize(image[None], size)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    file = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", file.read_text("utf-8") if file.exists() else "")
    return named[1] if named else platform.processor() or platform.machine()


def table(result: dict[str, Any]) -> str:
    """What `bench_models` returns, as text for a terminal."""
    machine, protocol = result["machine"], result["protocol"]
    height, width = protocol["size"]
    lines = [
        f"{machine['device']}, {counted(machine['threads'], 'thread')}, torch {machine['torch']}",
        f"one image of {height}x{width} pixels, {protocol['runs']} rounds in turn after warm-up",
        "peak measured, GFLOP a second (of one thread on a CPU): "
        + ", ".join(f"{name} {peak:g}" for name, peak in machine["peak_gflops"].items()),
    ]
    busy = False
    for model in result["models"]:
        tail = "resized as they are compared" if model["ends_in_resize"] else "compared as they are"
        lines += [
            "",
            f"{model['name']}: {model['parameters']:,} parameters ({model['weights']} weights), "
            f"{model['flops'] / 1e9:.2f} GFLOP = {model['macs'] / 1e9:.2f} GMAC",
            f"  fast: {model['precision']}, channels_last, {model['fused']} batch normalisations "
            f"fused, logits {tail}",
            f"  {'ms':<12}{'median':>9}{'p5':>9}{'p95':>9}{'CPU':>9}{'peak':>7}",
        ]
        for scope, words in SCOPES.items():
            measured = model["scopes"][scope]
            lines.append(f"  {words}")
            for form in FORMS:
                times = [measured[form][key] for key in ("wall", "p5", "p95", "cpu")]
                cells = "".join(f"{1e3 * t:9.1f}" if t is not None else f"{'-':>9}" for t in times)
                share = f"{measured[form].get('share_of_peak', 0):7.0%}"
                cells += share if scope == "network" else " " * 7
                lines.append(f"    {form:<10}{cells}{'   busy' * measured[form]['busy']}")
                busy = busy or measured[form]["busy"]
            lines.append(f"    {'faster':<10}{_format_ratio(measured['ratio'])}")
        changed = model["labels_changed"]
        lines.append(
            f"  labels that the fast form changes: {changed['labels']:.3%}, end to end "
            f"{changed['end_to_end']:.3%}"
            + (", of random weights: near-ties" if model["weights"] == "random" else "")
        )
    for other in result["ratios"]:
        lines += ["", f"{result['models'][0]['name']} against {other['model']}, times faster"]
        for scope, words in SCOPES.items():
            plain, fast = (_format_ratio(other[scope][form]) for form in FORMS)
            lines.append(f"  {words:<62} plain {plain}, fast {fast}")
    if busy:
        lines += [
            "",
            "The machine is busy: where a line says so, the threads got less than nine tenths of "
            "the processors\nthey asked for. Trust the CPU seconds and the ratios, not the wall.",
        ]
    return "\n".join(lines)


def _format_ratio(ratio: dict[str, float | None]) -> str:
    cpu = "" if ratio["cpu"] is None else f" ({ratio['cpu']:.2f}x of CPU time)"
    return f"{ratio['wall']:.2f}x{cpu}"
