"""Finished runs side by side: what they have in common once, what they differ in as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from segbook.recipes import Recipe
from segbook.runs.build import build_model
from segbook.runs.folder import FINISHED, RunFolder
from segbook.runs.summary import result_of, spell_command
from segkit.metrics import POLICIES

NAMES = ("name", "note", "paper_miou")
"""Fields of a recipe that change nothing in the training."""
COMMON = ("data", "crop", "scale", "batch_size", "steps", "optimizer", "lr", "schedule", "seed")
"""Fields worth a line where all runs share them."""


def compare(folders: list[RunFolder]) -> str:
    """The runs as Markdown, the best by validation first.

    Args:
        folders: finished runs on the same data.

    Raises:
        ValueError: no runs, one that is not finished, or runs of several data sets or policies.
    """
    if not folders:
        raise ValueError("name the runs to compare: segbook compare RUN RUN …")
    runs = [(folder, described(folder)) for folder in folders]
    recipes = [Recipe.from_dict(run["recipe"]) for _, run in runs]
    for field in ("data", "policy"):
        values = {getattr(recipe, field) for recipe in recipes}
        if len(values) > 1:
            raise ValueError(f"the runs differ in {field}, {sorted(values)}: they do not compare")
    manifests = {json.dumps(run["data_manifest"], sort_keys=True) for _, run in runs}
    if len(manifests) > 1:
        raise ValueError("the runs saw different versions of the data: they do not compare")
    first, fields = recipes[0], [recipe.to_dict() for recipe in recipes]
    differ = [
        field
        for field in fields[0]
        if field not in (*NAMES, "model") and len({json.dumps(f[field]) for f in fields}) > 1
    ]
    order = sorted(runs, key=lambda run: -run[1]["result"]["miou"])
    splits = ["val"] + ["test"] * ("test" in runs[0][1]["result"])
    heads = ["network", *differ, "parameters", "GFLOPs", "CPU minutes"]
    heads += [f"{split} mIoU" for split in splits] + ["test accuracy"] * ("test" in splits)
    lines = [
        "| " + " | ".join(heads) + " |",
        "|---" * (1 + len(differ)) + "|---:" * (len(heads) - 1 - len(differ)) + "|",
    ]
    for _, run in order:
        recipe = Recipe.from_dict(run["recipe"])
        lines.append("| " + " | ".join(cells(recipe, run, differ, splits)) + " |")
    common = {field: getattr(first, field) for field in COMMON if field not in differ}
    lines += [
        "",
        f"- mIoU policy `{first.policy}`: {POLICIES[first.policy]}. By the weights that were best "
        "on validation; images whole, one scale, no flip.",
        "- In common: " + ", ".join(f"{field} {value}" for field, value in common.items()) + ".",
        "- GFLOPs of one whole image in evaluation, a multiply-add counted as two; parameters with "
        "the auxiliary heads.",
        f"- {runs[0][1]['precision']}; threads: "
        + ", ".join(sorted({str(run["threads"]) for _, run in runs}))
        + "; CPU minutes are the process's, of training steps.",
        "- Commits: " + ", ".join(sorted({str(run.get("git_commit"))[:12] for _, run in runs})),
        "",
        "```",
        *(spell_command(run, folder) for folder, run in order),
        "segbook compare " + " ".join(folder.name for folder, _ in order),
        "```",
    ]
    return "\n".join(lines) + "\n"


def described(folder: RunFolder) -> dict[str, Any]:
    """A finished run's description.

    Raises:
        ValueError: the run is not finished.
    """
    run = folder.read()
    if run.get("status") != FINISHED:
        raise ValueError(f"run {folder.name} is {run.get('status')}: segbook resume {folder.name}")
    return run


def cells(recipe: Recipe, run: dict[str, Any], differ: list[str], splits: list[str]) -> list[str]:
    """One run's line."""
    from segbook.certificates import measure  # the flop counter is slow to import
    from segbook.runs.build import build_data

    result = run["result"]
    with torch.device("meta"):
        model = build_model(recipe, len(result["classes"]), pretrained=False)
    size = build_data(recipe)["val"].raw(0)[1].shape
    cpu = run.get("cpu_seconds")
    fields = recipe.to_dict()
    scores = {"val": result["miou"], **({"test": result["test"]["miou"]} if splits[1:] else {})}
    return [
        recipe.model,
        *(str(fields[field]) for field in differ),
        f"{sum(p.numel() for p in model.parameters()):,}",
        f"{measure.flops(model, tuple(size)) / 1e9:.1f}",
        "?" if cpu is None else f"{cpu / 60:.1f}",
        *(f"{100 * scores[split]:.1f}" for split in splits),
        *([f"{100 * result['test']['accuracy']:.1f}"] if splits[1:] else []),
    ]


def write_comparison(folders: list[RunFolder], out: Path) -> Path:
    """Write ``README.md`` and ``results.json`` of several runs into a folder, to publish.

    Returns:
        The path of the Markdown file.
    """
    text = compare(folders)
    out.mkdir(parents=True, exist_ok=True)
    results = [result_of(described(folder)) for folder in folders]
    (out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    path = out / "README.md"
    path.write_text(f"# {out.name}\n\n{text}", encoding="utf-8")
    return path
