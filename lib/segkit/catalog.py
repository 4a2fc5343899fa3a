"""The models that have a name: one import and one row per builder."""

from __future__ import annotations

import difflib
import fnmatch
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from segkit.models.attention_unet import attention_unet
from segkit.models.bisenet_v2 import bisenet_v2
from segkit.models.deeplab_v1 import deeplab_v1_vgg16
from segkit.models.deeplab_v2 import deeplab_v2_resnet101, deeplab_v2_vgg16
from segkit.models.deeplab_v3 import (
    deeplab_v3_mobilenet_v3_large,
    deeplab_v3_resnet50,
    deeplab_v3_resnet101,
)
from segkit.models.deeplab_v3_plus import (
    deeplab_v3_plus_mobilenet_v2,
    deeplab_v3_plus_resnet18,
    deeplab_v3_plus_resnet50,
    deeplab_v3_plus_resnet101,
    deeplab_v3_plus_xception65,
)
from segkit.models.dpt import dpt_vit_b16, dpt_vit_l16
from segkit.models.espnet import espnet, espnet_c
from segkit.models.fast_scnn import fast_scnn
from segkit.models.fcn import (
    fcn8s_resnet18,
    fcn8s_vgg16,
    fcn16s_vgg16,
    fcn32s_vgg16,
    fcn_resnet50,
    fcn_resnet101,
)
from segkit.models.fcn_hrnet import fcn_hrnet_w18, fcn_hrnet_w18_small, fcn_hrnet_w48
from segkit.models.fpn import fpn_resnet50, fpn_resnet101
from segkit.models.linknet import linknet_resnet18, linknet_resnet34
from segkit.models.lraspp import lraspp_mobilenet_v3_large
from segkit.models.manet import manet_resnet34, manet_resnet50
from segkit.models.no_new_net import no_new_net
from segkit.models.non_local import non_local_resnet50
from segkit.models.ocnet import ocnet_resnet50, ocnet_resnet101
from segkit.models.ocrnet import (
    ocrnet_hrnet_w18,
    ocrnet_hrnet_w18_small,
    ocrnet_hrnet_w48,
    ocrnet_resnet50,
    ocrnet_resnet101,
)
from segkit.models.pan import pan_resnet50, pan_resnet101
from segkit.models.pp_liteseg import pp_liteseg_b, pp_liteseg_t
from segkit.models.pspnet import pspnet_resnet50, pspnet_resnet101
from segkit.models.segformer import (
    segformer_b0,
    segformer_b1,
    segformer_b2,
    segformer_b3,
    segformer_b4,
    segformer_b5,
)
from segkit.models.segnet import segnet
from segkit.models.stdc_seg import stdc1_seg, stdc2_seg
from segkit.models.u2net import u2net, u2netp
from segkit.models.unet import unet, unet_padded, unet_resnet18, unet_resnet34, unet_resnet50
from segkit.models.unet_plus_plus import (
    unet_plus_plus,
    unet_plus_plus_resnet18,
    unet_plus_plus_resnet34,
    unet_plus_plus_resnet50,
)
from segkit.models.upernet import upernet_resnet50, upernet_resnet101
from segkit.weights import Source, fetch, load_weights, read_header

