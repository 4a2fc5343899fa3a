"""Checks of masks: each fires on a real fault with file and pixels, and is silent on good data."""

import numpy as np
import pytest
import torch
from PIL import Image

from segkit.doctor import inspect, inspect_folder, scan_data, scan_folder
from segkit.outputs import IGNORE


def regions(seed, size=(96, 128), values=(0, 1, 2, 3)):
    """Discs of the values, as regions that people draw."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    mask = np.full(size, values[0], np.uint8)
    for number in range(12):
        row, column = generator.integers(0, size[0]), generator.integers(0, size[1])
        inside = (rows - row) ** 2 + (columns - column) ** 2 < generator.integers(10, 25) ** 2
        mask[inside] = values[number % len(values)]
    return mask


def test_values_out_of_range(folder):
    mask = folder.stripes()
    mask[10:12, 20:25] = 7
    folder.write(3, mask)
    finding = folder.only("values_out_of_range")
    assert finding.severity == "error"
    assert "7 (10 pixels)" in finding.what
    (place,) = finding.places
    assert (place.file, place.pixels) == (str(folder.mask(3)), 10)
    assert torch.equal(place.marked, torch.from_numpy(mask == 7))
    assert not folder.found("values_out_of_range", ignore=7)  # 7 is void then


def test_a_void_from_which_one_was_subtracted(folder):
    mask = folder.stripes()
    mask[0] = 254
    folder.write(3, mask)
    assert "set it back to 255" in folder.only("values_out_of_range").fix


def test_zero_and_255_masks(folder):
    folder.name("background", "object")
    folder.write_all(folder.stripes(0, 1))
    folder.write(0, folder.stripes(0, 1, 255, 1))
    assert not folder.found("zero_and_255_masks")  # 255 is void here
    folder.write_all(folder.stripes(0, 255))
    folder.write(0, folder.stripes(255))
    finding = folder.only("zero_and_255_masks")
    assert "divide the masks by 255" in finding.fix
    assert finding.severity == "error"
    assert finding.count == 22
    assert finding.places[0][:2] == (str(folder.mask(0)), 48 * 64)
    assert finding.places[1].pixels == 48 * 32
    assert torch.equal(finding.places[1].marked, torch.from_numpy(folder.stripes(0, 255) == 255))


def test_one_mask_of_0_and_255_among_others(folder):
    folder.write(5, folder.stripes(0, 255))
    finding = folder.only("zero_and_255_masks")
    assert [place[:2] for place in finding.places] == [(str(folder.mask(5)), 48 * 32)]
    assert "divide" not in finding.fix, "1 is a class of its own here"
    folder.write(6, folder.stripes(0, 1, 2, 255))  # now 255 is seen to mean void
    assert not folder.found("zero_and_255_masks")


def test_of_two_classes_a_mask_without_the_object_is_no_error(folder):
    folder.name("background", "object")
    folder.write_all(folder.stripes(0, 1))
    folder.write(0, folder.stripes(0, 255))
    assert folder.only("zero_and_255_masks").severity == "warning"


def test_off_by_one_from_one(folder):
    for index in range(12):
        folder.write(index, folder.stripes(1, 2, 3, 4))
    finding = folder.only("off_by_one")
    assert finding.severity == "error"
    assert finding.count == 12
    assert finding.places[0].pixels == 48 * 16
    assert torch.equal(finding.places[0].marked, torch.from_numpy(folder.stripes(1, 2, 3, 4) == 4))
    assert "subtract 1" in finding.fix


def test_off_by_one_with_zero_as_other(folder):
    """ADE20K's way: 0 is everything else, the classes are 1 to K."""
    folder.write_all(folder.stripes(0, 1, 2, 3, 4))
    finding = folder.only("off_by_one")
    assert finding.count == 22
    assert "reduce_zero_label" in finding.fix
    assert "ignore=4" in finding.fix
    assert not folder.found("off_by_one", ignore=4)


def test_colour_masks(folder):
    palette = [(128, 64, 128), (0, 128, 0), (64, 0, 128), (192, 128, 128)]
    colours = np.array(palette, np.uint8)[folder.stripes()]
    colours[3:5, 4:10] = (1, 2, 3)
    folder.write(4, colours)
    finding = folder.only("colour_masks", classes=list("abcd"), palette=palette)
    assert finding.severity == "error"
    assert finding.places[0][:2] == (str(folder.mask(4)), 12)
    assert finding.places[0].marked[3:5, 4:10].all()
    assert finding.places[0].marked.sum() == 12
    assert "mask_from_colours" in finding.fix
    assert folder.only("colour_masks").places[0].pixels == 48 * 64  # none of it is in the palette
    folder.write(4, np.repeat(folder.stripes()[..., None], 3, axis=2))
    assert "one of the three channels" in folder.only("colour_masks").fix


