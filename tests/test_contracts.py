"""What every network promises.

The cheap half is for every name in the catalog: on the meta device, where a network has shapes and
a graph and no numbers. The half that needs numbers, an export or a compiler is for the smallest
variant of each network: its larger ones run the same code, and are left to `make test-all`. The
certificates' tests run every name at odd sizes and at its paper's size.
"""

import copy
import inspect
import json
import math
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from segkit.catalog import MODELS, options_of
from segkit.engine.autocast import autocast
from segkit.export import export_network
from segkit.losses import combine, cross_entropy
from segkit.outputs import SegOutput

K = 5
SIZE = (33, 47)


def network_of(name):
    """The class that a builder says it returns: the first, where a backbone makes it another."""
    returned = get_type_hints(MODELS[name])["return"]
    return (get_args(returned) or (returned,))[0]


NETWORKS: dict[type[nn.Module], list[str]] = {}
for _name in MODELS:
    NETWORKS.setdefault(network_of(_name), []).append(_name)


def smallest(names):
    """The name with the fewest parameters by its certificate; one without comes before all."""
    certificates = Path(__file__).parents[1] / "docs" / "certificates"

    def size(name):
        path = certificates / f"{name}.json"
        return json.loads(path.read_text("utf-8"))["parameters"]["total"] if path.exists() else 0

    return min(names, key=size)


SMALLEST = [smallest(names) for names in NETWORKS.values()]


@pytest.fixture(
    scope="module",
    params=[pytest.param(n, marks=[pytest.mark.full] * (n not in SMALLEST)) for n in MODELS],
)
def name(request):
    """Every name."""
    return request.param


@pytest.fixture(scope="module")
def meta(name):
    """Every name's network, without numbers."""
    return on_meta(name)


@pytest.fixture(scope="module", params=SMALLEST)
def variant(request):
    """The name of each network's smallest variant."""
    return request.param


@pytest.fixture(scope="module")
def model(variant):
    """Each network's smallest variant, every weight of which matters."""
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
    for fixture in {"meta", "model"} & set(request.fixturenames):
        request.getfixturevalue(fixture).zero_grad(set_to_none=True)


def on_meta(name, **arguments):
    with torch.device("meta"):
        return MODELS[name](**{"num_classes": K, **arguments})


def parameters(model):
    return sum(p.numel() for p in model.parameters())


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
    # At 33 x 47 a key of SegFormer's stands for the whole image: it gets no gradient but rounding.
    images = images_for(model, (67, 97))
    model.train()
    for module in model.modules():
        if isinstance(module, StochasticDepth):  # of two images it may drop both
            module.eval()
    with autocast(torch.device("cpu"), precision):
        output = model(images)
        total, parts = combine(cross_entropy, model.aux_losses)(output, labels_for(images))
    total.backward()
    assert math.isfinite(total.item())
    assert set(parts) == {"main", *model.aux_losses}
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in learning.items() if p.grad is None] == []
    assert [name for name, p in learning.items() if not p.grad.isfinite().all()] == []
    assert [name for name, p in learning.items() if p.dim() > 1 and not p.grad.any()] == []


def assert_shapes(model, size):
    """Of logits and auxiliary outputs in both modes; gives what train mode returned."""
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
    return output


# Every name


def test_builder_takes_keywords_and_builds_without_weights(name):
    assert {"num_classes", "in_channels", "weights"} <= set(options_of(name))
    kinds = {p.kind for p in inspect.signature(MODELS[name]).parameters.values()}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    with pytest.raises(TypeError, match="num_classes"):
        MODELS[name]()
    with pytest.raises(TypeError, match="'colour'"), torch.device("meta"):
        MODELS[name](num_classes=K, colour=3)


@pytest.mark.slow
def test_one_class_is_refused_with_the_way_out(name):
    with pytest.raises(ValueError, match="num_classes=2"):
        on_meta(name, num_classes=1)


@pytest.mark.slow
def test_builds_the_network_that_it_says_without_memory(name, meta):
    """The annotation is also what this suite finds each network's variants by."""
    assert type(meta) is network_of(name)
    assert type(meta).__mro__[1] is nn.Module
    assert all(tensor.is_meta for tensor in meta.state_dict().values())
    assert parameters(meta) > 100_000