# Sorted by name.
MODELS: dict[str, Callable[..., nn.Module]] = {
    builder.__name__: builder
    for builder in [
        attention_unet,
        bisenet_v2,
        deeplab_v1_vgg16,
        deeplab_v2_resnet101,
        deeplab_v2_vgg16,
        deeplab_v3_mobilenet_v3_large,
        deeplab_v3_plus_mobilenet_v2,
        deeplab_v3_plus_resnet101,
        deeplab_v3_plus_resnet18,
        deeplab_v3_plus_resnet50,
        deeplab_v3_plus_xception65,
        deeplab_v3_resnet101,
        deeplab_v3_resnet50,
        dpt_vit_b16,
        dpt_vit_l16,
        espnet,
        espnet_c,
        fast_scnn,
        fcn16s_vgg16,
        fcn32s_vgg16,
        fcn8s_resnet18,
        fcn8s_vgg16,
        fcn_hrnet_w18,
        fcn_hrnet_w18_small,
        fcn_hrnet_w48,
        fcn_resnet101,
        fcn_resnet50,
        fpn_resnet101,
        fpn_resnet50,
        linknet_resnet18,
        linknet_resnet34,
        lraspp_mobilenet_v3_large,
        manet_resnet34,
        manet_resnet50,
        no_new_net,
        non_local_resnet50,
        ocnet_resnet101,
        ocnet_resnet50,
        ocrnet_hrnet_w18,
        ocrnet_hrnet_w18_small,
        ocrnet_hrnet_w48,
        ocrnet_resnet101,
        ocrnet_resnet50,
        pan_resnet101,
        pan_resnet50,
        pp_liteseg_b,
        pp_liteseg_t,
        pspnet_resnet101,
        pspnet_resnet50,
        segformer_b0,
        segformer_b1,
        segformer_b2,
        segformer_b3,
        segformer_b4,
        segformer_b5,
        segnet,
        stdc1_seg,
        stdc2_seg,
        u2net,
        u2netp,
        unet,
        unet_padded,
        unet_plus_plus,
        unet_plus_plus_resnet18,
        unet_plus_plus_resnet34,
        unet_plus_plus_resnet50,
        unet_resnet18,
        unet_resnet34,
        unet_resnet50,
        upernet_resnet101,
        upernet_resnet50,
    ]
}


def _builder(name: str) -> Callable[..., nn.Module]:
    if name not in MODELS:
        closest = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.0)
        raise ValueError(
            f"there is no model named {name!r}; the closest names are {', '.join(closest)}. "
            "segkit.list_models() lists all of them."
        )
    return MODELS[name]


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """Build a network by name; the same as calling its builder.

    Args:
        name: a name of `list_models()`.
        kwargs: the builder's arguments; all have ``num_classes``, ``in_channels`` and ``weights``.

    Returns:
        The network, in training mode, with random weights unless ``weights`` names a file.

    Raises:
        ValueError: no model has this name; the closest three are told.
    """
    return _builder(name)(**kwargs)


def load_model(source: Source) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that a weights file is of, with its weights.

    Args:
        source: a file that `segkit.weights.save_weights` wrote with "builder" and "arguments" in
            its header, as every run's ``checkpoints/best.safetensors`` is; or what to fetch.

    Returns:
        The network in eval mode, and the header: classes, palette, normalisation, metric.

    Raises:
        ValueError: the header does not say what to build, or says what no builder takes, or names
            further weights; or the weights do not fit.
    """
    path = fetch(source)
    header = read_header(path)
    if "builder" not in header:
        raise ValueError(
            f"{path} does not say which network it is of: build the network and use "
            "segkit.weights.load_weights, or save it with a header that names its builder"
        )
    name, arguments = header["builder"], header.get("arguments", {})
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(
            f"the header of {path} needs a builder's name and its arguments as an object, got "
            f"builder {name!r:.80} and arguments {arguments!r:.80}: save the file again"
        )
    # A header may be anybody's: it has no say in what else is opened or downloaded.
    if further := sorted({"weights", "weights_backbone"} & arguments.keys()):
        raise ValueError(
            f"the header of {path} has {' and '.join(further)} among the arguments of {name}, but "
            "a weights file brings its own weights: save it with a header without them"
        )
    try:
        model = create_model(name, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"the header of {path} says to build {name} with {arguments!r:.200}, which fails: "
            f"{error}. Save it with a header that names a model of segkit.list_models() and "
            "arguments that it takes"
        ) from error
    load_weights(model, path)
    return model.eval(), header


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all models that match a pattern, sorted.

    Args:
        pattern: with ``*`` and ``?`` as in file names; no match gives an empty list.
    """
    return [name for name in MODELS if fnmatch.fnmatchcase(name, pattern)]


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
    module = sys.modules[builder.__module__]
    with torch.device("meta"):
        model = builder(num_classes=19)
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
