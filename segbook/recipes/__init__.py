"""Recipes: plain functions, one file a paper, each number with its source.

Importing this imports no torch, so that the command line can list and check recipes at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from segbook.recipes import (
    bisenet_v2,
    deeplab_v1,
    deeplab_v2,
    deeplab_v3,
    deeplab_v3_plus,
    dpt,
    espnet,
    fast_scnn,
    fcn,
    fine_tuning,
    hrnet,
    ocrnet,
    one_protocol,
    pp_liteseg,
    pspnet,
    segformer,
    segnet,
    stdc_seg,
    unet,
    upernet,
)
from segbook.recipes.recipe import Phase, Recipe, override

RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function
    for function in [
        bisenet_v2.bisenet_v2_camvid,
        bisenet_v2.bisenet_v2_cityscapes,
        deeplab_v1.deeplab_v1_vgg16_voc,
        deeplab_v2.deeplab_v2_resnet101_voc,
        deeplab_v2.deeplab_v2_vgg16_voc,
        deeplab_v3.deeplab_v3_resnet101_cityscapes,
        deeplab_v3.deeplab_v3_resnet101_voc,
        deeplab_v3.deeplab_v3_resnet50_cityscapes,
        deeplab_v3.deeplab_v3_resnet50_voc,
        deeplab_v3_plus.deeplab_v3_plus_mobilenet_v2_cityscapes,
        deeplab_v3_plus.deeplab_v3_plus_mobilenet_v2_voc,
        deeplab_v3_plus.deeplab_v3_plus_resnet101_cityscapes,
        deeplab_v3_plus.deeplab_v3_plus_resnet101_voc,
        deeplab_v3_plus.deeplab_v3_plus_resnet50_cityscapes,
        deeplab_v3_plus.deeplab_v3_plus_resnet50_voc,
        deeplab_v3_plus.deeplab_v3_plus_xception65_cityscapes,
        deeplab_v3_plus.deeplab_v3_plus_xception65_voc,
        dpt.dpt_vit_b16_ade20k,
        dpt.dpt_vit_l16_ade20k,
        espnet.espnet_c_cityscapes,
        espnet.espnet_cityscapes,
        fast_scnn.fast_scnn_cityscapes,
        fcn.fcn8s_camvid,
        fcn.fcn8s_camvid_cpu,
        fcn.fcn8s_synthetic,
        fcn.fcn8s_vgg16_voc,
        fcn.fcn_resnet50_camvid,
        fine_tuning.fine_tuning_camvid,
        fine_tuning.fine_tuning_streets,
        hrnet.fcn_hrnet_w18_cityscapes,
        hrnet.fcn_hrnet_w18_small_cityscapes,
        hrnet.fcn_hrnet_w48_cityscapes,
        ocrnet.ocrnet_hrnet_w18_cityscapes,
        ocrnet.ocrnet_hrnet_w48_ade20k,
        ocrnet.ocrnet_hrnet_w48_cityscapes,
        ocrnet.ocrnet_resnet101_ade20k,
        ocrnet.ocrnet_resnet101_cityscapes,
        one_protocol.one_protocol_bisenet_v2,
        one_protocol.one_protocol_deeplab_v3_plus_resnet18,
        one_protocol.one_protocol_deeplab_v3_plus_resnet18_near,
        one_protocol.one_protocol_ocrnet_hrnet_w18_small,
        one_protocol.one_protocol_pp_liteseg_t,
        one_protocol.one_protocol_segformer_b0,
        one_protocol.one_protocol_unet_resnet18,
        pp_liteseg.pp_liteseg_b_camvid,
        pp_liteseg.pp_liteseg_b_camvid_cpu,
        pp_liteseg.pp_liteseg_b_cityscapes,
        pp_liteseg.pp_liteseg_b_cityscapes_release,
        pp_liteseg.pp_liteseg_b_synthetic,
        pp_liteseg.pp_liteseg_t_camvid,
        pp_liteseg.pp_liteseg_t_camvid_cpu,
        pp_liteseg.pp_liteseg_t_camvid_release,
        pp_liteseg.pp_liteseg_t_cityscapes,
        pp_liteseg.pp_liteseg_t_cityscapes_release,
        pp_liteseg.pp_liteseg_t_synthetic,
        pspnet.pspnet_resnet101_ade20k,
        pspnet.pspnet_resnet101_cityscapes,
        pspnet.pspnet_resnet101_cityscapes_local_bn,
        pspnet.pspnet_resnet101_cityscapes_sync_bn,
        pspnet.pspnet_resnet101_voc,
        pspnet.pspnet_resnet50_ade20k,
        pspnet.pspnet_resnet50_cityscapes,
        pspnet.pspnet_resnet50_voc,
        segformer.segformer_b0_ade20k,
        segformer.segformer_b0_cityscapes,
        segformer.segformer_b1_ade20k,
        segformer.segformer_b1_cityscapes,
        segformer.segformer_b2_ade20k,
        segformer.segformer_b2_cityscapes,
        segformer.segformer_b3_ade20k,
        segformer.segformer_b3_cityscapes,
        segformer.segformer_b4_ade20k,
        segformer.segformer_b4_cityscapes,
        segformer.segformer_b5_ade20k,
        segformer.segformer_b5_cityscapes,
        segnet.segnet_camvid,
        stdc_seg.stdc1_seg_camvid,
        stdc_seg.stdc1_seg_cityscapes,
        stdc_seg.stdc2_seg_camvid,
        stdc_seg.stdc2_seg_cityscapes,
        unet.unet_camvid,
        unet.unet_isbi_em,
        unet.unet_resnet18_camvid_cpu,
        unet.unet_synthetic,
        upernet.upernet_resnet101_ade20k,
        upernet.upernet_resnet50_ade20k,
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
