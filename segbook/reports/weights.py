"""The weights of a finished run as a file to hand on: half the size, and all that is known of them.

Its header has, beside what every run's file has (see `segkit.weights`):

    result      by split the run's mIoU, its policy, and the IoU of each class
    example     one validation image by name, and the IoU of each class by these very weights
    agreement   share of the validation pixels that get the same label as from the run's weights
    data        name, credit and manifest of what it was trained on
    licence     under what terms the weights may be used
    seed, commit, command
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from segbook.builders.data import build_normalisation
from segbook.recipes import Recipe
from segbook.reports.publish import read_finished, rerun_command
from segbook.runs import code
from segbook.runs.folder import RunFolder
from segbook.training.evaluation import best_model, scores
from segbook.training.state import BEST, build
from segkit import engine, outside
from segkit.data import catalog as data_catalog
from segkit.metrics import ConfusionMatrix
from segkit.weights import bundled, read_header, save_weights

LEAST_AGREEMENT = 0.999
"""Share of the labels that must be those of the run's own weights."""


def write_weights(folder: RunFolder, path: Path, *, licence: str) -> Path:
    """Write a run's best weights in float16, with their record; they are compared before.

    Args:
        folder: a finished run.
        path: the file, ending in ``.safetensors``.
        licence: under what terms the weights may be used, and by whose data.

    Returns:
        The path.

    Raises:
        ValueError: the run is not finished, or its ``run.json`` lacks something; or the labels on
            its validation images are not those of the run's own weights.
    """
    described = read_finished(folder)
    recipe = Recipe.from_dict(code.own(folder, described["recipe"]))
    state = build(recipe, folder)
    network = best_model(state, folder).float()
    halved = copy.deepcopy(network)
    tensors = bundled.half(network.state_dict())
    halved.load_state_dict(tensors)

    val_set = state.sets["val"]
    normalised = val_set.with_transform(build_normalisation(recipe))
    shown = next(iter(recipe.watch), val_set.stem(0))
    example = ConfusionMatrix(val_set.num_classes)
    same = pixels = 0
    for index in range(len(val_set)):
        image, labels = normalised[index]
        before, now = (
            engine.predict(each, image[None].to(state.device)).cpu() for each in (network, halved)
        )
        same, pixels = same + int((before == now).sum()), pixels + now.numel()
        if val_set.stem(index) == shown:
            example.update(now, labels[None])
    if same < LEAST_AGREEMENT * pixels:
        raise ValueError(
            f"float16 changes {100 * (1 - same / pixels):.2f} % of the labels on the validation "
            f"images, more than {100 * (1 - LEAST_AGREEMENT):.1f} %: nothing was written; keep "
            f"{folder.argument}/checkpoints/{BEST}"
        )
    result = described["result"]
    entry = data_catalog.find(recipe.data)
    header: dict[str, Any] = {
        **read_header(folder.checkpoints / BEST),
        "result": {
            split: {name: found[name] for name in ("miou", "policy", "iou")}
            for split, found in (("val", result), ("test", result.get("test")))
            if found
        },
        "example": {"split": "val", "image": shown, "iou": scores(example, recipe.policy)["iou"]},
        "agreement": round(same / pixels, 6),
        "data": {
            "name": Path(recipe.data_root).name if entry.own else outside.short(recipe.data),
            "credit": entry.credit,
            "manifest": described["data_manifest"],
        },
        "licence": licence,
        "seed": recipe.seed,
        "commit": described.get("git_commit"),
        "command": rerun_command(described, folder),
    }
    save_weights(tensors, path, header=header)
    return path
