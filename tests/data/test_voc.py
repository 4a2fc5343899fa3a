"""VOC 2012: the layout of its archive and of SBD's, and which pairs are train_aug."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from segkit.data import VOC2012
from segkit.data.voc import CLASSES, PALETTE
from segkit.outputs import IGNORE

pytestmark = pytest.mark.filterwarnings("ignore:.*the papers use:UserWarning")

# x, y, z are in SBD alone; b is in VOC's train list and in SBD; v and w are VOC's to validate on.
LISTS = {"train": "a b", "val": "v w", "trainval": "a b v w"}
SBD = {"train": "b x v", "val": "y z"}


def save_mask(path, values):
    """A palette picture, as VOC's masks are."""
    picture = Image.fromarray(np.asarray(values, np.uint8))
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([channel for colour in PALETTE for channel in colour])
    picture.save(path)


def fill(root):
    """VOC's folders with images of 60x40 (width x height)."""
    folder = root / "VOCdevkit" / "VOC2012"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / part).mkdir(parents=True)
    for number, stem in enumerate("abvwxyz"):
        Image.new("RGB", (60, 40), (number, 0, 0)).save(folder / "JPEGImages" / f"{stem}.jpg")
    for number, stem in enumerate("abvw"):
        values = np.full((40, 60), number)
        values[0] = IGNORE
        values[1, :21] = range(21)
        save_mask(folder / "SegmentationClass" / f"{stem}.png", values)
    for split, stems in LISTS.items():
        listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
        listing.write_text("\n".join(stems.split()) + "\n")
    return root


def add_pictures(root):
    """SBD's masks as PNG files, those of VOC among them."""
    folder = root / "VOCdevkit" / "VOC2012" / "SegmentationClassAug"
    folder.mkdir()
    for stem in "abvxyz":
        Image.fromarray(np.full((40, 60), 7, np.uint8)).save(folder / f"{stem}.png")
    return root


def add_sbd(root):
    """SBD's masks as its archive has them."""
    io = pytest.importorskip("scipy.io")
    folder = root / "benchmark_RELEASE" / "dataset"
    (folder / "cls").mkdir(parents=True)
    for split, stems in SBD.items():
        (folder / f"{split}.txt").write_text("\n".join(stems.split()) + "\n")
        for stem in stems.split():
            record = np.zeros((1, 1), dtype=[("Segmentation", "O"), ("Boundaries", "O")])
            record["Segmentation"][0, 0] = np.full((40, 60), 7, np.uint8)
            record["Boundaries"][0, 0] = np.zeros((20, 1))
            io.savemat(folder / "cls" / f"{stem}.mat", {"GTcls": record})
    return root


