"""The pages that no file holds: a network each, the recipes, and the reference of the code."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segbook import recipes, schema
from segbook.certificates import certify, diagrams, models_md
from segbook.recipes import Recipe
from segbook.text import code, markdown
from segkit import backbones, models
from segkit.catalog import MODELS

ROOMS = {
    "segkit": "the front door",
    "segkit.catalog": "networks by name",
    "segkit.outputs": "what a network and a backbone give",
    "segkit.data": "data sets and the loader",
    "segkit.transforms": "augmentation and normalisation of pairs",
    "segkit.losses": "losses",
    "segkit.metrics": "metrics and their policies",
    "segkit.engine": "training, prediction, checkpoints",
    "segkit.doctor": "what is wrong before the first step",
    "segkit.export": "networks for production",
    "segkit.weights": "files of weights",
    "segkit.crf": "the fully connected CRF",
    "segkit.nn": "blocks that two or more papers use",
    "segkit.backbones": "feature extractors",
    "segbook.recipes": "everything that decides a training",
    "segbook.figures": "pictures of data, runs and networks",
    "segbook.widgets": "things to move in a notebook",
}
"""The rooms with a page of their own, and what is in each."""
LAZY = {
    "segbook.training": (
        "TrainingState", "best_model", "build", "evaluate_best", "fit", "lesson_run", "train",
    ),
    "segbook.runs.folder": ("RunFolder",),
}  # fmt: skip
"""Rooms that import what is asked for only, and what they offer."""

UNLISTED = "---\norphan: true\n---\n"
"""At the head of a page that the sidebar leaves out: there are a hundred networks and files."""


def edited(name: str, text: str) -> str:
    """A page as the site has it: the first with the contents, MODELS.md with a page a network."""
    if name == "README.md":
        return f"{text}\n{contents()}"
    if name == "MODELS.md":
        text = re.sub(
            r"\[(`\w+`)\]\(docs/certificates/(\w+)\.json\)(?: \[drawn\]\([^)]*\))?",
            r"[\1](models/\2.md)",
            text,
        )
        text = text.replace(
            "[the certificates](docs/certificates); do not edit", "the certificates"
        )
        text = re.sub(r"^- \*\*drawn\*\*.*?(?=^- )", "", text, flags=re.MULTILINE | re.DOTALL)
        return text
    if name == "docs/runs/README.md":
        return f"{text}\n{toctree('*/README', glob=True)}"
    return text


def contents() -> str:
    """The table of contents, which the sidebar shows."""
    root = Path(__file__).parents[2]
    chapters = [f"notebooks/{path.stem}" for path in sorted(root.glob("notebooks/*.ipynb"))]
    guides = [f"docs/{path.stem}" for path in sorted(root.glob("docs/*.md"))]
    return "\n".join(
        [
            toctree(*chapters, "notebooks/glossary", caption="The book"),
            toctree(*guides, "data_scripts/README", caption="Guides"),
            toctree(
                "MODELS", "recipes/index", "docs/runs/README", "api/index", caption="Reference"
            ),
            toctree("CONTRIBUTING", "CHANGELOG", caption="The project"),
        ]
    )


def toctree(*names: str, caption: str = "", glob: bool = False) -> str:
    """A table of contents that only the sidebar shows."""
    options = [":hidden:", *([f":caption: {caption}"] if caption else []), *([":glob:"] * glob)]
    return "\n".join(["```{toctree}", *options, "", *names, "```", ""])


def generated(root: Path) -> Iterator[tuple[str, str]]:
    """The name and text of each page that no file holds."""
    trained, runs = models_md.recipes_by_model(), models_md.published(root)
    drawn = {MODELS[name].__module__: name for name in diagrams.smallest(root)}
    for name in MODELS:
        certificate = certify.read(name, root)
        if certificate:
            yield (
                f"models/{name}.md",
                network(
                    name,
                    certificate,
                    drawn=drawn[MODELS[name].__module__],
                    trained=trained.get(name, ()),
                    runs=runs.get(name, ()),
                ),
            )
    yield from recipe_pages()
    yield from reference()


def network(
    name: str,
    certificate: Mapping[str, Any],
    *,
    drawn: str,
    trained: Sequence[str],
    runs: Sequence[str],
) -> str:
    """The page of a network: its paper, drawing, measured facts, builder, recipes and runs."""
    builder, module = MODELS[name], MODELS[name].__module__
    paper = inspect.getmodule(builder).PAPER
    cost = certificate["cost"]
    size = "×".join(map(str, cost["size"]))
    title = f"[{paper.title}]({paper.url})" if paper.url else paper.title or "no paper yet"
    picture = "" if drawn == name else f" (`{drawn}`, the smallest of this paper)"
    counts, classes = dict(certificate["parameters"]), certificate["classes"]
    facts = [
        ("parameters", f"{counts.pop('total'):,}, at {classes} classes"),
        ("operations", f"{cost['gflops']:,} GFLOPs, one image of {size}; a multiply-add is two"),
        ("memory", f"{cost['activations_mib']:,.0f} MiB that training keeps of it, in float32"),
        *(("counted by others", counted(one)) for one in certificate["references"]),
        *(
            ("same outputs", f"{models_md.format_parity(one)}: the largest difference in float64")
            for one in certificate["parity"]
        ),
        ("two images", models_md.format_overfit(certificate.get("overfit") or {})),
    ]
    lines = [
        UNLISTED,
        f"# {name}",
        "",
        certificate["summary"],
        "",
        f"{paper.authors}: {title}, {paper.venue} {paper.year}. Its idea, its data flow and what "
        f"differs from the paper: {{py:mod}}`{module}`.",
        "",
        "```python",
        "from segkit import create_model",
        "",
        f'model = create_model("{name}", num_classes={classes})',
        "```",
        "",
        f"## Drawn{picture}",
        "",
        f"![{drawn}: its parts and how tensors flow](../docs/diagrams/{drawn}.svg)",
        "",
        "## Measured",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {found} |" for what, found in facts if found),
        "",
        "What each figure means stands at the head of [MODELS](../MODELS.md); "
        f"`segbook certify {name}` measures it.",
        "",
        "| part | parameters |",
        "|---|---:|",
        *(f"| `{part}` | {count:,} |" for part, count in counts.items()),
        "",
    ]
    if certificate["compared"]:
        compared = models_md.facts()[name].compared
        lines += [f"Compared once, by hand: {models_md.listed(compared)}.", ""]
    if certificate["others"]:
        lines += [f"Who has which: {certificate['others']}.", ""]
    lines += ["## Trained", ""]
    lines += [f"- [`segbook train {one}`](../recipes/{recipe_page(one)}.md)" for one in trained]
    lines += [f"- {re.sub(r'[(]docs/', '(../docs/', run)}" for run in runs]
    if not trained:
        usual = "unet_isbi_em" if len(cost["size"]) == 3 else "pp_liteseg_t_synthetic"
        lines += [f"No recipe of its own: any with `--set model={name}`, such as `{usual}`."]
    lines += ["", "## Builder", "", rst(f".. autofunction:: {module}.{name}\n   :no-index:"), ""]
    return "\n".join(lines)


def counted(reference: Mapping[str, Any]) -> str:
    """Another implementation's parameters beside ours."""
    ours, theirs = reference["ours"], reference["parameters"]
    beside = "the same here" if ours == theirs else f"{ours:,} here"
    options = reference.get("options") or {}
    given = ", ".join(f"`{key}={value!r}`" for key, value in options.items())
    return (
        f"{theirs:,} at {reference['classes']} classes, {markdown(reference['name'])}: {beside}"
        f"{f' with {given}' if given else ''}"
    )


