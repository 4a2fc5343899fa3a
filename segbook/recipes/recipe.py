"""What a training run is made of, as one frozen record; and how a user changes a field of it."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple


class Phase(NamedTuple):
    """A stretch of the training with its own resolution.

    Attributes:
        until: share of all steps at which the phase ends, in (0, 1]; the last phase's is 1.
        crop: (height, width) in pixels.
        scale: (smallest, largest) random factor of the image's size.
    """

    until: float
    crop: tuple[int, int]
    scale: tuple[float, float]


_RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "at least 1": (
        lambda value: value >= 1,
        ("batch_size", "accumulate", "steps", "save_every", "length"),
    ),
    "0 or more": (
        lambda value: value >= 0,
        ("aux_weight", "bad_samples", "elastic", "eval_batch_size", "evaluate_every", "jitter",
         "momentum", "power", "weight_decay", "worker_timeout", "workers"),
    ),
    "positive": (lambda value: value > 0, ("lr", "head_lr", "clip")),
    "in (0, 1]": (lambda value: 0 < value <= 1, ("stage_lr",)),
    "in 0..1": (lambda value: 0 <= value <= 1, ("flip",)),
    "between 0 and 1": (lambda value: 0 < value < 1, ("ema",)),
    "in 0..4294967295": (lambda value: 0 <= value < 2**32, ("seed",)),
}  # fmt: skip
"""What a number may be, in words and as a test, and of which fields; None is always allowed."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training run. Each number's source stands in the recipe's file.

    Attributes:
        name: the recipe's name, that of its function.
        model: a name of segkit's catalog.
        model_options: further arguments of the model's builder.
        backbone: the model's backbone by name, of segkit's or "timm:<name>"; empty for the
            builder's own.
        weights: what to start from: one of our weights files, or torchvision's weights by name,
            such as "FCN_ResNet50_Weights.COCO_WITH_VOC_LABELS_V1"; a head for another number of
            classes starts from random weights. Empty starts from random weights.
        weights_backbone: torchvision's weights of the backbone to start from, by name, such as
            "IMAGENET1K_V1", downloaded on first use; empty starts from random ones.
        data: a name of `segkit.data.catalog`: "synthetic", "camvid", "folder" (your own), ...
        data_root: the folder of the data; the synthetic streets need none.
        image_size: (height, width) at which the synthetic streets are drawn.
        length: training scenes of the synthetic streets.
        crop: (height, width) in pixels.
        scale: (smallest, largest) random factor of the image's size.
        phases: several resolutions one after the other; overrides ``crop`` and ``scale``.
        flip: probability of a horizontal flip.
        jitter: strength of the colour jitter (brightness, contrast, saturation), 0 for none.
        elastic: displacement in pixels of U-Net's elastic deformation, 0 for none.
        batch_size: images a batch, those of all processes together.
        eval_batch_size: whole images a batch when evaluating; 0 for ``batch_size``.
        accumulate: batches a step.
        steps: optimizer steps.
        optimizer: "sgd" or "adamw".
        lr: initial learning rate.
        head_lr: what the learning rate is multiplied by outside the network's backbone.
        stage_lr: what the learning rate is multiplied by for each stage of the backbone, once for
            the last and once more for each one before it; 1 learns all at one rate.
        freeze: "backbone" leaves the backbone's weights as they are and its BatchNorms in eval
            mode, "backbone_norms" its BatchNorms only, "none" nothing.
        momentum: of SGD.
        weight_decay: of the weights.
        decay_norms: whether biases and what scales normalised maps, all weights of one dimension,
            decay too.
        schedule: "poly", "cosine" or "constant".
        power: of the poly schedule.
        warmup: steps of linear warm-up.
        loss: a name of `segkit.losses`: "cross_entropy", "ohem_cross_entropy", "dice", "focal", ...
        class_weights: "none", "inverse_log" (ENet) or "median" (SegNet), from the training labels.
        aux_weight: weight of every auxiliary loss; None keeps the network's own.
        clip: largest norm of the gradient; None does not clip.
        ema: decay of the moving average of the weights that is evaluated; None for none.
        precision: "auto" (bfloat16 where the machine has it), "float32", "bfloat16", "float16".
        channels_last: memory format; None for the rule, which is true.
        fused: whether the optimizer updates all weights in one kernel; None for the rule: not
            for SGD on a CPU.
        compile: whether the network goes through ``torch.compile``; it takes minutes on a CPU and
            gains nothing there.
        sync_bn: whether BatchNorm counts the images of all processes: "auto" where there are
            several, each with a GPU of its own, "on", "off".
        workers: loader processes; 0 loads in the main one.
        worker_timeout: seconds that a batch may take a loader process before it counts as hung; 0
            waits for ever.
        bad_samples: how many samples that cannot be read a run may leave out, each named in its
            log, before it stops.
        doctor: what the preflight's errors do: "stop" the run before its first step, "warn" and
            train, or "off" for no preflight.
        evaluate_every: steps between validations; 0 validates at the end only.
        save_every: steps between checkpoints.
        policy: the mIoU policy by which the best weights are chosen.
        seed: of weights, order and augmentation.
        note: where the numbers come from.
        paper_miou: what the paper or its authors report for this, in 0..1; None where nothing
            was found.
    """

    name: str
    model: str
    model_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    backbone: str = ""
    weights: str = ""
    weights_backbone: str = ""
    data: str = "synthetic"
    data_root: str = ""
    image_size: tuple[int, int] = (128, 160)
    length: int = 400
    crop: tuple[int, int] = (128, 160)
    scale: tuple[float, float] = (0.75, 1.5)
    phases: tuple[Phase, ...] = ()
    flip: float = 0.5
    jitter: float = 0.4
    elastic: float = 0.0
    batch_size: int = 8
    eval_batch_size: int = 0
    accumulate: int = 1
    steps: int
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float
    head_lr: float = 1.0
    stage_lr: float = 1.0
    freeze: Literal["none", "backbone", "backbone_norms"] = "none"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    decay_norms: bool = True
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    power: float = 0.9
    warmup: int = 0
    loss: str = "cross_entropy"
    class_weights: Literal["none", "inverse_log", "median"] = "none"
    aux_weight: float | None = None
    clip: float | None = None
    ema: float | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    channels_last: bool | None = None
    fused: bool | None = None
    compile: bool = False
    sync_bn: Literal["auto", "on", "off"] = "auto"
    workers: int = 0
    worker_timeout: float = 300.0
    bad_samples: int = 10
    doctor: Literal["stop", "warn", "off"] = "stop"
    evaluate_every: int = 0
    save_every: int = 200
    policy: str = "dataset"
    seed: int = 0
    note: str = ""
    paper_miou: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be trained, field by field."""
        for words, (fits, fields) in _RANGES.items():
            for field in fields:
                value = getattr(self, field)
                if value is not None and not (fits(value) and math.isfinite(value)):
                    raise ValueError(f"{field} must be {words}, got {value}")
        for field, kind in typing.get_type_hints(type(self)).items():
            choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
            if choices and getattr(self, field) not in choices:
                raise ValueError(f"{field} is one of {choices}, got {getattr(self, field)!r}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(
                f"warmup ({self.warmup}) must be shorter than steps ({self.steps}): "
                "set warmup=0 for a short run"
            )
        ends = [phase.until for phase in self.phases]
        if ends and (ends != sorted(set(ends)) or ends[0] <= 0 or ends[-1] != 1):
            raise ValueError(f"phases end at rising shares of the steps, the last at 1; got {ends}")

    def schedule_of_crops(self) -> list[tuple[int, tuple[int, int], tuple[float, float]]]:
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


