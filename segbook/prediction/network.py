"""The network that predicts: the best of a run, a weights file, or one in the box."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from segbook.runs import code
from segbook.runs.folder import RunFolder, find, has_record, run_names, runs_root
from segbook.text import one_line
from segbook.training.state import BEST
from segkit import load_model, outside
from segkit.data import camvid
from segkit.data.classes import void_ids
from segkit.files import FileError, shown, what_is_there
from segkit.metrics import POLICIES
from segkit.outputs import IGNORE
from segkit.weights import bundled


class Network(NamedTuple):
    """A trained network and what is known of it.

    Attributes:
        model: in eval mode, on the CPU.
        header: of its weights, see `segkit.weights`.
        source: its file, or its name in the box.
        void: the ids that mark void in masks of the data that it was trained on, besides 255.
        data: the name of these data, see `segkit.data.catalog`; "" where nothing says it.
        run: whose best weights they are; None for weights by themselves.
    """

    model: nn.Module
    header: dict[str, Any]
    source: str
    void: tuple[int, ...]
    data: str
    run: RunFolder | None = None

    def __str__(self) -> str:
        """What it is, in one line."""
        step = self.header.get("step")
        names = self.header.get("classes")
        said = [str(self.header.get("builder", type(self.model).__name__))]
        said += [f"step {step}"] if step is not None else []
        if isinstance(names, list):
            some = ", ".join(map(str, names[:12])) + ", ..." * (len(names) > 12)
            said += [f"{len(names)} classes ({some})"]
        metric: Any = self.header.get("metric")
        known = metric if isinstance(metric, Mapping) else self.header
        if isinstance(value := known.get("value"), int | float):
            split = f"{known['split']} " if known.get("split") else ""
            said += [f"{split}mIoU {100 * value:.1f} ({policy_of(self.header)})"]
        return one_line("; ".join([*said, self.source]))


def open_network(
    source: str | Path,
    *,
    model: str | None = None,
    backbone: str | None = None,
    trust: bool = False,
) -> Network:
    """Open a trained network.

    Args:
        source: a run's folder, its name or the start of it, of which the best weights are taken;
            what `segkit.load_model` takes: a weights file, or weights in the box by name; or an
            ONNX file of ``segbook export``.
        model: the builder of a network of your own, as `segkit.load_model` takes it; None for the
            copy of it in the run of which the weights are.
        backbone: the same of a backbone of your own.
        trust: whether such a copy may be executed, now and later, see `segbook.runs.code`.

    Raises:
        ValueError: neither a run nor weights; a run that has not been validated yet, or whose code
            is not trusted; or as `segkit.load_model`.
    """
    if Path(source).suffix == ".onnx":
        return _open_onnx(Path(source))
    run = _run_of(str(source))
    weights = _best_of(run) if run else str(source)
    of = run or _run_around(Path(weights))
    if of and trust:  # its data may be of its own, too
        code.trust(of)
    if of and not (model or backbone):
        recipe: Any = of.read().get("recipe") or {}
        own = code.own(of, {key: recipe.get(key) for key in ("model", "backbone")})
        model, backbone = (own[k] if outside.is_outside(own[k]) else None for k in own)
    network, header = load_model(weights, model=model, backbone=backbone)
    recipe = (run.read().get("recipe") or {}) if run else {}
    about: Any = header.get("data")
    data = recipe.get("data") or (about.get("name") if isinstance(about, Mapping) else "") or ""
    void = void_ids(recipe.get("ignore", IGNORE))
    if data == "camvid":
        void = (*void, camvid.VOID)
    return Network(network, header, weights, void, str(data), run)


def _open_onnx(path: Path) -> Network:
    """The network in a file of ``segbook export``."""
    from segkit.export.onnx_network import OnnxNetwork

    if not path.is_file():
        raise FileError(path, what_is_there(path))
    try:
        model = OnnxNetwork(path.read_bytes())
    except ValueError as error:
        raise FileError(path, str(error)) from error
    header = model.header | {"normalisation": model.normalisation}
    if "int8" in header:  # the value is that of the weights
        header["metric"] = {"policy": policy_of(header)}
    about: Any = header.get("data")
    data = str((about.get("name") if isinstance(about, Mapping) else "") or "")
    void = (camvid.VOID,) if data == "camvid" else ()
    return Network(model.eval(), header, str(path), void, data)


def _run_around(weights: Path) -> RunFolder | None:
    """The run in whose folder a weights file lies."""
    folder = weights.absolute().parent.parent
    is_in = weights.parent.name == "checkpoints" and weights.exists() and has_record(folder)
    return RunFolder(folder) if is_in else None


def policy_of(header: Mapping[str, Any]) -> str:
    """The mIoU policy by which a network was scored; "dataset" where its header names none."""
    metric = header.get("metric")
    policy = (metric if isinstance(metric, Mapping) else header).get("policy")
    return policy if isinstance(policy, str) and policy in POLICIES else "dataset"


def _run_of(source: str) -> RunFolder | None:
    """The run that is meant; None where it is something else."""
    path = Path(source)
    if not has_record(path) and not has_record(runs_root() / source):
        if "://" in source:
            return None
        if path.suffix == ".safetensors" and not path.exists():
            raise ValueError(
                f"there is no such file or run: {shown(source)} {what_is_there(source)}; "
                "`segbook list` shows the runs there are"
            )
        # A folder, such as one of data, may be called as runs begin.
        starts_a_run = any(name.startswith(source) for name in run_names(runs_root()))
        if path.exists() and not (path.is_dir() and starts_a_run):
            return None
        if bundled.find(source):
            return None
    try:
        return find(source)
    except ValueError as error:
        raise ValueError(
            f"{error}. Nor is there a weights file of this name, nor weights in the box: those are "
            f"{', '.join(bundled.names())}"
        ) from None


def _best_of(run: RunFolder) -> str:
    if (run.checkpoints / BEST).exists():
        return str(run.checkpoints / BEST)
    others = [one.argument for one in run.children() if (one.checkpoints / BEST).exists()]
    raise ValueError(
        f"run {one_line(run.name)} has no best weights: a training writes them when it validates"
        + f"; the trainings of this notebook that have some: {one_line(', '.join(others))}"
        * bool(others)
    )