def recipe_page(name: str) -> str:
    """The page on which a recipe stands: that of its file."""
    return recipes.RECIPES[name].__module__.rpartition(".")[2]


def recipe_pages() -> Iterator[tuple[str, str]]:
    """A page on the fields of all recipes, and for each file one on what its recipes set."""
    by_page: dict[str, list[str]] = {}
    for name in recipes.names():
        by_page.setdefault(recipe_page(name), []).append(name)
    kinds = schema.fields(Recipe)
    lines = [
        "# Recipes",
        "",
        "A recipe is everything that decides a training. `segbook recipes` lists them, "
        "`segbook recipes show NAME` prints each field of one, "
        "`segbook train NAME --set FIELD=VALUE` trains it with a change.",
        "",
        *(
            f"- [{page}]({page}.md): {', '.join(f'[`{one}`]({page}.md#{one})' for one in names)}"
            for page, names in by_page.items()
        ),
        "",
        "## The fields",
        "",
    ]
    for field in dataclasses.fields(Recipe):
        usual, words = default(field), markdown(schema.meaning(kinds[field.name]))
        told = "no default" if usual is dataclasses.MISSING else f"default {code(repr(usual))}"
        lines += [f"### `{field.name}`", "", f"{words[:1].upper()}{words[1:]}, {told}.", ""]
    yield "recipes/index.md", "\n".join([*lines, toctree(*by_page)])
    for page, names in by_page.items():
        words = rst(f".. automodule:: segbook.recipes.{page}\n   :no-index:")
        lines = [f"# {page}", "", words, ""]
        for name in names:
            lines += [*recipe(name), ""]
        yield f"recipes/{page}.md", "\n".join(lines)


