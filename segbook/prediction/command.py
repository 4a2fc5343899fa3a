"""``segbook predict``, ``segbook evaluate`` and ``segbook export``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from segbook.runs.command import (
    EXIT_FAILED,
    Finite,
    json_option,
    print_json,
    short,
    trust_option,
)
from segbook.runs.launcher import refuse_several
from segbook.text import one_line


class Size(click.ParamType):
    """A window: one number of pixels, or height and width, or depth, height and width."""

    name = "[D,]H,W"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """(height, width), or (depth, height, width)."""
        if not isinstance(value, str):
            return value
        parts = value.replace("x", ",").split(",")
        if len(parts) > 3 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r}: give pixels, such as 512, or height and width, 512,768")
        sides = [int(part) for part in parts]
        return (sides[0], sides[0]) if len(sides) == 1 else tuple(sides)


PATH = click.Path(path_type=Path)
WRITTEN = """\b
Written under --out; NAME is the image's path, from the folder on that was given:
  labels/NAME.png    the class of each pixel, 8-bit ids
  colour/NAME.png    the same in the colours of the run's data
  overlay/NAME.png   half of that, half of the image
  probs/NAME.npz     with --probs: "probs", float16 (K, H, W)
  scores.json        with --masks: mIoU by every policy, scores by class and by image
  prediction.json    by what weights and options; "weights" is the sha256 of the tensors and of
                     builder, arguments, normalisation, classes and palette in their header
  prediction.jsonl   of which image and by what each file was made, a line as it is begun and done
Of an image that is too large to be read whole, with --window: labels/NAME.tif alone, in colours.
Of a volume labels/NAME.nii.gz (or .nii, .npz, as its own file), with its affine and spacing.
"""
SCORES_FILE = """\b
--out FILE by its ending:
  .json           everything; scores are 0..1
  .jsonl or .csv  a line for each image, the worst first
"""
EXPORTED = """\b
The file takes uint8 RGB (batch, 3, height, width) of any size, normalises it itself and gives
logits, float32 (batch, classes, height, width). What it was trained on, its classes and scores
are in its header:
  pt2    extra_files={"header.json": ""} of torch.export.load; where it has "check_guards": false,
         the program is opened by .module(check_guards=False)
  onnx   metadata_props "segkit"
