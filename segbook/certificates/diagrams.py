"""Diagrams of the catalogue's networks, which MODELS.md links: docs/diagrams/NAME.svg."""

from __future__ import annotations

from pathlib import Path

from segbook.certificates.certify import CLASSES, on_meta, read
from segbook.certificates.code import code_hash
from segkit.catalog import MODELS

FOLDER = "docs/diagrams"


def smallest(root: Path) -> set[str]:
    """The network with the fewest parameters of each model file, by a checkout's certificates."""
    best: dict[str, tuple[int, str]] = {}
    for name, builder in MODELS.items():
        if certificate := read(name, root):
            own = certificate["parameters"]["total"], name
            best[builder.__module__] = min(own, best.get(builder.__module__, own))
    return {name for _, name in best.values()}


def draw(name: str) -> str:
    """The SVG of a network of the catalogue, which says at its end of which code it is."""
    from segbook.figures.diagram import diagram

    return f"{diagram(on_meta(name, num_classes=CLASSES), name=name).svg}{_mark(name)}"


def write(name: str, root: Path) -> Path:
    """Write a network's diagram into a checkout, and return its path."""
    path = root / FOLDER / f"{name}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw(name), encoding="utf-8")
    return path


def is_current(name: str, root: Path) -> bool:
    """Whether the diagram in a checkout is of the network's code as it is now."""
    path = root / FOLDER / f"{name}.svg"
    return path.is_file() and path.read_text(encoding="utf-8").endswith(_mark(name))


def _mark(name: str) -> str:
    return f"<!-- code {code_hash(MODELS[name])} -->\n"
