"""A network as the bytes of a file for use elsewhere, compared with the network before it is given.

    exported = segkit.export.export_network(model, "onnx", normalisation={"mean": ..., "std": ...})
    Path("network.onnx").write_bytes(exported.content)

Both forms take images of any number and size and say in a JSON header, under "segkit", what is
needed to use them:

    pt2     torch.export.load(file, extra_files={"header.json": ""}).module()(images), segkit or
            not; .module(check_guards=False) where the header has "check_guards": false
    onnx    onnxruntime.InferenceSession(file).run(None, {"images": images})
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from segkit.export.inference import InferenceNetwork, example_for
from segkit.export.logits import LogitsOnly
from segkit.export.program import FromColours, export_program, first_line
from segkit.export.spelled_out import spell_out
from segkit.inputs import check_network

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4
"""Largest difference of logits, of the largest logit. Float32 rounds to 6e-8, and over the layers
of a catalogue's network another order of sums made at most 2e-5 (docs/export.md); a pooling for
another size made 1e-2."""
LARGEST_ONNX = 2**31 - 1
"""Bytes: protobuf's limit for one file."""
TRACED = (96, 160)
COMPARED = ((2, (64, 96)), (1, (97, 65)), (2, (130, 171)))
"""Batch and size of the images by which a file is compared: none is that of the trace."""
HEADER = "header.json"


class Agreement(NamedTuple):
    """What a comparison with the network itself found.

    Attributes:
        shapes: of the images.
        difference: the largest of a logit.
        largest: the largest logit, without its sign.
        labels: share of pixels whose most probable class is another, 0..1.
    """

    shapes: tuple[tuple[int, ...], ...]
    difference: float
    largest: float
    labels: float

    def __str__(self) -> str:
        """In one line."""
        sizes = ", ".join("x".join(map(str, (s[0], *s[2:]))) for s in self.shapes)
        return (
            f"largest difference {self.difference:.1e} of logits up to {self.largest:.3g}, "
            f"{100 * self.labels:.3g} % of labels differ (images {sizes})"
        )


class Exported(NamedTuple):
    """A file's content, its header and how it compared."""

    content: bytes
    header: dict[str, Any]
    agreement: Agreement


def export_network(
    model: nn.Module,
    to: str,
    *,
    normalisation: Mapping[str, Any] | None = None,
    header: Mapping[str, Any] | None = None,
) -> Exported:
    """Export a network, load what was made and compare it with the network.

    Args:
        model: the network; a copy on the CPU in float32 and eval mode is exported.
        to: "pt2", a program of `torch.export`, or "onnx".
        normalisation: "mean" and "std" of colours in 0..1, and "channels" where the network reads
            another order than "RGB": the file then takes uint8 RGB and normalises it itself. With
            None it takes what the network takes, normalised float32.
        header: what else the file is to say of itself, anything JSON can say.

    Returns:
        The content, which goes into a file as it is.

    Raises:
        ValueError: unknown form; a network that cannot be exported, with the reason; or a result
            that disagrees with the network at one of three sizes.
        ImportError: the packages for ONNX are not installed.

    Example:
        >>> import segkit
        >>> model = segkit.create_model("fast_scnn", num_classes=3)
        >>> export_network(model, "pt2").agreement.labels
        0.0
    """
    if to not in FORMS:
        raise ValueError(f"to={to!r}: choose from {', '.join(FORMS)}")
    check_network(model)
    if isinstance(model, InferenceNetwork):
        raise ValueError(
            "a network of optimize_for_inference cannot be exported: give the one that it was "
            "made from"
        )
    if to == "onnx":
        need_onnx()
    model = copy.deepcopy(model).cpu().float().requires_grad_(False)
    network = LogitsOnly(model) if normalisation is None else FromColours(model, **normalisation)
    network.eval()
    like = example_for(model)
    compared = [_images(like, batch, size, normalisation is None) for batch, size in COMPARED]
    traced = _images(like, 2, TRACED, normalisation is None)
    expected = [_logits(network, images) for images in compared]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters to their own authors
        try:
            program = export_program(network, traced)
        except ValueError as error:
            try:  # a few ask for the batch by len(), which makes a constant of it
                program = export_program(network, traced := traced[:1])
            except ValueError:
                raise error from None
            compared = [images[:1] for images in compared]
            expected = [_logits(network, images) for images in compared]
        about = dict(header or {}) | _about(traced, expected[0], normalisation)
        if to == "pt2" and not _guards_hold(program, compared):
            about["check_guards"] = False
        write, load = FORMS[to]
        content = write(program, about)
        run = load(content)
        found = []
        for images in compared:
            try:
                found.append(run(images))
            except Exception as error:
                raise ValueError(
                    f"the {to} file fails on images of shape {tuple(images.shape)}, which the "
                    f"network takes: {first_line(error)}"
                ) from error
    agreement = compare(compared, expected, found)
    if not agreement.difference <= TOLERANCE * agreement.largest:  # NaN agrees with nothing
        raise ValueError(
            f"the {to} file is not the network: {agreement}; allowed is {TOLERANCE:g} of the "
            "largest logit, far above what rounding makes"
        )
    return Exported(content, about, agreement)