@pytest.mark.parametrize("split", LISTS)
def test_the_pairs_are_torchvisions(tmp_path, split):
    ours = VOC2012(fill(tmp_path), split)
    theirs = datasets.VOCSegmentation(tmp_path, image_set=split)
    assert [ours.stem(i) for i in range(len(ours))] == LISTS[split].split()
    for (image, mask), (picture, labels) in zip(ours, theirs, strict=True):
        assert torch.equal(image, torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        assert torch.equal(mask, torch.from_numpy(np.array(labels)))


def test_labels_stay_and_outlines_are_void(tmp_path):
    data = VOC2012(fill(tmp_path), "train")
    image, mask = data[1]
    assert image.shape == (3, 40, 60)
    assert mask.dtype == torch.uint8
    assert mask[0].unique().tolist() == [IGNORE]
    assert mask[1, :21].tolist() == list(range(21))
    assert mask[2:].unique().tolist() == [1]
    assert data.num_classes == 21
    assert data.classes == CLASSES
    assert data.palette[15] == (192, 128, 128)  # a person's colour in every paper


@pytest.mark.parametrize("add", [add_pictures, add_sbd])
def test_train_aug_is_all_but_the_val_list(tmp_path, add):
    data = VOC2012(add(fill(tmp_path)), "train_aug")
    assert [data.stem(i) for i in range(len(data))] == ["a", "b", "x", "y", "z"]
    own, added = data[1][1], data[2][1]
    assert own[2:].unique().tolist() == [1]  # VOC's own mask of b, not SBD's
    assert added.unique().tolist() == [7]
    assert added.shape == (40, 60)


def test_sbds_masks_are_torchvisions(tmp_path):
    root = add_sbd(fill(tmp_path))
    sbd = root / "benchmark_RELEASE" / "dataset"
    (sbd / "img").mkdir()
    for stem in SBD["val"].split():
        Image.new("RGB", (60, 40)).save(sbd / "img" / f"{stem}.jpg")
    theirs = datasets.SBDataset(sbd, "val", mode="segmentation")
    ours = VOC2012(root, "train_aug")
    assert torch.equal(ours[3][1], torch.from_numpy(np.array(theirs[0][1])))


def test_the_inner_folder_will_do(tmp_path):
    root = add_sbd(fill(tmp_path))
    for inner in ("VOCdevkit", "VOCdevkit/VOC2012"):
        assert len(VOC2012(root / inner, "train_aug")) == 5


def test_the_papers_numbers_are_compared(tmp_path):
    with pytest.warns(UserWarning, match="holds 2 pairs, the papers use 1464"):
        VOC2012(fill(tmp_path), "train")
    with pytest.warns(UserWarning, match="holds 5 pairs, the papers use 10582"):
        VOC2012(add_pictures(tmp_path), "train_aug")


def test_it_is_a_data_set_like_the_others(tmp_path):
    data = VOC2012(fill(tmp_path), "train")
    doubled = data.with_transform(lambda image, mask: (image * 2, mask))
    assert torch.equal(doubled[1][0], data[1][0] * 2)
    assert not data._decoded, "nothing is kept unless asked for"
    kept = VOC2012(tmp_path, "train", cache=True)
    kept.raw(0)[1].zero_()
    assert kept[-2][1].max() == IGNORE
    assert list(kept._decoded) == [0]
    with pytest.raises(IndexError, match="pair 2 of 2"):
        data[2]
    before = data.manifest()
    assert before == kept.manifest() != VOC2012(tmp_path, "val").manifest()
    save_mask(tmp_path / "VOCdevkit/VOC2012/SegmentationClass/a.png", np.zeros((40, 60)))
    assert data.manifest() != before


def test_missing_data_says_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match=r"expected .*VOCdevkit/VOC2012 with JPEGImages/.*tar"):
        VOC2012(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="split='test': VOC 2012 has 'train', 'train_aug'"):
        VOC2012(tmp_path, "test")
    folder = fill(tmp_path) / "VOCdevkit" / "VOC2012"
    with pytest.raises(ValueError, match="no augmented masks .*SegmentationClassAug.*SBD in .*cls"):
        VOC2012(tmp_path, "train_aug")
    (folder / "SegmentationClass" / "w.png").unlink()
    with pytest.raises(ValueError, match=r"w\.png is missing \(1 of 2 files\).*incomplete"):
        VOC2012(tmp_path, "val")
    (folder / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(ValueError, match=r"a\.jpg is missing"):
        VOC2012(tmp_path, "train")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"val\.txt is empty"):
        VOC2012(tmp_path, "val")
    (folder / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"no list .*val\.txt"):
        VOC2012(tmp_path, "val")


def test_an_incomplete_sbd_is_refused(tmp_path, monkeypatch):
    sbd = add_sbd(fill(tmp_path)) / "benchmark_RELEASE" / "dataset"
    (sbd / "cls" / "x.mat").write_bytes(b"no matrix")
    with pytest.raises(ValueError, match=r"x\.mat is no mask of SBD"):
        VOC2012(tmp_path, "train_aug")[2]
    (sbd / "cls" / "x.mat").unlink()
    with pytest.raises(ValueError, match=r"x\.mat is missing"):
        VOC2012(tmp_path, "train_aug")
    (sbd / "val.txt").unlink()
    with pytest.raises(ValueError, match=r"SBD is incomplete: no list .*val\.txt"):
        VOC2012(tmp_path, "train_aug")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scipy"):
        VOC2012(tmp_path, "train_aug")


def test_a_damaged_pair_is_named(tmp_path):
    folder = fill(tmp_path) / "VOCdevkit" / "VOC2012"
    save_mask(folder / "SegmentationClass" / "a.png", np.full((40, 60), 21))
    with pytest.raises(ValueError, match=r"a\.png holds 21 \(2400 pixels\), which no class of VOC"):
        VOC2012(tmp_path, "train")[0]
    save_mask(folder / "SegmentationClass" / "a.png", np.zeros((60, 40)))
    with pytest.raises(ValueError, match="60x40 pixels .width x height. and .*40x60"):
        VOC2012(tmp_path, "train")[0]


