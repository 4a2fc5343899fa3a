"""What every network promises, checked for every name in the catalog.

Shapes are checked on the meta device, which costs nothing at any size; what needs numbers runs on
small images, one network in memory at a time.
"""

import inspect
import math

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from segkit.catalog import MODELS, options_of
from segkit.losses import combine, cross_entropy
from segkit.outputs import SegOutput

K = 5
SIZE = (33, 47)

# One of each kind, and quick: the fast set. The others are marked slow.
FAST = {
    "bisenet_v2",
    "deeplab_v3_plus_mobilenet_v2",
    "espnet",
    "fast_scnn",
    "fcn8s_resnet18",
    "fcn_hrnet_w18_small",
    "linknet_resnet18",
    "lraspp_mobilenet_v3_large",
    "no_new_net",
    "pp_liteseg_t",
    "segformer_b0",
    "stdc1_seg",
    "u2netp",
    "unet_plus_plus",
    "unet_resnet18",
}


@pytest.fixture(params=list(MODELS))
def name(request):
    """Every network, for what costs nothing."""
    return request.param


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in MODELS],
)
def variant(request):
    """Every network, for what takes a second."""
    return request.param


@pytest.fixture(scope="module")
def model(variant):
    torch.manual_seed(0)
    model = MODELS[variant](num_classes=K)
    for key, p in model.named_parameters():
        # What starts at zero, a head or the normalisation that ends a block, hides what is before.
        if not p.any() and (p.dim() > 1 or key.endswith("bn.weight")):
            nn.init.normal_(p, std=0.01)
    return model


@pytest.fixture(autouse=True)
def _leave_no_gradients(request):
    yield
    if "model" in request.fixturenames:
        request.getfixturevalue("model").zero_grad(set_to_none=True)


def on_meta(name, **arguments):
    with torch.device("meta"):
        return MODELS[name](**{"num_classes": K, **arguments})


def size_for(model, size):
    """A size of the images that a network sees: (H, W), or a volume's."""
    return size if getattr(model, "spatial_dims", 2) == 2 else (17, *size)


def images_for(model, size=SIZE, *, batch=2, channels=3, device="cpu"):
    images = torch.randn if device == "cpu" else torch.empty
    return images(batch, channels, *size_for(model, size), device=device)


def labels_for(images):
    labels = torch.randint(0, K, (images.shape[0], *images.shape[2:]))
    labels[..., :4, :] = 255
    return labels


def assert_step(model, precision=None):
    images = images_for(model)
    model.train()
    for module in model.modules():
        if isinstance(module, StochasticDepth):  # of two images it may drop both
            module.eval()
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        output = model(images)
        total, parts = combine(cross_entropy, model.aux_losses)(output, labels_for(images))
    total.backward()
    assert math.isfinite(total.item())
    assert set(parts) == {"main", *model.aux_losses}
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == []
    assert [name for name, p in learning.items() if not p.grad.isfinite().all()] == []
    assert [name for name, p in learning.items() if p.dim() > 1 and not p.grad.any()] == []


# The builder


def test_builder_takes_keywords_and_builds_without_weights(name):
    assert {"num_classes", "in_channels", "weights"} <= set(options_of(name))
    signature = inspect.signature(MODELS[name])
    kinds = {p.kind for p in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    assert signature.return_annotation is not inspect.Signature.empty
    with pytest.raises(TypeError, match="num_classes"):
        MODELS[name]()
    with pytest.raises(TypeError, match="'colour'"), torch.device("meta"):
        MODELS[name](num_classes=K, colour=3)


def test_one_class_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match="num_classes=2"):
        on_meta(name, num_classes=1)


@pytest.mark.parametrize("in_channels", [1, 4])
def test_images_may_have_another_number_of_channels(name, in_channels):
    model = on_meta(name, in_channels=in_channels).eval()
    images = images_for(model, (64, 96), batch=1, channels=in_channels, device="meta")
    assert model(images).logits.shape == (1, K, *images.shape[2:])


# Shapes


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 97), (97, 64), (512, 1024)])
def test_logits_have_the_size_of_the_images(name, size):
    model = on_meta(name)
    images = images_for(model, size, device="meta")

    output = model.eval()(images)
    assert type(output) is SegOutput
    assert output.logits.shape == (2, K, *images.shape[2:])
    assert output.aux == {}

    output = model.train()(images)
    assert type(output) is SegOutput
    assert output.logits.shape == (2, K, *images.shape[2:])
    assert set(output.aux) == set(model.aux_losses)
    for key, aux in output.aux.items():
        if isinstance(aux, torch.Tensor):
            assert aux.shape[:2] == (2, K)
            assert all(a <= b for a, b in zip(aux.shape[2:], images.shape[2:], strict=True))
        else:  # not class scores: a NamedTuple with a loss of its own
            assert aux._fields
            assert model.aux_losses[key].loss is not None


def test_paper_size_is_built_without_memory(name):
    model = on_meta(name, num_classes=19)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert sum(p.numel() for p in model.parameters()) > 100_000


# Numbers


def test_a_training_step_reaches_every_parameter(model):
    assert_step(model)


def test_a_training_step_in_bfloat16_is_finite(model):
    assert_step(model, precision=torch.bfloat16)


def test_one_image_in_training_works_or_names_the_cure(model):
    model.train()
    try:
        with torch.no_grad():
            logits = model(images_for(model, batch=1)).logits
    except ValueError as error:
        assert "batch of 2 or more" in str(error)  # noqa: PT017 (either way is right)
    else:
        assert logits.isfinite().all()


@torch.no_grad()
def test_eval_does_not_mix_the_images_of_a_batch(model):
    model.eval()
    images = images_for(model)
    together = model(images).logits
    alone = torch.cat([model(images[:1]).logits, model(images[1:]).logits])
    scale = together.abs().max().item()
    assert 0 < scale < math.inf
    torch.testing.assert_close(alone, together, atol=1e-5 * max(scale, 1.0), rtol=1e-5)


@torch.no_grad()
def test_state_dict_holds_all_that_eval_needs(variant, model):
    model.eval()
    twin = on_meta(variant).eval()
    twin.load_state_dict(model.state_dict(), strict=True, assign=True)
    images = images_for(model, batch=1)
    torch.testing.assert_close(twin(images).logits, model(images).logits, atol=0, rtol=0)


@torch.no_grad()
def test_export_gives_the_same_logits_at_two_sizes(model):
    model.eval()
    for size in [(32, 64), SIZE]:
        images = images_for(model, size, batch=1)
        program = torch.export.export(model, (images,)).module()
        torch.testing.assert_close(program(images).logits, model(images).logits)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_graph_breaks(variant, training):
    torch.compiler.reset()  # variants share their code, and one code is compiled eight times only
    model = on_meta(variant).train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    images = images_for(model, (64, 96), device="meta")
    output = compiled(images)
    assert output.logits.shape == (2, K, *images.shape[2:])
    assert set(output.aux) == (set(model.aux_losses) if training else set())


def test_networks_share_no_base_class(model):
    assert type(model).__mro__[1] is nn.Module
