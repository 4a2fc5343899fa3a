"""Volumes: folders of npz and NIfTI, what is wrong with them, and the hippocampus's split."""

import numpy as np
import pytest
import torch

from segkit.data import Hippocampus, VolumeDataset, batches
from segkit.data.catalog import DATA
from segkit.data.volumes import find_splits, read_volume, write_labels

SIZE = (5, 7, 6)


def volume(seed=0, size=SIZE, **other):
    random = np.random.default_rng(seed)
    return {
        "image": random.normal(100, 20, size).astype(np.float32),
        "label": random.integers(0, 3, size[:3]).astype(np.uint8),
        **other,
    }


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("background\nfront\nback\n")
    for case in range(3):
        np.savez(tmp_path / f"case_{case}.npz", **volume(case, spacing=[1, 2, 3]))
    return tmp_path


def test_npz_is_read_voxel_for_voxel(root):
    found = VolumeDataset(root)
    image, mask = found.raw(1)
    made = volume(1)
    assert (image.dtype, mask.dtype) == (torch.float32, torch.uint8)
    assert np.array_equal(image[0], made["image"])
    assert np.array_equal(mask, made["label"])
    assert [found.stem(i) for i in range(len(found))] == ["case_0", "case_1", "case_2"]
    assert found.spacing(1) == (1, 2, 3)
    image.zero_()
    assert found.raw(1)[0].any()  # a copy


def test_images_and_masks_in_two_folders_with_channels(tmp_path):
    made = volume(size=(4, 5, 6, 2))
    for part, key in (("imagesTr", "image"), ("labelsTr", "label")):
        (tmp_path / part).mkdir()
        np.savez(tmp_path / part / "a.npz", **{key: made[key]})
    image, mask = VolumeDataset(tmp_path, classes=["a", "b", "c"]).raw(0)
    assert np.array_equal(image, made["image"].transpose(3, 0, 1, 2))
    assert np.array_equal(mask, made["label"])


def test_lists_and_folders_are_splits(root):
    (root / "train.txt").write_text("case_2\ncase_0.npz\n")
    (root / "val").mkdir()
    np.savez(root / "val" / "other.npz", **volume())
    assert find_splits(root) == ["train", "val"]
    sets = DATA["volumes"].open_splits(str(root))
    assert [sets["train"].stem(i) for i in range(2)] == ["case_0", "case_2"]
    assert sets["val"].stem(0) == "other"


def test_the_manifest_knows_every_byte(root):
    before = VolumeDataset(root).manifest()
    assert VolumeDataset(root).manifest() == before
    assert VolumeDataset(root, ignore=9).manifest() != before
    made = volume(1, spacing=[1, 2, 3])
    made["image"][0, 0, 0] += 1
    np.savez(root / "case_1.npz", **made)
    assert VolumeDataset(root).manifest() != before


def test_void_is_named(root):
    made = volume()
    made["label"][0] = 9
    np.savez(root / "case_0.npz", **made)
    with pytest.raises(ValueError, match=r"case_0.npz holds 9, but the classes have the ids"):
        VolumeDataset(root).raw(0)
    _, mask = VolumeDataset(root, ignore=9).raw(0)
    assert (mask[0] == 255).all()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"image": np.zeros(SIZE)}, "holds image, and no array 'label'"),
        (volume(spacing=[1, 2]), "three lengths of a voxel"),
        (volume(spacing=[1, 2, -3]), "three lengths of a voxel"),
        (volume() | {"label": np.zeros((5, 7, 5), np.uint8)}, "has 5x7x6 voxels and the labels in"),
        (volume() | {"label": np.full(SIZE, 0.5)}, "holds 0.5, but the classes have"),
        (volume() | {"image": np.full(SIZE, np.nan)}, "NaN or infinite"),
        (volume() | {"image": np.zeros((5, 7))}, "a volume is numbers of shape"),
        (volume() | {"image": np.array([[["a"]]])}, "a volume is numbers of shape"),
        (volume() | {"image": np.array([None])}, "cannot be read as npz"),
    ],
)
def test_a_damaged_case_is_named(root, made, said):
    np.savez(root / "case_0.npz", **made)
    with pytest.raises(ValueError, match=rf"case_0\.npz.*{said}"):
        VolumeDataset(root).raw(0)


