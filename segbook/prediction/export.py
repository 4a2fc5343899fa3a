"""A trained network as a file for use elsewhere: written whole, after it was compared.

Beside the file FILE lies its certificate, FILE.json: of what weights it was made, how well it
agrees with the network and, in 8 bits, what it was calibrated by, its mIoU and its speed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

import torch

from segbook.bench.model import cpu_name
from segbook.prediction.folder import digest, preparation
from segbook.prediction.int8 import FEW, Int8, judge, lines, open_trial, refuse_loss
from segbook.prediction.network import Network, open_network, policy_of
from segbook.runs.files import write_atomic, write_whole
from segbook.runs.provenance import environment
from segbook.text import one_line
from segkit.doctor.finding import counted
from segkit.export import Exported, export_network, quantize
from segkit.export.files import ONNX_PACKAGES, need_onnx
from segkit.export.onnx_network import OnnxNetwork
from segkit.files import shown
from segkit.inputs import spatial_dims

LEFT_OUT = ("normalisation", "example", "agreement", "command")
"""Of the weights' header: the file normalises itself, and has a comparison of its own."""


INSTRUCTIONS = (
    "avx2",
    "avx512_f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
)
"""Of a processor, that decide how fast convolutions run, as torch names them."""


class ExportedFile(NamedTuple):
    """What was written.

    Attributes:
        path: of the file; its `certificate` lies beside it.
        exported: its content, header and how it compared: that in 8 bits with that in float32.
        certificate: what the certificate holds.
    """

    path: Path
    exported: Exported
    certificate: dict[str, Any]

    def opening(self) -> str:
        """The Python that opens it."""
        if self.path.suffix == ".onnx":
            return f"onnxruntime.InferenceSession({str(self.path)!r})"
        guards = "" if self.exported.header.get("check_guards", True) else "check_guards=False"
        return f"torch.export.load({str(self.path)!r}).module({guards})"


def export_file(
    source: str | Path,
    to: str,
    out: str | Path | None = None,
    *,
    int8: Int8 | None = None,
    overwrite: bool = False,
    show: Callable[[str], object] = lambda line: None,
    progress: bool = False,
    **code: Any,
) -> ExportedFile:
    """Export a trained network.

    Args:
        source: a run or weights, see `open_network`.
        to: "onnx" or "pt2", see `segkit.export.export_network`.
        out: the file; in the working directory, named after the source, unless given.
        int8: how an ONNX file is made in 8 bits and judged; None for float32.
        overwrite: whether a file that is there is replaced.
        show: takes lines that say what is exported and what was measured.
        progress: whether there is a bar while a file in 8 bits is scored.
        **code: of `open_network`, for a network of one's own.

    Raises:
        ValueError: as `open_network` and `export_network`; another ending, or a file that is there.
            Nothing has been written then.
        LossError: more mIoU is lost by 8 bits than ``int8.tolerance``. Nothing has been written.
        ImportError: the packages for ONNX are not installed.
        OSError: the file cannot be written; where its folder says so, before the work.
    """
    if int8 and to != "onnx":
        raise ValueError(f"--int8 is a form of ONNX, and --to is {to}: give --to onnx")
    if to == "onnx":
        need_onnx()
    suffix = ".int8.onnx" if int8 else f".{to}"
    path = None if out is None else _place(Path(out), to, overwrite)
    network = open_network(source, **code)
    if isinstance(network.model, OnnxNetwork):
        raise ValueError(f"{shown(source)} is exported already: give the run or the weights")
    if spatial_dims(network.model) == 3:
        raise ValueError(
            f"{shown(network.source)} is of a network of volumes, and those of images are exported "
            "here: torch.export.export(segkit.load_model(file)[0], (volume,)) makes a program for "
            "volumes of one size"
        )
    if path is None:
        path = _place(Path(f"{_name(str(source), network)}{suffix}"), to, overwrite)
    preparation(network.header)  # which says what is wrong with it
    if read_as := network.header.get("images"):
        raise ValueError(
            f"{source} reads its images by {read_as}, and an exported file takes 8-bit RGB: export "
            "it in Python, segkit.export.export_network(..., normalisation=None), and give the "
            "file normalised images"
        )
    trial = open_trial(network, int8) if int8 else None
    if trial and len(trial.images) < FEW:
        show(
            f"warning: {counted(len(trial.images), 'image')} to calibrate by may lack what others "
            f"show, which is cut off then: give {FEW} or more (--images, --calibrate)"
        )
    show(f"{network}; exporting, which takes about a minute")
    about = {key: value for key, value in network.header.items() if key not in LEFT_OUT}
    exported = export_network(
        network.model,
        to,
        normalisation=network.header["normalisation"],
        header=about | {"policy": policy_of(network.header)},
    )
    show(f"compared with torch: {exported.agreement}")
    certificate = _certificate(network, exported, to)
    if int8 and trial:
        show(f"calibrating by {len(trial.images)} images of {one_line(trial.origin)}")
        plain, exported = exported, quantize(exported, trial.images)
        found = judge(network, plain, exported, trial, progress=progress)
        for line in lines(found):
            show(line)
        refuse_loss(found, int8.tolerance)
        certificate["int8"] = {"calibration": trial.calibration(), **found}
    content = exported.content
    certificate["file"] = {
        "name": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(content))
    write_atomic(certificate_of(path), json.dumps(certificate, indent=1) + "\n")
    return ExportedFile(path, exported, certificate)


