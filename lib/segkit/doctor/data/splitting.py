"""Which images to train on and which to keep apart: what looks alike stays together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.data.splits import groups_of_alike


def split_records(
    scan: Scan, shares: Mapping[str, float], *, seed: int = 0
) -> dict[str, list[Record]]:
    """Deal the pairs of a scan out to splits, near-duplicates together, each class to each split.

    The rarest class is dealt out first: its groups go one to each split, then to the split that
    lacks most of it (iterative stratification); groups without labels fill what is missing.

    Args:
        scan: of all pairs.
        shares: of the images by split, the most important split first; they sum to 1.
        seed: of the order in which groups of one class are dealt out.

    Returns:
        By split its records, in the order of the scan.

    Raises:
        ValueError: shares that are not above 0 or do not sum to 1, or fewer groups than splits.

    Source: Sechidis et al., "On the Stratification of Multi-Label Data", ECML PKDD 2011.
    """
    if not all(share > 0 for share in shares.values()) or not math.isclose(sum(shares.values()), 1):
        raise ValueError(f"shares={dict(shares)}: give numbers above 0 that sum to 1")
    records = [record for record in scan.records if record.mapped]
    groups = groups_of_alike(records)
    if len(groups) < len(shares):
        raise ValueError(
            f"{len(records)} pairs that can be read are {len(groups)} groups of images that do not "
            f"look alike, too few for {', '.join(shares)}: add pairs, or ask for fewer splits"
        )
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed)).tolist()
    groups = [groups[number] for number in order]
    holds = np.array([sum(scan.counts(r)[:-1] > 0 for r in group) for group in groups])
    sizes = np.array([len(group) for group in groups])
    names, share = [*shares], np.array([*shares.values()])
    wanted = np.outer(share, holds.sum(0)).astype(float)  # (splits, K) images
    room = share * sizes.sum()
    dealt = np.full(len(groups), -1)
    given = np.zeros(wanted.shape, int)

    def deal(group: int, split: int) -> None:
        dealt[group] = split
        wanted[split] -= holds[group]
        given[split] += holds[group]
        room[split] -= sizes[group]

    while (rest := np.flatnonzero((dealt < 0) & (holds.sum(1) > 0))).size:
        left = holds[rest].sum(0)
        rarest = min(np.flatnonzero(left), key=lambda k: left[k])
        for group in sorted(rest[holds[rest, rarest] > 0], key=lambda g: -holds[g, rarest]):
            bare = [s for s in range(len(names)) if not given[s, rarest]]
            # Of several that lack the class the most important one; the others by their need.
            deal(group, bare[0] if bare else max(range(len(names)), key=lambda s: (
                wanted[s, rarest], room[s], -s)))  # fmt: skip
    for group in np.flatnonzero(dealt < 0).tolist():
        deal(group, max(range(len(names)), key=lambda s: (room[s], -s)))
    for split in range(len(names)):  # a split that no class needed has one all the same
        if not (dealt == split).any():
            most = max(range(len(names)), key=lambda s: int((dealt == s).sum()))
            deal(int(np.flatnonzero(dealt == most)[-1]), split)
    home = {id(r): names[s] for g, s in zip(groups, dealt, strict=True) for r in g}
    return {name: [r for r in records if home[id(r)] == name] for name in names}


def table_of(scan: Scan, split: Mapping[str, Sequence[Record]]) -> list[list[str]]:
    """Rows that say what is in each split: images, and by class images and share of the pixels."""
    rows = [["", *split], ["images", *(f"{len(records):,}" for records in split.values())]]
    counts = {
        name: np.array([scan.counts(r)[:-1] for r in records]) for name, records in split.items()
    }
    for k, name in enumerate(scan.classes):
        cells = []
        for each in counts.values():
            share = each[:, k].sum() / max(1, each.sum())
            cells.append(f"{(each[:, k] > 0).sum():,} ({share:.2%})")
        rows.append([name, *cells])
    return rows
