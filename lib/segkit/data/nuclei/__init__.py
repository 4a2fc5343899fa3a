"""Eight fluorescence images of cell nuclei, each nucleus numbered, in the box.

256x256 pixels, grey, all of one kind of microscope image, and chosen because many of their nuclei
touch. From the first training set of the 2018 Data Science Bowl (CC0; J. Caicedo et al., "Nucleus
segmentation across imaging experiments: the 2018 Data Science Bowl", Nature Methods 2019), see the
folder's README.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from segkit.data.images import read_mask

CLASSES = ("background", "nucleus")
PALETTE = ((0, 0, 0), (255, 255, 255))
ROOT = Path(__file__).parent
"""Six images to train on and two to validate on, a folder for `segkit.data.FolderDataset`;
"nuclei_sample" in the catalogue."""


def instances(stem: str) -> Tensor:
    """Which nucleus each pixel of an image belongs to.

    Args:
        stem: the image's name, such as ``"4d4ebfca"``.

    Returns:
        uint8 (256, 256): 0 for background, n for the n-th nucleus.

    Raises:
        ValueError: there is no such image; the message lists them.

    Example:
        >>> int(instances("4d4ebfca").max())
        49
    """
    known = {path.stem: path for path in ROOT.glob("*/instances/*.png")}
    if stem not in known:
        raise ValueError(f"there is no image {stem!r:.100}: there are {', '.join(sorted(known))}")
    return read_mask(known[stem])
