"""What a finished run comes to, as a folder to publish: Markdown and pictures, under a megabyte."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from segbook import figures, text
from segbook.builders.data import build_normalisation
from segbook.recipes import Recipe
from segbook.runs import code, recording
from segbook.runs.folder import FINISHED, RunFolder
from segbook.runs.stopping import format_duration
from segbook.schema import OUTSIDE
from segbook.training.evaluation import best_model, evaluate, evaluate_cases
from segbook.training.state import BEST, build
from segkit import engine, outside
from segkit.data import catalog as data_catalog
from segkit.data import reading_of
from segkit.doctor.finding import counted
from segkit.metrics import POLICIES, CaseScores

NEEDED = (
    "recipe", "data_manifest", "precision", "threads", "machine", "versions", "seconds",
    "result.step", "result.miou", "result.policy",
)  # fmt: skip
"""What ``run.json`` must hold; as what, `segbook.runs.record.RunRecord` says."""


def write_summary(
    folder: RunFolder, out: Path, *, count: int = 4, own_palette: bool = False
) -> Path:
    """Write a page, ``results.json``, curves, per-class bars and the worst test images.

    Of a run that watched photographs its `segbook.runs.recording`, too, and a strip of the first.

    Args:
        folder: a finished run.
        out: where to; made if it is missing.
        count: how many of the worst images.
        own_palette: the data set's own colours in place of `figures.distinct_palette`.

    Returns:
        The path of the Markdown file.

    Raises:
        ValueError: the run is not finished, or its ``run.json`` lacks something.
    """
    described = read_finished(folder)
    recipe = Recipe.from_dict(code.own(folder, described["recipe"]))
    state = build(recipe, folder)
    out.mkdir(parents=True, exist_ok=True)
    split = "test" if "test" in state.sets else "val"
    shown = state.sets[split]
    classes = shown.classes
    palette = list(shown.palette) if own_palette else figures.distinct_palette(classes)
    network, seen = best_model(state, folder), reading_of(shown).shown
    normalised = shown.with_transform(build_normalisation(recipe))

    def predicted(index: int) -> Any:
        options = {"window": recipe.windows} if recipe.windows else {}
        return engine.predict(network, normalised[index][0][None], **options)[0]

    def tested() -> Any:
        for index in range(len(shown)):
            image, mask = shown.raw(index)
            yield shown.stem(index), seen(image), mask, predicted(index)

    splits = [name for name in ("val", "test") if name in state.sets]
    cases = {
        name: evaluate_cases(network, recipe, state.sets[name], state.settings)
        for name in splits * recipe.is_of_volumes
    }
    scores = {name: one.counts for name, one in cases.items()} or {
        name: evaluate(network, recipe, state.sets[name], state.settings) for name in splits
    }
    image, mask = shown.raw(len(shown) // 2)
    pictures = {
        "curves.png": figures.curves(folder.metrics(), policy=recipe.policy),
        "iou.png": figures.iou_bars(
            scores[split].iou(),
            classes,
            compare=scores["val"].iou() if split == "test" else None,
            names=(split, "val"),
            policy=recipe.policy,
        ),
    }
    if cases:
        order = {shown.stem(index): index for index in range(len(shown))}
        each = [*cases[split].summary()["each"]]  # the worst first
        for name, stem in (("comparison", each[len(each) // 2]), ("worst", each[0])):
            image, mask = shown.raw(order[stem])
            pictures[f"{name}.png"] = figures.slices(
                image[0], mask, predicted(order[stem]), classes, palette, title=stem
            )
    else:
        pictures |= {
            "comparison.png": figures.comparison(
                seen(image), mask, predicted(len(shown) // 2), classes, palette
            ),
            "worst.png": figures.worst_images(tested(), classes, palette, count=count),
        }
    watched = None
    if (folder.path / recording.FOLDER).exists():
        found = recording.open_recording(folder)
        found = dataclasses.replace(
            found, command=rerun_command(described, folder), palette=palette
        )
        watched = recording.publish(found, out)
        first = watched.photographs[0]
        pictures["filmstrip.png"] = figures.filmstrip(
            first.image,
            first.truth,
            first.predictions,
            watched.steps,
            classes,
            palette,
            losses=watched.losses,
            miou=watched.miou,
            policy=watched.policy,
        )
    for name, figure in pictures.items():
        save_small(figure, out / name)
    page = markdown(described, recipe, scores, folder, watched, cases)
    (out / "README.md").write_text(page, encoding="utf-8")
    result = result_of(folder.read())
    if cases:
        result["dice"] = {name: one.summary()["mean_dice"] for name, one in cases.items()}
    results = json.dumps([result], indent=1)
    (out / "results.json").write_text(results + "\n", encoding="utf-8")
    return out / "README.md"


def read_finished(folder: RunFolder) -> dict[str, Any]:
    """The ``run.json`` of a finished run that has all that a summary is made of.

    Raises:
        ValueError: the run is not finished, or its ``run.json`` lacks something.
    """
    described = folder.read()
    if (status := described.get("status")) != FINISHED:
        raise ValueError(
            f"run {text.one_line(folder.name)} is {status}; a summary is of a finished run: "
            f"{text.shell('segbook', 'resume', folder.argument)}"
        )
    check_complete(folder, described, NEEDED, verdict="cannot be summed up")
    return described


def check_complete(
    folder: RunFolder, described: dict[str, Any], needed: Iterable[str], *, verdict: str
) -> None:
    """Refuse a run that lacks what a page about it is made of.

    Args:
        folder: the run.
        described: its ``run.json``.
        needed: dotted paths; what its test and `rerun_command` need is added.
        verdict: how the message begins.

    Raises:
        ValueError: something is missing or null; the message names it.
    """
    needed = [*needed]
    if "test" in (described.get("result") or {}):
        needed += ["result.test.miou"]
    if described.get("kind") == "train":
        needed += ["recipe_name", "overrides"]
    elif "notebook" in described:
        needed += ["notebook", "overrides"]
    if absent := [path for path in needed if _look_up(described, path) is None]:
        raise ValueError(
            f"run {text.one_line(folder.name)} {verdict}: its run.json has no usable "
            f"{', '.join(absent)}. Only runs of segbook's training have all that is needed; leave "
            "it out or train it again"
        )


def _look_up(fields: Any, path: str) -> Any:
    """What a dotted path leads to in nested dicts, or None."""
    for key in path.split("."):
        fields = fields.get(key) if isinstance(fields, dict) else None
    return fields


def result_of(described: dict[str, Any]) -> dict[str, Any]:
    """What a finished run measured, as MODELS.md takes it from ``results.json``."""
    recipe, result = described["recipe"], described["result"]
    miou = {"val": result["miou"]}
    if "test" in result:
        miou["test"] = result["test"]["miou"]
    return {
        "model": outside.short(recipe["model"]),
        "recipe": recipe["name"],
        "data": outside.short(recipe["data"]),
        "policy": result["policy"],
        "miou": {split: round(value, 5) for split, value in miou.items()},
        "commit": described.get("git_commit"),
    }


def save_small(figure: Any, path: Path, *, dpi: int = 80) -> None:
    """Save a figure as a PNG of 256 colours: half the size; k-means keeps the rare classes'."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight")
    image = Image.open(buffer).convert("RGB")
    image.quantize(256, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)


