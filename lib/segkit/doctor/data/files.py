"""Checks of files: can each be read, do the two of a pair fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from segkit.data import images
from segkit.data.images import turning_cure
from segkit.doctor.data.diagnosis import Record, Scan
from segkit.doctor.data.pictures import Picture
from segkit.doctor.finding import Finding, Place, counted, error, note, warning
from segkit.files import shown

_SMALLEST = 32
_SMALL_FEATURES = 64  # float32 features for each input pixel / 4: half resolution, 64 channels


def unreadable_or_truncated(scan: Scan) -> Iterator[Finding]:
    """Files that are empty, cut off, damaged or no pictures; pairs that a data set refuses."""
    broken = [p for r in scan.records for p in r.pictures if p.error and not p.too_large]
    if broken:
        yield error(
            "unreadable_or_truncated",
            f"{counted(len(broken), 'file')} cannot be read; "
            f"{shown(broken[0].file)} {broken[0].error}",
            "training stops, or goes on without the pair, when it comes to this file",
            "do what it says, or remove both halves of the pair",
            _files(broken),
        )
    refused = [
        r for r in scan.records if r.refused and id(r) not in scan.faulty and not _explained(r)
    ]
    if refused:
        yield error(
            "unreadable_or_truncated",
            f"the data set refuses {counted(len(refused), 'pair')}: {refused[0].refused}",
            "training stops, or goes on without the pair, when it comes to it",
            "do what the message says, or leave the pair out",
            tuple(Place(record.where) for record in refused),
        )


def size_mismatch(scan: Scan) -> Iterator[Finding]:
    """Masks of another size than their image."""
    bad = [
        (record.image, record.mask)
        for record in scan.records
        if record.image
        and record.mask
        and record.image.size != record.mask.size
        and not (record.image.error or record.mask.error)
    ]
    if bad:
        image, mask = bad[0]
        across = [pair for pair in bad if pair[0].size == pair[1].size[::-1]]
        cures = (turning_cure(Path(one.file), Path(other.file)) for one, other in across)
        cure = next(filter(None, cures), "")
        yield error(
            "size_mismatch",
            f"{counted(len(bad), 'pair')} of two sizes; {shown(image.file)} has {_size(image)} "
            f"pixels (width x height) and its mask {_size(mask)}",
            "labels would lie on the wrong pixels, so the pair is refused",
            f"the camera's note (EXIF) turns one of the two; {cure}"
            if cure
            else "check that the two belong together; scale the mask (nearest) only where "
            "nothing of it is cut off",
            _files([mask for _, mask in bad]),
        )


def turned_by_camera(scan: Scan) -> Iterator[Finding]:
    """Pairs of one size of which a camera's note turns one, so that sizes tell nothing."""
    unsure = [
        (record.image, record.mask)
        for record in scan.records
        if record.image and record.mask and _unsure(record.image, record.mask)
    ]
    if unsure:
        image, mask = unsure[0]
        cure = turning_cure(Path(image.file), Path(mask.file))
        yield warning(
            "turned_by_camera",
            f"{counted(len(unsure), 'pair')} in which a camera's note (EXIF orientation) turns the "
            f"image or the mask and the other says nothing of it, or something else; "
            f"{shown(image.file)} has {_note(image)} and its mask {_note(mask)}",
            "both are read as viewers show them; a program that ignores such notes has drawn masks "
            "that lie on their heads now, and sizes cannot tell",
            f"look at a pair; {cure}",
            _files([mask for _, mask in unsure]),
        )


def sixteen_bit(scan: Scan) -> Iterator[Finding]:
    """Images of more than 8 bits, and masks whose values do not fit into 8."""
    deep = [r.image for r in scan.records if r.image and r.image.deep]
    if deep:
        cut = all(picture.mode.startswith("RGB") for picture in deep)
        yield Finding(
            "warning" if cut else "error",
            "sixteen_bit",
            f"{counted(len(deep), 'image')} of more than 8 bits a channel",
            "only the upper 8 bits are read" if cut else "images are read as 8 bits",
            "scale to 0..255 and save as 8-bit PNG; which range to keep is a choice of yours",
            _files(deep),
        )
    if bad := scan.faults["sixteen_bit"]:
        yield error(
            "sixteen_bit",
            f"{counted(len(bad), 'mask')} with values up to "
            f"{max(max(record.labels.values) for record in bad):,}",
            "class ids are 0..254 and void is 255; such values are instances or depths",
            "map them to class ids, such as values // 1000, and save 8-bit PNG",
            scan.places(bad, lambda values: (values < 0) | (values > 255)),
        )
    wide = [r.mask for r in scan.sound if r.mask and r.mask.deep and not r.refused]
    if wide:
        yield note(
            "sixteen_bit",
            f"{counted(len(wide), 'mask')} of more than 8 bits, with ids that fit into 8",
            "nothing is lost, but they take longer to read",
            "save them as 8-bit PNG when convenient",
            _files(wide),
        )


