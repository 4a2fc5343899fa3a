"""``segbook new``."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import click

from segbook.text import one_line, operand, shell

FILES = Path(__file__).parent / "files"
NAME = "my_idea"
"""Stands in the files for the folder's name."""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> None:
    """Make FOLDER for an idea of your own: a network, a recipe and a research notebook.

    All three run as they are, on painted streets, before anything in them is changed.
    """
    lay_out(folder)
    click.echo(
        f"made {one_line(folder)}, of three files that run as they are:\n"
        "  net.py            the network; what it must keep is said in it\n"
        "  recipe.py         how it is trained, and on which data\n"
        "  experiment.ipynb  the study: trained, looked at, compared with a baseline\n\n"
        f"  {shell('cd', operand(folder))}\n"
        "  segbook doctor recipe.py\n"
        "  segbook train recipe.py --set steps=30\n"
        "  segbook run experiment.ipynb -p steps=30   # needs Jupyter; the training does not\n"
        "  segbook list"
    )


def lay_out(folder: Path) -> None:
    """Copy the files into a folder, which is made.

    Args:
        folder: of any name; the recipe's is as near to it as a run's name can be.

    Raises:
        ValueError: there is something of this name, or it cannot be made.
    """
    name = re.sub(r"[^\w.-]+", "_", Path(os.path.abspath(folder)).name).strip("._-") or "idea"
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ValueError(f"{one_line(folder)} is there already; give another name") from None
    except OSError as error:
        raise ValueError(f"cannot make {one_line(folder)}: {error.strerror}") from None
    try:
        for file in sorted(FILES.glob("[!_]*.*")):
            text = file.read_text("utf-8").replace(NAME, name)
            (folder / file.name).write_text(text, "utf-8")
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