def markdown(
    described: dict[str, Any],
    recipe: Recipe,
    scores: dict[str, Any],
    folder: RunFolder,
    watched: recording.Recording | None,
    cases: Mapping[str, CaseScores] | None = None,
) -> str:
    """The page: result, how it was made, per class, pictures; of volumes case by case, too."""
    shown = text.markdown
    policy, result = recipe.policy, described["result"]
    rows = [
        f"| {name} | {100 * counts.miou(policy):.1f} | {100 * counts.pixel_accuracy():.1f} | "
        f"{100 * counts.class_accuracy():.1f} |"
        for name, counts in scores.items()
    ]
    classes = result["classes"]
    per_class = {name: counts.iou().tolist() for name, counts in scores.items()}
    class_rows = [
        f"| {shown(label)} | " + " | ".join(per_cent(per_class[name][k]) for name in scores) + " |"
        for k, label in enumerate(classes)
    ]
    others = [
        f"| {name} | " + " | ".join(f"{100 * c.miou(name):.1f}" for c in scores.values()) + " |"
        for name in POLICIES
    ]
    heads = " | ".join(scores)
    dashes = "|".join("---" for _ in scores)
    versions = ", ".join(f"{name} {version}" for name, version in described["versions"].items())
    resumed = dict.fromkeys(
        # What a resume was changed by may name folders of this machine.
        line[line.index("resumed at step") :].partition("; it began with")[0].rstrip("\n")
        for line in folder.log_lines()
        if "resumed at step" in line
    )
    start = start_of(recipe)
    size = f"by windows of {shown('x'.join(map(str, w)))}" if (w := recipe.windows) else "whole"
    tested = "test was counted once with them, images" if "test" in scores else "images"
    commit = described.get("git_commit") or "not a checkout"
    changed = " (with uncommitted changes)" if described.get("git_dirty") else ""
    manifest = [f"{shown(k)} {text.code(v[:12])}" for k, v in described["data_manifest"].items()]
    lines = [
        f"# {shown(recipe.name)}",
        "",
        f"{shown(outside.short(recipe.model))} on {shown(outside.short(recipe.data))}, from "
        f"{shown(start)}; {shown(recipe.note)}.",
        "",
        f"| split | mIoU ({policy}) | pixel accuracy | class accuracy |",
        "|---|---|---|---|",
        *rows,
        "",
        f"mIoU policy `{policy}`: {POLICIES[policy]}. The weights are those of step "
        f"{result['step']} of {recipe.steps}, the best on validation; {tested} {size}, one "
        "scale, no flip.",
        "",
        "## How it was made",
        "",
        "```",
        rerun_command(described, folder),
        "```",
        "",
        f"- Seed {recipe.seed}; {shown(described['precision'])}; "
        f"{counted(described['threads'], 'thread')}; {shown(described['machine'])}.",
        f"- {format_duration(described['seconds'])} in training steps; validation, checkpoints and "
        "whatever a kill threw away are not counted.",
        f"- Attempts: {described.get('attempts', 1)}"
        + "".join(f"; {shown(line)}" for line in resumed)
        + ".",
        f"- {shown(versions)}.",
        f"- Commit {shown(commit)}{changed}.",
        *(
            f"- Code of its own: {text.code(one['name'])}, SHA-256 {text.code(one['sha256'][:12])}."
            for one in (described.get("code") or {}).values()
        ),
        "- Data (SHA-256 over stems, sizes and masks): " + ", ".join(manifest) + ".",
        "",
        "![curves](curves.png)",
        "",
        *(watched_lines(watched) if watched else ()),
        "## Per class",
        "",
        f"| IoU | {heads} |",
        f"|---|{dashes}|",
        *class_rows,
        "",
        "![IoU by class](iou.png)",
        "",
        *[line for name, one in (cases or {}).items() for line in case_lines(name, one)],
        "## The same predictions, by every policy",
        "",
        f"| mIoU policy | {heads} |",
        f"|---|{dashes}|",
        *others,
        "",
        "## Pictures",
        "",
        "![image, truth, prediction, error](comparison.png)",
        "",
        f"The worst {'case' if cases else 'images'} of {'test' if 'test' in scores else 'val'}, by "
        f"{'its Dice' if cases else 'their own mIoU'}:",
        "",
        "![worst images](worst.png)",
        "",
        credit_line(recipe.data),
    ]
    return "\n".join(lines).rstrip() + "\n"


