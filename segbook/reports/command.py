"""``segbook report`` and ``segbook compare``."""

from __future__ import annotations

from pathlib import Path

import click

from segbook.runs.command import short, trust_option
from segbook.runs.folder import RunFolder, find
from segbook.text import one_line


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="The folder to write.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Write the best weights in float16, with their record, to this .safetensors file.",
)
@click.option("--licence", help="Of the weights: under what terms they may be used.")
@click.option(
    "--own-palette",
    is_flag=True,
    help="The data set's own colours, in place of ones that every eye can tell apart.",
)
@trust_option
def report(
    run_name: str,
    out: Path | None,
    weights: Path | None,
    licence: str | None,
    own_palette: bool,
    trust: bool,
) -> None:
    """Write a finished RUN to publish: Markdown and pictures, its weights, or both."""
    if not (out or weights):
        raise click.UsageError("give --out, --weights or both")
    if bool(weights) != bool(licence):
        raise click.UsageError("--weights and --licence go together")
    folder = find(run_name)
    if trust:
        _trust(folder)
    if out:
        from segbook.reports.publish import write_summary

        click.echo(f"wrote {one_line(short(write_summary(folder, out, own_palette=own_palette)))}")
    if weights and licence:
        from segbook.reports.weights import write_weights

        click.echo(f"wrote {one_line(short(write_weights(folder, weights, licence=licence)))}")


@click.command()
@click.argument("run_names", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write it to.")
@trust_option
def compare(run_names: tuple[str, ...], out: Path | None, trust: bool) -> None:
    """Compare finished RUNs: what they share once, what they differ in as a table."""
    from segbook.reports import compare as comparing

    folders = [find(name) for name in run_names]
    if trust:
        _trust(*folders)
    if out:
        click.echo(f"wrote {one_line(short(comparing.write_comparison(folders, out)))}")
    else:
        click.echo(comparing.compare(folders))


def _trust(*folders: RunFolder) -> None:
    from segbook.runs import code

    for folder in folders:
        code.trust(folder)
