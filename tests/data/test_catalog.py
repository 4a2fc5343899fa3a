"""The rows of the data catalogue: complete, true to the sets and to the scripts, and opened."""

import importlib
from pathlib import Path

import pytest

from segkit import data
from segkit.data.catalog import DATA, find

ROOT = Path(__file__).resolve().parents[2]
NAMED = [entry for entry in DATA.values() if entry.needs_root and not entry.own]


def test_an_unknown_name_gets_the_closest_and_the_list():
    with pytest.raises(ValueError, match=r"'camvd' is unknown: did you mean 'camvid'\?.*voc_aug"):
        find("camvd")
    with pytest.raises(ValueError, match=r"'x' is unknown: Known are synthetic, folder"):
        find("x")


def test_every_data_set_of_the_package_has_a_row():
    made = {data.ADE20K, data.CamVid, data.Cityscapes, data.FolderDataset, data.VOC2012}
    assert {entry.open for entry in DATA.values()} > made


@pytest.mark.parametrize("entry", NAMED, ids=lambda entry: entry.name)
def test_a_row_is_complete(entry):
    assert entry.credit
    assert not (entry.credit + entry.licence).endswith(".")
    assert len(entry.classes) == len(entry.palette) == len(set(entry.classes))
    assert set(entry.splits) in ({"train", "val"}, {"train", "val", "test"})
    assert Path(entry.root).parent == Path("data")


@pytest.mark.parametrize("entry", [e for e in NAMED if e.script], ids=lambda entry: entry.name)
def test_a_script_makes_what_the_row_says(entry):
    assert (ROOT / entry.script).is_file()
    spec = importlib.import_module(entry.script.removesuffix(".py").replace("/", ".")).SPEC
    assert Path("data") / spec.name == Path(entry.root)
    assert spec.classes[: len(entry.classes)] == entry.classes
    assert spec.classes[len(entry.classes) :] in ((), ("Void",))
    with pytest.raises(ValueError, match=f"needs data_root.*{entry.root}; python {entry.script}"):
        entry.open_splits()


def test_streets_are_drawn_as_asked():
    sets = find("synthetic").open_splits(size=(32, 48), length=7)
    assert [*map(len, sets.values())] == [7, 100, 100]
    assert {subset.size for subset in sets.values()} == {(32, 48)}
    assert sets["val"].classes == find("synthetic").classes


@pytest.mark.data
def test_camvid_has_all_its_splits(camvid_root):
    sets = find("camvid").open_splits(str(camvid_root))
    assert [*map(len, sets.values())] == [367, 101, 233]
    assert sets["test"].classes == find("camvid").classes
    assert sets["test"].palette == find("camvid").palette
