"""Presets: what they hold, what they give, and the way to torchvision's v2."""

import pickle

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from segkit import transforms


def pair(height=90, width=120):
    generator = torch.Generator().manual_seed(5)
    image = torch.randint(256, (3, height, width), generator=generator, dtype=torch.uint8)
    return image, torch.randint(11, (height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("scale", [(0.125, 1.5), (0.5, 2.5)])
def test_train_gives_the_window(scale):
    for seed in range(30):
        torch.manual_seed(seed)
        images, labels = transforms.train((64, 80), scale, elastic=5.0)(*pair())
        assert images.shape == (3, 64, 80)
        assert images.dtype == torch.float32
        assert labels.shape == (64, 80)
        assert labels.dtype == torch.int64
        assert images.isfinite().all()


def test_evaluate_keeps_the_size():
    image, mask = pair(33, 47)
    images, labels = transforms.evaluate(mean=(0, 0, 0), std=(1, 1, 1))(image, mask)
    torch.testing.assert_close(images, image / 255)
    assert torch.equal(labels, mask.long())


def test_a_seed_fixes_the_picture():
    preset = transforms.train((32, 32), (0.5, 2.0), elastic=3.0)
    torch.manual_seed(3)
    one = preset(*pair())
    torch.manual_seed(3)
    two = preset(*pair())
    three = preset(*pair())
    assert torch.equal(one[0], two[0])
    assert not torch.equal(one[0], three[0])


def test_repr_and_equality():
    preset = transforms.train((32, 48), (0.5, 2.0), flip=0.25, jitter=0, elastic=3.0)
    assert repr(preset).splitlines() == [
        "Compose(",
        "    RandomScaleCrop(crop=(32, 48), scale=(0.5, 2.0), mean=(0.485, 0.456, 0.406), "
        "antialias=True, step=0.0, undersized='pad'),",
        "    Elastic(sigma=3.0, grid=3),",
        "    RandomFlip(p=0.25, vertical=False),",
        "    Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),",
        ")",
    ]
    again = pickle.loads(pickle.dumps(preset))
    assert again == preset
    assert again != transforms.train((32, 48), (0.5, 2.0))


def test_train_hands_on_what_a_release_asks_for():
    release = transforms.train(
        (8, 8), (0.5, 2.5), jitter=0.5, hue=18 / 255, jitter_probability=0.5, scale_step=0.25,
        undersized="pad_bottom_right", antialias=False, mean=(0.5,) * 3, std=(0.5,) * 3,
    )  # fmt: skip
    crop, _, jitter, normalize = release.transforms
    assert (crop.step, crop.undersized, crop.antialias) == (0.25, "pad_bottom_right", False)
    assert jitter == transforms.ColorJitter(0.5, 0.5, 0.5, 18 / 255, 0.5)
    assert (crop.mean, normalize.mean, normalize.std) == ((0.5,) * 3,) * 3
    hue = transforms.train((8, 8), (1, 1), jitter=0, hue=0.1).transforms[-2]
    assert hue == transforms.ColorJitter(0, 0, 0, 0.1)


def test_jitter_is_left_out_at_zero():
    kinds = [type(one) for one in transforms.train((8, 8), (1, 1), jitter=0).transforms]
    assert transforms.ColorJitter not in kinds
    kinds = [type(one) for one in transforms.train((8, 8), (1, 1)).transforms]
    assert kinds[-2:] == [transforms.ColorJitter, transforms.Normalize]


def test_v2_moves_image_and_mask_and_fills_with_void():
    fill = {tv_tensors.Image: 0, tv_tensors.Mask: 255}
    image, mask = pair()
    turned = transforms.FromV2(v2.RandomAffine(degrees=0, translate=(0.5, 0.5), fill=fill))
    torch.manual_seed(1)
    images, labels = turned(image, mask)
    assert type(images) is torch.Tensor
    assert type(labels) is torch.Tensor
    shown = labels != 255
    assert 0 < shown.sum() < shown.numel()
    assert (images[:, ~shown] == 0).all()
    images, labels = transforms.Compose(turned, transforms.Normalize())(image, mask)
    assert labels.dtype == torch.int64


def test_compose_of_nothing_and_of_nonsense():
    image, mask = pair()
    assert transforms.Compose()(image, mask)[0] is image
    with pytest.raises(ValueError, match="'flip' is no transform"):
        transforms.Compose("flip")


def test_a_transform_after_normalize_says_so():
    late = transforms.Compose(transforms.Normalize(), transforms.RandomFlip())
    with pytest.raises(ValueError, match="Normalize, which makes it int64, comes last"):
        late(*pair())