def animated_pictures(scan: Scan) -> Iterator[Finding]:
    """Pictures of several frames or pages: nobody knows which of them is meant."""
    moving = [p for record in scan.records for p in record.pictures if p.animated]
    if moving:
        yield error(
            "animated_pictures",
            f"{counted(len(moving), 'file')} with several frames; {shown(moving[0].file)} is "
            f"{moving[0].format} by content",
            "which of them is meant is not known, so that the pair is refused",
            "save the frame or page that you mean as PNG",
            _files(moving),
        )


def too_large_for_memory(scan: Scan, memory: int | None) -> Iterator[Finding]:
    """Pictures that are refused for their size, or that a network cannot take whole.

    Args:
        scan: of the data.
        memory: bytes that may be used; None where that is not known.
    """
    refused = [p for record in scan.records for p in record.pictures if p.too_large]
    if refused:
        yield error(
            "too_large_for_memory",
            f"{counted(len(refused), 'file')} of more than {images.MAX_PIXELS:,} pixels; "
            f"{shown(refused[0].file)} {refused[0].error}",
            "such files are refused, because decoding one can take all memory",
            "cut them into tiles, or, where that is the true size, raise "
            "segkit.data.images.MAX_PIXELS and PIL.Image.MAX_IMAGE_PIXELS",
            _files(refused),
        )
    if memory is None:
        return
    # Evaluation takes images whole: the image, logits and probabilities, the first features.
    channels = 3 + 2 * max(len(scan.classes), 2) + _SMALL_FEATURES // 4
    whole = [r.image for r in scan.records if r.image and not r.image.too_large]
    large = [picture for picture in whole if 4 * channels * math.prod(picture.size) > memory]
    if large:
        largest = max(large, key=lambda picture: math.prod(picture.size))
        need = 4 * channels * math.prod(largest.size)
        yield warning(
            "too_large_for_memory",
            f"{counted(len(large), 'image')} too large to be evaluated whole: {_size(largest)} "
            f"takes about {need / 1e9:.1f} GB, {memory / 1e9:.1f} GB are free",
            "evaluation would be ended by the system without a word",
            "cut the images into tiles, or evaluate with tiles or at a smaller size",
            _files(large),
        )


def odd_sizes(scan: Scan) -> Iterator[Finding]:
    """Images of several sizes, and images that are tiny."""
    known = [r.image for r in scan.records if r.image and r.image.size != (0, 0)]
    tiny = [picture for picture in known if min(picture.size) < _SMALLEST]
    if tiny:
        yield warning(
            "odd_sizes",
            f"{counted(len(tiny), 'image')} with a side under {_SMALLEST} pixels, such as "
            f"{_size(tiny[0])}",
            "networks shrink images 8 to 32 times: nothing is left to see",
            "leave them out, or enlarge image and mask (nearest neighbour)",
            _files(tiny),
        )
    sizes = Counter(picture.size for picture in known)
    if len(sizes) > 1:
        (usual, count), *_ = sizes.most_common()
        others = [picture for picture in known if picture.size != usual]
        areas = sorted(sizes, key=math.prod)
        yield note(
            "odd_sizes",
            f"images have {len(sizes)} sizes, from {areas[0][1]}x{areas[0][0]} to "
            f"{areas[-1][1]}x{areas[-1][0]} (width x height); {count:,} of {len(known):,} have "
            f"{usual[1]}x{usual[0]}",
            "a batch needs one size: training crops, evaluation takes unequal images one by one",
            "nothing, if that is how the data are; choose a crop that fits the smallest",
            _files(others) if len(others) <= len(known) // 10 else (),
            len(others),
        )


def _explained(record: Record) -> bool:
    """Whether a check of files tells why a data set refuses a pair."""
    pictures = record.pictures
    unequal = len({picture.size for picture in pictures}) > 1
    deep = record.image is not None and record.image.refused_depth
    return unequal or deep or any(picture.error or picture.animated for picture in pictures)


def _unsure(image: Picture, mask: Picture) -> bool:
    """Whether the two have one size, and it does not follow that they lie alike."""
    if image.size != mask.size or image.error or mask.error:
        return False
    if mask.orientation:  # 1 is a note, too: as it lies
        return max(image.orientation, 1) != mask.orientation != 1
    # Turned by 90 degrees, a mask that was drawn on the pixels as stored has another size.
    return image.orientation > 1 and (image.orientation <= 4 or len({*image.size}) == 1)


def _note(picture: Picture) -> str:
    return str(picture.orientation or "none")


def _files(pictures: list[Picture]) -> tuple[Place, ...]:
    return tuple(Place(picture.file) for picture in pictures)


def _size(picture: Picture) -> str:
    return f"{picture.size[1]}x{picture.size[0]}"