def test_a_file_that_is_no_npz(root):
    (root / "case_0.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="case_0.npz cannot be read as npz"):
        VolumeDataset(root).raw(0)


def test_what_is_not_there(root, tmp_path):
    with pytest.raises(ValueError, match="no split 'train'"):
        VolumeDataset(root, "train")
    (root / "train.txt").write_text("case_7\n")
    with pytest.raises(ValueError, match=r"case_7 has no image in .* \(1 of 1 volumes\)"):
        VolumeDataset(root, "train")
    with pytest.raises(ValueError, match="no train and val split"):
        find_splits(root)
    (root / "images").mkdir()
    np.savez(root / "images" / "a.npz", **volume())
    with pytest.raises(ValueError, match="a has no labels"):
        VolumeDataset(root)
    with pytest.raises(ValueError, match="no volumes in"):
        VolumeDataset(tmp_path / "none", classes=["a", "b"])


def test_nifti_is_read_and_written_with_its_affine(root, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    for part, key in (("images", "image"), ("masks", "label")):
        (root / part).mkdir()
        image = nibabel.Nifti1Image(volume(4)[key], affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, root / part / "a.nii.gz")
    found = VolumeDataset(root)
    image, mask = found.raw(0)
    assert np.array_equal(image[0], volume(4)["image"])
    assert np.array_equal(mask, volume(4)["label"])
    assert found.spacing(0) == (1.5, 2, 3)
    with open(tmp_path / "out.nii.gz", "wb") as file:
        write_labels(file, mask.numpy(), root / "images" / "a.nii.gz")
    written = nibabel.load(tmp_path / "out.nii.gz")
    assert np.array_equal(written.affine, affine)
    assert written.get_data_dtype() == np.uint8
    assert written.header["sform_code"] == image_header(root)["sform_code"]
    assert written.header.get_xyzt_units()[0] == "mm"
    assert np.array_equal(np.asanyarray(written.dataobj), mask)
    (root / "images" / "a.nii.gz").write_bytes(b"no NIfTI")
    with pytest.raises(ValueError, match="cannot be read as NIfTI"):
        VolumeDataset(root).raw(0)


def image_header(root):
    import nibabel

    return nibabel.load(root / "images" / "a.nii.gz").header


def test_labels_of_npz_keep_affine_and_spacing(root, tmp_path):
    affine = np.diag([1.0, 2, 3, 1])
    np.savez(root / "case_0.npz", **volume(spacing=[1, 2, 3], affine=affine))
    with open(tmp_path / "out.npz", "wb") as file:
        write_labels(file, np.ones(SIZE, np.uint8), root / "case_0.npz")
    written = read_volume(tmp_path / "out.npz", "label")
    assert written.spacing == (1, 2, 3)
    assert np.array_equal(written.affine, affine)
    assert (written.values == 1).all()


def test_the_hippocampus_is_split_by_case(tmp_path):
    for case in (1, 2, 33):
        np.savez(tmp_path / f"hippocampus_{case:03d}.npz", **volume(case))
    sets = DATA["hippocampus"].open_splits(str(tmp_path))
    stems = {split: one.stem(0)[-3:] for split, one in sets.items()}
    assert stems == {"train": "002", "val": "033", "test": "001"}
    assert all(len(one) == 1 for one in sets.values())
    with pytest.raises(ValueError, match="'train', 'val' and 'test'"):
        Hippocampus(tmp_path, "all")
    (tmp_path / "hippocampus_033.npz").unlink()
    with pytest.raises(ValueError, match="no volume of 'val', which are called hippocampus_033"):
        Hippocampus(tmp_path, "val")


@pytest.mark.data
def test_the_real_hippocampus(shared_data):
    sets = DATA["hippocampus"].open_splits(str(shared_data("hippocampus3d")))
    assert {split: len(one) for split, one in sets.items()} == {"train": 20, "val": 4, "test": 8}
    stems = [{one.stem(i) for i in range(len(one))} for one in sets.values()]
    assert len(set.union(*stems)) == 32
    assert sets["test"].raw(0)[1].unique().tolist() == [0, 1, 2]


def test_batches_of_one_volume(root):
    images, labels = next(batches(VolumeDataset(root), batch_size=2, seed=0))
    assert images.shape == (2, 1, *SIZE)
    assert labels.shape == (2, *SIZE)
