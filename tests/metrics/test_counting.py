"""Counting (truth, prediction) pairs: every type, any void, and what is refused."""

import pytest
import torch

from segkit.metrics import ConfusionMatrix

VOID = 255


def brute_force(prediction, labels, num_classes, ignore):
    counts = torch.zeros(num_classes + 1, num_classes, dtype=torch.int64)
    for p, y in zip(prediction.flatten().tolist(), labels.flatten().tolist(), strict=True):
        counts[num_classes if y == ignore else y, p] += 1
    return counts


TYPES = [torch.uint8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("num_classes", [2, 19, 255, 256, 300])
@pytest.mark.parametrize("ignore", [255, 0, 1, 19, -1, -100, 400])
def test_any_number_of_classes_and_any_void(num_classes, ignore):
    prediction = torch.randint(0, num_classes, (3, 9, 11))
    labels = torch.randint(0, num_classes, (3, 9, 11))
    labels[:, 4:6] = ignore
    expected = brute_force(prediction, labels, num_classes, ignore)
    for dtype in TYPES:
        limits = torch.iinfo(dtype)
        if num_classes - 1 > limits.max or not limits.min <= ignore <= limits.max:
            continue
        matrix = ConfusionMatrix(num_classes, ignore=ignore)
        matrix.update(prediction.to(dtype), labels.to(dtype))
        assert torch.equal(matrix.matrix, expected)
        assert torch.equal(matrix.intersection.sum(0), expected[:-1].diagonal())


def test_more_classes_than_a_byte_can_name_in_bytes():
    prediction, labels = torch.randint(0, 200, (2, 9, 11)), torch.randint(0, 200, (2, 9, 11))
    matrix = ConfusionMatrix(300)
    matrix.update(prediction.to(torch.uint8), labels.to(torch.uint8))
    assert torch.equal(matrix.matrix, brute_force(prediction, labels, 300, VOID))


def test_layout_does_not_matter():
    prediction, labels = torch.randint(0, 5, (2, 6, 8)), torch.randint(0, 5, (2, 6, 8))
    matrix, turned = ConfusionMatrix(5), ConfusionMatrix(5)
    matrix.update(prediction, labels)
    turned.update(prediction.to(torch.uint8).transpose(1, 2), labels.transpose(1, 2))
    assert torch.equal(matrix.matrix, turned.matrix)
    assert torch.equal(matrix.union, turned.union)


def test_an_empty_batch_counts_nothing():
    matrix = ConfusionMatrix(3)
    empty = torch.zeros(0, 4, 4, dtype=torch.uint8)
    matrix.update(empty, empty)
    assert matrix.images == 0
    assert matrix.intersection.shape == (0, 3)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize(
    ("prediction", "labels", "words"),
    [
        ([0, 3, 1], [0, 0, 0], r"prediction holds \[3\]; allowed are 0\.\.2, and 255"),
        ([0, 1, 3], [0, 0, VOID], r"prediction holds \[3\]"),  # on a void pixel too
        ([0, VOID, 1], [0, VOID, 1], r"prediction holds \[255\]"),
        ([0, 1, 1], [0, 3, 200], r"labels holds \[3, 200\]"),
        ([7, 1, 1], [0, 9, 1], r"prediction holds \[7\] and labels holds \[9\]"),
    ],
)
def test_values_out_of_range_are_named_and_nothing_is_counted(dtype, prediction, labels, words):
    matrix = ConfusionMatrix(3)
    good = torch.zeros(1, 1, 3, dtype=dtype)
    with pytest.raises(ValueError, match=words):
        matrix.update(
            torch.cat([good, torch.tensor([[prediction]], dtype=dtype)]),
            torch.cat([good, torch.tensor([[labels]], dtype=dtype)]),
        )
    assert matrix.images == 0
    assert not matrix.matrix.any()


@pytest.mark.parametrize("value", [-1, 3, 256, 258, 1 << 40])
def test_values_beyond_a_byte_are_not_wrapped_around(value):
    good, bad = torch.zeros(1, 1, 2, dtype=torch.int64), torch.tensor([[[0, value]]])
    with pytest.raises(ValueError, match=rf"prediction holds \[{value}\]"):
        ConfusionMatrix(3).update(bad, good)
    with pytest.raises(ValueError, match=rf"labels holds \[{value}\]"):
        ConfusionMatrix(3).update(good, bad)


def test_the_torch_path_refuses_the_number_after_the_last_class():
    # With void outside a byte the other path counts; its void row must not swallow label K.
    with pytest.raises(ValueError, match=r"labels holds \[3\]"):
        ConfusionMatrix(3, ignore=-1).update(torch.tensor([[[0, 0]]]), torch.tensor([[[-1, 3]]]))


@pytest.mark.parametrize(
    ("prediction", "labels", "words"),
    [
        (torch.zeros(1, 2, 3).long(), torch.zeros(1, 3, 2).long(), r"\(1, 2, 3\).*\(1, 3, 2\)"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3).long(), r"\(B, H, W\)"),
        (torch.zeros(1, 2, 3), torch.zeros(1, 2, 3).long(), "prediction is torch.float32"),
        (torch.zeros(1, 2, 3).long(), torch.zeros(1, 2, 3).bool(), "labels are torch.bool"),
        (torch.zeros(1, 2, 3).long(), [[[0]]], r"labels: .* a list.*as_tensor"),
    ],
)
def test_wrong_maps_are_refused(prediction, labels, words):
    with pytest.raises(ValueError, match=words):
        ConfusionMatrix(3).update(prediction, labels)


def test_an_image_of_many_pixels():
    prediction, labels = torch.randint(0, 4, (2, 500, 301)), torch.randint(0, 4, (2, 500, 301))
    matrix = ConfusionMatrix(4)
    matrix.update(prediction, labels)
    expected = [
        [int(((labels == y) & (prediction == p)).sum()) for p in range(4)] for y in range(4)
    ]
    assert matrix.matrix.tolist() == [*expected, [0, 0, 0, 0]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_counts_the_same():
    prediction, labels = torch.randint(0, 19, (3, 40, 50)), torch.randint(0, 19, (3, 40, 50))
    labels[:, :5] = VOID
    here, there = ConfusionMatrix(19), ConfusionMatrix(19)
    here.update(prediction, labels)
    there.update(prediction.to("cuda", torch.uint8), labels.cuda())
    assert there.matrix.device.type == "cuda"
    assert torch.equal(there.matrix.cpu(), here.matrix)
    assert torch.equal(there.union, here.union)
    with pytest.raises(ValueError, match=r"prediction holds \[19\]"):
        there.update(torch.full_like(labels, 19).cuda(), labels.cuda())
    with pytest.raises(ValueError, match="move one of them"):
        there.update(prediction.cuda(), labels)


def test_volumes_count_as_their_voxels():
    prediction, labels = torch.randint(0, 3, (2, 4, 5, 6)), torch.randint(0, 3, (2, 4, 5, 6))
    volume, flat = ConfusionMatrix(3), ConfusionMatrix(3)
    volume.update(prediction, labels)
    flat.update(prediction.flatten(1, 2), labels.flatten(1, 2))
    assert torch.equal(volume.matrix, flat.matrix)
    assert volume.images == 2
