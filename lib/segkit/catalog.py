"""The models that have a name: one line a file."""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, get_args

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

import segkit.models.attention_unet
import segkit.models.bisenet_v2
import segkit.models.deeplab_v1
import segkit.models.deeplab_v2
import segkit.models.deeplab_v3
import segkit.models.deeplab_v3_plus
import segkit.models.dpt
import segkit.models.espnet
import segkit.models.fast_scnn
import segkit.models.fcn
import segkit.models.fcn_hrnet
import segkit.models.fpn
import segkit.models.linknet
import segkit.models.lraspp
import segkit.models.manet
import segkit.models.no_new_net
import segkit.models.non_local
import segkit.models.ocnet
import segkit.models.ocrnet
import segkit.models.pan
import segkit.models.pp_liteseg
import segkit.models.pspnet
import segkit.models.segformer
import segkit.models.segnet
import segkit.models.stdc_seg
import segkit.models.u2net
import segkit.models.unet
import segkit.models.unet_3d
import segkit.models.unet_plus_plus
import segkit.models.upernet
from segkit import outside
from segkit.backbones import own_weights
from segkit.backbones.catalog import takes
from segkit.builder import Kind, option_names, own_backbone, takes_any
from segkit.files import nearby_said, shown
from segkit.inputs import spatial_dims
from segkit.outputs import SegOutput
from segkit.weights import Source, bundled, fetch, load_weights, read_header
from segkit.weights.files import read_shapes
from segkit.weights.loading import misfit, misfit_error, open_for

_FILES = [file for file in vars(segkit.models).values() if isinstance(file, ModuleType)]
_BUILDERS = {
    builder.__name__: builder
    for builder in sorted(
        (each for file in _FILES for each in file.builders), key=lambda each: each.__name__
    )
}

MODELS: dict[str, Callable[..., nn.Module]] = {
    name: builder for name, builder in _BUILDERS.items() if own_backbone(builder) is not None
}
"""What ``num_classes`` alone is enough to build, by name, sorted."""

ON_ANY_BACKBONE: dict[str, Callable[..., nn.Module]] = {
    name: builder for name, builder in _BUILDERS.items() if name not in MODELS
}
"""What also needs the name of a backbone; most of `MODELS` take another one than their own too."""


def _builder(name: str) -> Callable[..., nn.Module]:
    if outside.is_outside(name):
        return outside.find(name, takes=["num_classes", "in_channels"])
    if name not in _BUILDERS:
        closest = difflib.get_close_matches(str(name)[:100], _BUILDERS, n=3, cutoff=0.0)
        raise ValueError(
            f"there is no model named {name!r:.100}; the closest names are {', '.join(closest)}. "
            'segkit.list_models() lists all of them; "my_net.py:build" is one of your own.'
        )
    return _BUILDERS[name]


