"""The confusion matrix: counts, scores worked by hand, errors, state."""

import json
import math
import sys

import pytest
import torch

from segkit.metrics import POLICIES, ConfusionMatrix

VOID = 255

# Two images of four pixels. Class 3 is nowhere; class 2 is only in the second image.
LABELS = torch.tensor([[[0, 0, 1, VOID]], [[2, 2, 2, 0]]])
PREDICTION = torch.tensor([[[0, 1, 1, 1]], [[2, 2, 0, 0]]])
# Image 1: class 0 I=1 U=2, class 1 I=1 U=2.      Image 2: class 0 I=1 U=2, class 2 I=2 U=3.
# Together: class 0 I=2 U=4, class 1 I=1 U=2 (3 with the void pixel), class 2 I=2 U=3.


def counted(num_classes=4, **arguments):
    matrix = ConfusionMatrix(num_classes, **arguments)
    matrix.update(PREDICTION, LABELS)
    return matrix


def test_counts():
    matrix = counted().matrix
    assert matrix.dtype == torch.int64
    assert matrix.tolist() == [
        [2, 1, 0, 0],
        [0, 1, 0, 0],
        [1, 0, 2, 0],
        [0, 0, 0, 0],
        [0, 1, 0, 0],  # void
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("dataset", (1 / 2 + 1 / 2 + 2 / 3) / 3),
        ("dataset_absent_0", (1 / 2 + 1 / 2 + 2 / 3 + 0) / 4),
        ("dataset_absent_1", (1 / 2 + 1 / 2 + 2 / 3 + 1) / 4),
        ("per_image", ((1 / 2 + 1 / 2) / 2 + (1 / 2 + 2 / 3) / 2) / 2),
        ("per_image_absent_0", ((1 / 2 + 1 / 2) / 4 + (1 / 2 + 2 / 3) / 4) / 2),
        ("per_image_absent_1", ((1 / 2 + 1 / 2 + 2) / 4 + (1 / 2 + 2 / 3 + 2) / 4) / 2),
        ("foreground", (1 / 2 + 2 / 3) / 2),
        ("void_as_fp", (1 / 2 + 1 / 3 + 2 / 3) / 3),
        ("void_as_fp_in_truth", (1 / 2 + 1 / 3 + 2 / 3) / 3),
        ("micro", (2 + 1 + 2) / (4 + 2 + 3)),
    ],
)
def test_every_policy_by_hand(policy, expected):
    assert policy in POLICIES
    assert counted().miou(policy) == pytest.approx(expected)


def test_there_is_a_hand_worked_value_for_every_policy():
    (mark,) = test_every_policy_by_hand.pytestmark
    assert {policy for policy, _ in mark.args[1]} == set(POLICIES)


def test_every_policy_says_its_unit_in_one_line():
    for name, meaning in POLICIES.items():
        assert len(meaning.split()) >= 4, name
        assert "\n" not in meaning
        assert len(meaning) < 90


def test_other_scores_by_hand():
    matrix = counted()
    assert matrix.pixel_accuracy() == pytest.approx(5 / 7)
    # Found of what is true: class 0 2 of 3, class 1 1 of 1, class 2 2 of 3; class 3 is nowhere.
    assert matrix.class_accuracy() == pytest.approx((2 / 3 + 1 + 2 / 3) / 3)
    # 2 I / (I + U): 4 / 6, 2 / 3, 4 / 5
    assert matrix.dice()[:3].tolist() == pytest.approx([4 / 6, 2 / 3, 4 / 5])
    assert matrix.mean_dice() == pytest.approx((4 / 6 + 2 / 3 + 4 / 5) / 3)
    assert matrix.iou()[:3].tolist() == pytest.approx([1 / 2, 1 / 2, 2 / 3])
    assert matrix.iou()[3].isnan()
    assert matrix.dice()[3].isnan()


def test_a_class_that_is_predicted_but_never_true_is_not_absent():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([[[0, 2]]]), torch.tensor([[[0, 0]]]))
    assert matrix.iou()[2] == 0
    assert matrix.miou() == pytest.approx((1 / 2 + 0) / 2)
    # It has no truth, so there is nothing of it to find.
    assert matrix.class_accuracy() == pytest.approx(1 / 2)


