"""The examination of data: one scan, then every check on its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from segkit.doctor.data import files, labels, pairing, splits
from segkit.doctor.data.diagnosis import Scan
from segkit.doctor.data.scan import scan_folder
from segkit.doctor.finding import Finding, by_severity
from segkit.doctor.machine import available_memory

CHECKS: tuple[Callable[[Scan], Iterator[Finding]], ...] = (
    files.unreadable_or_truncated,
    pairing.image_without_mask,
    pairing.mask_without_image,
    pairing.names_in_two_forms,
    pairing.pictures_in_subfolders,
    pairing.listed_without_files,
    pairing.listed_twice,
    pairing.in_two_splits,
    pairing.unlabelled_splits,
    pairing.several_files_of_one_stem,
    files.size_mismatch,
    files.turned_by_camera,
    files.sixteen_bit,
    files.animated_pictures,
    files.odd_sizes,
    labels.classes_unknown,
    labels.lossy_masks,
    labels.class_of_lines,
    labels.colour_masks,
    labels.other_palette,
    labels.zero_and_255_masks,
    labels.off_by_one,
    labels.values_out_of_range,
    labels.void_share,
    splits.split_in_another_case,
    splits.tiny_split,
    splits.classes_never_present,
    splits.class_frequencies,
    splits.near_duplicates,
    splits.exact_duplicates,
)
"""Every check of a scan; `files.too_large_for_memory` takes the memory as well."""


def inspect(scan: Scan, *, memory: int | None = None) -> list[Finding]:
    """Judge what a scan has found.

    Args:
        scan: from `scan_folder` or `scan_data`.
        memory: bytes that one image may take; None for what is free on this machine.

    Returns:
        Errors, then warnings, then notes.
    """
    memory = available_memory() if memory is None else memory
    findings = [finding for check in CHECKS for finding in check(scan)]
    return by_severity([*findings, *files.too_large_for_memory(scan, memory)])


def inspect_folder(
    root: str | bytes | Path, *, memory: int | None = None, **options: Any
) -> list[Finding]:
    """Look at a folder of pairs and say everything that is wrong with it.

    Args:
        root: as `segkit.data.FolderDataset` takes it, or with a folder for each split.
        memory: as `inspect` takes it.
        options: splits, classes, palette, ignore, workers, progress, as `scan_folder` takes them.

    Returns:
        Errors, then warnings, then notes.

    Raises:
        ValueError: no such folder, nothing that looks like pairs, no such split, or classes and
            palette that do not fit.
    """
    return inspect(scan_folder(root, **options), memory=memory)
