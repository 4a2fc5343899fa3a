"""A folder of good pairs, to plant faults in."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segkit.doctor import inspect_folder

CLASSES = ("road", "tree", "car", "sign")


class Folder:
    """Twelve good pairs in train/ and ten in val/, 64x48, with four classes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for split, number, first in (("train", 12, 0), ("val", 10, 1000)):
            for part in ("images", "masks"):
                (root / split / part).mkdir(parents=True)
            for index in range(number):
                self.scene(first + index).save(self.image(index, split))
                self.write(index, self.stripes(), split=split)
        self.name(*CLASSES)

    def image(self, index, split="train", suffix=".png"):
        return self.root / split / "images" / f"{index:03d}{suffix}"

    def mask(self, index, split="train", suffix=".png"):
        return self.root / split / "masks" / f"{index:03d}{suffix}"

    def name(self, *classes):
        (self.root / "classes.txt").write_text("\n".join(classes))

    def write(self, index, values, split="train"):
        Image.fromarray(np.asarray(values)).save(self.mask(index, split))

    def write_all(self, values):
        for path in self.root.glob("*/masks/*"):
            Image.fromarray(np.asarray(values)).save(path)

    @staticmethod
    def scene(seed, size=(64, 48)):
        """Coarse blocks of random colours: no two look alike."""
        blocks = np.random.default_rng(seed).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        return Image.fromarray(blocks).resize(size, Image.Resampling.BILINEAR)

    @staticmethod
    def stripes(*values, size=(48, 64), dtype=np.uint8):
        """Stripes of equal width, from left to right."""
        values = np.array(values or (0, 1, 2, 3), dtype)
        line = np.repeat(values, -(-size[1] // len(values)))[: size[1]]
        return np.broadcast_to(line, size).copy()

    def found(self, check, **more):
        """The findings of one check, and that nothing but notes was found besides."""
        findings = inspect_folder(self.root, workers=0, **more)
        others = [f for f in findings if f.check != check and f.severity != "note"]
        assert not others, "\n".join(map(str, others))
        return [f for f in findings if f.check == check]

    def only(self, check, **more):
        (finding,) = self.found(check, **more)
        return finding


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "data")
