"""What holds for every loss: gradients, void, half precision, errors."""

import pytest
import torch

from segkit.losses import (
    bootstrapped_cross_entropy,
    cross_entropy,
    dice,
    dice_cross_entropy,
    focal,
    jaccard,
    lovasz_softmax,
    ohem_cross_entropy,
    tversky,
)

VOID = 255
WEIGHT = torch.tensor([0.5, 1.0, 2.0])
LOSSES = {
    "cross_entropy": cross_entropy,
    "cross_entropy_weighted": lambda x, y, **k: cross_entropy(x, y, weight=WEIGHT, **k),
    "cross_entropy_smooth": lambda x, y, **k: cross_entropy(x, y, label_smoothing=0.1, **k),
    "ohem": lambda x, y, **k: ohem_cross_entropy(x, y, keep=0.5, threshold=0.2, **k),
    "ohem_weighted": lambda x, y, **k: ohem_cross_entropy(x, y, weight=WEIGHT, **k),
    "ohem_of_all": lambda x, y, **k: ohem_cross_entropy(x, y, share_of="all", **k),
    "bootstrapped": lambda x, y, **k: bootstrapped_cross_entropy(x, y, top=3, **k),
    "bootstrapped_weighted": lambda x, y, **k: bootstrapped_cross_entropy(
        x, y, top=4, threshold=0.3, weight=WEIGHT, **k
    ),
    "focal": focal,
    "focal_alpha": lambda x, y, **k: focal(x, y, gamma=0.5, alpha=WEIGHT, **k),
    "dice": dice,
    "dice_cross_entropy": dice_cross_entropy,
    "jaccard": jaccard,
    "tversky": tversky,
    "lovasz": lovasz_softmax,
    "lovasz_per_image": lambda x, y, **k: lovasz_softmax(x, y, per_image=True, **k),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def batch(dtype=torch.float32):
    logits = torch.randn(2, 3, 3, 4, dtype=dtype)
    labels = torch.randint(0, 3, (2, 3, 4))
    labels[0, 0] = VOID
    labels[1, :, 3] = VOID
    return logits, labels


def value_and_gradient(loss, logits, labels, **arguments):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels, **arguments)
    value.backward()
    return value.detach(), logits.grad


@every_loss
def test_gradient(loss):
    logits, labels = batch(torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@every_loss
def test_loss_falls_along_its_gradient(loss):
    logits, labels = batch()
    value, gradient = value_and_gradient(loss, logits, labels)
    assert value > 0
    assert loss(logits - 1e-2 * gradient / gradient.norm(), labels) < value


@every_loss
def test_void_pixels_change_neither_loss_nor_gradient(loss):
    logits, labels = batch()
    void = (labels == VOID).unsqueeze(1)
    value, gradient = value_and_gradient(loss, logits, labels)
    for other in (torch.zeros_like(logits), 50 * torch.randn_like(logits)):
        changed = torch.where(void, other, logits)
        new_value, new_gradient = value_and_gradient(loss, changed, labels)
        assert torch.equal(new_value, value)
        assert torch.equal(new_gradient, gradient)
    assert torch.equal(gradient * void, torch.zeros_like(gradient))


@every_loss
def test_it_does_not_matter_which_number_means_void(loss):
    logits, labels = batch()
    value, gradient = value_and_gradient(loss, logits, labels)
    for number in (-1, 3, 1000):
        renamed = labels.masked_fill(labels == VOID, number)
        new_value, new_gradient = value_and_gradient(loss, logits, renamed, ignore=number)
        assert torch.equal(new_value, value)
        assert torch.equal(new_gradient, gradient)


@every_loss
def test_rows_of_void_around_the_image_change_nothing(loss):
    logits, labels = batch(torch.float64)
    padded = torch.nn.functional.pad(logits, (1, 2, 0, 3), value=7.0)
    padded_labels = torch.nn.functional.pad(labels, (1, 2, 0, 3), value=VOID)
    torch.testing.assert_close(loss(padded, padded_labels), loss(logits, labels))


@every_loss
def test_a_void_batch_is_zero_with_a_zero_gradient(loss):
    logits, labels = batch()
    value, gradient = value_and_gradient(loss, logits, torch.full_like(labels, VOID))
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(logits))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(loss, dtype):
    logits, labels = batch()
    logits = logits.to(dtype)
    expected = loss(logits.float(), labels)
    value, gradient = value_and_gradient(loss, logits, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = loss(logits, labels)
    assert value.dtype == under_autocast.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(under_autocast, expected)
    assert gradient.dtype == dtype


@every_loss
def test_extreme_logits_stay_finite(loss):
    logits, labels = batch()
    value, gradient = value_and_gradient(loss, 1e4 * logits, labels)
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_loss
def test_memory_format_and_label_type_do_not_matter(loss):
    logits, labels = batch(torch.float64)
    expected = loss(logits, labels)
    nhwc = logits.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(loss(nhwc, labels), expected)
    torch.testing.assert_close(loss(logits, labels.to(torch.uint8)), expected)


@every_loss
def test_labels_out_of_range_are_named(loss):
    logits, labels = batch()
    labels[0, 1, 1], labels[1, 0, 0] = 3, -2
    with pytest.raises(ValueError, match=r"labels hold \[-2, 3\].*0\.\.2.*255"):
        loss(logits, labels)


@every_loss
def test_shapes_that_disagree_are_named(loss):
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(2, 3, 3, 4\)"):
        loss(logits, labels[:, :, 1:])
    with pytest.raises(ValueError, match="resize"):
        loss(logits, labels[..., 1:])
    with pytest.raises(ValueError, match=r"labels\.squeeze\(1\)"):
        loss(logits, labels.unsqueeze(1))


@every_loss
def test_wrong_types_are_named(loss):
    logits, labels = batch()
    with pytest.raises(ValueError, match="labels are torch.float32"):
        loss(logits, labels.float())
    with pytest.raises(ValueError, match="logits are torch.int64"):
        loss(logits.long(), labels)
    with pytest.raises(ValueError, match="two classes"):
        loss(logits[:, :1], labels)


@pytest.mark.parametrize("loss", [cross_entropy, ohem_cross_entropy, dice, lovasz_softmax])
def test_weights_of_another_number_of_classes_are_refused(loss):
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"weight has shape \(4,\).*3 classes"):
        loss(logits, labels, weight=torch.ones(4))


@every_loss
def test_a_volume_is_as_good_as_its_slices_side_by_side(loss):
    logits, labels = torch.randn(2, 3, 4, 5, 6), torch.randint(0, 3, (2, 4, 5, 6))
    labels[0, 0, 0] = 255
    flat = loss(logits.flatten(2, 3), labels.flatten(1, 2))
    torch.testing.assert_close(loss(logits, labels), flat, atol=0, rtol=0)
