"""What others measured: the counts that our networks are held against, and the papers' sizes."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import yaml


class Reference(NamedTuple):
    """A parameter count of another implementation.

    Attributes:
        name: whose, with its version or commit.
        parameters: theirs.
        classes: at which number of classes.
        in_channels: for images of how many channels.
        without: our submodules that are not in their count.
        only: our submodules that are; empty for all.
        options: of our builder, where its default is another variant.
        difference: ours minus theirs, where they may differ.
        why: they differ.
    """

    name: str
    parameters: int
    classes: int = 19
    in_channels: int = 3
    without: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    difference: int = 0
    why: str = ""


class Facts(NamedTuple):
    """What is known about an entry of the catalogue besides its code.

    Attributes:
        family: its section in MODELS.md.
        size: (H, W) that its paper works at, or (D, H, W).
        references: counts to match.
        others: who has which variant under the same name.
        lr: learning rate that learns two images by heart.
        coarse: why the network cannot do that, where it cannot.
    """

    family: str
    size: tuple[int, ...]
    references: tuple[Reference, ...] = ()
    others: str = ""
    lr: float = 1e-3
    coarse: str = ""


@cache
def facts() -> dict[str, Facts]:
    """The facts of every entry, by name, in the order of MODELS.md."""
    text = resources.files(__package__).joinpath("facts.yaml").read_text(encoding="utf-8")
    found = {}
    for family, entries in yaml.safe_load(text).items():
        for name, fields in entries.items():
            fields["references"] = tuple(
                Reference(
                    **{k: tuple(v) if isinstance(v, list) else v for k, v in reference.items()}
                )
                for reference in fields.get("references", ())
            )
            fields["size"] = tuple(fields["size"])
            fields["lr"] = float(fields.get("lr", 1e-3))
            found[name] = Facts(family=family, **fields)
    return found
