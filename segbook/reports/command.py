"""``segbook report`` and ``segbook compare``."""

from __future__ import annotations

from pathlib import Path

import click

from segbook.runs.command import short
from segbook.runs.folder import find
from segbook.text import one_line


@click.command()
@click.argument("run_name", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
def report(run_name: str, out: Path) -> None:
    """Write a finished RUN as Markdown and pictures, to publish."""
    from segbook.reports.publish import write_summary

    click.echo(f"wrote {one_line(short(write_summary(find(run_name), out)))}")


@click.command()
@click.argument("run_names", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), help="A folder to write it to.")
def compare(run_names: tuple[str, ...], out: Path | None) -> None:
    """Compare finished RUNs: what they share once, what they differ in as a table."""
    from segbook.reports import compare as comparing

    folders = [find(name) for name in run_names]
    if out:
        click.echo(f"wrote {one_line(short(comparing.write_comparison(folders, out)))}")
    else:
        click.echo(comparing.compare(folders))
