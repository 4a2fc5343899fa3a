"""Recipes: plain functions, one file a paper, each number with its source.

Importing this imports no torch, so that the command line can list and check recipes at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from segbook.recipes import fcn, one_protocol, pp_liteseg, unet
from segbook.recipes.recipe import Phase, Recipe, override

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in [
        fcn.fcn8s_camvid,
        fcn.fcn8s_camvid_cpu,
        fcn.fcn8s_synthetic,
        fcn.fcn_resnet50_camvid,
        one_protocol.one_protocol_bisenet_v2,
        one_protocol.one_protocol_deeplab_v3_plus_resnet18,
        one_protocol.one_protocol_ocrnet_hrnet_w18_small,
        one_protocol.one_protocol_pp_liteseg_t,
        one_protocol.one_protocol_segformer_b0,
        one_protocol.one_protocol_unet_resnet18,
        pp_liteseg.pp_liteseg_b_camvid,
        pp_liteseg.pp_liteseg_b_camvid_cpu,
        pp_liteseg.pp_liteseg_b_synthetic,
        pp_liteseg.pp_liteseg_t_camvid,
        pp_liteseg.pp_liteseg_t_camvid_cpu,
        pp_liteseg.pp_liteseg_t_camvid_release,
        pp_liteseg.pp_liteseg_t_synthetic,
        unet.unet_camvid,
        unet.unet_isbi_em,
        unet.unet_resnet18_camvid_cpu,
        unet.unet_synthetic,
    ]
}


def names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(RECIPES)


def get(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        ValueError: no such recipe; the message names the closest three.
    """
    if name not in RECIPES:
        close = difflib.get_close_matches(name, RECIPES, n=3, cutoff=0.3) or names()[:3]
        raise ValueError(
            f"there is no recipe {name!r}; the closest: {', '.join(close)}. "
            "`segbook recipes` lists them all."
        )
    return RECIPES[name]()


__all__ = ["RECIPES", "Phase", "Recipe", "get", "names", "override"]