ONNX takes packages of its own: pip install 'segbook[onnx]'. `segbook predict` and `evaluate` take
the file in the place of a run. FILE.json, beside it, is its certificate: of what weights it was
made, how it was compared, by what machine and versions; of 8 bits mIoU and speed.
"""


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """One decorator of several; what they give comes as ``**given``."""
    return lambda command: functools.reduce(lambda made, one: one(made), options[::-1], command)


# How an image is predicted: by windows, at several sizes, mirrored.
windows_options = _options(
    click.option(
        "--window",
        type=Size(),
        help="Predict by windows of so many pixels: 512 or 512,768; of volumes 64,96,96.",
    ),
    click.option(
        "--overlap",
        type=Finite(0, 1, max_open=True),
        default=0.5,
        show_default=True,
        help="Share of a window that the next one covers again.",
    ),
    click.option(
        "--margin",
        type=click.IntRange(0),
        default=0,
        metavar="PIXELS",
        help="Pixels at a window's sides that are seen only, not predicted; instead of overlap. "
        "Rounded up to a multiple of 32, a network's stride.",
    ),
    click.option(
        "--scale",
        "scales",
        type=Finite(0, min_open=True),
        multiple=True,
        metavar="FACTOR",
        help="Predict at this size; repeated, the mean of several.",
    ),
    click.option("--flip", is_flag=True, help="Average with the mirrored image."),
)
# What opens a network of one's own.
code_options = _options(
    click.option("--model", metavar="FILE.py:NAME", help="The builder, of your own WEIGHTS."),
    click.option("--backbone", metavar="FILE.py:NAME", help="The same of a backbone."),
    trust_option,
)


def code_of(given: dict[str, Any]) -> dict[str, Any]:
    """Those of `segbook.prediction.network.open_network`."""
    return {name: given[name] for name in ("model", "backbone", "trust")}


def options_of(given: dict[str, Any]) -> dict[str, Any]:
    """Those of `segkit.engine.predict_probs` that change something."""
    if given["margin"] and not given["window"]:
        raise ValueError("--margin is what windows see beyond their answer: give --window, too")
    unchanged = {"window": None, "overlap": 0.5, "margin": 0, "scales": (), "flip": False}
    return {name: given[name] for name, value in unchanged.items() if given[name] != value}


def say(network: Any, options: dict[str, Any], *, err: bool = False) -> str:
    """Say what predicts, and where; gives the device."""
    import torch

    from segkit.models.unet import UNet

    device = "cuda" if torch.cuda.is_available() else "cpu"
    click.echo(f"{network}; on {device}", err=err)
    if isinstance(network.model, UNet) and not network.model.padded:
        border = 6 * network.model.scale - 4
        if options.get("window") and options.get("margin", 0) < border:
            click.echo(
                f"its convolutions are unpadded: with --margin {border} each window sees its "
                "neighbours' pixels, and gives what the whole image would",
                err=err,
            )
    return device


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
@windows_options
@code_options
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def predict(
    source: str,
    inputs: tuple[Path, ...],
    out: Path,
    what: tuple[str, ...],
    probs: bool,
    masks: Path | None,
    ignore: tuple[int, ...],
    overwrite: bool,
    **given: Any,
) -> None:
    """Predict images by a RUN's best weights, by a WEIGHTS file or by weights in the box.

    INPUTS are images, of a network of volumes .nii, .nii.gz or .npz files, and folders of which all
    are taken, of images also from the folders below; of a folder with images/ and masks/ those in
    images/. Of a RUN the start of its name will do.

    It predicts in float32; evaluate takes the precision of the RUN's training, such as bfloat16, so
    that their mIoU may differ a little.

    An image that cannot be read is named and left out; then, and where a mask cannot be used, the
    exit code is 1. Files that are there are not replaced unless --overwrite says so; the same
    command once more goes on where it was stopped, and predicts images that changed again.
    """
    refuse_several("images are predicted by one process")
    from segbook.prediction import volumes
    from segbook.prediction.files import SCORES
    from segbook.prediction.folder import predict_folder
    from segbook.prediction.network import open_network
    from segbook.prediction.scores import percent

    network = open_network(source, **code_of(given))
    if masks is not None and network.data in ("ade20k", "cityscapes"):
        raise ValueError(
            f"the masks of {network.data} hold other ids than those of its classes, and "
            "scores by them would be wrong: leave out --masks"
        )
    options = options_of(given)
    if volumes.is_of_volumes(network.model):
        if masks is not None or ignore or what != ("labels", "colour", "overlay"):
            raise ValueError(
                "--masks, --ignore and --what are for images: of volumes the labels are written, "
                "and `segbook evaluate` scores them"
            )
        device = say(network, options)
        count, left_out = volumes.predict_volumes(
            network.model.to(device), network.header, inputs, out, probs=probs,
            overwrite=overwrite, show=click.echo, progress=sys.stderr.isatty(), **options,
        )  # fmt: skip
        click.echo(f"{count} predicted, {len(left_out)} left out: {one_line(short(out))}")
        if left_out:
            sys.exit(EXIT_FAILED)
        return
    device = say(network, options)
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
        **options,
    )
    if found := done.scores:
        click.echo(
            f"mIoU {percent(found['miou'])} ({found['policy']}) of {found['images']} of "
            f"{done.images + done.kept} images: {one_line(short(out / SCORES))}"
        )
    kept = f"{done.kept} were there, " * bool(done.kept)
    click.echo(
        f"{done.images} predicted, {kept}{len(done.left_out)} left out: {one_line(short(out))}"
    )
    if done.left_out or done.not_scored:
        sys.exit(EXIT_FAILED)


@click.command(epilog=SCORES_FILE)
@click.argument("source", metavar="RUN|WEIGHTS")
@click.argument("data", metavar="[DATA]", required=False)
@click.option(
    "--split",
    metavar="SPLIT",
    help="val, test, train: which part; val where there is one, else all.",
)
@click.option("--data-root", type=PATH, help="Where the data set that is named, or the run's, is.")
@click.option(
    "--ignore",
    type=click.IntRange(0, 255),
    multiple=True,
    metavar="ID",
    help="An id by which a folder's masks mark void, beside 255 and the run's; may be repeated.",
)
@windows_options
@code_options
@click.option("--out", type=PATH, metavar="FILE", help="Write the scores; see below.")
@json_option
def evaluate(
    source: str,
    data: str | None,
    split: str | None,
    data_root: Path | None,
    ignore: tuple[int, ...],
    out: Path | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Score a RUN's best weights, a WEIGHTS file or weights in the box, by every measure.

    DATA is a data set by its name, or a folder with images/ and masks/; of a RUN its own where none
    is given. mIoU by every policy, pixel accuracy, Dice, boundary IoU; by class, and by image. Of
    volumes Dice and HD95 (mm) by class and by case. Of a RUN the start of its name will do.

    Images are predicted as a training evaluates: whole, unless an option says otherwise, and in the
    precision of the RUN's training, such as bfloat16; predict takes float32, so that their mIoU may
    differ a little. An image that cannot be read is left out, the first 3 are named, and all in a
    .json; then the exit code is 1.
    """
    refuse_several("scores are counted by one process")
    from segbook.prediction.evaluation import check_out, open_data, page, write
    from segbook.prediction.evaluation import evaluate as score
    from segbook.prediction.network import open_network

    network = open_network(source, **code_of(given))
    options = options_of(given)
    dataset = open_data(network, data, split, data_root=str(data_root or ""), ignore=ignore)
    if out is not None:
        check_out(out)
    device = say(network, options, err=as_json)
    click.echo(one_line(dataset), err=as_json)
    network.model.to(device)
    done = score(
        network,
        dataset,
        show=lambda line: click.echo(line, err=as_json),
        progress=sys.stderr.isatty(),
        **options,
    )
    if out is not None:
        write(out, done.scores)
    if as_json:
        print_json(done.scores)
    else:
        click.echo(page(done.scores))
    if done.left_out:
        sys.exit(EXIT_FAILED)


