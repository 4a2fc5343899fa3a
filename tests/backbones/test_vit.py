"""ViT is torchvision's: same layers, same names, same tokens; at any size."""

import pytest
import torch
from torch import nn
from torchvision import models

from segkit.backbones import vit
from segkit.outputs import Stages


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def small(**arguments):
    torch.manual_seed(0)
    return models.VisionTransformer(
        image_size=64,
        patch_size=16,
        num_layers=8,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        **arguments,
    )


# torchvision 0.29.1: 86,567,656 and 304,326,632 with classifier and last LayerNorm
@pytest.mark.parametrize(
    ("name", "count", "norm", "classifier"),
    [("vit_b_16", 85_797_120, 1_536, 769_000), ("vit_l_16", 303_299_584, 2_048, 1_025_000)],
)
def test_parameters_and_names(name, count, norm, classifier):
    with torch.device("meta"):
        ours = getattr(vit, name)()
        with_norm = getattr(vit, name)(norm=True)
        theirs = getattr(models, name)()
    assert parameters(ours) == count
    assert parameters(with_norm) == count + norm
    assert parameters(theirs) == count + norm + classifier
    shapes = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("heads.")}
    assert {k: v.shape for k, v in with_norm.state_dict().items()} == shapes


def test_blocks_of_the_dense_prediction_transformer():
    with torch.device("meta"):
        assert vit.vit_b_16().blocks == (2, 5, 8, 11)
        assert vit.vit_l_16().blocks == (5, 11, 17, 23)
        assert vit.ViT(small()).blocks == (1, 3, 5, 7)


@torch.no_grad()
def test_tokens_are_torchvisions():
    theirs = small().eval()
    images = torch.randn(2, 3, 64, 64)
    seen = []
    for number in (0, 2, 5):
        theirs.encoder.layers[number].register_forward_hook(
            lambda module, args, result: seen.append(result)
        )
    theirs.encoder.register_forward_hook(lambda module, args, result: seen.append(result))
    theirs(images)

    ours = vit.ViT(small().eval(), blocks=(0, 2, 5, 7), norm=True)
    stages = ours.forward_tokens(images)

    for tokens, expected in zip(stages, seen, strict=True):
        assert tokens.patches.shape == (2, 16, 4, 4)
        torch.testing.assert_close(tokens.class_token, expected[:, 0])
        torch.testing.assert_close(tokens.patches.flatten(2).mT, expected[:, 1:])
    for feature, tokens in zip(ours(images), stages, strict=True):
        torch.testing.assert_close(feature, tokens.patches)


@torch.no_grad()
def test_other_sizes_are_padded_to_whole_patches():
    model = vit.ViT(small()).eval()
    images = torch.randn(1, 3, 33, 50)
    padded = nn.functional.pad(images, (0, 14, 0, 15))
    features = model(images)
    assert type(features) is Stages
    for feature, expected in zip(features, model(padded), strict=True):
        assert feature.shape == (1, 16, 3, 4)
        torch.testing.assert_close(feature, expected)


@torch.no_grad()
def test_positions_are_resized_as_a_map():
    model = vit.ViT(small())
    rows = torch.arange(4.0)[:, None].expand(4, 4)
    grid = model.encoder.pos_embedding[0, 1:].unflatten(0, (4, 4))
    grid[..., 0] = rows
    grid[..., 1] = rows.T
    native = model._positions((4, 4))
    assert native is model.encoder.pos_embedding
    wider = model._positions((4, 8))
    assert wider.shape == (1, 33, 16)
    torch.testing.assert_close(wider[:, :1], native[:, :1])  # the class token's stays
    grid = wider[0, 1:].unflatten(0, (4, 8))
    torch.testing.assert_close(grid[..., 0], torch.arange(4.0)[:, None].expand(4, 8))
    expected = torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3])
    torch.testing.assert_close(grid[..., 1], expected.expand(4, 8))


def test_blocks_behind_the_last_are_dropped():
    model = vit.ViT(small(), blocks=(0, 1, 2, 3))
    assert len(model.encoder.layers) == 4


@pytest.mark.parametrize("blocks", [(0, 1, 2), (0, 2, 2, 3), (3, 2, 1, 0), (1, 3, 5, 8)])
def test_four_rising_blocks(blocks):
    with pytest.raises(ValueError, match="four rising numbers between 0 and 7"):
        vit.ViT(small(), blocks=blocks)


@pytest.mark.slow
def test_other_channels_are_drawn_as_a_linear_layer():
    torch.manual_seed(0)
    weight = vit.vit_b_16(in_channels=2, blocks=(0, 1, 2, 3)).conv_proj.weight
    assert weight.shape == (768, 2, 16, 16)
    assert weight.std().item() == pytest.approx((2 * 16 * 16) ** -0.5, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_weights_by_name(monkeypatch, legacy):
    """Also with older names of the linear layers, which torchvision's loading translates."""
    torch.manual_seed(0)
    theirs = models.vit_b_16(image_size=384)
    state = dict(theirs.state_dict())
    if legacy:
        for new, old in (("mlp.0.", "mlp.linear_1."), ("mlp.3.", "mlp.linear_2.")):
            state = {key.replace(new, old): tensor for key, tensor in state.items()}
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *args, **kwargs: dict(state))
    model = vit.vit_b_16(weights="IMAGENET1K_SWAG_E2E_V1")
    expected = theirs.state_dict()
    assert model.encoder.pos_embedding.shape == (1, 1 + 24 * 24, 768)
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[key]), key


def test_unknown_weights():
    with pytest.raises(ValueError, match="IMAGENET1K_SWAG_E2E_V1"):
        vit.vit_b_16(weights="IMAGENET21K")