def create_model(name: str, /, **kwargs: Any) -> nn.Module:
    """Build a network by name; the same as calling its builder.

    Args:
        name: one of `list_models()`, or of `ON_ANY_BACKBONE`; or a builder of your own,
            ``"my_net.py:build"`` (see `segkit.outside`), whose file is executed.
        kwargs: the builder's arguments; all have ``num_classes``, ``in_channels`` and ``weights``,
            and those whose network is on a backbone ``weights_backbone`` and ``backbone``: the name
            of one of `segkit.backbones.BACKBONES`, or ``"timm:<name>"``.

    Returns:
        The network, in training mode, with random weights unless ``weights`` names a file.

    Raises:
        ValueError: no model has this name (the closest three are told), or it does not take one of
            the arguments, or needs a backbone; or the backbone does not fit.

    Example:
        >>> model = create_model("deeplab_v3_plus", backbone="mobilenet_v2", num_classes=3)
    """
    builder = _builder(name)
    taken = option_names(builder)
    if outside.is_outside(name):
        kwargs = {"in_channels": 3, **kwargs}
    own_file = own_weights.is_file(kwargs.get("weights_backbone"))
    unknown = sorted(kwargs.keys() - taken - ({"weights_backbone"} if own_file else set()))
    if unknown and not takes_any(builder):
        given = shown(", ".join(unknown))
        raise ValueError(
            f"{outside.short(name)} does not take {given:.200}; it takes {', '.join(taken)}"
        )
    if name in ON_ANY_BACKBONE and not kwargs.get("backbone"):
        raise ValueError(
            f'{name} is on any backbone: name one, backbone="resnet50" or another of '
            'segkit.backbones.BACKBONES, or "timm:<name>"'
        )
    _check_counts(name, kwargs)
    weights, weights_backbone = kwargs.get("weights"), kwargs.get("weights_backbone")
    if weights_backbone and own_file:
        model = create_model(name, **{k: v for k, v in kwargs.items() if k != "weights_backbone"})
        if weights is None:  # else these have replaced them
            own_weights.load_backbone(model, os.fspath(weights_backbone))
        return model
    try:
        with outside.explained(name):
            model = builder(**kwargs)
        return _checked(model, name, **kwargs) if outside.is_outside(name) else model
    except OSError as error:
        absent = isinstance(error, FileNotFoundError) and weights is not None
        if absent and error.filename == os.fspath(weights or ""):
            raise FileNotFoundError(
                f"weights={os.fspath(weights or '')!r}: there is no such file"
                f"{nearby_said(weights or '')}; give a .safetensors file, such as a run's "
                "checkpoints/best.safetensors"
            ) from None
        if weights_backbone and str(kwargs.get("backbone")).startswith("timm:"):
            raise ConnectionError(
                f"weights_backbone={weights_backbone!r} of {kwargs['backbone']} could not be "
                f"downloaded by timm ({shown(str(error).partition(chr(10))[0]):.200}): go online "
                "once, or give a file of them, weights_backbone=encoder.safetensors"
            ) from error
        raise
    except ValueError as error:
        # A backbone on its own calls them weights.
        if weights_backbone is None or "has no weights" not in str(error):
            raise
        raise ValueError(f"weights_backbone={weights_backbone!r}: {error}") from None


def _checked(
    model: Any, name: str, *, num_classes: int, in_channels: int = 3, **_: object
) -> nn.Module:
    """A network of somebody's own, if it keeps the contract: asked with a small grey image.

    One of volumes is asked with a volume.

    Raises:
        ValueError: it does not; the message says in what.
    """
    what, wanted = outside.short(name), "SegOutput(logits, aux) of segkit"
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{what} gives {type(model).__name__}, not a network: a builder takes num_classes and "
            f"in_channels and gives an nn.Module, images -> {wanted}"
        )
    if not isinstance(getattr(model, "aux_losses", None), Mapping):
        raise ValueError(
            f"{what} gives a {type(model).__name__} without aux_losses: a dict with an AuxLoss of "
            "segkit.losses for each auxiliary output, {} where there are none"
        )
    some = next(model.parameters(), None)
    if some is None or some.is_meta:  # what it computes is asked where it can be computed
        return model
    size, of = (64, 96), "image of 64x96 pixels"
    if spatial_dims(model) == 3:
        size, of = (32, 48, 40), "volume of 32x48x40 voxels"
    training, images = model.training, torch.zeros(1, in_channels, *size, device=some.device)
    try:
        with torch.no_grad(), torch.random.fork_rng([]):
            output = model.eval()(images)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{what} fails on a grey {of}, as networks take any from 32 up: "
            f"{type(error).__name__}: {shown(error):.300}"
        ) from error
    model.train(training)
    shape = (1, num_classes, *size)
    if not isinstance(output, SegOutput):
        raise ValueError(f"{what}: its network gives a {type(output).__name__}, not {wanted}")
    if tuple(output.logits.shape) != shape or output.aux:
        raise ValueError(
            f"{what}: of a{'n' * (len(size) == 2)} {of} its network gives logits of shape "
            f"{tuple(output.logits.shape)} and in eval mode the auxiliary outputs "
            f"{sorted(output.aux)}; wanted are {shape}, the size of the images, and none"
        )
    return model


