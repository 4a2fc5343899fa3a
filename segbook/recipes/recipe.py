"""What a training run is made of, as one frozen record; and how a user changes a field of it."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

from segbook import schema

Count = Annotated[int, Meta(ge=0)]
CountFrom1 = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
VoidId = Annotated[int, Meta(ge=0, le=255)]
Size = schema.SIZE
Crop = schema.CROP
Range = tuple[float, float]
Colour = Annotated[tuple[Share, ...], Meta(min_length=1)]
"""RGB, or a number for each band of other images."""


class Phase(NamedTuple):
    """A stretch of the training with its own resolution.

    Attributes:
        until: share of all steps at which the phase ends, in (0, 1]; the last phase's is 1.
        crop: (height, width) in pixels, or (depth, height, width) in voxels.
        scale: (smallest, largest) random factor of the image's size.
    """

    until: float
    crop: Crop
    scale: Range


LossName = Literal[
    "bootstrapped_cross_entropy", "cross_entropy", "dice", "dice_cross_entropy", "focal", "jaccard",
    "lovasz_softmax", "ohem_cross_entropy", "tversky",
]  # fmt: skip
Policy = Literal[
    "dataset", "dataset_absent_0", "dataset_absent_1", "per_image", "per_image_absent_0",
    "per_image_absent_1", "foreground", "void_as_fp", "void_as_fp_in_truth", "micro",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training run. Each number's source stands in the recipe's file.

    Raises:
        ValueError: a field that is not what its annotation says, or that no training can follow.
    """

    name: Annotated[str, "the recipe's name, that of its function"]
    model: Annotated[str, "a name of segkit's catalog, or a builder of your own, 'my_net.py:build'"]
    model_options: Annotated[dict[str, Any], "of the model's builder"] = field(default_factory=dict)
    backbone: Annotated[
        str,
        "the model's, by name: segkit's, 'timm:<name>' or your own, 'my_backbone.py:build'; empty "
        "for the builder's own",
    ] = ""
    weights: Annotated[
        str,
        "what to start from: one of our weights files, weights in the box by name, such as "
        "'pp_liteseg_t_camvid', or torchvision's, such as "
        "'FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1'; a head for another number of classes "
        "starts from random weights. Empty starts from random weights",
    ] = ""
    weights_backbone: Annotated[
        str,
        "weights of the backbone to start from: torchvision's by name, such as 'IMAGENET1K_V1', or "
        "timm's by tag, such as 'a1_in1k', downloaded on first use; or a file of them, of any "
        "backbone, 'my_encoder.safetensors'. Empty starts from random ones",
    ] = ""
    data: Annotated[
        str,
        "a name of `segkit.data.catalog`: 'synthetic', 'camvid', 'folder' (your own), ..., or a "
        "function that opens your own, 'my_data.py:open_splits'",
    ] = "synthetic"
    data_root: Annotated[str, "the folder of the data; the synthetic streets need none"] = ""
    ignore: Annotated[
        VoidId | tuple[VoidId, ...],
        "the id, or ids, by which masks of your own (data=folder) mark void, as 255 always does",
    ] = 255
    image_size: Annotated[Size, "(height, width) of the synthetic streets, in pixels"] = (128, 160)
    length: Annotated[CountFrom1, "training scenes of the synthetic streets"] = 400
    crop: Annotated[
        Crop, "(height, width) in pixels; (depth, height, width) in voxels where data are volumes"
    ] = (128, 160)
    scale: Annotated[Range, "(smallest, largest) random factor of the image's size"] = (0.75, 1.5)
    scale_step: Annotated[
        Amount, "draw the lowest scale, it and one step, and so on; 0 draws any in the range"
    ] = 0.0
    undersized: Annotated[
        Literal["pad", "pad_bottom_right", "enlarge"],
        "what becomes of a scaled image that is smaller than the crop: void on all sides, below "
        "and on the right, or a second resize until it fills the crop",
    ] = "pad"
    antialias: Annotated[bool, "whether shrinking an image averages its pixels or skips some"] = (
        True
    )
    window: Annotated[
        Crop,
        "(depth, height, width) of the overlapping windows by which volumes are evaluated; () for "
        "the crop's",
    ] = ()
    phases: Annotated[
        tuple[Phase, ...], "resolutions one after the other; override ``crop`` and ``scale``"
    ] = ()
    flip: Annotated[
        Share | tuple[Share, ...],  # of a fixed length msgspec crashes
        "probability of a horizontal flip; of volumes of one along each axis, or three of these",
    ] = 0.5
    rotation: Annotated[
        float, Meta(ge=0, le=180), "largest turn of a volume about each axis, in degrees"
    ] = 0.0
    foreground: Annotated[
        Share, "share of the crops of volumes that are centred on a voxel of a class other than 0"
    ] = 1 / 3
    jitter: Annotated[
        Amount,
        "strength of the colour jitter (brightness, contrast, saturation; of volumes brightness, "
        "contrast, gamma), 0 for none",
    ] = 0.4
    jitter_hue: Annotated[
        float, Meta(ge=0, le=0.5), "largest turn of the hue, in full turns, 0 for none"
    ] = 0.0
    jitter_probability: Annotated[Share, "of each change of colour, apart from the others"] = 1.0
    elastic: Annotated[Amount, "pixels (voxels) of U-Net's elastic deformation, 0 for none"] = 0.0
    mean: Annotated[
        Colour,
        "taken off the colours, RGB in 0..1, and the colour of padding; ImageNet's. Of data with a "
        "data.yaml what that says, or the training images' own where nothing is pretrained",
    ] = (0.485, 0.456, 0.406)
    std: Annotated[Colour, "by which colours are divided, RGB in 0..1; ImageNet's, as mean"] = (
        0.229, 0.224, 0.225,
    )  # fmt: skip
    batch_size: Annotated[CountFrom1, "images a batch, those of all processes together"] = 8
    eval_batch_size: Annotated[
        Count, "whole images a batch in evaluation; 0 for ``batch_size``"
    ] = 0
    accumulate: Annotated[CountFrom1, "batches a step"] = 1
    steps: Annotated[CountFrom1, "optimizer steps"]
    optimizer: Annotated[Literal["sgd", "adamw"], "what updates the weights"] = "sgd"
    lr: Annotated[Positive, "initial learning rate"]
    head_lr: Annotated[Positive, "factor of the learning rate outside the backbone"] = 1.0
    stage_lr: Annotated[
        float,
        Meta(gt=0, le=1),
        "factor of the learning rate for each stage of the backbone, once for the last and once "
        "more for each one before it; 1 learns all at one rate",
    ] = 1.0
    freeze: Annotated[
        Literal["none", "backbone", "backbone_norms"],
        "'backbone' leaves the backbone's weights as they are and its BatchNorms in eval mode, "
        "'backbone_norms' its BatchNorms only, 'none' nothing",
    ] = "none"
    momentum: Annotated[Amount, "of SGD"] = 0.9
    weight_decay: Annotated[Amount, "of the weights"] = 1e-4
    decay_norms: Annotated[
        bool, "whether biases and the weights of norms, all of one dimension, decay too"
    ] = True
    schedule: Annotated[Literal["poly", "cosine", "constant"], "of the learning rate"] = "poly"
    power: Annotated[Amount, "of the poly schedule"] = 0.9
    warmup: Annotated[Count, "steps of warm-up, fewer than ``steps``"] = 0
    warmup_ramp: Annotated[
        Literal["linear", "exponential"], "how the learning rate rises in the warm-up"
    ] = "linear"
    warmup_start: Annotated[
        Share | None,
        "factor of the learning rate at the first step of the warm-up, above 0 for an exponential "
        "one; None for one part in ``warmup``",
    ] = None
    decay_from: Annotated[
        Literal["start", "warmup"],
        "where the schedule begins to decay: at the 'start', through the warm-up, so that ``lr`` "
        "is never reached, or behind the 'warmup', from the full ``lr``",
    ] = "start"
    loss: Annotated[
        str,
        f"of the logits: one of {', '.join(typing.get_args(LossName))} (see `segkit.losses`), or "
        "your own, 'my_loss.py:my_loss'",
    ] = "cross_entropy"
    loss_options: Annotated[dict[str, Any], "of the loss, such as {'threshold': 0.9} of OHEM"] = (
        field(default_factory=dict)
    )
    class_weights: Annotated[
        Literal["none", "inverse_log", "median"],
        "from the training labels, as in ENet (inverse_log) or SegNet (median)",
    ] = "none"
    aux_weight: Annotated[Amount | None, "of auxiliary losses; None for the network's own"] = None
    clip: Annotated[Positive | None, "largest norm of the gradient; None does not clip"] = None
    ema: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        "decay of the moving average of the weights that is evaluated; None for none",
    ] = None
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        "'auto' is bfloat16 where the machine has it",
    ] = "auto"
    channels_last: Annotated[bool | None, "memory format; None for the rule, which is true"] = None
    fused: Annotated[
        bool | None, "update all weights in one kernel; None for the rule: not for SGD on a CPU"
    ] = None
    compile: Annotated[
        bool, "by ``torch.compile``, which takes minutes on a CPU and gains nothing there"
    ] = False
    sync_bn: Annotated[
        Literal["auto", "on", "off"],
        "whether BatchNorm counts the images of all processes; 'auto' where there are several, "
        "each with a GPU of its own",
    ] = "auto"
    workers: Annotated[Count, "loader processes; 0 loads in the main one"] = 0
    worker_timeout: Annotated[
        Amount, "seconds without a batch after which a loader process is hung; 0 waits for ever"
    ] = 300.0
    bad_samples: Annotated[
        Count, "unreadable samples that a run may leave out, and name in its log, before it stops"
    ] = 10
    doctor: Annotated[
        Literal["stop", "warn", "off"],
        "what the preflight's errors do: stop the run before its first step, or warn and train; "
        "'off' for no preflight",
    ] = "stop"
    evaluate_every: Annotated[Count, "steps between validations; 0 validates at the end only"] = 0
    watch: Annotated[
        tuple[str, ...],
        "validation images, by name, whose predictions are kept over the steps, in ``watched/``",
    ] = ()
    save_every: Annotated[CountFrom1, "steps between checkpoints"] = 200
    policy: Annotated[
        Policy, "how the mIoU is counted by which the best weights are chosen; see `segkit.metrics`"
    ] = "dataset"
    seed: Annotated[int, Meta(ge=0, lt=2**32), "of weights, order and augmentation"] = 0
    rare_class_sampling: Annotated[
        Share,
        "share of the training samples that are drawn by class, a rare one more often: a class, an "
        "image that has it, a crop that shows it (rare class sampling of Hoyer et al., "
        "DAFormer, CVPR 2022); 0 draws every image equally often",
    ] = 0.0
    note: Annotated[str, "where the numbers come from"] = ""
    paper_miou: Annotated[
        Share | None, "what the paper or its authors report; None where nothing was found"
    ] = None

    def __post_init__(self) -> None:
        """Turn each value into its field's type, and refuse what cannot be trained."""
        for name, kind in schema.fields(Recipe).items():
            value = getattr(self, name)
            if isinstance(value, tuple):  # msgspec takes a NamedTuple as it is, unchecked
                value = [tuple(v) if isinstance(v, Phase) else v for v in value]
            elif isinstance(value, dict):  # JSON, in which a run keeps its recipe, has no tuples
                value = _tuples_for_lists(value)
            try:
                object.__setattr__(self, name, schema.convert(value, kind))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        if self.loss not in (known := typing.get_args(LossName)) and not is_file(self.loss):
            close = difflib.get_close_matches(self.loss, known, n=1)
            raise ValueError(
                f"loss takes one of {', '.join(known)}, or your own, my_loss.py:my_loss; got "
                f"{self.loss!r}" + (f"; did you mean {close[0]!r}?" if close else "")
            )
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean {self.mean} and std {self.std} are of different numbers of bands: give both"
            )
        if self.warmup >= self.steps:
            raise ValueError(
                f"warmup ({self.warmup}) must be shorter than steps ({self.steps}): "
                "set warmup=0 for a short run"
            )
        crops = [crop for _, crop, _ in self.schedule_of_crops()]
        if {len(crop) for crop in crops} not in ({2}, {3}):
            raise ValueError(
                "crop takes (height, width) in pixels, or (depth, height, width) of volumes in "
                f"voxels; got {', '.join(map(str, crops))}"
            )
        if self.window and not (self.is_of_volumes and len(self.window) == 3):
            raise ValueError(
                f"window takes (depth, height, width) of volumes, or (); got {self.window}"
            )
        if self.rare_class_sampling and self.is_of_volumes:
            raise ValueError(
                f"rare_class_sampling ({self.rare_class_sampling}) is for images: foreground=1 "
                "centres each crop of volumes on a class"
            )
        if isinstance(self.flip, tuple) and not (self.is_of_volumes and len(self.flip) == 3):
            raise ValueError(
                f"flip takes one probability, or of volumes three, one along each axis; got "
                f"{self.flip}"
            )
        ends = [phase.until for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1):
            raise ValueError(f"phases end at rising shares of the steps, the last at 1; got {ends}")

    @property
    def is_of_volumes(self) -> bool:
        """Whether it trains on volumes, not on images: its crop has a depth."""
        return len(self.schedule_of_crops()[0][1]) == 3

    @property
    def windows(self) -> Crop | None:
        """By which volumes are evaluated; None for images, which are evaluated whole."""
        return (self.window or self.crop) if self.is_of_volumes else None

    def schedule_of_crops(self) -> list[tuple[int, Crop, tuple[float, float]]]:
        """(first step, crop, scale) of each phase; one where there are no phases."""
        begins, plan = 0, []
        for phase in self.phases or (Phase(1.0, self.crop, self.scale),):
            plan.append((begins, phase.crop, phase.scale))
            begins = round(phase.until * self.steps)
        return plan

    def to_dict(self) -> dict[str, Any]:
        """The fields, as JSON knows them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` described.

        Raises:
            ValueError: an unknown field.
        """
        return override(None, fields)


