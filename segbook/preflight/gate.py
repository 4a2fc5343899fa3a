"""What a training does before its first step: examine, write it down, stop where it must fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from segbook.preflight.checks import examine
from segbook.recipes.recipe import Recipe
from segbook.runs.files import read_json, write_atomic
from segbook.runs.folder import RunFolder
from segkit.doctor import Finding
from segkit.doctor.finding import counted
from segkit.engine import distributed
from segkit.engine.checkpoint import LAST, PREVIOUS
from segkit.files import shown

FILE = "doctor.json"
LIMIT = 2000
"""Pairs that are all looked at; of more, an even sample of as many."""


class PreflightError(ValueError):
    """The doctor has found what a training must fail by, or learn nonsense from."""


class SettingsRefusedError(PreflightError):
    """All that the doctor has found are settings, which a resume would keep."""


def preflight(
    recipe: Recipe,
    folder: RunFolder,
    sets: Mapping[str, Any],
    model: nn.Module | None = None,
    log: Callable[[str], None] = print,
) -> list[Finding]:
    """Examine a training before its first step, once; write all findings to ``doctor.json``.

    Where several processes train together all of them must call it: the first one examines, and
    all stop if it does. A resumed run is not examined again, unless its data have changed or there
    were errors; one that has begun to train is told of them and goes on, as it would have if the
    file had broken while it trained.

    Args:
        recipe: to be trained; its ``doctor`` says what errors do.
        folder: of the run.
        sets: its data sets by split.
        model: its network, as it will be trained.
        log: called with a line for each error and warning.

    Returns:
        The findings; empty where nothing was examined.

    Raises:
        PreflightError: there are errors, ``recipe.doctor`` is "stop", and the run has not begun.
    """
    if recipe.doctor == "off":
        return []
    findings: list[Finding] = []
    strict = recipe.doctor == "stop" and not has_begun(folder)
    if distributed.rank() == 0:
        manifest = {split: subset.manifest() for split, subset in sets.items()}
        if not _has_passed(folder, manifest):
            findings = examine(recipe, sets=sets, model=model, folder=folder.path, limit=LIMIT)
            content = {"data_manifest": manifest, "findings": [to_json(f) for f in findings]}
            write_atomic(folder.path / FILE, json.dumps(content, indent=1) + "\n")
            for finding in findings:
                stops = finding.severity == "error" and strict  # the exception says it
                if finding.severity != "note" and not stops:
                    log(_line(finding))
    wrong = [finding for finding in findings if finding.severity == "error"]
    result = [str(finding) for finding in wrong], all(f.fix.startswith("--set ") for f in wrong)
    if distributed.world_size() > 1:
        result = distributed.all_gather(result)[0]
    errors, settings = result
    if errors and strict:
        cure = "Begin" if settings else "Mend the data and resume; or begin"
        cure += " anew, with another setting, or with --set doctor=warn to train all the same. "
        cure += "In Python that is recipes.override(recipe, {'doctor': 'warn'})."
        head = f"the doctor found {counted(len(errors), 'error')}:"
        kind = SettingsRefusedError if settings else PreflightError
        raise kind("\n".join([head, *errors, cure]))
    return findings


def to_json(finding: Finding) -> dict[str, Any]:
    """A finding as JSON knows it, without pictures."""
    fields = ("severity", "check", "what", "why", "fix", "count")
    return {name: getattr(finding, name) for name in fields} | {
        "places": [{"file": place.file, "pixels": place.pixels} for place in finding.places]
    }


def has_begun(folder: RunFolder) -> bool:
    """Whether a run has a checkpoint to go on from."""
    return any((folder.checkpoints / name).exists() for name in (LAST, PREVIOUS))


def _line(finding: Finding) -> str:
    first = shown(finding.places[0].file) if finding.places else ""
    where = f" ({first})" if first and first not in finding.what else ""
    return f"{finding.severity}: {finding.what}{where} [{finding.check}]; {finding.fix}"


def _has_passed(folder: RunFolder, manifest: Mapping[str, str]) -> bool:
    """Whether an earlier attempt has examined these data and found no errors."""
    try:
        content = read_json(folder.path / FILE)
        faultless = all(finding["severity"] != "error" for finding in content["findings"])
        return faultless and content["data_manifest"] == manifest
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged: then once more
        return False