def compare(images: list[Tensor], expected: list[Tensor], found: list[Tensor]) -> Agreement:
    """Compare logits, a list of (B, K, ...) on either side.

    Raises:
        ValueError: of another shape.
    """
    for one, other in zip(expected, found, strict=True):
        if one.shape != other.shape:
            raise ValueError(
                f"the file gives logits of shape {tuple(other.shape)}, and the network "
                f"{tuple(one.shape)}"
            )
    pairs = list(zip(expected, found, strict=True))
    differ = sum(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in pairs)
    return Agreement(
        shapes=tuple(tuple(batch.shape) for batch in images),
        # By torch, for which a NaN is the largest; Python's max() may pass it over.
        difference=float(torch.stack([(a - b).abs().max() for a, b in pairs]).max()),
        largest=float(torch.stack([a.abs().max() for a, _ in pairs]).max()),
        labels=differ / sum(a[:, 0].numel() for a, _ in pairs),
    )


def need_onnx() -> None:
    """Refuse where a package for ONNX is missing.

    Raises:
        ImportError: says which, and how to get them.
    """
    if missing := [name for name in ONNX_PACKAGES if find_spec(name) is None]:
        raise ImportError(
            f"ONNX takes packages that are not installed ({', '.join(missing)}): "
            "pip install 'segbook[onnx]'"
        )


def to_pt2(program: ExportedProgram, header: Mapping[str, Any]) -> bytes:
    """The file of a program."""
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={HEADER: json.dumps(header)})
    return file.getvalue()


def load_pt2(content: bytes) -> Callable[[Tensor], Tensor]:
    """The function that a file of `to_pt2` holds."""
    extra = {HEADER: ""}
    program = torch.export.load(io.BytesIO(content), extra_files=extra)
    return program.module(check_guards=json.loads(extra[HEADER]).get("check_guards", True))


def _guards_hold(program: ExportedProgram, batches: list[Tensor]) -> bool:
    """Whether all that torch asked of the traced images is true of others, too.

    Cropping to another map's size makes torch ask which of the two is larger and whether the result
    lies whole in memory. It would refuse other images by that, though the program serves them.
    """
    guarded = program.module()
    try:
        with torch.no_grad():
            for images in batches:
                guarded(images)
    except AssertionError:
        return False
    return True


def to_onnx(program: ExportedProgram, header: Mapping[str, Any]) -> bytes:
    """The ONNX file of a program.

    Raises:
        ValueError: ONNX has no operation for what the program does, or it is larger than a file
            may be.
    """
    try:
        made = torch.onnx.export(
            spell_out(program),
            (),
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise ValueError(
            f"the network cannot be written as ONNX, torch.onnx says: {first_line(cause)}"
        ) from error
    assert made is not None
    shape: Any = made.model.graph.inputs[0].shape
    names = ["batch", "channels", "depth", "height", "width"]
    if len(shape) == 4:
        names.remove("depth")
    axes = zip(shape, names, strict=True)
    made.rename_axes({axis: name for axis, name in axes if not isinstance(axis, int)})
    made.model.metadata_props["segkit"] = json.dumps(header)
    proto = made.model_proto
    if (size := proto.ByteSize()) > LARGEST_ONNX:
        raise ValueError(
            f"the network takes {size / 2**30:.1f} GiB, and one ONNX file holds at most 2: take pt2"
        )
    return proto.SerializeToString()


def load_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    """The function that an ONNX file holds, run by onnxruntime on the CPU."""
    session = open_onnx(content)
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def open_onnx(content: bytes) -> Any:
    """The `onnxruntime.InferenceSession` of a file, with as many threads as torch has."""
    import onnxruntime  # pyright: ignore[reportMissingImports]  # an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # errors are raised, too
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


FORMS = {"onnx": (to_onnx, load_onnx), "pt2": (to_pt2, load_pt2)}
"""How each form is written and loaded."""


@torch.no_grad()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    try:
        return network(images)
    except Exception as error:
        raise ValueError(
            f"the network takes no images of shape {tuple(images.shape)}: {first_line(error)}. A "
            "network here takes every size from 32 pixels up: pad inside and crop back"
        ) from error


def _images(like: Tensor, batch: int, size: tuple[int, int], normalised: bool) -> Tensor:
    """Patches of smooth colour with noise, from a fixed seed: of each there is something."""
    generator = torch.Generator().manual_seed(sum(size))
    sides = size if like.ndim == 4 else (40, *size)
    patches = torch.rand(batch, like.shape[1], *[5] * len(sides), generator=generator)
    mode = "bilinear" if like.ndim == 4 else "trilinear"
    smooth = nn.functional.interpolate(patches, size=sides, mode=mode)
    images = (smooth + 0.2 * torch.rand(smooth.shape, generator=generator)) / 1.2
    # As wide as ImageNet's normalisation makes them, or as they are decoded.
    return 4 * images - 2 if normalised else (images * 255).to(torch.uint8)


def _about(
    images: Tensor, logits: Tensor, normalisation: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What the file takes and gives, and what is done to images inside."""
    batch = "batch" if len(images) > 1 else 1
    sides = ["height", "width"] if images.ndim == 4 else ["depth", "height", "width"]
    about: dict[str, Any] = {"torch": torch.__version__}
    for key, name, like in (("input", "images", images), ("output", "logits", logits)):
        dtype = str(like.dtype).removeprefix("torch.")
        about[key] = {"name": name, "dtype": dtype, "shape": [batch, like.shape[1], *sides]}
    if normalisation is not None:
        about["input"]["colours"] = "RGB, 0..255"
        about["normalised_inside"] = {"divisor": 255, "channels": "RGB", **normalisation}
    return about
