"""Every mIoU policy against python sets of pixel coordinates."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.metrics import POLICIES, ConfusionMatrix

VOID = 255
SETTINGS = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def segmentations(draw):
    """(num_classes, prediction, labels); some classes and some images may be missing or void."""
    num_classes = draw(st.integers(2, 5))
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Subset of the classes at a time, so that absent ones are the rule and not the exception.
    seen = rng.permutation(num_classes)[: draw(st.integers(1, num_classes))]
    prediction = rng.choice(seen, shape)
    labels = np.where(rng.random(shape) < 0.5, prediction, rng.choice(seen, shape))
    void_share = draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    labels = np.where(rng.random(shape) < void_share, VOID, labels)
    return num_classes, torch.from_numpy(prediction), torch.from_numpy(labels)


def regions(maps, k):
    """The set of (image, row, column) where the maps say k."""
    return {tuple(where) for where in (maps == k).nonzero().tolist()}


def mean(values):
    return sum(values) / len(values) if values else math.nan


def iou_of_sets(num_classes, prediction, labels, *, void_as_fp=False):
    """(intersection, union) of each class, counted on sets."""
    void = set() if void_as_fp else regions(labels, VOID)
    pairs = []
    for k in range(num_classes):
        true, predicted = regions(labels, k), regions(prediction, k) - void
        pairs.append((len(true & predicted), len(true | predicted)))
    return pairs


def mean_of_classes(pairs, policy):
    absent = {"0": [0.0], "1": [1.0]}.get(policy.rpartition("_absent_")[2], [])
    return mean([score for i, u in pairs for score in ([i / u] if u else absent)])


def oracle(num_classes, prediction, labels, policy):
    if (labels == VOID).all():
        return math.nan
    if policy.startswith("per_image"):
        return mean(
            [
                mean_of_classes(iou_of_sets(num_classes, p[None], y[None]), policy)
                for p, y in zip(prediction, labels, strict=True)
                if not (y == VOID).all()
            ]
        )
    pairs = iou_of_sets(num_classes, prediction, labels, void_as_fp=policy.startswith("void_as_fp"))
    if policy == "micro":
        return sum(i for i, _ in pairs) / sum(u for _, u in pairs)
    if policy == "foreground":
        pairs = pairs[1:]
    if policy == "void_as_fp_in_truth":
        pairs = [pair for k, pair in enumerate(pairs) if regions(labels, k)]
    return mean_of_classes(pairs, policy)


def counted(num_classes, *batches):
    matrix = ConfusionMatrix(num_classes)
    for prediction, labels in batches:
        matrix.update(prediction, labels)
    return matrix


def same(a, b):
    return a == pytest.approx(b, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("policy", POLICIES)
@SETTINGS
@given(segmentations())
def test_policy_is_what_sets_say(policy, case):
    num_classes, prediction, labels = case
    matrix = counted(num_classes, (prediction, labels))
    assert same(matrix.miou(policy), oracle(num_classes, prediction, labels, policy))


@SETTINGS
@given(segmentations())
def test_other_scores_are_what_sets_say(case):
    num_classes, prediction, labels = case
    matrix = counted(num_classes, (prediction, labels))
    labelled = labels != VOID
    right = (prediction == labels) & labelled
    accuracy = int(right.sum()) / int(labelled.sum()) if labelled.any() else math.nan
    assert same(matrix.pixel_accuracy(), accuracy)
    true = [regions(labels, k) for k in range(num_classes)]
    found = [len(true[k] & regions(prediction, k)) for k in range(num_classes)]
    recalls = [n / len(t) for n, t in zip(found, true, strict=True) if t]
    assert same(matrix.class_accuracy(), mean(recalls))
    pairs = iou_of_sets(num_classes, prediction, labels)
    assert matrix.iou().tolist() == pytest.approx(
        [i / u if u else math.nan for i, u in pairs], nan_ok=True
    )
    assert matrix.dice().tolist() == pytest.approx(
        [2 * i / (i + u) if u else math.nan for i, u in pairs], nan_ok=True
    )


@SETTINGS
@given(segmentations(), st.randoms(use_true_random=False))
def test_renaming_the_classes_changes_no_score(case, random):
    num_classes, prediction, labels = case
    names = list(range(num_classes))
    random.shuffle(names)
    table = torch.full((256,), VOID)
    table[:num_classes] = torch.tensor(names)
    matrix = counted(num_classes, (prediction, labels))
    renamed = counted(num_classes, (table[prediction], table[labels]))
    for policy in POLICIES:
        if policy != "foreground":  # class 0 is another class now
            assert same(renamed.miou(policy), matrix.miou(policy))
    torch.testing.assert_close(renamed.iou()[names], matrix.iou(), equal_nan=True)


@SETTINGS
@given(segmentations(), st.integers(0, 3))
def test_batching_changes_nothing(case, cut):
    num_classes, prediction, labels = case
    whole = counted(num_classes, (prediction, labels))
    parts = [(prediction[:cut], labels[:cut]), (prediction[cut:], labels[cut:])]
    again = counted(num_classes, *parts)
    assert again.images == whole.images
    assert torch.equal(again.matrix, whole.matrix)
    assert torch.equal(again.intersection, whole.intersection)
    assert torch.equal(again.union, whole.union)


@SETTINGS
@given(segmentations(), st.randoms(use_true_random=False))
def test_what_is_predicted_on_void_matters_to_the_void_policies_only(case, random):
    num_classes, prediction, labels = case
    other = prediction.clone()
    other[labels == VOID] = random.randrange(num_classes)
    matrix, changed = (counted(num_classes, (p, labels)) for p in (prediction, other))
    for policy in POLICIES:
        if policy.startswith("void_as_fp"):
            assert same(changed.miou(policy), oracle(num_classes, other, labels, policy))
        else:
            assert same(changed.miou(policy), matrix.miou(policy))
    assert same(changed.pixel_accuracy(), matrix.pixel_accuracy())


@SETTINGS
@given(segmentations())
def test_order_of_the_absent_treatments(case):
    num_classes, prediction, labels = case
    matrix = counted(num_classes, (prediction, labels))
    if (labels == VOID).all():
        return
    for policy in ("dataset", "per_image"):
        low, middle, high = (matrix.miou(policy + s) for s in ("_absent_0", "", "_absent_1"))
        assert -1e-12 <= low <= middle + 1e-12
        assert middle <= high + 1e-12 <= 1 + 2e-12


@SETTINGS
@given(segmentations())
def test_an_output_for_void_is_left_out_of_the_mean_and_its_pixels_are_missed(case):
    num_classes, prediction, labels = case
    # The same pictures for a network that has void as its last class, counted in two ways.
    prediction, labels = prediction.clone(), labels.clone()
    prediction[..., 0] = num_classes
    ours = counted(num_classes + 1, (prediction, labels))
    labels[labels == VOID] = num_classes
    as_a_class = counted(num_classes + 1, (prediction, labels)).matrix
    expected = [
        int(as_a_class[k, k]) / int(as_a_class[k].sum() + as_a_class[:, k].sum() - as_a_class[k, k])
        for k in range(num_classes)
        if as_a_class[k].any()
    ]
    assert same(ours.miou("void_as_fp_in_truth"), mean(expected))
