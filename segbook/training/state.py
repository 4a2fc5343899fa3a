"""A training between two steps: what is built, how far it is, and what a checkpoint holds."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from segbook.builders.check import check_settings
from segbook.builders.data import build_data, count_classes, settle_images, watched_indices
from segbook.builders.model import build_model, load_start, model_arguments
from segbook.builders.optimizer import build_optimizer, build_settings
from segbook.preflight.gate import has_begun
from segbook.recipes.file import absolute
from segbook.recipes.recipe import Recipe
from segbook.runs.folder import RunFolder
from segbook.training.identity import FREE, differences, folder_of, format_differences
from segkit import data, engine, outside, random_state
from segkit.engine import distributed
from segkit.engine.freeze import freeze
from segkit.engine.settings import lay_out_channels_last
from segkit.weights import read_header

BEST = "best.safetensors"
"""The weights that were best on validation, beside the checkpoints."""


@dataclass
class TrainingState:
    """What the next step of a training depends on, and the data that it is about.

    Attributes:
        recipe: what is trained and how.
        sets: the data sets by split: "train", "val", and "test" where its labels are known.
        settings: precision, memory format, fused optimizer.
        model: the network that is trained.
        ema: the moving average of its weights; None for none.
        optimizer: over the weights that are trained.
        scaler: of float16's gradients.
        counts: what class weights are made from; None as long as nobody has counted.
        step: optimizer steps made.
        saved: the step of the newest checkpoint.
        whole: whether no step is under way, so that it may be saved.
        seconds: wall time of those steps, of all attempts.
        cpu_seconds: processor time of those steps.
        best: the scores of the best validation, with its "step"; empty before the first.
        remarks: lines for the log about how this was built.
        begun: whether it was built to go on from a checkpoint, so without pretrained weights.
        folder: where it has been trained; None before.
        data_before: data on which earlier steps were made, the oldest first: "until" which step,
            and as `data`.
    """

    recipe: Recipe
    sets: dict[str, Any]
    settings: engine.Settings
    model: nn.Module
    ema: AveragedModel | None
    optimizer: Optimizer
    scaler: GradScaler
    counts: list[Tensor] | None = None
    step: int = 0
    saved: int = 0
    whole: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    best: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    begun: bool = False
    folder: Path | None = None
    data_before: list[dict[str, Any]] = field(default_factory=list)

    @functools.cached_property
    def data(self) -> dict[str, Any]:
        """What is trained on: "root", "classes", how "images" are read, and each "manifest"."""
        return {
            "root": self.recipe.data_root,
            "classes": list(self.sets["train"].classes),
            "images": data.reading_of(self.sets["train"]).to_dict(),
            "manifest": {split: subset.manifest() for split, subset in self.sets.items()},
        }

    @property
    def num_classes(self) -> int:
        """K."""
        return self.sets["train"].num_classes

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device

    @property
    def averaged(self) -> nn.Module:
        """The network that is evaluated: the moving average, or the network itself."""
        return self.ema.module if self.ema else self.model

    def class_counts(self) -> list[Tensor]:
        """What class weights are made from, read from all masks once a run."""
        if self.counts is None:
            self.counts = count_classes(self.recipe, self.sets["train"])
        return self.counts

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint holds, with the random numbers of all processes, who all call this."""
        return {
            "step": self.step,
            "recipe": self.recipe.to_dict(),
            "data": self.data,
            "data_before": self.data_before,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "best": self.best,
            "precision": self.settings.precision,
            "counts": self.class_counts(),
            "model": dict(self.model.state_dict()),
            "ema": dict(self.ema.state_dict()) if self.ema else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "other_processes": distributed.all_gather(random_state.state())[1:],
        }

    def load_state_dict(self, state: dict[str, Any]) -> str:
        """Become what `state_dict` saw.

        With another number of processes than before it sees the same batches and goes on from the
        same weights, but what is random inside the network, its dropout, goes another way.

        Returns:
            What there is to say about that; usually nothing.

        """
        self.step = self.saved = state["step"]
        self.seconds, self.best = state["seconds"], state["best"]
        self.cpu_seconds = state.get("cpu_seconds", 0.0)
        self.counts = state.get("counts")
        self.data_before = list(state.get("data_before", []))
        remark = ""
        if state["precision"] != self.settings.precision:
            remark = f", in {state['precision']} as it began"
            self.settings = self.settings._replace(precision=state["precision"])
            self.scaler = build_scaler(self.settings, self.device)
        self.model.load_state_dict(state["model"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        for weight, slots in self.optimizer.state.items():
            for name, value in slots.items():
                # Fused kernels walk through memory: an average lies there as its weight does.
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    slots[name] = torch.empty_like(weight).copy_(value)
        self.scaler.load_state_dict(state["scaler"])
        others = state.get("other_processes", [])
        rank, world_size, before = distributed.rank(), distributed.world_size(), len(others) + 1
        if 0 < rank < before:
            random_state.restore(others[rank - 1])
        elif rank:  # a new process: numbers of its own, else it would repeat the first one's
            random_state.seed((self.recipe.seed + self.step + rank) % 2**32)
        if world_size != before:
            now = f"{world_size} process{'es' * (world_size > 1)}"
            remark += f", with {now} after {before}: dropout goes another way"
        return remark

    def note_other_data(self, before: Mapping[str, Any]) -> str:
        """Keep what the data were before a resume where they are others now; a line about that.

        Args:
            before: as `data`; a field may be None where nobody kept it.
        """
        now, known = self.data, before["manifest"] is not None
        changed = [
            split
            for split in {**(before["manifest"] or {}), **now["manifest"]}
            if known and before["manifest"].get(split) != now["manifest"].get(split)
        ]
        if not changed and before["root"] in (None, now["root"]):
            return ""
        self.data_before = [*self.data_before, {"until": self.step, **before}]
        what = f"other data than before ({', '.join(changed)})" if changed else "the same data"
        old, new = (one["root"] or self.recipe.data for one in (before, now))
        return f"{what} from here on: in {new}, before in {old}"

    def _prepared(self) -> dict[str, Any]:
        """How the network's input is made, for `header`."""
        if windows := self.recipe.windows:
            return {"normalisation": {"per_volume": True}, "window": list(windows)}
        return {"normalisation": {"mean": list(self.recipe.mean), "std": list(self.recipe.std)}}

    def header(self) -> dict[str, Any]:
        """What is needed to use the weights: stored in their file."""
        train_set = self.sets["train"]
        return {
            "builder": outside.short(self.recipe.model),
            "arguments": {
                "num_classes": self.num_classes,
                **{name: outside.short(one) for name, one in model_arguments(self.recipe).items()},
            },
            "classes": list(train_set.classes),
            "palette": [list(colour) for colour in train_set.palette],
            **self._prepared(),
            **({"images": read_as} if (read_as := data.reading_of(train_set).to_dict()) else {}),
            "metric": {
                "name": "mIoU",
                "policy": self.best.get("policy"),
                "value": self.best.get("miou"),
                "split": "val",
            },
            "recipe": self.recipe.name,
            "step": self.step,
        }


def build(recipe: Recipe, folder: RunFolder | None = None) -> TrainingState:
    """Build a recipe: its data, network, optimizer; nothing is trained, and no picture decoded.

    Args:
        recipe: what to train and how.
        folder: where it will be trained. Where that has a checkpoint, no pretrained weights are
            loaded, for the checkpoint's will replace them.

    Raises:
        ValueError: it cannot be built; the message names the field.
    """
    recipe, said = settle_images(absolute(recipe))
    run = None if folder is None else folder_of(folder, recipe)
    begun = run is not None and has_begun(run)
    check_settings(recipe, begun=begun)
    sets = build_data(recipe)
    watched_indices(recipe, sets["val"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # this process's own
    settings = build_settings(recipe, device)
    remarks = [said] if said and not begun else []
    random_state.seed(recipe.seed)
    model = build_model(recipe, sets["train"].num_classes, pretrained=not begun)
    if recipe.weights and not begun:
        remarks.append(str(load_start(recipe, model, sets["train"].classes)))
    model = distributed.convert_sync_batchnorm(model, recipe.sync_bn, device).to(device)
    if frozen := freeze(model, recipe.freeze):
        remarks.append(frozen)
    if settings.channels_last:
        lay_out_channels_last(model)
    state = TrainingState(
        recipe=recipe,
        sets=sets,
        settings=settings,
        model=model,
        ema=engine.averaged(model, recipe.ema) if recipe.ema else None,
        optimizer=build_optimizer(recipe, model, fused=settings.fused),
        scaler=build_scaler(settings, device),
        remarks=remarks,
        begun=begun,
    )
    if distributed.rank():  # all built the same network, but each drops out its own units
        random_state.seed((recipe.seed + distributed.rank()) % 2**32)
    return state


def build_scaler(settings: engine.Settings, device: torch.device) -> GradScaler:
    """The gradient scaler, which only float16 needs."""
    return GradScaler(device.type, enabled=settings.precision == "float16")


def save(state: TrainingState, folder: RunFolder) -> None:
    """Write a checkpoint of everything that the next step depends on; all processes call this."""
    content = state.state_dict()
    if distributed.rank() == 0:
        engine.save_checkpoint(folder.checkpoints, content)
    state.saved = state.step
    folder.update(step=state.step, seconds=round(state.seconds, 1))


def resume(state: TrainingState, folder: RunFolder) -> list[str]:
    """Go on from the folder's newest whole checkpoint, where there is one; nothing is written.

    Returns:
        Lines for the log.

    Raises:
        ValueError: the folder holds another training, the message names the fields; the data have
            other classes or are read in another way; or the state needs a checkpoint and there is
            none.
    """
    lines: list[str] = []
    found = engine.load_checkpoint(folder.checkpoints, warn=lines.append)
    described = folder.read()
    # Without a checkpoint, a folder in which steps were made is the training's in its record.
    held = (found or {}).get("recipe") or (described.get("recipe") if folder.metrics() else None)
    differ = differences(held, state.recipe) if held else {}
    if another := {name: pair for name, pair in differ.items() if name not in FREE}:
        raise ValueError(
            f"{folder.name} holds a training with {format_differences(another)}: go on with the "
            "same recipe, or train this one in a folder of its own, as "
            f"RunFolder.for_notebook({state.recipe.name!r}) gives one to each training"
        )
    if found is None:
        if state.begun or state.folder:
            raise ValueError(
                f"there is no checkpoint in {folder.checkpoints} to go on from: begin anew, "
                "state = training.build(recipe, folder)"
            )
        return lines
    if found["step"] > state.recipe.steps:
        raise ValueError(
            f"{folder.name} has made {found['step']} steps, more than steps={state.recipe.steps}: "
            f"give steps={found['step']} or more"
        )
    before = found.get("data") or {  # of an older release
        "root": (described.get("recipe") or {}).get("data_root"),
        "classes": found["best"].get("classes"),
        "manifest": described.get("data_manifest"),
    }
    refuse_other_classes(before["classes"], state)
    refuse_other_reading(before.get("images"), state)
    remark = state.load_state_dict(found)
    if line := state.note_other_data(before):
        lines.append(line)
    path = folder.checkpoints / BEST
    if state.best and not (path.exists() and read_header(path)["step"] == state.best["step"]):
        state.best = {}  # a kill came between the best weights and their checkpoint
        remark += "; the best weights are of a later step and will be chosen anew"
    if differ:
        remark += f"; it began with {format_differences(differ)}"
    if state.step == state.recipe.steps:
        remark += "; nothing is left to train"
    return [*lines, f"resumed at step {state.step} of {state.recipe.steps}{remark}"]


def refuse_other_classes(before: list[str] | None, state: TrainingState) -> None:
    """Refuse data whose ids mean something else than those a training began with.

    Raises:
        ValueError: another number of classes, other names, or another order of them.
    """
    now = state.data["classes"]
    if not before or before == now:
        return
    if len(before) != len(now):
        how = f"{len(now)} classes, and the training began with {len(before)}"
    else:
        first = [a == b for a, b in zip(before, now, strict=True)].index(False)
        how = f"other classes than the training began with: {first} is {now[first]!r} and was "
        how += repr(before[first])
    raise ValueError(
        f"the data in {state.recipe.data_root or state.recipe.data} have {how}. Go on with the "
        "data of before, or train these in a run of their own, from its weights if you like "
        "(weights=…/checkpoints/best.safetensors)"
    )


def refuse_other_reading(before: Mapping[str, Any] | None, state: TrainingState) -> None:
    """Refuse images that are read in another way than those a training began with.

    Args:
        before: as `data` has "images"; None of an older release, which did not keep it.
        state: that goes on.

    Raises:
        ValueError: other bands, or another range.
    """
    if before is None:
        return
    began, now = (data.Reading.from_dict(each) for each in (before, state.data["images"]))
    if not began.same_values(now):
        raise ValueError(
            f"the data in {state.recipe.data_root or state.recipe.data} are read as {now}, and the "
            f"training began with {began}. Write bands and range into data.yaml as they were, or "
            "train in a run of its own"
        )