def recipe(name: str) -> list[str]:
    """A recipe's section: what it says of itself, and the fields that it sets."""
    made = recipes.get(name)
    function = f"{recipes.RECIPES[name].__module__}.{name}"
    lines = [f"## {name}", "", rst(f".. autofunction:: {function}\n   :no-index:")]
    lines += ["", "| field | value | default |", "|---|---|---|"]
    for field in dataclasses.fields(Recipe):
        value, usual = getattr(made, field.name), default(field)
        if value != usual:
            before = "" if usual is dataclasses.MISSING else code(repr(usual))
            link = f"[`{field.name}`](index.md#{field.name})"
            lines.append(f"| {link} | {code(repr(value))} | {before} |".replace("\n", " "))
    return lines


def default(field: dataclasses.Field) -> Any:
    """A field's default; MISSING where it has none."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def reference() -> Iterator[tuple[str, str]]:
    """A page for each room of the library and the workbench, and for each paper and backbone."""
    files = {
        room: [f"{room}.{one.name}" for one in pkgutil.iter_modules(package.__path__)]
        for room, package in (("segkit.models", models), ("segkit.backbones", backbones))
    }
    several = [name for names in files.values() for name in names]
    lines = [
        "# Reference",
        "",
        "What the code says of itself. `segkit` is the library, `segbook` the workbench around it.",
        "",
        *(f"- [`{room}`]({room}.md): {what}" for room, what in ROOMS.items()),
        "- [`segbook.training`](segbook.training.md): a training as a state and a loop",
        "- [`segbook.runs.folder`](segbook.runs.folder.md): the folder of a run",
    ]
    for room, names in files.items():
        lines += ["", f"## {room}", ""]
        lines += [f"- [`{name}`]({name}.md): {summary(name)}" for name in names]
    yield "api/index.md", "\n".join([*lines, "", toctree(*ROOMS, *LAZY)])
    for room in [*ROOMS, *LAZY, *several]:
        offered = LAZY.get(room)
        if offered:
            text = f".. automodule:: {room}\n\n" + "\n\n".join(
                f".. auto{'class' if one[0].isupper() else 'function'}:: {room}.{one}\n   "
                + ":members:" * one[0].isupper()
                for one in offered
            )
        else:
            text = f".. automodule:: {room}\n   :members:"
        yield f"api/{room}.md", f"{UNLISTED * (room in several)}# {room}\n\n{rst(text)}\n"


def summary(module: str) -> str:
    """The first line of a module's docstring."""
    return (inspect.getdoc(importlib.import_module(module)) or "").partition("\n")[0]


def rst(text: str) -> str:
    """A block in the markup of the docstrings."""
    return f"```{{eval-rst}}\n{text}\n```"
