"""`segbook bench export`: which networks go elsewhere, how well they agree, how fast they run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_type_hints

import torch
from torch import nn

from segbook.bench.clock import ratio, take_turns
from segbook.text import markdown
from segkit.catalog import MODELS, create_model, model_card
from segkit.export import Exported, export_network
from segkit.export.files import FORMS
from segkit.transforms import Normalize

NUM_CLASSES = 5


def one_of_each() -> list[str]:
    """The first name, that of the smallest, of each network; its others run the same code."""
    first: dict[object, str] = {}
    for name, builder in MODELS.items():
        first.setdefault(get_type_hints(builder)["return"], name)
    return list(first.values())


def rows(names: Sequence[str], *, size: tuple[int, int] | None = None) -> Iterator[str]:
    """The lines of a Markdown table, one as soon as its network is done.

    Args:
        names: of the catalogue; the weights are random, and none is zero.
        size: (height, width) of the image by which forms are timed against the network as it was
            built; None for no times.
    """
    for name in names:
        model_card(name)  # refuses what there is not, before an hour is over
    yield f"| network | {' | '.join(FORMS)} |"
    yield f"|---|{'---|' * len(FORMS)}"
    normalisation = {"mean": Normalize.mean, "std": Normalize.std}
    for name in names:
        torch.manual_seed(0)
        model = create_model(name, num_classes=NUM_CLASSES).eval()
        for parameter in model.parameters():
            if not parameter.any():  # it would hide what is before
                nn.init.normal_(parameter, std=0.01)
        volumes = getattr(model, "spatial_dims", 2) == 3
        cells = []
        for form in FORMS:
            try:
                exported = export_network(
                    model, form, normalisation=None if volumes else normalisation
                )
                cells.append(_cell(exported))
                if size is not None and not volumes:
                    cells[-1] += f"; {_speed(model, exported, form, size)}"
            except ValueError as error:
                cells.append(f"no: {markdown(error)}")
        yield f"| {name} | {' | '.join(cells)} |"


def _cell(exported: Exported) -> str:
    found = exported.agreement
    cell = f"{found.difference / found.largest:.0e}"
    if found.labels:
        cell += f", {100 * found.labels:.2g} % of labels"
    if exported.header["input"]["shape"][0] == 1:
        cell += "; one image a time"
    if not exported.header.get("check_guards", True):
        cell += "; `check_guards=False`"
    return cell


@torch.no_grad()
def _speed(model: nn.Module, exported: Exported, form: str, size: tuple[int, int]) -> str:
    """How many times faster a form is than the network as it was built, in CPU time."""
    images = torch.randint(256, (1, 3, *size), dtype=torch.uint8)
    normalised, run = Normalize().image(images), FORMS[form][1](exported.content)
    samples = take_turns({"plain": lambda: model(normalised), "file": lambda: run(images)}, 20)
    return str(ratio(samples["plain"], samples["file"], "cpu")).strip()
