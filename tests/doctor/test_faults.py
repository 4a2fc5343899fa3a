"""Faults on purpose: each is what its check is for, and nothing else."""

import shutil

import pytest

from segkit import doctor
from segkit.data import read_mask

# A last class that is drawn, and a first one: else nobody can tell that ids count from 1.
DRAWN = (1, 0, 2, 3)


@pytest.mark.parametrize("fault", doctor.FAULTS)
def test_each_fault_is_found_by_its_check_and_by_no_other(folder, fault):
    folder.write_all(folder.stripes(*DRAWN))
    changed = doctor.plant(folder.root, fault, 3)
    finding = folder.only(fault)
    assert any(changed.name in place.file for place in finding.places) or not changed.exists()
    assert "003" in str(finding)


def test_faults_of_several_pairs_stay_apart(folder):
    folder.write_all(folder.stripes(*DRAWN))
    for pair, fault in enumerate(doctor.FAULTS):
        doctor.plant(folder.root, fault, pair)
    found = {f.check for f in doctor.inspect_folder(folder.root, workers=0)}
    assert found >= set(doctor.FAULTS)


def test_void_stays_void_where_ids_count_from_one(folder):
    folder.write(0, folder.stripes(0, 3, 255))
    changed = doctor.plant(folder.root, "off_by_one")
    assert read_mask(changed).unique().tolist() == [1, 4, 255]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("typo",), "choose one of image_without_mask"), (("off_by_one", 12), "12 images"),
     (("off_by_one", -1), "pair=-1")],
)  # fmt: skip
def test_what_cannot_be_planted_is_refused(folder, arguments, said):
    with pytest.raises(ValueError, match=said):
        doctor.plant(folder.root, *arguments)


def test_a_pair_without_its_mask_is_refused(folder):
    doctor.plant(folder.root, "image_without_mask")
    with pytest.raises(ValueError, match="0 masks"):
        doctor.plant(folder.root, "void_share")
    shutil.rmtree(folder.root / "train/masks")
    with pytest.raises(ValueError, match="no folder"):
        doctor.plant(folder.root, "void_share")