def case_lines(split: str, cases: CaseScores) -> list[str]:
    """The page's part about volumes: Dice and surface distance of each case of a split."""
    scores, names = cases.summary(), cases.classes[1:]
    heads = [*(f"Dice {one}" for one in names), *(f"HD95 {one}, mm" for one in names)]
    rows = []
    for name, one in {"**mean**": scores, **scores["each"]}.items():
        cells = [_known(one["dice"][label]) for label in names]
        cells += ["–" if (d := one["hd95"][label]) is None else f"{d:.2f}" for label in names]
        case = name if one is scores else text.markdown(name)
        rows.append(f"| {case} | {' | '.join(cells)} |")
    return [
        f"## Case by case: {split}",
        "",
        f"Dice {_known(scores['mean_dice'])}, the mean over {counted(len(cases.cases), 'case')} "
        "and then over the classes.",
        "",
        f"| case | {' | '.join(map(text.markdown, heads))} |",
        "|---|" + "---|" * len(heads),
        *rows,
        "",
    ]


def _known(value: float | None) -> str:
    return per_cent(math.nan if value is None else value)


def watched_lines(watched: recording.Recording) -> list[str]:
    """The page's part about the photographs that were watched over the training."""
    names = ", ".join(text.markdown(one.name) for one in watched.photographs)
    count = counted(len(watched.photographs), "validation image")
    return [
        "## While it trained",
        "",
        f"What the network said of {count} ({names}) after {counted(len(watched.steps), 'step')} "
        f"from {watched.steps[0]} to {watched.steps[-1]} lies in `{recording.FOLDER}/`; "
        "`segbook.widgets.TrainingScrubber` of this folder moves through them. The first:",
        "",
        "![photograph, truth, predictions over the steps](filmstrip.png)",
        "",
    ]


