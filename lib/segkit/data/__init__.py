"""Data sets of images with masks, and the loader that makes batches of them.

A data set has ``len``, pairs by index, ``raw``, ``stem``, ``classes``, ``palette``,
``num_classes``, ``with_transform`` and ``manifest``; void is always IGNORE (255).
"""

from segkit.data.camvid import CamVid
from segkit.data.folder import FolderDataset
from segkit.data.images import mask_from_colours, read_image, read_mask
from segkit.data.loader import batches, sequential
from segkit.data.streets import SyntheticStreets

__all__ = [
    "CamVid",
    "FolderDataset",
    "SyntheticStreets",
    "batches",
    "mask_from_colours",
    "read_image",
    "read_mask",
    "sequential",
]
