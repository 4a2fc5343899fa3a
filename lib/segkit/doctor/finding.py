"""What the doctor finds: one record for everything, data, model, recipe and machine."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from segkit.files import shown

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the one that stops a run to the one that only tells."""

_SHOWN, _LISTED = 5, 20


class Place(NamedTuple):
    """A file in which something was found.

    Attributes:
        file: path of the file, or the name of a sample that has none.
        pixels: how many of its pixels are concerned; 0 where pixels are not the matter.
        marked: bool (H, W), True at those pixels; only for a few places of a finding.
    """

    file: str
    pixels: int = 0
    marked: Tensor | None = None

    def __str__(self) -> str:
        file = shown(self.file)
        return f"{file} ({self.pixels:,} pixels)" if self.pixels else file


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor has to say.

    Attributes:
        severity: "error" stops a run, "warning" is kept with it, "note" only tells.
        check: name of the check, as snake_case.
        what: what was found, with numbers.
        why: why it hurts; empty where it does not.
        fix: what to do, one line; empty where nothing has to be done. ``--set lr=0.01`` is for
            segbook's command line; in Python it is a recipe's field, or an argument of that name.
        places: where, the worst first; the first twenty are kept.
        count: how many places there are, kept or not.
    """

    severity: Severity
    check: str
    what: str
    why: str
    fix: str
    places: tuple[Place, ...] = ()
    count: int = 0

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity={self.severity!r}: choose from {', '.join(SEVERITIES)}")
        object.__setattr__(self, "count", max(self.count, len(self.places)))
        object.__setattr__(self, "places", self.places[:_LISTED])

    def __str__(self) -> str:
        """Return the form for a terminal; no file's name begins a line of its own."""
        lines = [f"{self.severity:<7} {self.check}  {self.what}"]
        lines += [f"  where  {place}" for place in self.places[:_SHOWN]]
        if (rest := self.count - len(self.places[:_SHOWN])) > 0 and self.places:
            lines.append(f"         and {rest:,} more")
        lines += [f"  why    {self.why}"] if self.why else []
        lines += [f"  fix    {self.fix}"] if self.fix else []
        return "\n".join(line.replace("\n", "\n" + " " * 9) for line in lines)


error = functools.partial(Finding, "error")
warning = functools.partial(Finding, "warning")
note = functools.partial(Finding, "note")


def by_severity(findings: Iterable[Finding | None]) -> list[Finding]:
    """Sort: errors, warnings, notes, each in their order; without the None of content checks."""
    found = (finding for finding in findings if finding)
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: "1 mask", "2,975 masks", "3 classes"."""
    plural = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{plural}"
