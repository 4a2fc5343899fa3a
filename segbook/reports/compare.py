"""Finished runs side by side: what they have in common once, what they differ in as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segbook import text
from segbook.builders.model import build_model
from segbook.recipes import Recipe
from segbook.reports.publish import (
    check_complete,
    per_cent,
    rerun_command,
    result_of,
    start_of,
)
from segbook.runs import code
from segbook.runs.folder import FINISHED, RunFolder
from segkit import outside
from segkit.metrics import POLICIES

NAMES = ("name", "note", "paper_miou", "data_root")
"""Fields of a recipe that change nothing in the training, once the data is the same."""
COMMON = ("data", "crop", "scale", "batch_size", "steps", "optimizer", "lr", "schedule", "seed")
"""Fields worth a line where all runs share them."""
OF_DATA = ("data_root", "image_size", "length", "ignore", "seed")
"""Fields by which two data sets of one name may differ."""
NEEDED = (
    "recipe", "data_manifest", "precision", "threads", "result.miou", "result.policy",
    "result.classes",
)  # fmt: skip
"""What ``run.json`` must hold; as what, `segbook.runs.record.RunRecord` says."""


class Described(NamedTuple):
    """A finished run: its folder, its ``run.json`` and the recipe in it."""

    folder: RunFolder
    run: dict[str, Any]
    recipe: Recipe


def compare(folders: list[RunFolder]) -> str:
    """The runs as Markdown, the best by validation first.

    Args:
        folders: finished runs on the same data.

    Raises:
        ValueError: no runs, one that is not finished or lacks what is compared, or runs of several
            data sets or policies.
    """
    if not folders:
        raise ValueError("name the runs to compare: segbook compare RUN RUN …")
    runs = sorted(map(described, folders), key=rank)
    recipes = [run.recipe for run in runs]
    for field in ("data", "policy"):
        given = [outside.short(getattr(recipe, field)) for recipe in recipes]
        if len(set(given)) > 1:
            values = ", ".join(f"{named(run)}: {one}" for run, one in zip(runs, given, strict=True))
            raise ValueError(f"the runs differ in {field} ({values}): they do not compare")
    if len({json.dumps(run["data_manifest"], sort_keys=True) for _, run, _ in runs}) > 1:
        about = [f for f in OF_DATA if len({str(getattr(run.recipe, f)) for run in runs}) > 1]
        told = {
            named(run): ", ".join(str(getattr(run.recipe, f)) for f in about) or run.recipe.data
            for run in runs
        }
        what = f"data, by {' and '.join(about)}" if about else "versions of the data"
        raise ValueError(
            f"the runs saw different {what} ({'; '.join(map(': '.join, told.items()))}): "
            "they do not compare"
        )
    first, fields = recipes[0], [code.shown(run.folder, run.recipe.to_dict()) for run in runs]
    differ = [
        field
        for field in fields[0]
        if field not in (*NAMES, "model")
        and len({json.dumps(f[field], sort_keys=True) for f in fields}) > 1
    ]
    untested = [named(one) for one in runs if "test" not in one.run["result"]]
    splits = ["val"] if untested else ["val", "test"]
    # A second run of one recipe differs in its name alone.
    told_apart = {(f["model"], *(json.dumps(f[field]) for field in differ)) for f in fields}
    twins = len(told_apart) < len(runs)
    heads = ["run"] * twins + ["network", *differ, "parameters", "GFLOPs", "CPU minutes"]
    heads += [f"{split} mIoU" for split in splits] + ["test accuracy"] * ("test" in splits)
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---" * (1 + twins + len(differ)) + "|---:" * (len(heads) - 1 - twins - len(differ)) + "|",
        *(
            "| " + " | ".join([named(run)] * twins + cells(run, differ, splits)) + " |"
            for run in runs
        ),
    ]
    common = {field: fields[0][field] for field in COMMON if field not in differ}
    lines += [
        "",
        f"- mIoU policy `{first.policy}`: {POLICIES[first.policy]}. By the weights that were best "
        "on validation; images whole, one scale, no flip.",
        "- In common: "
        + ", ".join(f"{field} {format_value(v)}" for field, v in common.items())
        + ".",
    ]
    if not {"weights", "weights_backbone"} & set(differ):
        lines.append(f"- From {format_value(start_of(first))}.")
    if 0 < len(untested) < len(runs):
        lines.append(f"- Test is not shown: there is none of {', '.join(untested)}.")
    lines += [
        "- GFLOPs of one whole image in evaluation, a multiply-add counted as two; parameters with "
        "the auxiliary heads.",
        f"- Precision: {several(run['precision'] for _, run, _ in runs)}; threads: "
        f"{several(run['threads'] for _, run, _ in runs)}; CPU minutes are the process's, of "
        "training steps.",
        "- Commits: " + several((run.get("git_commit") or "unknown")[:12] for _, run, _ in runs),
        "",
        "```",
        *(rerun_command(run, folder) for folder, run, _ in runs),
        text.shell("segbook", "compare", *(folder.argument for folder, *_ in runs)),
        "```",
    ]
    return "\n".join(lines) + "\n"


def described(folder: RunFolder) -> Described:
    """A finished run that has all that is compared.

    Raises:
        ValueError: the run is not finished, lacks something, or was measured by another policy
            than its recipe's.
    """
    run, name = folder.read(), text.one_line(folder.name)
    if run.get("status") != FINISHED:
        raise ValueError(
            f"run {name} is {run.get('status')}: {text.shell('segbook', 'resume', folder.argument)}"
        )
    needed = [*NEEDED]
    if "test" in (run.get("result") or {}):
        needed += ["result.test.accuracy"]
    check_complete(folder, run, needed, verdict="does not compare")
    try:
        recipe = Recipe.from_dict(code.own(folder, run["recipe"]))
    except ValueError as error:
        raise ValueError(f"the recipe of run {name}: {error}") from None
    result = run["result"]
    policies = {result["policy"], result.get("test", {}).get("policy", recipe.policy)}
    if policies != {recipe.policy}:
        raise ValueError(
            f"run {name} was measured by {several(policies)}, but its recipe says "
            f"{recipe.policy}: its figures do not compare; leave it out or train it again"
        )
    return Described(folder, run, recipe)


def named(described: Described) -> str:
    """A run's name on the page."""
    return text.markdown(described.folder.name)


