"""Fine-tuning, as small as it can be seen: learn the synthetic streets, then CamVid from there.

    segbook train fine_tuning_streets --name streets
    segbook train fine_tuning_camvid --set data_root=…
    segbook train fine_tuning_camvid --set data_root=… --set weights=…/best.safetensors

The last two differ in their start only. The streets have CamVid's classes, so the head comes along.
"""

from __future__ import annotations

from dataclasses import replace

from segbook.recipes.one_protocol import one_protocol_pp_liteseg_t
from segbook.recipes.pp_liteseg import pp_liteseg_t_synthetic
from segbook.recipes.recipe import Recipe


def fine_tuning_streets() -> Recipe:
    """PP-LiteSeg-T on synthetic streets of CamVid's size: what `fine_tuning_camvid` starts from."""
    return replace(
        pp_liteseg_t_synthetic(),
        name="fine_tuning_streets",
        image_size=(360, 480),
        crop=(128, 160),
        scale=(0.4, 1.0),
        steps=500,
        evaluate_every=0,
        note="our own: about three minutes of one CPU core",
    )


def fine_tuning_camvid() -> Recipe:
    """PP-LiteSeg-T on CamVid in 240 steps, with `weights` from the streets or without."""
    return replace(
        one_protocol_pp_liteseg_t(),
        name="fine_tuning_camvid",
        crop=(128, 160),
        scale=(0.4, 1.0),
        steps=240,
        warmup=20,
        evaluate_every=40,
        eval_batch_size=4,
        note="our own: about eighty seconds of one CPU core",
    )
