"""What others measured: the counts that our networks are held against, and the papers' sizes.

``papers/NAME.yaml`` is about the networks of ``segkit/models/NAME.py``. Counts were obtained by
building the other implementation unless the name says otherwise ("paper": copied from it), without
running statistics. "ResNet aside": theirs has another stem, of three 3x3 convolutions, so what
follows the ResNet is compared.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FAMILIES = (
    "FCN", "U-Net", "DeepLab", "Pyramid and context", "Object context", "Real time", "Transformers",
)  # fmt: skip
"""The sections of MODELS.md, in this order."""


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
    without: Sequence[str] = ()
    only: Sequence[str] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    difference: int = 0
    why: str = ""


class Comparison(NamedTuple):
    """A comparison with another implementation that was made once, by hand, and is not repeated.

    Random weights and running statistics in float64, the same in both: each of our layers took the
    weights of the layer of theirs whose recorded input equals its own. Compared were the logits and
    auxiliary outputs in evaluation. PaddleSeg ran on Paddle 3.3.1; what it keeps of biases in front
    of batch normalisation was set to zero.

    Attributes:
        reference: the other implementation, with its version or commit.
        difference: the largest absolute one.
        options: of our builder, where its default is another variant.
        up_to: what was set alike or left aside, empty for nothing.
        also: what else was found.
        date: when.
        commit: of our code then.
    """

    reference: str
    difference: float
    options: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    up_to: str = ""
    also: str = ""
    date: str = "2026-11-29"
    commit: str = "87a3c55"


class Facts(NamedTuple):
    """What is known about an entry of the catalogue besides its code.

    Attributes:
        family: its section in MODELS.md, one of `FAMILIES`.
        size: (H, W) that its paper works at, or (D, H, W).
        references: counts to match.
        compared: other implementations that it was once compared with.
        others: who has which variant under the same name.
        lr: learning rate that learns two images by heart.
        coarse: why the network cannot do that, where it cannot.
    """

    family: str
    size: Sequence[int]
    references: Sequence[Reference] = ()
    compared: Sequence[Comparison] = ()
    others: str = ""
    lr: float = 1e-3
    coarse: str = ""


@cache
def facts() -> dict[str, Facts]:
    """The facts of every entry, by name, in the order of MODELS.md: by family, then by year.

    Raises:
        ValueError: a file whose family is not one of `FAMILIES`, or with a field that there is not.
    """
    files = (Path(__file__).parent / "papers").glob("*.yaml")
    papers = {file.stem: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}

    def order(stem: str) -> tuple[int, int, str]:
        if papers[stem]["family"] not in FAMILIES:
            family = papers[stem]["family"]
            raise ValueError(
                f"the family of {stem}.yaml is {family!r}, not one of {', '.join(FAMILIES)}"
            )
        year = importlib.import_module(f"segkit.models.{stem}").PAPER.year
        return FAMILIES.index(papers[stem]["family"]), year, stem

    found = {}
    for stem in sorted(papers, key=order):
        for name, fields in papers[stem]["networks"].items():
            try:
                for part, kind in (("references", Reference), ("compared", Comparison)):
                    fields[part] = [kind(**entry) for entry in fields.get(part, ())]
                found[name] = Facts(papers[stem]["family"], **fields)
            except (TypeError, AttributeError) as error:
                raise ValueError(
                    f"segbook/certificates/papers/{stem}.yaml, {name}: {error}. A network has "
                    f"{', '.join(Facts._fields[1:])}; a reference {', '.join(Reference._fields)}; "
                    f"a comparison {', '.join(Comparison._fields)}"
                ) from None
    return found