def rank(described: Described) -> float:
    """Sorts the best by validation first, and what has no score last."""
    miou = described.run["result"]["miou"]
    return math.inf if math.isnan(miou) else -miou


def cells(described: Described, differ: list[str], splits: list[str]) -> list[str]:
    """One run's line."""
    from segbook.builders.data import build_data
    from segbook.certificates import measure  # the flop counter is slow to import

    folder, run, recipe = described
    result = run["result"]
    with torch.device("meta"):
        model = build_model(recipe, len(result["classes"]), pretrained=False)
    image, labels = build_data(recipe)["val"].raw(0)
    size, channels = labels.shape, image.shape[0]
    cpu = run.get("cpu_seconds")
    fields = code.shown(folder, recipe.to_dict())
    scores = [result["miou"]]
    if "test" in splits:
        scores += [result["test"]["miou"], result["test"]["accuracy"]]
    return [
        format_value(fields["model"]),
        *(format_value(fields[field]) for field in differ),
        f"{sum(p.numel() for p in model.parameters()):,}",
        f"{measure.flops(model, tuple(size), in_channels=channels) / 1e9:.1f}",
        f"{cpu / 60:.1f}" if isinstance(cpu, int | float) else "?",
        *(per_cent(score) for score in scores),
    ]


def format_value(value: Any) -> str:
    """A recipe's value as a text that no table breaks at: ``rates=(3, 6, 9)``; nothing if empty."""
    if isinstance(value, dict):
        return ", ".join(f"{format_value(key)}={format_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        end = ",)" if len(value) == 1 else ")"
        return "(" + ", ".join(map(format_value, value)) + end if value else ""
    return text.markdown(" ".join(str(value).split()))


def several(values: Iterable[Any]) -> str:
    """Each value once, sorted."""
    return ", ".join(sorted({format_value(value) for value in values}))


def write_comparison(folders: list[RunFolder], out: Path) -> Path:
    """Write ``README.md`` and ``results.json`` of several runs into a folder, to publish.

    Returns:
        The path of the Markdown file.
    """
    page = compare(folders)
    out.mkdir(parents=True, exist_ok=True)
    results = [result_of(described(folder).run) for folder in folders]
    for result in results:  # JSON has no NaN
        result["miou"] = {split: v for split, v in result["miou"].items() if not math.isnan(v)}
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path = out / "README.md"
    path.write_text(f"# {text.markdown(out.name)}\n\n{page}", encoding="utf-8")
    return path
