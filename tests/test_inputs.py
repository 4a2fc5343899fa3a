"""Every public door refuses what it cannot take, in a sentence: what, what is allowed, the cure."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import segkit
from segkit import crf, engine, losses, metrics, transforms
from segkit.backbones import create_backbone
from segkit.data import mask_from_colours
from segkit.export import InferenceNetwork, LogitsOnly, optimize_for_inference
from segkit.losses.detail import Detail, detail_loss, detail_target
from segkit.outputs import SegOutput

LOSSES = {
    "cross_entropy": losses.cross_entropy,
    "ohem": losses.ohem_cross_entropy,
    "focal": losses.focal,
    "dice": losses.dice,
    "jaccard": losses.jaccard,
    "tversky": losses.tversky,
    "lovasz": losses.lovasz_softmax,
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def batch(num_classes=3):
    return torch.randn(2, num_classes, 4, 5), torch.randint(0, num_classes, (2, 4, 5))


def weighted(loss):
    """A loss with its class weights by the name that it has for them."""
    return lambda weight: partial(loss, **{"alpha" if loss is losses.focal else "weight": weight})


# --- losses


@each_loss
@pytest.mark.parametrize(
    ("wrap", "match"),
    [
        (lambda x: SegOutput(x, {}), r"SegOutput|whole output: give its \.logits"),
        (lambda x: {"out": x}, r"a dict: give the tensor in it, one of \['out'\]"),
        (lambda x: x.numpy(), "an ndarray: torch.as_tensor"),
        (lambda x: x.tolist(), "a list: torch.as_tensor"),
        (lambda x: list(x), "a list of tensors: torch.stack"),
        (lambda x: None, "this is None"),
        (lambda x: nn.Identity(), "a network, an Identity: call it"),
    ],
)
def test_a_loss_takes_tensors(loss, wrap, match):
    logits, labels = batch()
    with pytest.raises(ValueError, match=f"logits: needed are .*{match}"):
        loss(wrap(logits), labels)
    with pytest.raises(ValueError, match=f"labels: needed are .*{match}"):
        loss(logits, wrap(labels))


@each_loss
@pytest.mark.parametrize(
    ("weight", "match"),
    [
        ([1.0, -1.0, 1.0], r"weight is \[1, -1, 1\]; class weights are finite, 0 or more"),
        ([1.0, float("nan"), 1.0], r"weight is \[1, nan, 1\]"),
        ([1.0, float("inf"), 1.0], r"weight is \[1, inf, 1\]"),
        ([0.0, 0.0, 0.0], "not all of them 0"),
        ([-1, 2, 3], "weight is"),
        ([1.0, 1.0], r"\(2,\) .*3 classes need \(3,\)"),
        ([[1.0, 1.0, 1.0]], r"\(1, 3\).*need \(3,\)"),
        ([True, False, True], "torch.bool"),
        (1.0, r"shape \(\)"),
    ],
)
def test_class_weights_are_finite_and_not_negative(loss, weight, match):
    logits, labels = batch()
    with pytest.raises(ValueError, match=match):
        weighted(loss)(torch.tensor(weight))(logits, labels)
    with pytest.raises(ValueError, match=r"weight: needed are one number per class.*torch.as_tens"):
        weighted(loss)(weight)(logits, labels)


@each_loss
def test_class_weights_of_any_type_that_has_their_numbers(loss):
    logits, labels = batch()
    expected = weighted(loss)(torch.tensor([1.0, 0.0, 2.0]))(logits, labels)
    for dtype in (torch.int64, torch.float64, torch.float16):
        weight = torch.tensor([1, 0, 2], dtype=dtype)
        torch.testing.assert_close(weighted(loss)(weight)(logits, labels), expected)


@each_loss
@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (lambda y: F.one_hot(y, 3), r"one-hot, give labels\.argmax\(-1\)"),
        (lambda y: F.one_hot(y, 3).movedim(-1, 1), r"one-hot, give labels\.argmax\(1\)"),
        (lambda y: F.one_hot(y, 3).movedim(-1, 1).float(), r"one-hot, give labels\.argmax\(1\)"),
        (lambda y: y[:, None], r"give labels\.squeeze\(1\)"),
        (lambda y: y[0], r"labels\[None\]"),
        (lambda y: y.float(), "labels are torch.float32; class ids are whole numbers: use int64"),
        (lambda y: y > 0, "labels are torch.bool"),
        (lambda y: y + 7, r"labels hold \[7, 8, 9\]"),
        (lambda y: y - 7, r"labels hold \[-7, -6, -5\]"),
        (lambda y: y.to("meta"), r"logits on cpu, labels on meta: .* labels\.to\('cpu'\)"),
    ],
)
def test_labels_are_class_ids(loss, labels, match):
    logits, ids = batch()
    ids[0, 0, :3] = torch.arange(3)
    with pytest.raises(ValueError, match=match):
        loss(logits, labels(ids))


@each_loss
@pytest.mark.parametrize(
    ("logits", "match"),
    [
        (lambda x: x[0], r"logits\[None\]"),
        (lambda x: x.long(), "logits are torch.int64"),
        (lambda x: x[:, :1], "two classes"),
        (lambda x: x[:, :0], "no channel"),
        (lambda x: x.to(torch.complex64), "complex64"),
    ],
)
def test_logits_are_scores(loss, logits, match):
    given, labels = batch()
    with pytest.raises(ValueError, match=match):
        loss(logits(given), labels)


@each_loss
@pytest.mark.parametrize("ignore", [None, "255", 255.0, True])
def test_the_label_of_void_is_a_whole_number(loss, ignore):
    with pytest.raises(ValueError, match="ignore is .*255 as in most"):
        loss(*batch(), ignore=ignore)
    with pytest.raises(ValueError, match="ignore is"):
        metrics.ConfusionMatrix(3, ignore=ignore)


@each_loss
def test_an_empty_batch_is_a_loss_of_nothing(loss):
    logits = torch.zeros(0, 3, 4, 5, requires_grad=True)
    value = loss(logits, torch.zeros(0, 4, 5, dtype=torch.int64))
    value.backward()
    assert value == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.0])
def test_numbers_of_a_loss_are_numbers(number):
    logits, labels = batch()
    for loss in (
        partial(losses.focal, gamma=number),
        partial(losses.tversky, alpha=number),
        partial(losses.tversky, beta=number),
        partial(losses.cross_entropy, label_smoothing=number),
    ):
        with pytest.raises(ValueError, match="is (nan|inf|-1)|is 0.3 and beta"):
            loss(logits, labels)
    with pytest.raises(ValueError, match="'c4'.*weight of 0 or more"):
        losses.combine(losses.dice, {"c4": losses.AuxLoss(number)})
    with pytest.raises(ValueError, match="c is"):
        losses.inverse_log_frequency_weights([1, 2], c=number)
    with pytest.raises(ValueError, match="needed is one number per class"):
        losses.inverse_log_frequency_weights([1, number])


def test_words_are_no_frequencies():
    with pytest.raises(ValueError, match=r"frequencies are \['a'\]; needed is"):
        losses.inverse_log_frequency_weights(["a"])


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"out": x}, lambda x: (x, {})])
def test_a_combined_loss_takes_the_whole_output(wrap):
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"whole output.*segkit\.SegOutput\(logits, \{\}\)"):
        losses.combine(losses.cross_entropy, {})(wrap(logits), labels)
    output = segkit.SegOutput(logits, {})  # the cure
    assert losses.combine(losses.cross_entropy, {})(output, labels)[0] > 0


def test_what_a_combined_loss_is_made_of():
    with pytest.raises(ValueError, match="give a function of logits and labels"):
        losses.combine("cross_entropy", {})
    with pytest.raises(ValueError, match=r"'c4' is 0\.4: give AuxLoss"):
        losses.combine(losses.dice, {"c4": 0.4})
    with pytest.raises(ValueError, match="labels: needed are"):
        losses.labels_at([[1]], (1, 1))


def test_details_take_tensors():
    labels = torch.zeros(1, 8, 8, dtype=torch.int64)
    with pytest.raises(ValueError, match="an ndarray"):
        detail_target(labels.numpy())
    with pytest.raises(ValueError, match="an ndarray"):
        detail_loss(Detail(np.zeros((1, 1, 4, 4))), labels)


# --- metrics


def one_hot(ids, num_classes, axis):
    return F.one_hot(ids, num_classes).movedim(-1, axis)


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_one_hot_maps_are_no_volumes(num_classes, axis, dtype):
    prediction, labels = torch.randint(0, num_classes, (2, 2, 8, 9))
    given = [one_hot(ids, num_classes, axis).to(dtype) for ids in (prediction, labels)]
    matrix, expected = metrics.ConfusionMatrix(num_classes), metrics.ConfusionMatrix(num_classes)
    with pytest.raises(ValueError, match=r"are one-hot.*flatten\(1, 2\)") as caught:
        matrix.update(*given)
    assert matrix.images == 0
    cure = re.search(r"give (prediction\S+) and (labels\S+)\. ", str(caught.value))
    names = {"prediction": given[0], "labels": given[1]}
    matrix.update(*(eval(part, names) for part in cure.groups()))
    expected.update(prediction, labels)
    assert torch.equal(matrix.matrix, expected.matrix)


@pytest.mark.parametrize("axis", [0, -1])
def test_a_single_one_hot_map_is_no_batch(axis):
    prediction, labels = torch.randint(0, 4, (2, 8, 9))
    with pytest.raises(ValueError, match=rf"prediction\.argmax\({axis}\)\[None\]"):
        metrics.ConfusionMatrix(4).update(one_hot(prediction, 4, axis), one_hot(labels, 4, axis))


@pytest.mark.parametrize("void", ["zeros", "everywhere"])
def test_one_hot_labels_with_void(void):
    prediction, labels = torch.randint(0, 4, (2, 2, 8, 9))
    given = one_hot(labels, 4, 1)
    given[:, :, :2] = 0 if void == "zeros" else 255
    with pytest.raises(ValueError, match="are one-hot"):
        metrics.ConfusionMatrix(4).update(one_hot(prediction, 4, 1), given)


def test_what_only_looks_one_hot_is_counted():
    volumes = torch.randint(0, 3, (2, 3, 8, 9))  # of as many slices as classes
    matrix = metrics.ConfusionMatrix(3)
    matrix.update(volumes, volumes)
    assert matrix.miou() == 1
    binary = torch.randint(0, 2, (2, 2, 8, 9))
    metrics.ConfusionMatrix(2).update(binary, binary)
    images = torch.randint(0, 2, (2, 8, 9))  # a batch of as many as there are classes
    metrics.ConfusionMatrix(2).update(images, images)
    tiny = torch.tensor([[[0, 1, 1]], [[1, 0, 0]]])
    metrics.ConfusionMatrix(2).update(tiny, tiny)
    lesion = torch.zeros(1, 2, 8, 9, dtype=torch.int64)
    lesion[0, 1, 3, 3] = 1
    metrics.ConfusionMatrix(2).update(lesion, lesion)
    whole = torch.stack([torch.zeros(8, 9), torch.ones(8, 9)]).long()  # one all 0, one all 1
    metrics.ConfusionMatrix(2).update(whole, torch.randint(0, 2, (2, 8, 9)))


@pytest.mark.parametrize(
    ("prediction", "match"),
    [
        (lambda y: torch.randn(2, 3, 4, 5), r"segkit\.metrics\.argmax\(prediction\)"),
        (lambda y: one_hot(y, 3, 1), r"prediction\.argmax\(1\)"),
        (lambda y: y.float(), "prediction is torch.float32"),
        (lambda y: y.numpy(), "prediction: needed are class ids .* an ndarray"),
        (lambda y: SegOutput(y, {}), "prediction: .* whole output"),
        (lambda y: y.to("meta"), "prediction on meta, labels on cpu"),
        (lambda y: y + 1, r"prediction holds \[3\]"),
    ],
)
def test_predictions_are_class_ids(prediction, match):
    labels = torch.randint(0, 3, (2, 4, 5))
    labels[0, 0, 0] = 2
    with pytest.raises(ValueError, match=match):
        metrics.ConfusionMatrix(3).update(prediction(labels), labels)


@pytest.mark.parametrize("num_classes", [1, 0, -3, 2.5, "3", None])
def test_classes_are_counted_in_whole_numbers(num_classes):
    with pytest.raises(ValueError, match="num_classes is .*at least 2"):
        metrics.ConfusionMatrix(num_classes)
    assert metrics.ConfusionMatrix(np.int64(3)).matrix.shape == (4, 3)


@pytest.mark.parametrize("given", [SegOutput(torch.zeros(1, 2, 3, 4), {}), np.zeros((1, 2, 3, 4))])
def test_argmax_takes_tensors(given):
    for call in (metrics.argmax, lambda x: metrics.argmax_resized(x, (4, 4))):
        with pytest.raises(ValueError, match="argmax: needed are scores"):
            call(given)


# --- prediction, evaluation, training


class Plain(nn.Module):
    """Convolutions over images or volumes."""

    def __init__(self, dims=2, in_channels=3, num_classes=2):
        super().__init__()
        kind = nn.Conv3d if dims == 3 else nn.Conv2d
        self.conv = kind(in_channels, num_classes, 3, padding=1)

    def forward(self, images):
        return SegOutput(self.conv(images), {})


def evaluated(model, images):
    labels = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)
    return engine.evaluate(model, [(images, labels)], num_classes=2)


def trained(model, images):
    labels = torch.zeros(len(images), *images.shape[2:], dtype=torch.int64)
    return next(
        engine.train(
            model,
            [(images, labels)],
            loss=losses.combine(losses.cross_entropy, {}),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            steps=1,
        )
    )


DOORS = {
    "predict": engine.predict,
    "windows": partial(engine.predict, window=(32, 32), scales=(1.0, 2.0), flip=True),
    "evaluate": evaluated,
    "train": trained,
}
each_door = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)


@each_door
@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(1, 4, 32, 40), r"4 channels.*Plain reads 3.*in_channels=4"),
        (torch.zeros(1, 1, 32, 40), r"1 channels.*C = 3"),
        (torch.zeros(1, 3, 32, 40, dtype=torch.float64), r"images\.to\(torch\.float32\)"),
    ],
)
def test_images_that_a_network_cannot_take(door, images, match):
    with pytest.raises(ValueError, match=match):
        door(Plain(), images)


@pytest.mark.parametrize("door", [engine.predict, evaluated, trained])
def test_volumes_and_images_are_not_the_same(door):
    images, volumes = torch.zeros(1, 3, 32, 40), torch.zeros(1, 3, 8, 32, 40)
    with pytest.raises(ValueError, match=r"network of images: give \(B, C, H, W\), slice by"):
        door(Plain(2), volumes)
    with pytest.raises(ValueError, match=r"network of volumes: give \(B, C, D, H, W\)"):
        door(Plain(3), images)
    door(Plain(2), images)
    door(Plain(3), volumes)


@pytest.mark.parametrize("door", [engine.predict, evaluated, engine.predict_probs])
@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.full((1, 3, 32, 40), float("nan")), r"NaN or infinite.*\[0\] of the batch"),
        (torch.full((2, 3, 32, 40), -float("inf")), r"\[0, 1\]"),
    ],
)
def test_numbers_that_are_none(door, images, match):
    with pytest.raises(ValueError, match=match):
        door(Plain(), images)


@pytest.mark.parametrize("door", [engine.predict, evaluated, engine.predict_probs, trained])
@pytest.mark.parametrize(
    ("images", "match"),
    [
        (torch.zeros(1, 3, 32, 40, dtype=torch.uint8), "normalise them"),
        (torch.zeros(1, 3, 0, 40), "no pixel at all"),
        (torch.zeros(0, 3, 32, 40), "no pixel at all"),
        (torch.zeros(3, 32, 40), r"images\[None\]"),
    ],
)
def test_what_are_no_images(door, images, match):
    with pytest.raises(ValueError, match=match):
        door(Plain(), images)


def test_one_nan_among_many_numbers_is_found_and_large_numbers_are_not():
    images = torch.zeros(3, 3, 32, 40)
    images[1, 2, 30, 7] = float("nan")
    with pytest.raises(ValueError, match=r"those at \[1\] of the batch"):
        engine.predict(Plain(), images)
    engine.predict(Plain(), torch.full((1, 3, 32, 40), 3e38))


@pytest.mark.parametrize("given", [np.zeros((1, 3, 32, 32)), [0.0], Image.new("RGB", (4, 4)), None])
def test_images_are_tensors(given):
    with pytest.raises(ValueError, match="images: needed are a batch of normalised images"):
        engine.predict(Plain(), given)


def test_images_on_another_device():
    with pytest.raises(ValueError, match=r"images on cpu, the network on meta"):
        engine.predict(Plain().to("meta"), torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("returns", "match"),
    [
        (lambda x: x, "returned a Tensor.*SegOutput"),
        (lambda x: {"out": x}, r"returned a dict.*SegOutput\(output\['out'\], \{\}\)"),
    ],
)
def test_networks_that_return_something_else(returns, match):
    class Other(nn.Module):
        def forward(self, images):
            return returns(images)

    images = torch.zeros(1, 3, 32, 32)
    for call in (engine.predict, evaluated, lambda m, x: LogitsOnly(m)(x)):
        with pytest.raises(ValueError, match=match):
            call(Other(), images)


def test_what_is_no_network():
    for call in (engine.predict, evaluated, lambda m, x: optimize_for_inference(m)):
        with pytest.raises(ValueError, match="the network is a function: give an nn.Module"):
            call(lambda images: images, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    "batch",
    [{"image": torch.zeros(1, 3, 32, 32)}, torch.zeros(2, 3, 32, 32), (torch.zeros(1),) * 3],
)
def test_batches_are_pairs(batch):
    with pytest.raises(ValueError, match=r"give pairs \(images, labels\)"):
        engine.evaluate(Plain(), [batch], num_classes=2)
    model, loss = Plain(), losses.combine(losses.cross_entropy, {})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"give pairs \(images, labels\)"):
        next(engine.train(model, [batch], loss=loss, optimizer=optimizer, steps=1))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"scales": 1.5}, "scales are positive factors"),
        ({"scales": ("2",)}, "scales are positive factors"),
        ({"overlap": "half"}, "overlap"),
        ({"window": 64}, r"window=64: give \(height, width\)"),
        ({"window": (64, 64, 64)}, r"give \(height, width\)"),
    ],
)
def test_options_of_prediction(options, match):
    with pytest.raises(ValueError, match=match):
        engine.predict(Plain(), torch.zeros(1, 3, 32, 32), **options)


def test_a_network_without_parameters_is_evaluated():
    class Constant(nn.Module):
        def forward(self, images):
            return SegOutput(images[:, :2], {})

    assert evaluated(Constant(), torch.randn(1, 3, 8, 8)).images == 1


def test_a_fast_network_says_the_same():
    fast = optimize_for_inference(Plain(), precision="float32")
    assert isinstance(fast, InferenceNetwork)
    with pytest.raises(ValueError, match="4 channels"):
        engine.predict(fast, torch.zeros(1, 4, 32, 40))
    with pytest.raises(ValueError, match="NaN"):
        engine.predict(fast, torch.full((1, 3, 32, 40), float("nan")))
    with pytest.raises(ValueError, match="example: needed are images.*ndarray"):
        optimize_for_inference(Plain(), example=np.zeros((1, 3, 32, 32)))


# --- volumes


def test_volumes_are_predicted():
    model, volumes = Plain(3).eval(), torch.randn(2, 3, 34, 40, 36)
    expected = model(volumes).logits
    probs = engine.predict_probs(model, volumes)
    torch.testing.assert_close(probs, expected.softmax(1))
    assert torch.equal(engine.predict(model, volumes).long(), expected.argmax(1))
    whole = engine.predict_probs(model, volumes, window=(64, 64, 64))
    torch.testing.assert_close(whole, probs, rtol=1e-4, atol=1e-6)
    more = engine.predict_probs(model, volumes, window=(32, 32, 32), scales=(1, 1.25), flip=True)
    assert more.shape == probs.shape
    torch.testing.assert_close(more.sum(1), torch.ones(2, 34, 40, 36))


@pytest.mark.parametrize("channels_last", [False, True])
def test_volumes_are_trained_and_evaluated(channels_last):
    model, volumes = Plain(3), torch.randn(2, 3, 8, 9, 10)
    labels = torch.randint(0, 2, (2, 8, 9, 10))
    step = next(
        engine.train(
            model,
            [(volumes, labels)],
            loss=losses.combine(losses.cross_entropy, {}),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.0),
            steps=1,
            channels_last=channels_last,
        )
    )
    counts = engine.evaluate(model, [(volumes, labels)], num_classes=2, channels_last=channels_last)
    expected = model(volumes).logits.detach()
    assert step.loss == pytest.approx(float(losses.cross_entropy(expected, labels)), rel=1e-5)
    assert counts.pixel_accuracy() == float((expected.argmax(1) == labels).double().mean())


# --- transforms


def pair(image):
    return image, torch.zeros(image.shape[-2:], dtype=torch.uint8)


TRANSFORMS = {
    "Normalize": transforms.Normalize(),
    "ColorJitter": transforms.ColorJitter(),
    "RandomFlip": transforms.RandomFlip(),
    "RandomScaleCrop": transforms.RandomScaleCrop((8, 8), (1.0, 1.0)),
    "Elastic": transforms.Elastic(),
    "FromV2": transforms.FromV2(lambda image, mask: (image, mask)),
    "Compose": transforms.train((8, 8), (1.0, 1.0)),
    "image": lambda image, mask: transforms.Normalize().image(image),
}
each_transform = pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)


@each_transform
@pytest.mark.parametrize(
    ("image", "match"),
    [
        (torch.rand(3, 8, 8), r"counts 0\.\.1: give 255 \* image"),
        (torch.full((3, 8, 8), 0.5), r"counts 0\.\.1"),
        (transforms.Normalize().image(torch.randint(256, (3, 8, 8))), "after Normalize"),
        (torch.full((3, 8, 8), float("nan")), "NaN or infinite"),
        (torch.randint(65536, (3, 8, 8)).float(), r"16 bits give image / 257"),
    ],
)
def test_colours_are_not_scaled_twice(transform, image, match):
    with pytest.raises(ValueError, match=match):
        transform(*pair(image))
    if "255 *" in match:
        transform(*pair(255 * image))  # the cure


@each_transform
@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((3, 8, 8), np.uint8), "image: needed are .*ndarray"),
        (torch.zeros(4, 8, 8, dtype=torch.uint8), r"\(4, 8, 8\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"\(8, 8, 3\)"),
    ],
)
def test_a_transform_takes_an_image_and_its_mask(transform, image, match):
    with pytest.raises(ValueError, match=match):
        transform(image, torch.zeros(8, 8, dtype=torch.uint8))


def test_pictures_of_pil_are_named():
    with pytest.raises(ValueError, match="a PIL image: .*pil_to_tensor"):
        transforms.RandomFlip()(Image.new("RGB", (8, 8)), torch.zeros(8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"permute\(2, 0, 1\)"):
        transforms.RandomFlip()(*pair(torch.zeros(8, 8, 3, dtype=torch.uint8)))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_dark_picture_is_harmless(levels):
    """Black, and one grey level above it, at every strength and in every order."""
    chain = transforms.Compose(
        transforms.ColorJitter(1.0, 1.0, 1.0, 0.5),
        transforms.RandomScaleCrop((16, 16), (0.7, 1.7)),
        transforms.Elastic(3.0),
        transforms.RandomFlip(),
        transforms.Normalize(),
    )
    for seed in range(60):
        torch.manual_seed(seed)
        dark = torch.randint(levels, (3, 20, 20), dtype=torch.uint8)
        image, _ = chain(*pair(dark))
        assert image.isfinite().all()


def test_a_black_picture_in_floats_is_a_picture():
    transforms.Normalize()(*pair(torch.zeros(3, 8, 8)))


@pytest.mark.parametrize("mean", [("a", "b", "c"), 0.5, (0.5, 0.5), (0.5, 0.5, 2.0), None])
def test_colours_are_three_numbers(mean):
    with pytest.raises(ValueError, match="give three numbers"):
        transforms.Normalize(mean=mean)


# --- other doors


def test_the_crf_takes_tensors():
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match="image: needed are one RGB picture.*ndarray"):
        crf.refine(image.numpy(), torch.full((2, 8, 8), 0.5))
    with pytest.raises(ValueError, match="probs: needed are probabilities.*ndarray"):
        crf.refine(image, np.full((2, 8, 8), 0.5))


@pytest.mark.parametrize("name", ["hrnet_w18", "mit_b0", "vgg16"])
def test_a_backbone_without_an_option_names_those_that_have_it(name):
    with pytest.raises(ValueError, match=rf"{name} takes no output_stride.*resnet50.*{name} takes"):
        create_backbone(name, output_stride=16)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_torchscript_says_its_limits():
    model = segkit.create_model("fast_scnn", num_classes=2).eval()
    images = torch.randn(1, 3, 64, 64)
    fast = optimize_for_inference(model, precision="float32")
    for network in (fast, LogitsOnly(model)):
        with pytest.raises(ValueError, match="torch.jit.script cannot read.*LogitsOnly"):
            torch.jit.script(network)
    with pytest.raises(ValueError, match="cannot be traced.*LogitsOnly"):
        torch.jit.trace(fast, images)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_what_torchscript_is_told_to_do_works():
    model = segkit.create_model("fast_scnn", num_classes=2).eval()
    images = torch.randn(1, 3, 64, 64)
    traced = torch.jit.trace(LogitsOnly(model), images)
    assert torch.equal(traced(images), model(images).logits)
    program = torch.export.export(LogitsOnly(model), (images,))
    torch.testing.assert_close(program.module()(images), model(images).logits)


def test_hints_of_shape_and_type_can_be_followed():
    logits, labels = batch()
    with pytest.raises(ValueError, match=r"int64 of shape") as caught:  # they have a batch already
        losses.cross_entropy(logits.long(), labels)
    assert "logits[None]" not in str(caught.value)
    for weight in ("balanced", b"x"):
        with pytest.raises(ValueError, match="this is a") as caught:
            losses.cross_entropy(logits, labels, weight=weight)
        assert "as_tensor" not in str(caught.value)
    counts = metrics.ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"labels\.squeeze\(1\)") as caught:
        counts.update(labels, labels[:, None])
    assert "argmax" not in str(caught.value)  # which would make zeros of them
    counts.update(labels, labels[:, None].squeeze(1))
    assert counts.miou() == 1


@each_loss
def test_class_weights_that_overflow_are_infinite(loss):
    logits, labels = batch()
    with pytest.raises(ValueError, match="class weights are finite"):
        weighted(loss)(torch.full((3,), 1e300, dtype=torch.float64))(logits, labels)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64, torch.int8])
def test_every_integer_is_counted(dtype):
    _, labels = batch()
    counts = metrics.ConfusionMatrix(3)
    counts.update(labels.to(dtype), labels.to(dtype))
    assert counts.miou() == 1


@pytest.mark.parametrize("dtype", [torch.uint16, torch.int32, torch.int64])
def test_whole_numbers_beyond_a_byte_are_not_normalised(dtype):
    levels = torch.tensor([0, 65535]).expand(3, 4, 2)
    with pytest.raises(ValueError, match=r"goes up to 65535: of 16 bits give image / 257"):
        transforms.Normalize().image(levels.to(dtype))
    bytes_ = levels // 257
    expected = transforms.Normalize().image(bytes_.to(torch.uint8))
    assert torch.equal(transforms.Normalize().image(bytes_.to(dtype)), expected)


def test_other_pictures_than_of_colours_are_not_normalised():
    normalize = transforms.Normalize()
    for wrong in (torch.ones(3, 4, 4).bool(), torch.full((3, 4, 4), -1)):
        with pytest.raises(ValueError, match="counts 0..255 in a transform"):
            normalize.image(wrong)
    picture = torch.arange(3 * 5 * 6, dtype=torch.uint8).reshape(3, 5, 6)
    clear = torch.cat([picture, picture[:1]])
    for image in (picture.permute(1, 2, 0), clear.permute(1, 2, 0), clear, picture[0], picture[:1]):
        with pytest.raises(ValueError, match="give three colours") as caught:
            normalize.image(image)
        cure = re.search(r"image[.\[]\S+(, \S+)*(?= (puts|leaves|makes))", str(caught.value))[0]
        assert normalize.image(eval(cure)).shape == (3, 5, 6)
    with pytest.raises(ValueError, match=r"of 0\.\.255$"):
        normalize.image(torch.zeros(3, 4, 5, 6, dtype=torch.uint8))


def test_colours_of_labels_are_three_whole_numbers():
    colours = torch.tensor([1, 44, 0], dtype=torch.uint8)[:, None, None].expand(3, 2, 2)
    for palette in ([(0, 300, 0)], [(1.0, 0.0, 0.0)], [(1, 2)], [(-1, 0, 0)], [(0, 0, 0, 255)]):
        with pytest.raises(ValueError, match=r"whole numbers of 0\.\.255"):
            mask_from_colours(colours, palette)
    with pytest.raises(ValueError, match="an ndarray: torch.as_tensor"):
        mask_from_colours(colours.numpy(), [(1, 44, 0)])
    assert mask_from_colours(torch.as_tensor(colours.numpy()), [(1, 44, 0)]).eq(0).all()
    assert mask_from_colours(colours, np.array([[1, 44, 0]])).eq(0).all()


def test_images_too_small_for_a_network_are_named():
    model = segkit.create_model("segformer_b0", num_classes=2).eval()
    with pytest.raises(ValueError, match="too small for SegFormer: give 32 pixels a side or more"):
        engine.predict(model, torch.randn(1, 3, 16, 40))
    assert engine.predict(model, torch.randn(1, 3, 32, 40)).shape == (1, 32, 40)
