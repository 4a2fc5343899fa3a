"""ISBI 2012 EM: 30 slices of a fly's nerve cord, 512x512, cell or membrane; U-Net's data.

    python data_scripts/isbi_em.py                  fetch into data/isbi_em, convert, check
    python data_scripts/isbi_em.py --from FOLDER    take a clone, a folder or an archive instead
    python data_scripts/isbi_em.py --check          look at what is in data/isbi_em

The result: images/N.png (8-bit grey) and masks/N.png (0 cell interior, 1 membrane), N = 0..29,
classes.txt with the names of the two, and the lists train.txt (0-23) and val.txt (24-29). The lists
are ours: the labels of the challenge's own test volume are not public.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

if __package__:
    from .fetching.command import main
    from .fetching.dataset import DataError, DataSet, Part, read_manifest
else:
    from fetching.command import main
    from fetching.dataset import DataError, DataSet, Part, read_manifest

COMMIT = "b45af4d458437d8281cc218a07fd4380818ece4a"

TERMS = """\
ISBI 2012 EM segmentation challenge, training volume (30 slices)
  Origin   github.com/zhixuhao/unet, folder data/membrane/train (the repository's code is MIT)
  Terms    "You are free to use this data set for the purpose of generating or testing
           non-commercial image segmentation software. If any scientific publications derive
           from the usage of this data set, you must cite TrakEM2 and" the paper below
           (the organisers' words).
  Cite     Cardona, Saalfeld, Preibisch, Schmid, Cheng, Pulokas, Tomancak, Hartenstein: An
           Integrated Micro- and Macroarchitectural Analysis of the Drosophila Brain by
           Computer-Assisted Serial Section Electron Microscopy. PLoS Biology 8(10): e1000502,
           2010.
"""


def membrane_ids(label: np.ndarray) -> np.ndarray:
    """Turn the origin's drawing (255 cell, 0 membrane) into class ids (0 cell, 1 membrane).

    Args:
        label: (H, W), uint8, of 0 and 255 only.

    Returns:
        (H, W), uint8.

    Raises:
        DataError: another value, as a lossy or resized copy has.
    """
    other = np.setdiff1d(label, (0, 255))
    if other.size:
        raise DataError(f"label value {other[0]}, allowed are 0 (membrane) and 255 (cell)")
    return (label == 0).astype(np.uint8)


CLASSES = ("cell interior", "membrane")

SPEC = DataSet(
    name="isbi_em",
    title="ISBI 2012 EM",
    terms=TERMS,
    classes=CLASSES,
    size=(512, 512),
    image_mode="L",
    parts=(
        Part(
            name="all",
            images="images",
            masks="masks",
            origin_images="image",
            origin_masks="label",
            count=30,
            shares=(78.0, 22.0),
        ),
    ),
    archive_url=f"https://codeload.github.com/zhixuhao/unet/tar.gz/{COMMIT}",
    archive_bytes=45_000_000,
    manifest=read_manifest(Path(__file__).with_name("manifests") / "isbi_em.txt"),
    share_tolerance=0.05,  # the share is published as 22.0 %
    ids_from_origin=membrane_ids,
    lists={
        "classes.txt": CLASSES,
        "train.txt": tuple(map(str, range(24))),
        "val.txt": tuple(map(str, range(24, 30))),
    },
)

if __name__ == "__main__":
    sys.exit(main(SPEC, description=__doc__))