def write_labels(path, labels):
    """A .mat file as SBD's, with ``labels`` for its mask."""
    record = np.zeros((1, 1), dtype=[("Segmentation", "O")])
    record["Segmentation"][0, 0] = labels
    pytest.importorskip("scipy.io").savemat(path, {"GTcls": record})


@pytest.mark.parametrize("seed", range(6))
def test_an_sbd_mask_with_a_random_body_is_named(tmp_path, seed):
    path = add_sbd(fill(tmp_path)) / "benchmark_RELEASE" / "dataset" / "cls" / "x.mat"
    header = path.read_bytes()[:128]
    path.write_bytes(header + np.random.default_rng(seed).bytes(400))
    with pytest.raises(ValueError, match=r"x\.mat is no mask of SBD .*copy it again"):
        VOC2012(tmp_path, "train_aug")[2]


@pytest.mark.parametrize(
    ("value", "match"),
    [(-1, "-1"), (np.nan, "nan"), (1.7, "1.7"), (256, "256"), (np.inf, "inf")],
)
def test_sbd_labels_that_no_byte_holds_are_refused(tmp_path, value, match):
    path = add_sbd(fill(tmp_path)) / "benchmark_RELEASE" / "dataset" / "cls" / "x.mat"
    labels = np.full((40, 60), 7, np.float64 if value % 1 != 0 else np.int16)
    labels[0, :2] = value
    write_labels(path, labels)
    with pytest.raises(ValueError, match=rf"x\.mat holds {match}\b.* \(2 pixels\)"):
        VOC2012(tmp_path, "train_aug")[2]


@pytest.mark.parametrize("labels", ["text", np.zeros((40, 60)) + 1j, np.zeros((2, 40, 60))])
def test_an_sbd_mask_that_is_no_matrix_is_refused(tmp_path, labels):
    path = add_sbd(fill(tmp_path)) / "benchmark_RELEASE" / "dataset" / "cls" / "x.mat"
    write_labels(path, labels)
    with pytest.raises(ValueError, match=r"x\.mat is no mask of SBD"):
        VOC2012(tmp_path, "train_aug")[2]


def test_whole_numbers_of_any_type_are_labels(tmp_path):
    path = add_sbd(fill(tmp_path)) / "benchmark_RELEASE" / "dataset" / "cls" / "x.mat"
    for kind in (np.float64, np.int16, np.uint8):
        labels = np.full((40, 60), 20, kind)
        labels[0] = IGNORE
        write_labels(path, labels)
        mask = VOC2012(tmp_path, "train_aug")[2][1]
        assert mask.unique().tolist() == [20, IGNORE]


def test_a_missing_file_is_blamed_on_its_own_archive(tmp_path):
    root = add_sbd(fill(tmp_path))
    mask = root / "benchmark_RELEASE" / "dataset" / "cls" / "x.mat"
    mask.unlink()
    with pytest.raises(ValueError, match=r"x\.mat is missing \(1 of 3 files\).*SBD") as caught:
        VOC2012(root, "train_aug")
    assert ".tar" not in str(caught.value)
    own = root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "a.png"
    own.unlink()
    with pytest.raises(ValueError, match=r"a\.png is missing \(1 of 2 files\).*\.tar"):
        VOC2012(root, "train_aug")


def test_hidden_files_are_no_masks(tmp_path):
    folder = add_pictures(fill(tmp_path)) / "VOCdevkit" / "VOC2012"
    (folder / "SegmentationClassAug" / "._a.png").write_bytes(b"a resource")
    assert len(VOC2012(tmp_path, "train_aug")) == 5


def test_a_link_to_nothing_is_named(tmp_path):
    folder = add_pictures(fill(tmp_path)) / "VOCdevkit" / "VOC2012"
    for path in (folder / "SegmentationClassAug" / "x.png", folder / "SegmentationClass" / "a.png"):
        path.rename(tmp_path / "moved.png")
        path.symlink_to(tmp_path / "moved.png")
        assert len(VOC2012(tmp_path, "train_aug")) == 5
        (tmp_path / "moved.png").unlink()
        with pytest.raises(ValueError, match=rf"{path.name} is a link to .*moved\.png, where no"):
            VOC2012(tmp_path, "train_aug")
        path.unlink()
        path.symlink_to(path)  # a circle
        with pytest.raises(ValueError, match=rf"{path.name} is a link to"):
            VOC2012(tmp_path, "train_aug")
        path.unlink()
        save_mask(path, np.zeros((40, 60)))