@click.command(epilog=EXPORTED)
@click.argument("source", metavar="RUN|WEIGHTS")
@click.option("--to", required=True, type=click.Choice(["onnx", "pt2"]), help="The form.")
@click.option("--out", type=PATH, help="The file; NAME.onnx or NAME.pt2 here unless given.")
@click.option("--int8", is_flag=True, help="In 8 bits, for onnxruntime; NAME.int8.onnx.")
@click.option("--data", metavar="DATA", help="With --int8: to calibrate by and score on.")
@click.option("--data-root", type=PATH, help="Where the data set that is named, or the run's, is.")
@click.option("--calibrate", type=PATH, metavar="FOLDER", help="Images to calibrate by instead.")
@click.option("--images", type=click.IntRange(1), help="How many to calibrate by; 64 unless given.")
@click.option(
    "--tolerance",
    type=Finite(0, 100),
    metavar="POINTS",
    help="Points of mIoU that 8 bits may lose; 0.5 unless given.",
)
@code_options
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def export(
    source: str, to: str, out: Path | None, int8: bool, overwrite: bool, **given: Any
) -> None:
    """Export a RUN's best weights, a WEIGHTS file or weights in the box, for use elsewhere.

    Of a RUN the start of its name will do.

    What was made is loaded and compared with the network at three sizes that it was not made at.
    It is written only where no logit differs by more than a ten-thousandth of the largest.

    With --int8 weights and activations are rounded to 8 bits, by ranges that are measured on
    training images. The file is scored beside the network on the validation images, and written
    only where it loses no more than half a point of mIoU; else the exit code is 1. DATA is a data
    set by its name, or a folder with images/ and masks/; of a RUN its own where none is given.
    """
    refuse_several("a file is exported by one process")
    from segbook.prediction.export import certificate_of, export_file
    from segbook.prediction.int8 import Int8, LossError

    about = {name: given[name] for name in ("data", "data_root", "calibrate", "images")}
    about = {name: value for name, value in about.items() if value is not None}
    if given["tolerance"] is not None:
        about["tolerance"] = given["tolerance"] / 100
    if about and not int8:
        raise ValueError(f"--{next(iter(about)).replace('_', '-')} is for a file in 8 bits: --int8")
    try:
        done = export_file(
            source,
            to,
            out,
            int8=Int8(**about) if int8 else None,
            overwrite=overwrite,
            show=click.echo,
            progress=sys.stderr.isatty(),
            **code_of(given),
        )
    except LossError as error:
        raise click.ClickException(str(error)) from None
    megabytes = len(done.exported.content) / 1e6
    click.echo(f"{megabytes:.1f} MB written: {one_line(short(done.path))}")
    click.echo(f"certificate: {one_line(short(certificate_of(done.path)))}")
    click.echo(f"opened by {one_line(done.opening())}")
