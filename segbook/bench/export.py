"""`segbook bench export`: which networks go elsewhere, how well they agree, how fast they run.

With ``--int8`` how many times faster onnxruntime runs them than torch does, in float32 and 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import torch
from torch import nn

from segbook.bench.clock import ratio, take_turns
from segbook.text import markdown
from segkit.catalog import MODELS, create_model, model_card
from segkit.export import Exported, export_network, quantize
from segkit.export.files import FORMS, load_onnx
from segkit.export.program import FromColours
from segkit.transforms import Normalize

NUM_CLASSES = 5
NORMALISATION: dict[str, Any] = {"mean": Normalize.mean, "std": Normalize.std}
PROMISED = {"deeplab_v3_plus_resnet50": 6.0, "unet_resnet18": 4.5, "pp_liteseg_t": 3.0}
"""Times faster than plain float32 in 8 bits, on a processor with instructions for them (VNNI)."""
CALIBRATION = 8
"""Images, which are noise: for times alone."""


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
    for name in names:
        model = _random(name)
        volumes = getattr(model, "spatial_dims", 2) == 3
        cells = []
        for form in FORMS:
            try:
                exported = export_network(
                    model, form, normalisation=None if volumes else NORMALISATION
                )
                cells.append(_cell(exported))
                if size is not None and not volumes:
                    cells[-1] += f"; {_speed(model, exported, form, size)}"
            except ValueError as error:
                cells.append(f"no: {markdown(error)}")
        yield f"| {name} | {' | '.join(cells)} |"


def int8_rows(
    names: Sequence[str], *, size: tuple[int, int], rounds: int = 9
) -> Iterator[tuple[str, bool]]:
    """The lines of a table of the forms in 8 bits, and whether each keeps what is promised.

    Args:
        names: of the catalogue, with random weights.
        size: (height, width) of the image.
        rounds: calls of each that are timed.
    """
    for name in names:
        model_card(name)
    yield "| network | onnx | int8 | promised |", True
    yield "|---|---|---|---|", True
    images = torch.randint(256, (CALIBRATION, 3, *size), dtype=torch.uint8)
    for name in names:
        model = _random(name)
        plain = export_network(model, "onnx", normalisation=NORMALISATION)
        runs = {
            "torch": FromColours(model, **NORMALISATION).eval(),
            "onnx": load_onnx(plain.content),
            "int8": load_onnx(quantize(plain, [*images]).content),
        }
        works = {form: (lambda run=run: run(images[:1])) for form, run in runs.items()}
        with torch.no_grad():
            samples = take_turns(works, rounds)
        onnx, small = (ratio(samples["torch"], samples[form], "cpu") for form in ("onnx", "int8"))
        promised = PROMISED.get(name, 0.0)
        kept = small.median >= promised
        said = f">= {promised:g}x {'ok' if kept else 'MISSED'}" if promised else ""
        yield f"| {name} | {onnx} | {small} | {said} |", kept


def _random(name: str) -> nn.Module:
    """A network of the catalogue with random weights, of which none is zero."""
    torch.manual_seed(0)
    model = create_model(name, num_classes=NUM_CLASSES).eval()
    for parameter in model.parameters():
        if not parameter.any():  # it would hide what is before
            nn.init.normal_(parameter, std=0.01)
    return model


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