def start_of(recipe: Recipe) -> str:
    """What a recipe starts from; of a file its name, for its folder is of one machine.

    A run's file is called as those of all runs: its run's name says more.
    """
    weights = recipe.weights
    if os.path.isabs(weights):
        path = Path(weights)
        in_run = path.name == BEST and path.parent.name == "checkpoints"
        weights = path.parents[1].name if in_run else path.name
    backbone = recipe.weights_backbone
    if os.path.isabs(backbone):
        backbone = Path(backbone).name
    return weights or backbone or "random weights"


def credit_line(name: str) -> str:
    """Whose images a page shows and under what terms; empty where nobody needs to be named."""
    entry = data_catalog.find(name)
    sentences = filter(None, (entry.credit and f"Images: {entry.credit}", entry.licence))
    return " ".join(f"{sentence}." for sentence in sentences)


def per_cent(value: float) -> str:
    """An IoU as per cent, or a dash where the class is absent."""
    return "–" if value != value else f"{100 * value:.1f}"


def rerun_command(described: dict[str, Any], folder: RunFolder) -> str:
    """The command that makes this run again."""
    if described.get("kind") == "train":
        words = ["segbook", "train", described["recipe_name"]]
        if (processes := described.get("processes") or 1) > 1:
            words += ["--nproc", processes]
    elif "notebook" in described:
        words = ["segbook", "run", notebook_path(described)]
    else:
        return f"# run {text.one_line(folder.name)} was started by hand, in a notebook"
    option = "--set" if described.get("kind") == "train" else "-p"
    for name, value in described["overrides"].items():
        words += [option, f"{name}={outside.short(value) if name in OUTSIDE else value}"]
    return text.shell(*words)


def notebook_path(described: dict[str, Any]) -> str:
    """A run's notebook, from the folder where it was started; its name where it lies elsewhere.

    A page is for others, who have no use for a path of this machine.
    """
    path = os.path.relpath(described["notebook"], described.get("cwd") or os.curdir)
    return text.operand(os.path.basename(path) if path.startswith(os.pardir) else path)
