"""``segbook bench``, with ``model``, ``train``, ``settings`` and ``export``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

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
        if min(int(height), int(width)) < 32:
            self.fail(f"{value} pixels; give at least 32x32", param, ctx)
        return int(height), int(width)


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Subset pairs each, to see that it works.")
@click.pass_context
def bench(ctx: click.Context, quick: bool) -> None:
    """Print the library's speed against others', side by side, as ratios.

    Exit code 1 where a promised ratio was missed.
    """
    if ctx.invoked_subcommand:
        return
    from segbook.bench import promises

    if not promises.main(click.echo, quick=quick):
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
@click.option("--runs", type=click.IntRange(min=1), default=20, show_default=True, help="Rounds.")
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

    from segbook.bench.model import bench_models, table

    if threads:
        torch.set_num_threads(threads)
    result = bench_models(
        [name, against] if against else [name],
        size=size,
        image=image,
        num_classes=classes,
        precision=precision,
        runs=runs,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
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
    from segbook.bench import settings

    click.echo(settings.settings_table(chosen, settings.bench_settings(chosen, rounds=rounds)))


@bench.command("export")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--size", type=Size(), help="Also time each file, by an image of so many pixels.")
@click.option("--int8", is_flag=True, help="Time ONNX in float32 and in 8 bits, at 512x1024.")
@click.option(
    "--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of both."
)
def bench_export(
    names: tuple[str, ...], size: tuple[int, int] | None, int8: bool, threads: int
) -> None:
    """Export networks of the catalogue to every form, and print how well each file agrees.

    A cell has the largest difference of a logit, of the largest logit, or why there is no file;
    with --size, how many times faster the file is than the network in float32, in CPU time of one
    thread. Without a NAME one of each network.

    With --int8 a table of times alone, and without a NAME of the three networks of which a speed is
    promised; exit code 1 where it was missed.
    """
    import torch

    from segbook.bench import export
    from segkit.export.files import need_onnx

    need_onnx()
    torch.set_num_threads(threads)
    if int8:
        missed = False
        for row, kept in export.int8_rows(names or [*export.PROMISED], size=size or (512, 1024)):
            click.echo(row)
            missed |= not kept
        if missed:
            sys.exit(1)
        return
    for row in export.rows(names or export.one_of_each(), size=size):
        click.echo(row)


@bench.command("train")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--rounds", default=9, show_default=True, help="Steps of each that are timed.")
@click.option("--wall", is_flag=True, help="Wall time with all threads, not CPU time of one.")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="CamVid's folder for `data`; else synthetic streets.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs: JSON.")
def bench_train(
    names: tuple[str, ...], rounds: int, wall: bool, data_root: Path | None, as_json: bool
) -> None:
    """Time training steps against segmentation-models-pytorch's, in turn.

    NAME is unet_resnet18, deeplab_v3_resnet50, deeplab_v3_plus_resnet18, pp_liteseg_t, or `data`
    (cache, workers, and what share of a step waits for data; in wall time). Without a NAME all.

    Exit code 1 where a promise is broken.
    """
    import torch

    from segbook.bench import train, train_data
    from segbook.bench.train_cases import CASES, require_smp
    from segkit.doctor.finding import counted

    known = [*CASES, "data"]  # in this order: no process may be forked after threads have computed
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no comparison {unknown[0]!r}; choose from {', '.join(known)}")
    chosen = [name for name in known if name in names or not names]
    if any(name in CASES and CASES[name].theirs for name in chosen):
        require_smp()
    on_gpu = torch.cuda.is_available()
    clock = "wall" if wall or on_gpu else "cpu"
    threads = torch.get_num_threads()
    if clock == "cpu":
        torch.set_num_threads(1)
    head = (
        f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, "
        f"{counted(torch.get_num_threads(), 'thread')}, "
        f"{'wall' if clock == 'wall' else 'CPU'} time of a step; median ratio (quartiles)"
    )
    rows = []
    try:
        if not as_json:
            click.echo(head)
        for name in chosen:
            if name == "data":
                found = train_data.compare_data(rounds, data_root)
            else:
                apart = sys.platform == "linux" and not on_gpu
                found = train.compare_case(CASES[name], rounds, clock, apart=apart)
            rows += found
            for row in () if as_json else found:
                click.echo(train.format_row(row))
    finally:
        torch.set_num_threads(threads)
    if as_json:
        click.echo(json.dumps({"machine": head, "rounds": rounds, "rows": rows}, indent=1))
    if not all(row.get("kept", True) for row in rows):
        sys.exit(1)
