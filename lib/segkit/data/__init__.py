"""Data sets of images with masks, and the loader that makes batches of them.

A data set has ``len``, pairs by index, ``raw``, ``stem``, ``classes``, ``palette``,
``num_classes``, ``with_transform`` and ``manifest``; void is always IGNORE (255).
"""

from segkit.data.ade20k import ADE20K
from segkit.data.bands import Reading, reading_of
from segkit.data.camvid import CamVid
from segkit.data.cityscapes import Cityscapes
from segkit.data.described import Description, find_description, open_folder
from segkit.data.folder import FolderDataset, write_folder
from segkit.data.hippocampus import Hippocampus
from segkit.data.images import mask_from_colours, note_orientation, read_image, read_mask
from segkit.data.loader import BadSample, LoaderError, batches, sequential
from segkit.data.photographs import PHOTOGRAPHS, photograph
from segkit.data.streets import SyntheticStreets
from segkit.data.subset import Subset
from segkit.data.voc import VOC2012
from segkit.data.volumes import VolumeDataset

__all__ = [
    "ADE20K",
    "PHOTOGRAPHS",
    "VOC2012",
    "BadSample",
    "CamVid",
    "Cityscapes",
    "Description",
    "FolderDataset",
    "Hippocampus",
    "LoaderError",
    "Reading",
    "Subset",
    "SyntheticStreets",
    "VolumeDataset",
    "batches",
    "find_description",
    "mask_from_colours",
    "note_orientation",
    "open_folder",
    "photograph",
    "read_image",
    "read_mask",
    "reading_of",
    "sequential",
    "write_folder",
]
