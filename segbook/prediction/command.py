"""``segbook predict`` and ``segbook export``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from segbook.runs.command import EXIT_FAILED, short
from segbook.text import one_line


class Size(click.ParamType):
    """A window: one number of pixels, or height and width."""

    name = "H,W"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """(height, width)."""
        if not isinstance(value, str):
            return value
        parts = value.replace("x", ",").split(",")
        if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r}: give pixels, such as 512, or height and width, 512,768")
        sides = [int(part) for part in parts]
        return sides[0], sides[-1]


PATH = click.Path(path_type=Path)
WRITTEN = """\b
Written under --out; NAME is the image's path, from the folder on that was given:
  labels/NAME.png    the class of each pixel, 8-bit ids
  colour/NAME.png    the same in the colours of the run's data
  overlay/NAME.png   half of that, half of the image
  probs/NAME.npz     with --probs: "probs", float16 (K, H, W)
  scores.json        with --masks: mIoU by the run's policy, IoU by class
"""
EXPORTED = """\b
The file takes uint8 RGB (batch, 3, height, width) of any size, normalises it itself and gives
logits, float32 (batch, classes, height, width). What it was trained on, its classes and scores
are in its header:
  pt2    extra_files={"segkit.json": ""} of torch.export.load; where it has "check_guards": false,
         the program is opened by .module(check_guards=False)
  onnx   metadata_props "segkit"
ONNX takes packages of its own: pip install 'segbook[onnx]'.
"""


@click.command(epilog=WRITTEN)
@click.argument("source", metavar="RUN|WEIGHTS")
@click.argument("inputs", metavar="INPUTS...", nargs=-1, required=True, type=PATH)
@click.option("--out", required=True, type=PATH, help="The folder to write.")
@click.option(
    "--what",
    type=click.Choice(["labels", "colour", "overlay"]),
    multiple=True,
    default=("labels", "colour", "overlay"),
    help="Write only this; may be repeated. All three unless given.",
)
@click.option("--probs", is_flag=True, help="Write probabilities, too.")
@click.option("--masks", type=PATH, help="A folder of true labels, of equal stems, to score by.")
@click.option(
    "--ignore",
    type=click.IntRange(0, 255),
    multiple=True,
    metavar="ID",
    help="An id by which the masks mark void, beside 255 and the run's own; may be repeated.",
)
@click.option("--window", type=Size(), help="Predict by windows of so many pixels: 512 or 512,768.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.5,
    show_default=True,
    help="Share of a window that the next one covers again.",
)
@click.option(
    "--scale",
    "scales",
    type=click.FloatRange(0, min_open=True),
    multiple=True,
    metavar="FACTOR",
    help="Predict at this size; repeated, the mean of several.",
)
@click.option("--flip", is_flag=True, help="Average with the mirrored image.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def predict(
    source: str,
    inputs: tuple[Path, ...],
    out: Path,
    what: tuple[str, ...],
    probs: bool,
    masks: Path | None,
    ignore: tuple[int, ...],
    window: tuple[int, int] | None,
    overlap: float,
    scales: tuple[float, ...],
    flip: bool,
    overwrite: bool,
) -> None:
    """Predict images by a RUN's best weights, by a WEIGHTS file or by weights in the box.

    INPUTS are images, and folders of which all images are taken, also from the folders below; of a
    folder with images/ and masks/ those in images/.

    An image that cannot be read is named and left out; then, and where a mask cannot be used, the
    exit code is 1. Files that are there are not replaced unless --overwrite says so.
    """
    import torch

    from segbook.prediction.folder import SCORES, percent, predict_folder
    from segbook.prediction.network import open_network

    network = open_network(source)
    if masks is not None and network.data in ("ade20k", "cityscapes"):
        raise ValueError(
            f"the masks of {network.data} hold other ids than those of its classes, and "
            "scores by them would be wrong: leave out --masks"
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    click.echo(f"{network}; on {device}")
    done = predict_folder(
        network.model.to(device),
        network.header,
        inputs,
        out,
        what=[*what, "probs"] if probs else what,
        masks=masks,
        ignore=(*network.void, *ignore),
        overwrite=overwrite,
        show=click.echo,
        progress=sys.stderr.isatty(),
        scales=scales or (1.0,),
        flip=flip,
        window=window,
        overlap=overlap,
    )
    if found := done.scores:
        click.echo(
            f"mIoU {percent(found['miou'])} ({found['policy']}) of {found['images']} of "
            f"{done.images} images: {one_line(short(out / SCORES))}"
        )
    click.echo(f"{done.images} predicted, {len(done.left_out)} left out: {one_line(short(out))}")
    if done.left_out or done.not_scored:
        sys.exit(EXIT_FAILED)


@click.command(epilog=EXPORTED)
@click.argument("source", metavar="RUN|WEIGHTS")
@click.option("--to", required=True, type=click.Choice(["onnx", "pt2"]), help="The form.")
@click.option("--out", type=PATH, help="The file; NAME.onnx or NAME.pt2 here unless given.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def export(source: str, to: str, out: Path | None, overwrite: bool) -> None:
    """Export a RUN's best weights, a WEIGHTS file or weights in the box, for use elsewhere.

    What was made is loaded and compared with the network at three sizes that it was not made at.
    It is written only where no logit differs by more than a ten-thousandth of the largest.
    """
    from segbook.prediction.export import export_file

    done = export_file(source, to, out, overwrite=overwrite, show=click.echo)
    click.echo(f"compared with torch: {done.exported.agreement}")
    megabytes = len(done.exported.content) / 1e6
    click.echo(f"{megabytes:.1f} MB written: {one_line(short(done.path))}")
    click.echo(f"opened by {one_line(done.opening())}")