def _check_counts(name: str, options: dict[str, Any]) -> None:
    """Refuse numbers of classes and channels that are none, by name."""
    if "num_classes" not in options:
        raise ValueError(
            f"{name} needs num_classes, the number of classes, such as num_classes=2 for "
            "background and foreground"
        )
    for option, least in (("num_classes", 2), ("in_channels", 1)):
        given = options.get(option, least)
        if not isinstance(given, int):
            raise ValueError(
                f"{option}={given!r}: give a whole number, {least} or more, not a "
                f"{type(given).__name__}"
            )
        if option == "in_channels" and given < least:
            raise ValueError(f"{option}={given}: images have {least} channel or more; usual is 3")


def options_of(name: str, backbone: str = "") -> list[str]:
    """The arguments that a model's builder takes.

    Args:
        name: one of `list_models()`, or of `ON_ANY_BACKBONE`.
        backbone: what it is built on, "" for its own; ``weights_backbone`` is among the arguments
            where that one has any.

    Raises:
        ValueError: no model or no backbone has this name.
    """
    builder = _builder(name)
    taken = option_names(builder)
    body = backbone or own_backbone(builder)
    if "backbone" in taken and not (body and "weights" in takes(body)):
        taken.remove("weights_backbone")
    return taken


def load_model(
    source: Source,
    *,
    model: Callable[..., nn.Module] | str | None = None,
    backbone: str | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that a weights file is of, with its weights.

    A weights file never has code executed: where its header names code outside of segkit, its user
    says which that is.

    Args:
        source: the name of weights in the box, one of `segkit.weights.bundled.names()`; a file that
            `segkit.weights.save_weights` wrote with "builder" and "arguments" in its header, as
            every run's ``checkpoints/best.safetensors`` is; or what to fetch.
        model: in place of the header's builder, your own: ``my_net.build``, or its name,
            ``"my_net.py:build"``, whose file is executed. It gets the header's arguments.
        backbone: in place of the header's, by name, your own: ``"my_backbone.py:build"``.

    Returns:
        The network in eval mode, and the header: classes, palette, normalisation, metric.

    Raises:
        ValueError: the header does not say what to build, or says what no builder takes, or names
            further weights, or code outside of segkit and no ``model`` is given; or the weights do
            not fit, which is found out before the network has any memory; or a name that is neither
            a file nor in the box, where the message lists what is.

    Example:
        >>> model, header = load_model("pp_liteseg_t_camvid")  # doctest: +SKIP
    """
    path = fetch(source)
    if not path.suffix and not path.exists() and path.name == str(source):
        raise ValueError(
            f"{shown(source)!r:.100} is no file{nearby_said(path)}, and no weights in the box have "
            f"this name; there are {', '.join(bundled.names()) or 'none'}"
        )
    header = read_header(path)
    if "builder" not in header and model is None:
        raise ValueError(
            f"{path} does not say which network it is of: build the network and use "
            "segkit.weights.load_weights, or save it with a header that names its builder"
        )
    name, arguments = header.get("builder", ""), header.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(
            f"the header of {path} needs a builder's name and its arguments as an object, got "
            f"builder {name!r:.80} and arguments {arguments!r:.80}: save the file again"
        )
    # A header may be anybody's: it has no say in what else is opened or downloaded.
    if further := sorted({"weights", "weights_backbone"} & arguments.keys()):
        raise ValueError(
            f"the header of {shown(path)} has {' and '.join(further)} among the arguments of "
            f"{shown(name):.80}, but a weights file brings its own weights: save it with a header "
            "without them"
        )
    if backbone is not None:
        arguments = {**arguments, "backbone": backbone}
    if model is None and outside.is_outside(name):
        raise ValueError(
            f"{shown(path)} is of a network of somebody's own, {shown(name):.80}, and to open a "
            "weights file executes no code: give yours, --model FILE.py:NAME, as in "
            "segbook predict --model my_net.py:build (in Python load_model(file, "
            "model=my_net.build), or by name, model='my_net.py:build')"
        )
    if backbone is None and outside.is_outside(arguments.get("backbone")):
        raise ValueError(
            f"{shown(path)} is of a network on somebody's own backbone, "
            f"{shown(arguments['backbone']):.80}, and to open a weights file executes no code: "
            "give yours, --backbone FILE.py:NAME (in Python load_model(file, "
            "backbone='my_backbone.py:build'))"
        )
    if backbone is None and ":" in str(arguments.get("backbone", "")).removeprefix("timm:"):
        raise ValueError(
            f"the header of {shown(path)} says to build {shown(name):.80} on "
            f"{arguments['backbone']!r:.80}, which is looked up elsewhere: save it with the name "
            "of one of timm.list_models()"
        )
    if isinstance(model, str):
        _builder(model)  # what is wrong with it is not the header's fault
    build = model if callable(model) else functools.partial(create_model, model or name)
    try:
        # Anybody can write ten million classes into a header: shapes first, memory afterwards.
        with torch.device("meta"), _at_most_modules(4 * len(read_shapes(path)) + 1000):
            twin = build(**arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"the header of {shown(path)} says to build {shown(name):.80} with "
            f"{shown(repr(arguments)):.200}, which fails: {shown(error):.500}. Save it with a "
            "header that names a model of segkit.list_models() and arguments that it takes"
        ) from error
    if found := misfit(stored := open_for(twin, path), twin):
        raise misfit_error(found, stored.header)
    network = build(**arguments)
    load_weights(network, path)
    return network.eval(), header


@contextlib.contextmanager
def _at_most_modules(count: int) -> Iterator[None]:
    """Stop this thread building a network of more modules than that."""
    left, thread = count, threading.get_ident()

    def note(*_: object) -> None:
        nonlocal left
        left -= threading.get_ident() == thread
        if left < 0:
            raise ValueError(f"it has more than {count} modules, and the file too few tensors")

    handle = register_module_module_registration_hook(note)
    try:
        yield
    finally:
        handle.remove()


def list_models(pattern: str = "*", *, kind: Kind | None = None) -> list[str]:
    """Return the names of all models that match a pattern, sorted.

    Args:
        pattern: with ``*`` and ``?`` as in file names; no match gives an empty list.
        kind: of the paper, such as "real-time"; None takes all.

    Raises:
        ValueError: no such kind.
    """
    if kind is not None and kind not in get_args(Kind):
        raise ValueError(f"kind is {kind!r}; it is one of {', '.join(get_args(Kind))}")
    return [
        name
        for name in fnmatch.filter(MODELS, pattern)
        if kind in (None, sys.modules[MODELS[name].__module__].PAPER.kind)
    ]


def model_card(name: str) -> dict[str, Any]:
    """Tell what a model is, from its builder's words and a copy without storage.

    Args:
        name: a name of `list_models()`.

    Returns:
        name; summary (first line of the builder's docstring); paper (the reference in its file's
        docstring); differs (what its file says under "Differs from the paper"); file; parameters
        (int, at 19 classes); aux (aux output -> weight of its loss).

    Raises:
        ValueError: no model has this name.
    """
    builder = _builder(name)
    if name in ON_ANY_BACKBONE:
        raise ValueError(f"{name} is on any backbone: there is a card for each of its variants")
    module = sys.modules[builder.__module__]
    with torch.device("meta"):
        model: Any = builder(num_classes=19)
    return {
        "name": name,
        "summary": (builder.__doc__ or "").strip().splitlines()[0],
        "paper": _paragraph(module.__doc__ or "", "Paper:"),
        "differs": _rest(module.__doc__ or "", "Differs from the paper:"),
        "file": module.__name__.replace(".", "/") + ".py",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "aux": {key: loss.weight for key, loss in model.aux_losses.items()},
    }


def _rest(text: str, start: str) -> str:
    """Return what follows `start`, to the end of the text, as one line."""
    return " ".join(text.partition(start)[2].split())


def _paragraph(text: str, start: str) -> str:
    """Return what follows `start`, with the indented lines after it, as one line."""
    words: list[str] = []
    for line in text.splitlines():
        if line.startswith(start):
            words = line.removeprefix(start).split()
        elif words and line.startswith(" "):
            words += line.split()
        elif words:
            break
    return " ".join(words)
