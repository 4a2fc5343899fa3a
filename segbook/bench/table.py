"""The result of `segbook bench model` as text for a terminal."""

from __future__ import annotations

from typing import Any

from segbook.bench.model import SCOPES


def table(result: dict[str, Any]) -> str:
    """What `bench_models` returns, to be read."""
    from segkit.doctor.finding import counted

    machine, protocol = result["machine"], result["protocol"]
    on_cpu = any(m["scopes"]["labels"]["plain"]["cpu"] is not None for m in result["models"])
    peaks = ", ".join(f"{name} {peak:g}" for name, peak in sorted(machine["peak_gflops"].items()))
    height, width = protocol["size"]
    lines = [
        f"{machine['device']}, {counted(machine['threads'], 'thread')}, torch {machine['torch']}",
        f"one image of {height}x{width} pixels, {protocol['runs']} rounds in turn after warm-up",
        f"peak measured, GFLOP a second{' of one thread' if on_cpu else ''}: {peaks}",
    ]
    for model in result["models"]:
        lines += ["", *_model(model)]
    for other in result["ratios"]:
        lines += ["", f"{result['models'][0]['name']} against {other['model']}, times faster"]
        for scope, words in SCOPES.items():
            plain, fast = (_format_ratio(other[scope][form]) for form in ("plain", "fast"))
            lines.append(f"  {words:<62} plain {plain}, fast {fast}")
    if any(t["busy"] for m in result["models"] for t in _timings(m)):
        lines += [
            "",
            "The machine is busy: where a line says so, the threads got less than nine tenths of "
            "the processors\nthey asked for. Trust the CPU seconds and the ratios, not the wall.",
        ]
    return "\n".join(lines)


def _model(model: dict[str, Any]) -> list[str]:
    tail = "resized as they are compared" if model["ends_in_resize"] else "compared as they are"
    lines = [
        f"{model['name']}: {model['parameters']:,} parameters ({model['weights']} weights), "
        f"{model['flops'] / 1e9:.2f} GFLOP = {model['macs'] / 1e9:.2f} GMAC",
        f"  fast: {model['precision']}, channels_last, {model['fused']} batch normalisations "
        f"fused, logits {tail}",
        f"  {'ms':<12}{'median':>9}{'p5':>9}{'p95':>9}{'CPU':>9}{'peak':>7}",
    ]
    for scope, words in SCOPES.items():
        lines.append(f"  {words}")
        measured = model["scopes"][scope]
        for form in ("plain", "fast"):
            timing = measured[form]
            times = [timing[key] for key in ("wall", "p5", "p95", "cpu")]
            cells = "".join(f"{1e3 * t:9.1f}" if t is not None else f"{'-':>9}" for t in times)
            share = timing.get("share_of_peak")
            cells += f"{share:7.0%}" if share is not None else " " * 7
            lines.append(f"    {form:<10}{cells}{'   busy' if timing['busy'] else ''}")
        lines.append(f"    {'faster':<10}{_format_ratio(measured['ratio'])}")
    changed = model["labels_changed"]
    lines.append(
        f"  labels that the fast form changes: {changed['labels']:.3%}, end to end "
        f"{changed['end_to_end']:.3%}"
        + (", of random weights: near-ties" if model["weights"] == "random" else "")
    )
    return lines


def _format_ratio(ratio: dict[str, float | None]) -> str:
    cpu = "" if ratio["cpu"] is None else f" ({ratio['cpu']:.2f}x of CPU time)"
    return f"{ratio['wall']:.2f}x{cpu}"


def _timings(model: dict[str, Any]) -> list[dict[str, Any]]:
    return [m[form] for m in model["scopes"].values() for form in ("plain", "fast")]
