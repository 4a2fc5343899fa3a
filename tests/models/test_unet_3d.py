"""3D U-Net: the paper's widths and its parameter count, any size."""

import pytest
import torch
from torch import nn

from segkit.models.unet_3d import UNet3d, unet_3d


def test_paper_widths_and_parameters():
    """The paper counts 19,069,955: a bias in each convolution, no BatchNorm, no bias going up."""
    with torch.device("meta"):
        model = unet_3d(num_classes=3)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv3d)]
    assert [(m.in_channels, m.out_channels) for m in convs] == [
        *[(3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512)],
        *[(768, 256), (256, 256), (384, 128), (128, 128), (192, 64), (64, 64)],
        (64, 3),
    ]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm3d)]
    total = sum(p.numel() for p in model.parameters())
    widths = sum(norm.num_features for norm in norms)
    assert len(norms) == 14
    assert total == 19_072_291
    assert total - 2 * widths + widths == 19_069_955
    assert model.spatial_dims == 3


@pytest.mark.parametrize("size", [(8, 8, 8), (11, 9, 14), (20, 24, 17)])
def test_logits_have_the_size_of_the_volumes(size):
    model = UNet3d(num_classes=4, in_channels=2, channels=(4, 8, 16, 32)).eval()
    assert model(torch.randn(2, 2, *size)).logits.shape == (2, 4, *size)


def test_each_step_up_sees_its_skip():
    """What is below is enlarged by two; a border of an odd size is cropped at its end."""
    model = UNet3d(num_classes=2, in_channels=1, channels=(2, 4)).eval()
    seen = []
    model.expand[0].register_forward_hook(lambda _, given, made: seen.append(given[0]))
    volume = torch.randn(1, 1, 5, 6, 7)
    model(volume)
    skip = model.contract[0](volume)
    assert torch.equal(seen[0][:, :2], skip)
    below = model.up[0](model.contract[1](model.pool(skip)))
    assert torch.equal(seen[0][:, 2:], below[..., :5, :6, :7])


def test_refused():
    with pytest.raises(ValueError, match="takes volumes"):
        unet_3d(num_classes=2).eval()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="even number"):
        UNet3d(num_classes=2, channels=(3, 6))
    with pytest.raises(ValueError, match="two levels"):
        UNet3d(num_classes=2, channels=(4,))