def test_a_palette_is_fine_while_its_indices_are_ids(folder):
    palette = [128, 64, 128, 0, 128, 0, 64, 0, 128, 192, 128, 128]

    def write(index, values, colours):
        picture = Image.fromarray(values)
        picture.putpalette(colours)
        picture.save(folder.mask(index))

    for index in range(12):
        write(index, folder.stripes(), palette)
    assert not folder.found("colour_masks")
    write(7, folder.stripes(3, 1, 2, 0), palette[9:] + palette[3:9] + palette[:3])
    finding = folder.only("colour_masks")
    assert [place[:2] for place in finding.places] == [(str(folder.mask(7)), 48 * 64)]
    assert "other indices" in finding.what


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_masks(folder, kind):
    suffix = {"JPEG": ".jpg", "WEBP": ".webp"}[kind]
    folder.mask(2).unlink()
    Image.fromarray(folder.stripes()).save(folder.mask(2, suffix=suffix), kind)
    finding = folder.only("lossy_masks")
    assert finding.severity == "error"
    assert finding.places[0].file == str(folder.mask(2, suffix=suffix))
    assert kind in finding.what


@pytest.mark.parametrize(
    ("values", "severity"), [((0, 3, 1, 2), "warning"), ((0, 200, 1, 2), "error")]
)
@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_png_that_was_a_jpeg(folder, tmp_path, values, severity, quality):
    classes = [str(number) for number in range(80)]
    values = tuple(12 * value if value < 100 else value for value in values)
    for index in range(12):
        folder.scene(index, (128, 96)).save(folder.image(index))
        folder.write(index, regions(index, values=[v for v in values if v < 100]))
    clean = inspect_folder(folder.root, workers=0, classes=classes)
    assert "lossy_masks" not in [f.check for f in clean]
    Image.fromarray(regions(2, values=values)).save(tmp_path / "mask.jpg", quality=quality)
    folder.write(2, np.asarray(Image.open(tmp_path / "mask.jpg").convert("L")))
    findings = inspect_folder(folder.root, workers=0, classes=classes)
    (finding,) = [f for f in findings if f.check == "lossy_masks"]
    assert finding.severity == severity
    assert [place.file for place in finding.places] == [str(folder.mask(2))]
    assert finding.places[0].pixels == finding.places[0].marked.sum() > 100
    assert not [f for f in findings if f.check == "values_out_of_range"]


def outlined(seed, line=1):
    """Discs of id 2 and 3 on 0, parted from it by a line of one pixel."""
    mask = regions(seed, values=(0, 2, 0, 3))
    joined = np.pad(mask, 1, mode="edge")
    sides = (joined[1:-1, :-2], joined[1:-1, 2:], joined[:-2, 1:-1], joined[2:, 1:-1])
    edge = np.zeros(mask.shape, bool)
    for side in sides:
        edge |= (mask == 0) & (side != 0)
    return np.where(edge, line, mask).astype(np.uint8)


def lossy(folder):
    return [f for f in inspect_folder(folder.root, workers=0) if f.check == "lossy_masks"]


def draw(folder, masks):
    """The masks of train/, with images of their size; those of val/ get regions of 0, 2 and 3."""
    folder.write_all(folder.stripes(0, 2, 0, 3))
    for index in range(12):
        folder.scene(index, (128, 96)).save(folder.image(index))
        folder.write(index, masks(index))


def test_a_class_of_contours_is_legal(folder):
    draw(folder, outlined)
    labels = scan_folder(folder.root, classes=("a", "b", "c", "d"), workers=0).records[0].labels
    assert sum(labels.ramps.values()) > 0.15 * labels.borders
    assert not lossy(folder)
    (note,) = [f for f in inspect_folder(folder.root, workers=0) if f.check == "class_of_lines"]
    assert note.severity == "note"
    assert "id 1 is drawn as lines of one pixel in 12 masks" in note.what
    assert any(p.marked is not None and p.pixels == p.marked.sum() > 100 for p in note.places)


def test_blending_between_two_far_ids_is_no_class_of_lines(folder):
    ids = np.array([0, 3], np.uint8)
    for index in range(12):
        generator = np.random.default_rng(index)
        small = Image.fromarray(ids[generator.integers(0, 2, (9, 12))])
        coarse = small.resize((96, 72), Image.Resampling.NEAREST)
        blended = coarse.resize((64, 48), Image.Resampling.BILINEAR)
        folder.write(index, np.asarray(blended))
        folder.write(min(index, 9), np.asarray(blended), split="val")
    assert lossy(folder)


