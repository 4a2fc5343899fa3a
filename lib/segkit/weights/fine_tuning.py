"""Weights of a network that was trained for other classes: all but its scores are taken over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from segkit.weights.downloads import Source
from segkit.weights.loading import misfit, misfit_error, open_for, other_shapes, put, state_of


class Loaded(NamedTuple):
    """What `load_for_classes` did; as text, a line that says it.

    Attributes:
        source: what was loaded.
        header: see `segkit.weights.read_header`.
        fresh: names of the tensors that were not taken over whole; sorted.
        kept: the classes whose rows in those tensors were taken over, by name.
        before: number of classes that the weights were trained for.
        now: number of classes of the network.
        renamed: whether both have names for as many classes, and share none.
        prefix: what was taken off the names of the file's tensors, as by
            `segkit.weights.load_weights`; "" for nothing.
    """

    source: str
    header: dict[str, Any]
    fresh: tuple[str, ...]
    kept: tuple[str, ...]
    before: int
    now: int
    renamed: bool
    prefix: str = ""

    def __str__(self) -> str:
        without = f" ({self.prefix!r} was taken off their names)" if self.prefix else ""
        if not self.fresh:
            text = f"weights from {self.source}{without}, all of them"
            return text + self.renamed * ", though its classes have other names"
        modules = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in self.fresh))
        rows = f", but for the rows of {', '.join(self.kept)}" if self.kept else ""
        return (
            f"weights from {self.source}{without}, made for {self.before} classes, now {self.now}: "
            f"{modules} start from random weights{rows}"
        )


def load_for_classes(
    model: nn.Module,
    source: Source,
    *,
    rebuild: Callable[[int], nn.Module],
    num_classes: int,
    classes: Sequence[str] = (),
) -> Loaded:
    """Load weights that may have been trained for other classes, for fine-tuning.

    Which tensors depend on the number of classes is not guessed from their names: the network is
    built again, without memory, for the number that the file fits. These tensors keep what they
    have in ``model``; where the file names its classes, their rows move to the classes of the same
    name. Everything else must fit.

    Args:
        model: the network, with random weights, on the device where it is; as it was when anything
            is raised.
        source: see `segkit.weights.Source`.
        rebuild: builds the same network for another number of classes.
        num_classes: K of ``model``.
        classes: the names of its classes; compared without case, spaces and signs. Empty, or a file
            that names none, moves no rows.

    Returns:
        What was loaded and what was not.

    Raises:
        ValueError: the file fits the network for no number of classes; and as
            `segkit.weights.load_weights`.
        FileNotFoundError: there is no such file.
        ConnectionError: the download failed.
    """
    own = state_of(model)
    stored = open_for(model, source)
    header, shapes = stored.header, stored.shapes
    fresh, before = other_shapes(own, shapes), num_classes
    if own.keys() != shapes.keys() or fresh:
        before = _classes_of(own, shapes, num_classes, rebuild)
        if not before:
            raise misfit_error(misfit(stored, model), header)
    theirs, ours = _plain(header.get("classes"), before), _plain(classes, num_classes)
    rows = [(theirs.index(c), i) for i, c in enumerate(ours) if c and c in theirs]
    if not fresh and rows and theirs != ours:  # as many classes, but not the same ones
        fresh = other_shapes(own, _shapes(rebuild, num_classes + 1))
    tensors = stored.tensors(shapes.keys())
    put(model, {k: v for k, v in tensors.items() if k not in fresh})
    moved = [_move(own[k], tensors[k], rows, before, num_classes) for k in fresh]
    kept = tuple(classes[i] for _, i in rows) if any(moved) else ()
    renamed = bool(theirs and ours and not rows and not fresh)
    return Loaded(
        stored.name, header, tuple(fresh), kept, before, num_classes, renamed, stored.prefix
    )


def _classes_of(
    own: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    now: int,
    rebuild: Callable[..., nn.Module],
) -> int:
    """The number of classes for which the network has a file's tensors exactly; 0 for none."""
    candidates = {
        there
        for k in other_shapes(own, tensors)
        for there, here in zip(tensors[k].shape, own[k].shape, strict=False)
        if here == now and there >= 2
    }
    for number in sorted(candidates - {now}):
        shapes = _shapes(rebuild, number)
        if shapes.keys() == tensors.keys() and not other_shapes(shapes, tensors):
            return number
    return 0


def _shapes(rebuild: Callable[[int], nn.Module], number: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        return rebuild(number).state_dict()


def _plain(classes: Any, count: int) -> list[str]:
    """Names of classes as they are compared; empty unless they are names, one for each class."""
    if not isinstance(classes, (list, tuple)) or len(classes) != count:
        return []
    folded = [str(name).casefold() for name in classes]
    plain = ["".join(filter(str.isalnum, name)) for name in folded]
    return plain if len(set(plain)) == len(plain) else folded


@torch.no_grad()
def _move(mine: Tensor, theirs: Tensor, rows: list[tuple[int, int]], before: int, now: int) -> bool:
    """Copy the rows of some classes where a tensor has exactly one row a class; False elsewhere."""
    one = [
        axis
        for axis, sizes in enumerate(zip(theirs.shape, mine.shape, strict=False))
        if sizes == (before, now)
    ]
    rest = [[s for i, s in enumerate(t.shape) if i not in one] for t in (theirs, mine)]
    if len(one) != 1 or rest[0] != rest[1]:
        return False
    for source, target in rows:
        mine.select(one[0], target).copy_(theirs.select(one[0], source))
    return bool(rows)