def override(recipe: Recipe | None, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some fields changed; texts are read by the field's type.

    Args:
        recipe: what is changed; None makes a new recipe of ``changes`` alone.
        changes: value by field name: a value of the field's type, or a text as typed on a command
            line (``"1e-3"``, ``"false"``, ``"(256, 352)"``, ``"none"``).

    Raises:
        ValueError: an unknown field (the valid ones are listed) or a value of another type.
    """
    hints = typing.get_type_hints(Recipe)
    values = {}
    for field, value in changes.items():
        if field not in hints:
            close = difflib.get_close_matches(field, hints, n=1)
            meant = f"; did you mean {close[0]!r}?" if close else "."
            raise ValueError(
                f"a recipe has no field {field!r}{meant} Valid fields: {', '.join(hints)}"
            )
        try:
            values[field] = _convert(value, hints[field])
        except (ValueError, SyntaxError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(
                f"{field} takes {_spell(hints[field])}, got {value!r} ({error})"
            ) from None
    try:
        return dataclasses.replace(recipe, **values) if recipe else Recipe(**values)
    except TypeError as error:  # a missing field
        raise ValueError(f"not a whole recipe: {error}") from None


def _convert(value: Any, kind: Any) -> Any:
    """``value`` as the type ``kind``; a text is parsed, never evaluated."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)))
    if origin is Literal or kind is str:
        if not isinstance(value, str):
            raise ValueError("a text is needed")
        return value
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if isinstance(value, bool):
            return value
        if not isinstance(value, str) or value.lower() not in words:
            raise ValueError("true or false is needed")
        return words[value.lower()]
    if kind is int:
        if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
            raise ValueError("a whole number is needed")
        return int(value)
    if kind is float:
        return float(value)
    if isinstance(value, str):
        value = ast.literal_eval(value)
    if (origin is tuple or hasattr(kind, "_fields")) and not isinstance(value, tuple | list):
        raise ValueError("values in brackets are needed, as in (256, 352)")
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = typing.get_type_hints(kind)
        if len(value) != len(hints):
            raise ValueError(f"{', '.join(hints)} are needed")
        return kind(*(_convert(v, hint) for v, hint in zip(value, hints.values(), strict=True)))
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_convert(v, arguments[0]) for v in value)
        if len(value) != len(arguments):
            raise ValueError(f"{len(arguments)} values are needed")
        return tuple(_convert(v, a) for v, a in zip(value, arguments, strict=True))
    if origin is dict and isinstance(value, dict):
        return value
    raise ValueError("the type does not fit")


def _spell(kind: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def variant(base: Recipe, model: str, **changes: Any) -> Recipe:
    """A recipe for another network of the same paper, named after it.

    Args:
        base: the recipe that is changed.
        model: the network, in the place of the base's in the name too.
        changes: other fields that differ.
    """
    name = base.name.replace(base.model, model)
    return dataclasses.replace(base, name=name, model=model, **changes)
