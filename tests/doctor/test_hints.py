"""What the doctor tells a user to do, done exactly as it is printed: then the fault is gone."""

import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import recipes
from segbook.builders.data import build_data
from segbook.preflight import examine
from segbook.preflight.command import doctor
from segkit import data
from segkit.data import FolderDataset, images
from segkit.doctor import inspect_folder


def checks(root, **options):
    return {finding.check: finding for finding in inspect_folder(root, workers=0, **options)}


def commands(text):
    """The commands that a hint has for a shell."""
    return re.findall(r"python -c '[^']*'", text)


def run(command):
    _, *arguments = shlex.split(command)
    subprocess.run([sys.executable, *arguments], check=True)


def turned(folder, index, orientation):
    """An image that a camera turns; its mask says nothing."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder.image(index).unlink()
    sides = (48, 64) if orientation >= 5 else (64, 48)
    folder.scene(index, sides).save(folder.image(index, suffix=".jpg"), exif=exif)


@pytest.mark.slow  # starts Python
def test_a_mask_that_was_drawn_on_the_pixels_as_stored(folder):
    turned(folder, 3, 6)
    stored = folder.stripes(0, 1, 2, 3, size=(64, 48))
    folder.write(3, stored)
    found = checks(folder.root)
    assert found["size_mismatch"].severity == "error"
    with pytest.raises(ValueError, match="note_orientation") as raised:
        FolderDataset(folder.root, "train")[3]
    (command,) = commands(found["size_mismatch"].fix)
    assert commands(str(raised.value)) == [command]
    run(command)
    assert set(checks(folder.root)) == {"class_frequencies"}
    assert np.array_equal(FolderDataset(folder.root, "train")[3][1].numpy(), np.rot90(stored, -1))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_sizes_that_tell_nothing_of_an_orientation(folder, number):
    turned(folder, 3, 3)
    before = FolderDataset(folder.root, "train")[3][1].numpy()
    finding = checks(folder.root)["turned_by_camera"]
    assert finding.severity == "warning"
    assert [place.file for place in finding.places] == [str(folder.mask(3))]
    run(commands(finding.fix)[number])
    assert set(checks(folder.root)) == {"class_frequencies"}
    after = FolderDataset(folder.root, "train")[3][1].numpy()
    assert np.array_equal(after, np.rot90(before, 2) if number else before)


def recipe(folder, **fields):
    fields = {
        "data": "folder",
        "data_root": str(folder.root),
        "crop": (32, 32),
        "workers": 0,
        **fields,
    }
    return recipes.override(recipes.get("pp_liteseg_t_synthetic"), fields)


@pytest.mark.parametrize("values", [(0, 1, 2, 7), (0, 1, 7, 9), (0, 1, 2, 3, 4)])
def test_ids_that_are_void(folder, values):
    """In the words of the doctor and of the data set, in Python and for a recipe."""
    folder.write_all(folder.stripes(*values))
    void = tuple(value for value in values if value > 3)
    check = "off_by_one" if void == (4,) else "values_out_of_range"
    (finding,) = [f for f in inspect_folder(folder.root, workers=0) if f.check == check]
    with pytest.raises(ValueError, match="name their id") as raised:
        FolderDataset(folder.root, "train")[0]
    for text in (finding.fix, str(raised.value)):
        python = eval(re.search(r"ignore=([\d, ()]+) in FolderDataset", text)[1])  # noqa: S307
        assert FolderDataset(folder.root, "train", ignore=python)[0][1].max() == 255
        typed = re.search(r"--set (ignore=\S+) for a recipe", text)[1]
        field, value = typed.split("=")
        assert build_data(recipe(folder, **{field: value}))["val"][0][1].max() == 255
        assert check not in checks(folder.root, ignore=python)
        found = examine(recipe(folder, **{field: value}), workers=0)
        assert not [f for f in found if f.check in (check, "unreadable_or_truncated")]


def test_void_of_data_that_know_their_own_is_refused(folder):
    with pytest.raises(ValueError, match="data='synthetic' knows which ids are void"):
        build_data(recipe(folder, data="synthetic", data_root="", ignore=0))
    assert recipe(folder, ignore="0,255").ignore == (0, 255)
    listed = recipe(folder, ignore=[3, 4])
    assert listed == recipe(folder, ignore="3,4")
    assert recipes.Recipe.from_dict(json.loads(json.dumps(listed.to_dict()))) == listed


def test_a_picture_whose_true_size_is_large(folder, monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # twice as many PIL refuses by itself
    fix = checks(folder.root)["too_large_for_memory"].fix
    with pytest.raises(ValueError, match="too large") as raised:
        FolderDataset(folder.root, "train")[0]
    for name, holder in (
        ("segkit.data.images.MAX_PIXELS", images),
        ("PIL.Image.MAX_IMAGE_PIXELS", Image),
    ):
        assert name in fix
        assert name in str(raised.value)
        monkeypatch.setattr(holder, name.split(".")[-1], 10_000)
    assert "too_large_for_memory" not in checks(folder.root)
    FolderDataset(folder.root, "train")[0]


def test_colours_of_the_masks_and_of_the_list(folder):
    palette = [(0, 0, 0), (9, 9, 9), (200, 0, 0), (0, 200, 0)]
    picture = Image.fromarray(folder.stripes())
    picture.putpalette([part for colour in palette for part in colour])
    for path in folder.root.glob("*/masks/*"):
        picture.save(path)
    listing = folder.root / "classes.json"
    names = ["road", "tree", "car", "sign"]
    listing.write_text(json.dumps({"classes": names}))
    assert "other_palette" not in checks(folder.root)  # nobody has said what colours they have
    listing.write_text(json.dumps({"classes": names, "palette": palette}))
    assert "other_palette" not in checks(folder.root)
    swapped = [palette[k] for k in (0, 1, 3, 2)]
    listing.write_text(json.dumps({"classes": names, "palette": swapped}))
    for found in (checks(folder.root), {f.check: f for f in examine(recipe(folder), workers=0)}):
        finding = found["other_palette"]
        assert finding.severity == "warning"
        assert "id 2, 'car', is (200, 0, 0) in it, which is 'sign'" in finding.what
        assert finding.count == 22
    listing.write_text(json.dumps({"classes": names, "palette": [[1, 1, 1], *palette[1:]]}))
    assert checks(folder.root)["other_palette"].severity == "note"


def test_a_mask_compressed_in_a_tiff_is_lossy_and_not_off_by_one(folder):
    folder.mask(3).unlink()
    Image.fromarray(folder.stripes()).save(folder.mask(3, suffix=".tif"), compression="jpeg")
    finding = folder.only("lossy_masks")
    assert "saved as TIFF compressed by jpeg" in finding.what
    assert finding.places[0].file == str(folder.mask(3, suffix=".tif"))


def test_what_is_harmless_is_no_error(folder):
    folder.name("background", "object")
    folder.write_all(folder.stripes(0, 1))
    folder.write(0, folder.stripes(255))  # one all void among twelve
    folder.write(1, folder.stripes(0))  # without any object
    assert [f.severity for f in folder.found("void_share")] == ["note"]
    (folder.root / "test" / "images").mkdir(parents=True)
    folder.scene(99).save(folder.root / "test" / "images" / "a.png")
    assert [f.severity for f in folder.found("unlabelled_splits")] == ["note"]
    sets = build_data(recipe(folder))
    assert set(sets) == {"train", "val"}
    found = {f.check: f for f in examine(recipe(folder), workers=0)}
    assert found["unlabelled_splits"].what == "test has 1 image and no mask, and is left out"
    assert not [f for f in found.values() if f.severity == "error" and "channels" not in f.check]


def test_images_that_the_network_does_not_take(folder):
    grey = recipe(folder, model_options={"in_channels": 1})
    (finding,) = [f for f in examine(grey, workers=0) if "in_channels=1" in f.what]
    assert finding.severity == "error"
    _, change = shlex.split(finding.what[finding.what.index("--set") :])
    mended = recipes.override(grey, dict([change.split("=", 1)]))
    assert not [f for f in examine(mended, workers=0) if "in_channels" in f.what]


def test_the_command_that_looks_at_all_of_the_data(folder, monkeypatch):
    sampled = recipe(folder, ignore=7)
    (note,) = [f for f in examine(sampled, limit=8, workers=0) if f.check == "sampled"]
    words = shlex.split(note.fix.removesuffix(" looks at all"))
    assert words[:3] == ["segbook", "doctor", "pp_liteseg_t_synthetic"]
    result = CliRunner().invoke(doctor, [*words[2:], "--workers", "0", "--json"])
    found = {finding["check"] for finding in json.loads(result.output)["findings"]}
    assert "class_frequencies" in found
    assert "sampled" not in found


def test_colours_become_ids_by_the_call_that_is_named(folder):
    palette = [(0, 0, 0), (9, 9, 9), (200, 0, 0), (0, 200, 0)]
    ids = folder.stripes()
    folder.write(3, np.array(palette, np.uint8)[ids])
    (folder.root / "classes.json").write_text(
        json.dumps({"classes": ["road", "tree", "car", "sign"], "palette": palette})
    )
    fix = folder.only("colour_masks").fix
    assert "segkit.data.mask_from_colours(segkit.data.read_image(file), palette)" in fix
    mask = data.mask_from_colours(data.read_image(folder.mask(3)), palette)
    assert np.array_equal(mask.numpy(), ids)