@pytest.mark.parametrize("fault", ["JPEG", "resized"])
def test_among_contours_a_mask_that_was_damaged_is_found(folder, tmp_path, fault):
    (folder.root / "classes.txt").write_text("\n".join(map(str, range(40))))
    draw(folder, lambda index: np.array([0, 5, 15, 30], np.uint8)[outlined(index)])
    assert not lossy(folder)
    picture = Image.open(folder.mask(2))
    if fault == "JPEG":
        picture.save(tmp_path / "mask.jpg", quality=75)
        damaged = np.asarray(Image.open(tmp_path / "mask.jpg").convert("L"))
    else:
        small = picture.resize((64, 48), Image.Resampling.BILINEAR)
        damaged = np.asarray(small.resize((128, 96), Image.Resampling.BILINEAR))
    folder.write(2, damaged)
    (finding,) = lossy(folder)
    assert [place.file for place in finding.places] == [str(folder.mask(2))]
    assert finding.places[0].pixels == finding.places[0].marked.sum() > 100
    assert not finding.places[0].marked[torch.from_numpy(damaged == 5)].any()


def test_lines_between_two_ids_are_blended_where_the_id_between_has_regions(folder):
    draw(folder, outlined)  # as blending 0 and 2 would leave it, too
    for index in range(10):
        folder.write(index, folder.stripes(), split="val")
    assert lossy(folder)[0].count == 12


def test_lines_in_one_mask_of_many_are_no_class_of_lines(folder):
    draw(folder, lambda index: regions(index, values=(0, 2, 0, 3)))
    assert not lossy(folder)
    folder.write(3, outlined(3))
    assert [place.file for place in lossy(folder)[0].places] == [str(folder.mask(3))]


def test_a_mask_that_is_void_everywhere(folder):
    folder.write(1, folder.stripes(0, 1, 2, 255))
    assert not folder.found("void_share")
    folder.write(2, folder.stripes(255))
    finding = folder.only("void_share")
    assert finding.severity == "note"  # one of twelve
    assert [place[:2] for place in finding.places] == [(str(folder.mask(2)), 48 * 64)]
    assert finding.places[0].marked.all()


def test_a_split_that_is_void_for_the_most_part(folder):
    folder.write_all(folder.stripes(0, 1, 2, 3, 255, 255, 255, 255, 255, 255))
    warnings = folder.found("void_share")
    assert [f.severity for f in warnings] == ["warning", "warning"]
    assert "train" in warnings[0].what
    for index in range(10):
        folder.write(index, folder.stripes(IGNORE), split="val")
    findings = folder.found("void_share")
    assert [f.what for f in findings][1] == "all 10 masks of val are void everywhere"


def test_classes_unknown(folder):
    (folder.root / "classes.txt").unlink()
    finding = folder.only("classes_unknown")
    assert finding.severity == "error"
    assert "ids up to 3" in finding.what


class Given:
    """A data set of its own, without files."""

    classes, palette, num_classes = ("a", "b"), ((0, 0, 0), (1, 1, 1)), 2

    def __init__(self, masks):
        self.masks = masks

    def __len__(self):
        return len(self.masks)

    def stem(self, index):
        return f"sample {index}"

    def raw(self, index):
        mask = self.masks[index]
        image = torch.randint(0, 256, (3, *mask.shape), generator=torch.manual_seed(index))
        return image.to(torch.uint8), mask


def test_a_data_set_without_files_is_marked_as_well():
    masks = [torch.arange(48 * 64).reshape(48, 64).remainder(48).ge(24).byte() for _ in range(10)]
    clean = inspect(scan_data({"train": Given(masks)}, workers=0))
    assert [f.check for f in clean] == ["class_frequencies"]
    masks[5] = torch.zeros(3, 3, 3)
    refused = inspect(scan_data({"train": Given(masks)}, workers=0))[0]
    assert (refused.severity, refused.check) == ("error", "unreadable_or_truncated")
    assert refused.places[0].file == "train/sample 5"
    masks[5], masks[4] = masks[0], masks[4].clone()
    masks[4][0, :3] = 9
    error, _ = inspect(scan_data({"train": Given(masks)}, workers=0))
    assert error.check == "values_out_of_range"
    assert error.places[0][:2] == ("train/sample 4", 3)
    assert error.places[0].marked[0, :3].all()
