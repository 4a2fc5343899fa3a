"""Photographs of streets with their labels, in the box: three validation images of CamVid.

They are there to try things on where no data set is. From CamVid (G. Brostow, J. Fauqueur, R.
Cipolla, "Semantic Object Classes in Video", Pattern Recognition Letters 2009), labels as SegNet
merged them; for research and teaching only, see the folder's README.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from torch import Tensor

from segkit.data.images import read_image, read_mask

PHOTOGRAPHS: dict[str, str] = {
    "street_1": "0016E5_07969",
    "street_2": "0016E5_08049",
    "street_3": "0016E5_08117",
}
"""The photographs by name, and how CamVid calls each of them."""


def photograph(name: str) -> tuple[Tensor, Tensor]:
    """Read a photograph of a street and its labels; nothing is downloaded.

    Args:
        name: one of `PHOTOGRAPHS`.

    Returns:
        The image, uint8 (3, 360, 480), RGB, as WebP keeps it; and its labels, uint8 (360, 480): the
        ids of `segkit.data.camvid.CLASSES`, or 255 for void.

    Raises:
        ValueError: no photograph has this name; the message lists them.

    Example:
        >>> image, labels = photograph("street_1")
        >>> image.shape, labels.shape
        (torch.Size([3, 360, 480]), torch.Size([360, 480]))

    Source: Brostow et al., "Semantic Object Classes in Video", Pattern Recognition Letters 2009;
    the labels of 11 classes: Badrinarayanan et al., "SegNet", PAMI 2017.
    """
    if name not in PHOTOGRAPHS:
        close = difflib.get_close_matches(str(name)[:100], PHOTOGRAPHS, n=1)
        meant = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(
            f"there is no photograph {name!r:.100}: {meant}There are {', '.join(PHOTOGRAPHS)}"
        )
    folder = Path(__file__).parent
    return read_image(folder / f"{name}.webp"), read_mask(folder / f"{name}.png")
