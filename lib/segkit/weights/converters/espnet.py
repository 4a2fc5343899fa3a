"""The names that the authors of ESPNet gave its tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# From a name here to the authors', one after the other.
RULES = (
    (r"\.prelu\.", ".act."),
    (r"\.reduce\.", ".c1.conv."),
    (r"\.transform\.(\d)\.", lambda match: f".d{2 ** int(match[1])}.conv."),
    (r"\.down(\d)\.norm\.", r".level\1_0."),
    (r"\.down(\d)\.", r".level\1_0."),
    (r"\.stem\.", ".level1."),
    (r"\.norm(\d)\.", r".b\1."),
    (r"\.norm\.", ".bn."),
    (r"^project3\.", "encoder.classifier.conv."),
    (r"^bn3\.", "br."),
    (r"^up3\.", "up_l3.0."),
    (r"^project2\.", "level3_C.conv."),
    (r"^fuse2\.", "combine_l2_l3."),
    (r"^up2\.", "up_l2."),
    (r"^fuse1\.", "conv."),
    (r"^up1\.", "classifier."),
)


def from_authors(state_dict: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Rename the tensors of the authors' ESPNet, of any depth.

    Args:
        state_dict: tensors by the names of https://github.com/sacmehta/ESPNet (MIT licence). The
            counters of batch normalisation may be missing: their torch had none, none is needed.
        names: of the tensors of our `espnet` of the same depth.

    Returns:
        The same tensors by our names; counters that are missing are 0.

    Raises:
        ValueError: a name that this ESPNet does not have, or one of its names is missing.
    """
    theirs = {name: _authors_name(name) for name in names}
    counters = {their for name, their in theirs.items() if name.endswith(".num_batches_tracked")}
    missing = sorted({*theirs.values()} - counters - state_dict.keys())
    unknown = sorted(state_dict.keys() - theirs.values())
    if missing or unknown:
        raise ValueError(
            f"not the tensors of the authors' ESPNet: {len(missing)} missing "
            f"({', '.join(missing[:5])}), {len(unknown)} unknown ({', '.join(unknown[:5])}). Give "
            "the state dict of their ESPNet with its decoder, not that of ESPNet-C"
        )
    return {name: state_dict.get(their, torch.tensor(0)) for name, their in theirs.items()}


def _authors_name(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name