def certificate_of(path: Path) -> Path:
    """Where the certificate of an exported file lies."""
    return path.with_name(f"{path.name}.json")


def _certificate(network: Network, exported: Exported, to: str) -> dict[str, Any]:
    """What was exported, how it compared, and by what programs on what machine."""
    header, agreement = network.header, exported.agreement
    packages = ONNX_PACKAGES if to == "onnx" else ()
    made_with = environment()
    processor = torch.cpu.get_capabilities()
    return {
        "weights": {
            "source": network.source,
            "sha256": digest(network.model, header),  # as prediction.json has it
            **{
                key: header[key]
                for key in ("builder", "arguments", "recipe", "step")
                if key in header
            },
        },
        "compared": {
            "shapes": [list(shape) for shape in agreement.shapes],
            "largest_difference": agreement.difference,
            "largest_logit": agreement.largest,
            "labels_differ": agreement.labels,
        },
        "machine": {
            "processor": cpu_name(),
            "instructions": [name for name in INSTRUCTIONS if processor.get(name)],
        },
        "versions": made_with["versions"] | {name: version(name) for name in packages},
    }


def _place(path: Path, to: str, overwrite: bool) -> Path:
    """The file to write, where it may be."""
    if path.suffix != f".{to}":
        raise ValueError(f"{shown(path)} does not end in .{to}: name it so (--out), or give --to")
    if lexists(path) and not overwrite:
        raise ValueError(
            f"{shown(path)} is there already: give another file (--out), or replace it "
            "(--overwrite)"
        )
    if lexists(certificate_of(path)) and not overwrite:
        raise ValueError(
            f"{shown(certificate_of(path))} is there already, where the file's certificate goes: "
            "give another file (--out), or replace it (--overwrite)"
        )
    if path.is_dir():
        raise ValueError(f"{shown(path)} is a folder: give a file (--out)")
    if there := next((one for one in path.parents if lexists(one) and not one.is_dir()), None):
        raise ValueError(f"{shown(there)} is no folder: give another place to write to (--out)")
    try:
        with contextlib.suppress(FileNotFoundError):
            certificate_of(path).lstat()  # a name may be too long
        with tempfile.TemporaryFile(dir=next(one for one in path.parents if one.is_dir())):
            pass
    except OSError as error:
        error.filename = str(path)  # not that of the temporary file
        raise
    return path


def _name(source: str, network: Network) -> str:
    """What a file is called after its source: the run, the weights file or the name in the box."""
    path = Path(network.source)
    if path.parent.name == "checkpoints":
        return path.parents[1].name
    return path.stem if path.suffix == ".safetensors" else source.rpartition("/")[2]
