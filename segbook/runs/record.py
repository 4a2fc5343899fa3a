"""What ``run.json`` and ``metrics.jsonl`` may hold, down to the leaves, and how they are read.

Fields and records that are not known here are kept and not looked at. What does not fit is damage,
wherever it comes from: no reader of a run has to ask for a type again.
"""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any, Literal, Required, TypedDict

import msgspec
from msgspec import Meta

from segbook.schema import UNREADABLE

DEEPEST = 50
"""Dicts and lists within each other: what reads them calls itself as often."""
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e10)]


class Score(float):
    """In 0..1, or NaN where nothing was counted."""


class Scores(TypedDict, total=False):
    """What was measured on a split; any field may be missing or null."""

    miou: Score | None
    accuracy: Score | None
    policy: str | None
    iou: list[Score | None] | None  # by class


class Result(Scores, total=False):
    """The scores on validation, and on test where there is one."""

    split: str | None
    step: Count | None
    classes: list[str] | None
    test: Scores | None


class RunError(TypedDict, total=False):
    """What a run failed by."""

    name: str | None
    message: str | None
    traceback: list[str] | None
    cell: Count | None  # from 1
    execution_count: Count | None


class Forecast(TypedDict, total=False):
    """What a run foresaw of itself, and what it came to."""

    seconds: Seconds | None
    low: Seconds | None
    high: Seconds | None
    actual: Seconds | None
    error: float | None
    from_step: Count | None
    memory: float | None  # bytes
    disk: float | None  # bytes


class CodeRecord(TypedDict):
    """The user's own code behind a field of the recipe, see `segbook.runs.code`."""

    name: str
    main: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    files: dict[str, str]


class RecipeRecord(TypedDict, total=False):
    """What is shown of a recipe; `segbook.recipes.Recipe.from_dict` checks the rest."""

    name: str | None
    data_root: str | None
    steps: Count | None


class RunRecord(TypedDict, total=False):
    """The fields of ``run.json`` that others read; any may be missing or null."""

    status: Literal["running", "finished", "failed", "stopped", "interrupted"] | None
    kind: str | None  # "train" or "notebook"
    created: str | None  # ISO 8601
    reason: str | None  # why it stopped
    attempts: Count | None
    parent: str | None  # the notebook's folder, of a further training in it
    own_loop: bool | None  # its steps are a notebook's own code
    scored: str | None  # by this name, by no training here
    processes: Count | None
    threads: Count | None
    precision: str | None
    settings: str | None
    step: Count | None
    steps: Count | None
    seconds: Seconds | None  # in training steps
    cpu_seconds: Seconds | None
    seconds_total: Seconds | None
    time_limit: Seconds | None
    notebook: str | None
    source_sha256: str | None  # of ``source.ipynb``
    cwd: str | None
    recipe_name: str | None
    recipe: RecipeRecord | None
    parameters: dict | None
    overrides: dict | None
    versions: dict[str, str] | None
    machine: str | None
    git_commit: str | None
    git_dirty: bool | None
    code: dict[str, CodeRecord] | None  # by field
    code_before: list[dict] | None  # as code, "until" which step; newest last
    data_manifest: dict[str, str] | None
    data_before: list[dict] | None  # as data_manifest, "until" which step; newest last
    result: Result | None
    error: RunError | str | None
    warnings: list[str] | None  # of what runs the notebook's cells
    forecast: Forecast | None


class Metrics(TypedDict, total=False):
    """A line of ``metrics.jsonl``."""

    step: Required[Count]
    loss: float | None
    parts: dict[str, float | None] | None
    lr: float | None
    images_per_second: float | None
    waited: float | None
    time: float | None
    val_miou: Score | None
    val_accuracy: Score | None
    policy: str | None
    seconds: Seconds | None


def check(content: dict[str, Any]) -> dict[str, Any]:
    """A run's record, where it is one.

    Raises:
        ValueError: a field is of another type or out of its range, the message names it; or it is
            nested too deeply.
    """
    try:
        _check_depth(content, DEEPEST)
        msgspec.convert(content, RunRecord, dec_hook=_score)
    except (*UNREADABLE, msgspec.ValidationError) as error:
        raise ValueError(str(error)) from None
    return content


def text_of(content: dict[str, Any]) -> str:
    """A run's record as ``run.json`` keeps it.

    Raises:
        ValueError: no reader could read it.
    """
    text = json.dumps(content, indent=1) + "\n"
    check(json.loads(text))
    return text


def metrics_of(line: str) -> dict[str, Any] | None:
    """The record in a line of ``metrics.jsonl``; None where a kill cut it short, or it is damaged.

    Whole numbers that no float can hold become infinite.
    """
    with contextlib.suppress(*UNREADABLE, msgspec.ValidationError):
        record = _METRICS.decode(line)
        msgspec.convert(record, Metrics, dec_hook=_score)
        return record
    return None


def _check_depth(content: Any, left: int) -> None:
    if isinstance(content, dict | list):
        if not left:
            raise ValueError("its JSON is nested too deeply")
        for inner in content.values() if isinstance(content, dict) else content:
            _check_depth(inner, left - 1)


def _bounded(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


_METRICS = json.JSONDecoder(parse_int=_bounded)  # `json.loads` would make one for each line


def _score(kind: type, value: Any) -> Any:
    if kind is Score and isinstance(value, float | int) and not isinstance(value, bool):
        if value != value or 0 <= value <= 1:
            return Score(value)
    raise ValueError(f"Expected a number from 0 to 1, got {value!r:.20}")