def test_void_as_fp_counts_a_class_that_is_predicted_on_void_only():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.tensor([[[0, 2]]]), torch.tensor([[[0, VOID]]]))
    assert matrix.miou() == 1
    assert matrix.miou("void_as_fp") == pytest.approx((1 + 0) / 2)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("void_only", [False, True])
def test_nothing_labelled_has_no_score(policy, void_only):
    matrix = ConfusionMatrix(3)
    if void_only:
        matrix.update(torch.zeros(2, 2, 2, dtype=torch.int64), torch.full((2, 2, 2), VOID))
    assert math.isnan(matrix.miou(policy))
    assert math.isnan(matrix.pixel_accuracy())
    assert math.isnan(matrix.class_accuracy())
    assert math.isnan(matrix.mean_dice())


@pytest.mark.parametrize("policy", [name for name in POLICIES if name.startswith("per_image")])
def test_an_image_of_void_only_is_left_out(policy):
    matrix = counted()
    score = matrix.miou(policy)
    matrix.update(torch.ones(1, 1, 4, dtype=torch.int64), torch.full((1, 1, 4), VOID))
    assert matrix.miou(policy) == score
    assert matrix.images == 3


def test_foreground_of_background_only_has_no_score():
    matrix = ConfusionMatrix(3)
    matrix.update(torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, 2, 2, dtype=torch.uint8))
    assert math.isnan(matrix.miou("foreground"))
    assert matrix.miou() == 1


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="binary is two classes"):
        ConfusionMatrix(1)


def test_an_unknown_policy_lists_the_known_ones():
    with pytest.raises(ValueError, match="no mIoU policy 'mean'") as error:
        counted().miou("mean")
    for name in POLICIES:
        assert f"{name}: " in str(error.value)


def test_per_image_policies_need_the_images():
    matrix = counted(per_image=False)
    assert matrix.miou() == counted().miou()
    with pytest.raises(ValueError, match="per_image=True"):
        matrix.miou("per_image")


def test_matrix_is_a_copy():
    matrix = counted()
    matrix.matrix.zero_()
    assert matrix.pixel_accuracy() == pytest.approx(5 / 7)


def test_reset():
    matrix = counted()
    matrix.reset()
    assert matrix.images == 0
    assert not matrix.matrix.any()
    assert len(matrix.union) == 0


@pytest.mark.parametrize("policy", POLICIES)
def test_summary_holds_the_policy_and_is_json(policy):
    matrix = counted()
    summary = json.loads(json.dumps(matrix.summary(policy), allow_nan=False))
    assert summary["policy"] == policy
    assert summary["miou"] == matrix.miou(policy)
    assert summary["pixel_accuracy"] == matrix.pixel_accuracy()
    assert summary["class_accuracy"] == matrix.class_accuracy()
    assert summary["mean_dice"] == matrix.mean_dice()
    assert summary["iou"][:3] == matrix.iou()[:3].tolist()
    assert summary["iou"][3] is None
    assert summary["images"] == 2


def test_summary_of_nothing_is_json():
    summary = ConfusionMatrix(2).summary()
    assert json.loads(json.dumps(summary, allow_nan=False))["miou"] is None


def contents(matrix):
    parts = (matrix.matrix, matrix.intersection, matrix.union)
    return [matrix.images, *(part.tolist() for part in parts)]


def test_all_reduce_of_one_process_changes_nothing():
    matrix = counted()
    matrix.all_reduce()
    assert contents(matrix) == contents(counted())


def _one_of_two(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    matrix = ConfusionMatrix(4)
    for image in range(1 + rank):  # the processes need not have counted equally many images
        matrix.update(PREDICTION[image : image + 1], LABELS[image : image + 1])
    matrix.all_reduce()
    (folder / f"{rank}.json").write_text(json.dumps(contents(matrix)))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks; elsewhere gloo may not")
def test_all_reduce_of_two_processes(tmp_path):
    torch.multiprocessing.start_processes(
        _one_of_two, args=(tmp_path,), nprocs=2, start_method="fork"
    )
    expected = ConfusionMatrix(4)
    for image in (0, 0, 1):  # one of rank 0, then two of rank 1
        expected.update(PREDICTION[image : image + 1], LABELS[image : image + 1])
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == contents(expected)
