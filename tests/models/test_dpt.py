"""DPT: the sizes of other implementations, reassembly and fusion worked by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from segkit.backbones.resnet import resnet18
from segkit.backbones.vit import Tokens, ViT
from segkit.models import dpt
from segkit.models.dpt import DPT, Fusion, ReadoutAdd, ReadoutIgnore, ReadoutProject, Reassemble


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def small(**arguments):
    torch.manual_seed(0)
    network = VisionTransformer(
        image_size=64, patch_size=16, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32
    )
    return DPT(
        ViT(network),
        **{
            "num_classes": 3,
            "reassemble_channels": (4, 5, 6, 7),
            "decoder_channels": 8,
            **arguments,
        },
    )


def test_parameters_of_the_base_network():
    with torch.device("meta"):
        model = dpt.dpt_vit_b16(num_classes=150)
    parts = {name: parameters(child) for name, child in model.named_children()}
    head, aux_head = parts.pop("head"), parts.pop("aux_head")
    # mmsegmentation 1.2.2: 85,796,352 and 23,907,926; its patches have no bias and its aux head is
    # missing, the rest is the same.
    assert parts.pop("backbone") == 85_796_352 + 768
    assert sum(parts.values()) + head == 23_907_926
    assert head == aux_head == 628_886  # transformers 5.23.0
    assert parameters(model) == 110_333_932


def test_parameters_of_the_large_network():
    with torch.device("meta"):
        model = dpt.dpt_vit_l16(num_classes=150)
    parts = {name: parameters(child) for name, child in model.named_children()}
    # transformers 5.23.0: 304,022,528 with the last LayerNorm and positions for 480 pixels.
    assert parts.pop("backbone") == 304_022_528 - 2 * 1024 - (30**2 - 14**2) * 1024
    assert parts.pop("head") == parts.pop("aux_head") == 628_886
    # 39,007,744 with eight residual units, one of them unused, and biases for batch normalisation.
    unit = 2 * (9 * 256**2 + 256)
    assert sum(parts.values()) == 39_007_744 - unit + 7 * 2 * 256
    assert parameters(model) == 342_388_524


def test_values_that_the_paper_fixes():
    assert DPT.aux_losses["p3"].weight == 0.2
    with torch.device("meta"):
        model = dpt.dpt_vit_l16(num_classes=150)
    assert model.backbone.blocks == (5, 11, 17, 23)
    assert [r.smooth.out_channels for r in model.reassemble] == [256] * 4
    assert [r.project.out_channels for r in model.reassemble] == [256, 512, 1024, 1024]
    assert [head[3].p for head in (model.head, model.aux_head)] == [0.1, 0.1]


@torch.no_grad()
def test_readouts_by_hand():
    torch.manual_seed(0)
    tokens = Tokens(torch.randn(2, 4, 3, 5), torch.randn(2, 4))
    patch = tokens.patches[1, :, 2, 3]
    project = ReadoutProject(4)
    linear = project.project[0]
    expected = F.gelu(linear(torch.cat([patch, tokens.class_token[1]])))
    torch.testing.assert_close(project(tokens)[1, :, 2, 3], expected)
    torch.testing.assert_close(ReadoutAdd()(tokens)[1, :, 2, 3], patch + tokens.class_token[1])
    torch.testing.assert_close(ReadoutIgnore()(tokens)[1, :, 2, 3], patch)


@pytest.mark.parametrize(
    ("stride", "size"), [(4, (12, 20)), (8, (6, 10)), (16, (3, 5)), (32, (2, 3))]
)
def test_reassembled_sizes(stride, size):
    reassemble = Reassemble(4, 6, 8, stride=stride, readout="ignore")
    tokens = Tokens(torch.randn(2, 4, 3, 5), torch.randn(2, 4))
    assert reassemble(tokens).shape == (2, 8, *size)


@torch.no_grad()
def test_fusion_adds_what_comes_from_below_as_it_is():
    torch.manual_seed(0)
    fusion = Fusion(4).eval()
    nn.init.zeros_(fusion.refine.conv2.conv.weight)  # the residual unit becomes the identity
    nn.init.zeros_(fusion.refine_skip.conv2.conv.weight)
    nn.init.zeros_(fusion.project.bias)
    nn.init.dirac_(fusion.project.weight)
    x, below = torch.randn(2, 1, 4, 3, 3)
    expected = F.interpolate(x + below, (5, 5), mode="bilinear", align_corners=True)
    result = fusion(x, below, (5, 5))
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(result[..., ::2, ::2], x + below)  # corners are aligned


def test_the_deepest_fusion_has_nothing_unused():
    model = small()
    assert model.fuse5.refine_skip is None
    assert parameters(model.fuse4) > parameters(model.fuse5)


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (97, 130)])
def test_sizes(size):
    model = small()
    images = torch.randn(2, 3, *size)
    output = model(images)
    assert output.logits.shape == (2, 3, *size)
    assert output.aux["p3"].shape == (2, 3, *(-(-side // 4) for side in size))
    assert model.eval()(images).aux == {}


@torch.no_grad()
def test_padding_is_cut_off_again():
    model = small().eval()
    images = torch.randn(1, 3, 40, 50)
    padded = F.pad(images, (0, 14, 0, 8))
    torch.testing.assert_close(model(images).logits, model(padded).logits[..., :40, :50])


@pytest.mark.parametrize("readout", ["project", "add", "ignore"])
def test_every_parameter_is_used(readout):
    model = small(readout=readout)
    output = model(torch.randn(2, 3, 33, 47))
    (output.logits.square().mean() + output.aux["p3"].square().mean()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_one_small_image_cannot_be_normalised():
    with pytest.raises(ValueError, match="batch of 2 or more"):
        small()(torch.randn(1, 3, 32, 32))
    assert small()(torch.randn(1, 3, 33, 47)).logits.isfinite().all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="readout is 'cat'; take 'project', 'add' or 'ignore'"):
        small(readout="cat")
    with pytest.raises(ValueError, match=r"strides are \[4, 8, 16, 32\].*vit_b_16"):
        DPT(resnet18(), num_classes=3, reassemble_channels=(4, 5, 6, 7))
    with pytest.raises(ValueError, match="num_classes=2"):
        small(num_classes=1)
