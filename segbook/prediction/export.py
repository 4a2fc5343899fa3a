"""A trained network as a file for use elsewhere: written whole, after it was compared."""

from __future__ import annotations

from collections.abc import Callable
from os.path import lexists
from pathlib import Path
from typing import Any, NamedTuple

from segbook.prediction.folder import preparation
from segbook.prediction.network import Network, open_network, policy_of
from segbook.runs.files import write_whole
from segkit.export import Exported, export_network
from segkit.export.files import need_onnx
from segkit.files import shown
from segkit.inputs import spatial_dims

LEFT_OUT = ("normalisation", "example", "agreement", "command")
"""Of the weights' header: the file normalises itself, and has a comparison of its own."""


class ExportedFile(NamedTuple):
    """What was written."""

    path: Path
    exported: Exported

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
    overwrite: bool = False,
    show: Callable[[str], object] = lambda line: None,
    **code: Any,
) -> ExportedFile:
    """Export a trained network.

    Args:
        source: a run or weights, see `open_network`.
        to: "onnx" or "pt2", see `segkit.export.export_network`.
        out: the file; in the working directory, named after the source, unless given.
        overwrite: whether a file that is there is replaced.
        show: takes a line that says what is exported.
        **code: of `open_network`, for a network of one's own.

    Raises:
        ValueError: as `open_network` and `export_network`; another ending, or a file that is there.
            Nothing has been written then.
        ImportError: the packages for ONNX are not installed.
        OSError: the file cannot be written.
    """
    if to == "onnx":
        need_onnx()
    path = None if out is None else _place(Path(out), to, overwrite)
    network = open_network(source, **code)
    if spatial_dims(network.model) == 3:
        raise ValueError(
            f"{shown(network.source)} is of a network of volumes, and those of images are exported "
            "here: torch.export.export(segkit.load_model(file)[0], (volume,)) makes a program for "
            "volumes of one size"
        )
    if path is None:
        path = _place(Path(f"{_name(str(source), network)}.{to}"), to, overwrite)
    preparation(network.header)  # which says what is wrong with it
    show(f"{network}; exporting, which takes about a minute")
    about = {key: value for key, value in network.header.items() if key not in LEFT_OUT}
    exported = export_network(
        network.model,
        to,
        normalisation=network.header["normalisation"],
        header=about | {"policy": policy_of(network.header)},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(exported.content))
    return ExportedFile(path, exported)


def _place(path: Path, to: str, overwrite: bool) -> Path:
    """The file to write, where it may be."""
    if path.suffix != f".{to}":
        raise ValueError(f"{shown(path)} does not end in .{to}: name it so (--out), or give --to")
    if lexists(path) and not overwrite:
        raise ValueError(
            f"{shown(path)} is there already: give another file (--out), or replace it "
            "(--overwrite)"
        )
    if path.is_dir():
        raise ValueError(f"{shown(path)} is a folder: give a file (--out)")
    if there := next((one for one in path.parents if lexists(one) and not one.is_dir()), None):
        raise ValueError(f"{shown(there)} is no folder: give another place to write to (--out)")
    return path


def _name(source: str, network: Network) -> str:
    """What a file is called after its source: the run, the weights file or the name in the box."""
    path = Path(network.source)
    if path.parent.name == "checkpoints":
        return path.parents[1].name
    return path.stem if path.suffix == ".safetensors" else source.rpartition("/")[2]
