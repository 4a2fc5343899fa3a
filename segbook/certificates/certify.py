"""Certificates: measuring a network, writing what was found, and checking that it still holds.

A certificate is ``docs/certificates/NAME.json`` in a checkout. What is cheap is measured each time;
parity (which needs other packages) and overfitting (which needs real images and minutes) are kept
from the certificate before where they cannot be measured.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segbook.certificates import measure
from segbook.certificates.code import code_hash
from segbook.certificates.facts import Comparison, Facts, Reference, facts
from segbook.certificates.overfit import overfit, windows
from segbook.certificates.parity import Pair, compare, largest
from segkit.catalog import MODELS, model_card

CLASSES = 19
ODD_SIZES = ((33, 47), (65, 97), (131, 257))
ODD_VOLUMES = ((17, 33, 47), (32, 33, 31), (20, 65, 37))


def checkout(start: Path | None = None) -> Path:
    """The checkout of Segbook around a folder.

    Args:
        start: where to look from, upwards; the current folder unless given.

    Raises:
        ValueError: there is no checkout of Segbook around it.
    """
    start = (start or Path.cwd()).resolve()
    for parent in (start, *start.parents):
        if (parent / "segbook" / "certificates" / "papers").is_dir():
            return parent
    raise ValueError(
        f"{start} is not in a checkout of Segbook: certificates are part of its source"
    )


def path_of(name: str, root: Path) -> Path:
    """Where an entry's certificate is, in a checkout."""
    return root / "docs" / "certificates" / f"{name}.json"


def read(name: str, root: Path) -> dict[str, Any]:
    """The certificate of an entry; empty where there is none."""
    path = path_of(name, root)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write(certificate: Mapping[str, Any], root: Path) -> Path:
    """Write a certificate into a checkout."""
    path = path_of(certificate["name"], root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(certificate, indent=1) + "\n", encoding="utf-8")
    return path


def certify(
    name: str,
    *,
    before: Mapping[str, Any],
    pairs: list[Pair],
    camvid: Path | None = None,
    keep_parity: bool = False,
) -> dict[str, Any]:
    """Measure an entry of the catalogue.

    Args:
        name: of the catalogue.
        before: its certificate so far.
        pairs: its pairs, of `parity.load_pairs`.
        camvid: CamVid's folder, to overfit two of its images; None keeps what was measured.
        keep_parity: do not compare with other implementations again.

    Returns:
        The certificate; `complaints` tells whether it is good.
    """
    known, code = facts_of(name), code_hash(MODELS[name])
    return {
        **measured(name, known),
        "parity": [
            parity(pair, code, before.get("parity", ()), keep=keep_parity) for pair in pairs
        ],
        "overfit": learned(name, known, code, camvid) if camvid else before.get("overfit"),
    }


def facts_of(name: str) -> Facts:
    """The facts of an entry.

    Raises:
        ValueError: it has none.
    """
    if name not in facts():
        raise ValueError(f"nothing in segbook/certificates/papers is about {name}: add it there")
    return facts()[name]


def measured(name: str, known: Facts) -> dict[str, Any]:
    """The part of a certificate that needs neither other packages nor data, in seconds."""
    card = model_card(name)
    paper = sys.modules[MODELS[name].__module__].PAPER
    model = on_meta(name, num_classes=CLASSES)
    odd = ODD_VOLUMES if len(known.size) == 3 else ODD_SIZES
    return {
        "name": name,
        "summary": card["summary"],
        "paper": card["paper"],
        "title": paper.title,
        "year": paper.year,
        "link": paper.url,
        "differs": card["differs"],
        "code": code_hash(MODELS[name]),
        "classes": CLASSES,
        "parameters": measure.parameters(model),
        "references": [held_against(name, reference) for reference in known.references],
        "compared": [stated(comparison) for comparison in known.compared],
        "others": known.others,
        "cost": {
            "size": list(known.size),
            "gflops": round(measure.flops(model, known.size) / 1e9, 2),
            "activations_mib": round(measure.activation_bytes(model, known.size) / 2**20, 1),
        },
        "shapes": measure.shapes(model, odd),
    }