@pytest.mark.slow
def test_shapes_and_a_graph_from_every_parameter(meta):
    output = assert_shapes(meta, SIZE)
    parts = [part if isinstance(part, tuple) else (part,) for part in output.aux.values()]
    sum(tensor.sum() for tensor in (output.logits, *sum(parts, ()))).backward()
    learning = {key: p for key, p in meta.named_parameters() if p.requires_grad}
    assert [key for key, p in learning.items() if p.grad is None] == []


@pytest.mark.slow
def test_images_may_have_four_channels(name):
    model = on_meta(name, in_channels=4).eval()
    images = images_for(model, (64, 96), batch=1, channels=4, device="meta")
    assert model(images).logits.shape == (1, K, *images.shape[2:])


@pytest.mark.slow
@torch.no_grad()
def test_a_state_dict_is_all_that_eval_needs(name):
    """A tensor that it lacks stays on the meta device, where nothing can be computed with it."""
    model = on_meta(name).eval()
    state = {
        key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)  # which takes no memory
        for key, tensor in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True, assign=True)
    logits = model(images_for(model, (32, 32), batch=1)).logits
    assert not logits.is_meta
    assert logits.isfinite().all()


# The smallest variant of each network


@pytest.mark.slow
@pytest.mark.parametrize("size", [(32, 32), (65, 97), (97, 64)])
def test_logits_have_the_size_of_the_images(variant, size):
    assert_shapes(on_meta(variant), size)


@pytest.mark.slow
def test_images_may_be_grey(variant):
    model = on_meta(variant, in_channels=1).eval()
    images = images_for(model, (64, 96), batch=1, channels=1, device="meta")
    assert model(images).logits.shape == (1, K, *images.shape[2:])


@pytest.mark.slow
def test_a_training_step_reaches_every_parameter(model):
    assert_step(model)


@pytest.mark.slow
def test_a_training_step_in_bfloat16_is_finite(model):
    assert_step(model, precision=torch.bfloat16)


@pytest.mark.slow
def test_one_image_in_training_works_or_names_the_cure(model):
    model.train()
    try:
        with torch.no_grad():
            logits = model(images_for(model, batch=1)).logits
    except ValueError as error:
        assert "batch of 2 or more" in str(error)  # noqa: PT017 (either way is right)
    else:
        assert logits.isfinite().all()


@pytest.mark.slow
@torch.no_grad()
def test_eval_does_not_mix_the_images_of_a_batch(model):
    model = copy.deepcopy(model).double().eval()  # whose rounding is far below any mixing
    images = images_for(model).double()
    together = model(images).logits
    alone = torch.cat([model(images[:1]).logits, model(images[1:]).logits])
    scale = together.abs().max().item()
    assert 0 < scale < math.inf
    torch.testing.assert_close(alone, together, atol=1e-10 * max(scale, 1.0), rtol=1e-10)


@pytest.mark.slow
@torch.no_grad()
def test_a_state_dict_gives_the_same_logits(variant, model):
    model.eval()
    twin = on_meta(variant).eval()
    twin.load_state_dict(model.state_dict(), strict=True, assign=True)
    images = images_for(model, batch=1)
    torch.testing.assert_close(twin(images).logits, model(images).logits, atol=0, rtol=0)


ONE_SIZE = {
    "no_new_net": "cannot be exported for images of every size",  # fixes the depth
    "pan_resnet50": "does another thing for images of sides above",
}
"""Networks of which a program serves images of one size, and the refusal of more."""


@pytest.mark.full
def test_export_gives_the_same_logits_at_every_size(variant, model):
    """At three sizes with one trace; ONNX, which takes minutes, is in docs/export.md."""
    if variant in ONE_SIZE:
        with pytest.raises(ValueError, match=ONE_SIZE[variant]):
            export_network(model, "pt2")
        model.eval()
        for size in [(32, 64), SIZE]:
            images = images_for(model, size, batch=1)
            program = torch.export.export(model, (images,)).module()
            torch.testing.assert_close(program(images).logits, model(images).logits)
        return
    agreement = export_network(model, "pt2").agreement
    assert len(agreement.shapes) == 3
    assert agreement.difference <= 1e-5 * agreement.largest
    assert agreement.labels == 0


@pytest.mark.full
@pytest.mark.parametrize("training", [True, False])
def test_compiles_without_graph_breaks(variant, training):
    torch.compiler.reset()  # variants share their code, and one code is compiled eight times only
    model = on_meta(variant).train(training)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    images = images_for(model, (64, 96), device="meta")
    output = compiled(images)
    assert output.logits.shape == (2, K, *images.shape[2:])
    assert set(output.aux) == (set(model.aux_losses) if training else set())
