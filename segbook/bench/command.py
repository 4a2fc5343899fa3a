"""``segbook bench``, with ``model``, ``train`` and ``settings``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from segbook.bench.train import command as bench_train
from segbook.recipes.command import changed, changes_option


class Size(click.ParamType):
    """Height and width, written as 512x1024."""

    name = "HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        """The two numbers."""
        if isinstance(value, tuple):
            return value
        height, cross, width = value.partition("x")
        if not (cross and height.isdecimal() and width.isdecimal()):
            self.fail(f"{value!r} is no size: give height x width, as 512x1024", param, ctx)
        return int(height), int(width)


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Few pairs each, to see that it works.")
@click.pass_context
def bench(ctx: click.Context, quick: bool) -> None:
    """Print the library's speed against others', side by side, as ratios.

    Exit code 1 where a promised ratio was missed.
    """
    if ctx.invoked_subcommand:
        return
    from segbook import bench as benchmarks

    if not benchmarks.main(click.echo, quick=quick):
        sys.exit(1)


@bench.command("model")
@click.argument("name")
@click.option("--against", metavar="NAME2", help="Another network, measured in turn with NAME.")
@click.option("--size", type=Size(), default="512x1024", show_default=True, help="In pixels.")
@click.option("--image", type=click.Path(path_type=Path), help="A picture to predict.")
@click.option("--classes", default=19, show_default=True, help="Of a network of the catalogue.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Of the fast form.",
)
@click.option("--runs", default=20, show_default=True, help="Rounds.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the processor; default all.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="Default: cuda, if there.")
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def bench_model(
    name: str,
    against: str | None,
    size: tuple[int, int],
    image: Path | None,
    classes: int,
    precision: str,
    runs: int,
    threads: int | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Measure how fast NAME predicts: plain and fast, in three scopes.

    NAME is a network of the catalogue, with random weights, or a run's best.safetensors. Labels
    that the fast form changes mean something with trained weights and a real image only.
    """
    import torch
    from tqdm import tqdm

    from segbook.bench.model import bench_models
    from segbook.bench.table import table

    if threads:
        torch.set_num_threads(threads)
    with tqdm(unit="call", leave=False, disable=not sys.stderr.isatty()) as bar:

        def begin(total: int) -> Any:
            bar.reset(total)
            return bar.update

        result = bench_models(
            [name, against] if against else [name],
            size=size,
            image=image,
            num_classes=classes,
            precision=precision,
            runs=runs,
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            progress=begin,
        )
    click.echo(json.dumps(result) if as_json else table(result))


@bench.command("settings")
@click.argument("recipe")
@changes_option
@click.option("--rounds", default=9, show_default=True, help="Steps timed of each setting.")
def bench_settings(recipe: str, changes: tuple[str, ...], rounds: int) -> None:
    """Time RECIPE's steps by other settings than the rule's, and print the --set that is faster.

    Settings are precision, memory format, fused optimizer and, on a GPU, compiling.
    """
    chosen = changed(recipe, changes)
    from tqdm import tqdm

    from segbook.bench import settings

    with tqdm(unit="step", leave=False, disable=not sys.stderr.isatty()) as bar:
        rows = settings.bench_settings(chosen, rounds=rounds, tick=bar.update)
    click.echo(settings.settings_table(chosen, rows))


bench.add_command(bench_train, "train")

__all__ = ["bench", "bench_model"]