def on_meta(name: str, **arguments: Any) -> nn.Module:
    """A network without storage."""
    with torch.device("meta"):
        return MODELS[name](**arguments)


def held_against(name: str, reference: Reference) -> dict[str, Any]:
    """Our count beside a reference's."""
    model = on_meta(
        name,
        num_classes=reference.classes,
        in_channels=reference.in_channels,
        **reference.options,
    )
    ours = sum(
        parameter.numel()
        for key, parameter in model.named_parameters()
        if not key.startswith(tuple(f"{part}." for part in reference.without))
        and (not reference.only or key.startswith(tuple(f"{part}." for part in reference.only)))
    )
    return {
        **stated(reference),
        "ours": ours,
        "agrees": ours - reference.parameters == reference.difference,
    }


def stated(fact: Reference | Comparison) -> dict[str, Any]:
    """What a fact says, without the fields that it leaves empty."""
    return {key: value for key, value in fact._asdict().items() if value not in ((), {}, "")}


def parity(pair: Pair, code: str, before: Any, *, keep: bool = False) -> dict[str, Any]:
    """A pair's measured differences, or those from before where its package is missing."""
    if keep or importlib.util.find_spec(pair.package) is None:
        unmeasured = {"reference": pair.reference, "package": pair.package, "passed": None}
        return next((old for old in before if old["reference"] == pair.reference), unmeasured)
    differences = compare(pair)
    return {
        "reference": pair.reference,
        "package": pair.package,
        "version": importlib.metadata.version(pair.package.replace("_", "-")),
        "variant": pair.variant,
        "size": list(pair.size),
        "tolerance": pair.tolerance,
        "differences": {
            mode: {stage: float(f"{value:.1e}") for stage, value in stages.items()}
            for mode, stages in differences.items()
        },
        "largest": float(f"{largest(differences):.1e}"),
        "passed": largest(differences) <= pair.tolerance,
        "code": code,
    }


def learned(name: str, known: Facts, code: str, camvid: Path) -> dict[str, Any]:
    """What overfitting two real images took; a network for volumes is left out."""
    if len(known.size) == 3:
        return {"passed": None, "why": "for volumes", "code": code}
    torch.manual_seed(0)
    images, labels = windows(camvid)
    model = MODELS[name](num_classes=11)
    result = overfit(model, images, labels, num_classes=11, lr=known.lr)
    return {**result, "torch": torch.__version__.partition("+")[0], "code": code}


def complaints(certificate: Mapping[str, Any], pairs: list[Pair]) -> list[str]:
    """What keeps a certificate from being green; empty where nothing does.

    Args:
        certificate: as written.
        pairs: the entry's pairs; each must have been compared.
    """
    if not certificate:
        return ["there is none"]
    name, found = certificate["name"], []
    code = code_hash(MODELS[name])
    if certificate["code"] != code:
        return [f"its code has changed since ({certificate['code']}, now {code})"]
    for reference in certificate["references"]:
        if not reference["agrees"]:
            found.append(
                f"{reference['ours']:,} parameters, {reference['name']} has "
                f"{reference['parameters']:,}"
            )
    by_reference = {entry["reference"]: entry for entry in certificate["parity"]}
    for pair in pairs:
        entry = by_reference.get(pair.reference, {})
        if not entry.get("passed") or not entry["largest"] <= pair.tolerance:
            found.append(f"no parity with {pair.reference}: {entry.get('largest', 'not measured')}")
        elif entry.get("size") != list(pair.size):
            found.append(f"parity with {pair.reference} is of other sizes than {pair.size}")
        elif entry["code"] != code:
            found.append(f"parity with {pair.reference} is of older code")
    learned = certificate.get("overfit")
    if not learned:
        found.append("two images were not overfitted (give --data-root)")
    elif learned["passed"] is False and not facts_of(name).coarse:
        found.append(f"overfits two images to {learned['miou']} only")
    elif learned["code"] != code:
        found.append("two images were overfitted by older code (give --data-root)")
    return found