def is_file(name: str) -> bool:
    """Whether a name is that of a file of the user's own, as `segkit.outside`, without torch."""
    return ":" in name or name.endswith(".py")


def _tuples_for_lists(value: Any) -> Any:
    """The same options, holding a tuple wherever they hold a list."""
    if isinstance(value, dict):
        return {name: _tuples_for_lists(v) for name, v in value.items()}
    return tuple(map(_tuples_for_lists, value)) if isinstance(value, (list, tuple)) else value


def override(recipe: Recipe | None, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some fields changed; texts are read by the field's type.

    Args:
        recipe: what is changed; None makes a new recipe of ``changes`` alone.
        changes: value by field name: a value of the field's type, or a text as typed on a command
            line (``"1e-3"``, ``"false"``, ``"(256, 352)"``, ``"none"``).

    Raises:
        ValueError: an unknown field (the valid ones are listed) or a value of another type.
    """
    kinds, values = schema.fields(Recipe), {}
    for name, value in changes.items():
        if name not in kinds:
            close = difflib.get_close_matches(name, kinds, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"a recipe has no field {name!r}{meant} Valid fields: {', '.join(kinds)}"
            )
        try:
            is_text = isinstance(value, str)
            values[name] = schema.from_text(value, kinds[name]) if is_text else value
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    try:
        return dataclasses.replace(recipe, **values) if recipe else Recipe(**values)
    except TypeError as error:  # a missing field
        raise ValueError(f"not a whole recipe: {error}") from None


def in_proportion(recipe: Recipe, steps: int) -> dict[str, int]:
    """The fields that are counted in steps, for another number of steps in the same proportions.

    Phases and schedule are shares of the steps already. Checkpoints are for what a kill may cost:
    they stay.

    Args:
        recipe: whose proportions.
        steps: 1 or more; it may be more than the recipe's own.
    """
    share = steps / recipe.steps
    return {
        "warmup": min(math.ceil(recipe.warmup * share), steps - 1),
        "evaluate_every": max(int(recipe.evaluate_every > 0), round(recipe.evaluate_every * share)),
    }


def variant(base: Recipe, model: str, **changes: Any) -> Recipe:
    """A recipe for another network of the same paper, named after it.

    Args:
        base: the recipe that is changed.
        model: the network, in the place of the base's in the name too.
        changes: other fields that differ.
    """
    name = base.name.replace(base.model, model)
    return dataclasses.replace(base, name=name, model=model, **changes)


# What help(Recipe) shows: plain types in the signature, ranges and meanings below it.
Recipe.__init__.__annotations__ = typing.get_type_hints(Recipe)
Recipe.__doc__ = f"{inspect.getdoc(Recipe)}\n\nAttributes:\n" + "\n".join(
    f"    {name}: {schema.meaning(kind)}" for name, kind in schema.fields(Recipe).items()
)
