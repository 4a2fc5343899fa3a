"""ESPNet: the release's counts and tensors, the ESP module by hand, odd sizes, few classes."""

import pytest
import torch
from torch import nn

from segkit.losses import cross_entropy
from segkit.models import espnet as module
from segkit.models.espnet import ESP, ESPEncoder, ESPNet, espnet, espnet_c
from segkit.weights.converters import from_authors

NAMES = espnet(num_classes=12).state_dict()

DILATIONS = (1, 2, 4, 8, 16)


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


# Parameters of sacmehta/ESPNet@afe71c3, train/Model.py: ESPNet and ESPNet_Encoder with p = 2.
@pytest.mark.parametrize(
    ("num_classes", "alpha3", "total", "encoder_only"),
    [
        (12, 3, 192_597, 185_481),
        (12, 5, 257_365, 250_249),
        (12, 8, 354_517, 347_401),
        (19, 8, 363_462, 349_193),
        (20, 3, 203_189, 187_529),
        (20, 5, 267_957, 252_297),
        (20, 8, 365_109, 349_449),
    ],
)
def test_parameters_are_those_of_the_release(num_classes, alpha3, total, encoder_only):
    options = {"num_classes": num_classes, "alpha3": alpha3}
    assert count(on_meta(espnet, **options)) == total
    assert count(on_meta(espnet_c, **options)) == encoder_only


def test_parameters_of_every_submodule_are_those_of_the_release():
    model = on_meta(espnet, num_classes=20)
    assert {name: count(child) for name, child in model.named_children()} == {
        "encoder": 349_449 - 5_120,  # the release keeps the projection to the classes in there
        "project3": 5_120,
        "bn3": 40,
        "up3": 1_600,
        "project2": 2_620,
        "fuse2": 1_060,
        "up2": 1_660,
        "fuse1": 7_080,
        "up1": 1_600,
    }


def test_a_fifth_of_the_channels_goes_to_each_branch_and_the_rest_to_the_first():
    esp = ESP(128, 128)
    assert esp.reduce.out_channels == 25
    assert [conv.out_channels for conv in esp.transform] == [28, 25, 25, 25, 25]
    assert [conv.dilation[0] for conv in esp.transform] == list(DILATIONS)


def test_what_the_branches_find_is_added_up_from_dilation_2_on():
    esp = ESP(1, 5, residual=False).eval()
    esp.norm = nn.Identity()
    nn.init.ones_(esp.reduce.weight)
    for conv in esp.transform:
        nn.init.zeros_(conv.weight)
        conv.weight.data[..., 1, 2] = 1  # each branch looks `dilation` pixels to the right
    image = torch.zeros(1, 1, 1, 33)
    image[..., 16] = 1
    seen = [sorted(row.nonzero().flatten().tolist()) for row in esp(image)[0, :, 0]]
    assert seen == [[15], [14], [12, 14], [8, 12, 14], [0, 8, 12, 14]]


def test_a_residual_module_adds_its_input_before_it_normalises():
    torch.manual_seed(0)
    esp = ESP(10, 10)
    plain = ESP(10, 10, residual=False)
    plain.load_state_dict(esp.state_dict())
    esp.norm = plain.norm = nn.Identity()
    x = torch.randn(1, 10, 9, 9)
    torch.testing.assert_close(esp(x), plain(x) + x)


def test_the_image_is_handed_to_each_level():
    model = on_meta(espnet, in_channels=4)
    assert model.encoder.channels == (20, 132, 256)
    x1, x2, x3 = model.encoder(torch.empty(1, 4, 33, 47, device="meta"))
    assert x1.shape == (1, 20, 17, 24)
    assert x2.shape == (1, 132, 9, 12)
    assert x3.shape == (1, 256, 5, 6)

    encoder = ESPEncoder().eval()
    encoder.norm1 = encoder.norm2 = nn.Identity()
    images = torch.arange(64.0).expand(1, 3, 64, 64)
    down = nn.Sequential(ESP(19, 64, stride=2, residual=False), ESP(64, 64))
    encoder.down2, encoder.level2 = down
    encoder.down3 = encoder.level3 = nn.Identity()
    encoder.norm3 = nn.Identity()
    x1, x2, _ = encoder(images)
    assert x1[0, 16, 5, 3:6].tolist() == [6, 8, 10]  # the mean of pixels 5 to 7 is 6
    assert x2[0, 128, 5, 3:6].tolist() == [12, 16, 20]


def test_cropping_is_for_odd_sizes_only(monkeypatch):
    torch.manual_seed(0)
    model = espnet(num_classes=5, alpha3=1).eval()
    images = torch.randn(1, 3, 40, 56)
    expected = model(images).logits
    assert model(images[..., :33, :47]).logits.shape == (1, 5, 33, 47)
    monkeypatch.setattr(module, "_crop", lambda x, like: x)  # the release
    torch.testing.assert_close(model(images).logits, expected, atol=0, rtol=0)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        model(images[..., :33, :47])


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_few_classes_are_carried_in_five_channels(num_classes):
    model = espnet(num_classes=num_classes, alpha3=1)
    assert model.project3.out_channels == 5
    logits = model(torch.randn(2, 3, 33, 47)).logits
    assert logits.shape == (2, num_classes, 33, 47)
    cross_entropy(logits, torch.randint(0, num_classes, (2, 33, 47))).backward()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []


def test_any_encoder_with_three_levels_will_do():
    encoder = ESPEncoder(in_channels=1, alpha2=1, alpha3=1)
    model = ESPNet(encoder, num_classes=5).eval()
    assert model(torch.zeros(1, 1, 32, 40)).logits.shape == (1, 5, 32, 40)


def test_channels_last_gives_the_same_logits_as_planes():
    torch.manual_seed(0)
    model = espnet(num_classes=5, alpha3=2).eval()
    images = torch.randn(1, 3, 40, 56)
    expected = model(images).logits
    model.to(memory_format=torch.channels_last)
    logits = model(images.contiguous(memory_format=torch.channels_last)).logits
    assert logits.is_contiguous()
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)
    model = espnet(num_classes=2, alpha2=1, alpha3=1)
    images = torch.randn(2, 3, 64, 64)
    labels = torch.zeros(2, 64, 64, dtype=torch.int64)
    labels[:, :, 32:] = 1
    images += 2 * labels[:, None]
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(20):
        loss = cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def authors_tensors(num_classes=12, alpha2=2, alpha3=8):
    """The names and shapes of the authors' file, spelled out."""
    tensors = {}

    def add(name, *shape):
        tensors[name] = torch.full(shape, float(len(tensors)))

    def bn(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            add(f"{name}.{part}", channels)

    def bn_prelu(name, channels):
        bn(f"{name}.bn", channels)
        add(f"{name}.act.weight", channels)

    def esp(name, above, channels, side, norm):
        width = channels // 5
        add(f"{name}.c1.conv.weight", width, above, side, side)
        for dilation in DILATIONS:
            first = channels - 4 * width
            add(f"{name}.d{dilation}.conv.weight", first if dilation == 1 else width, width, 3, 3)
        bn_prelu(f"{name}{norm}", channels)

    add("encoder.level1.conv.weight", 16, 3, 3, 3)
    bn_prelu("encoder.level1", 16)
    bn_prelu("encoder.b1", 19)
    for level, above, channels, depth in ((2, 19, 64, alpha2), (3, 131, 128, alpha3)):
        esp(f"encoder.level{level}_0", above, channels, 3, "")
        for index in range(depth):
            esp(f"encoder.level{level}.{index}", channels, channels, 1, ".bn")
    bn_prelu("encoder.b2", 131)
    bn_prelu("encoder.b3", 256)
    add("encoder.classifier.conv.weight", num_classes, 256, 1, 1)
    add("level3_C.conv.weight", num_classes, 131, 1, 1)
    bn("br", num_classes)
    add("conv.conv.weight", num_classes, 19 + num_classes, 3, 3)
    bn_prelu("conv", num_classes)
    bn_prelu("combine_l2_l3.0", 2 * num_classes)
    esp("combine_l2_l3.1", 2 * num_classes, num_classes, 1, ".bn")
    bn_prelu("up_l2.1", num_classes)
    for name in ("up_l3.0", "up_l2.0", "classifier"):
        add(f"{name}.weight", num_classes, num_classes, 2, 2)
    return tensors


@pytest.mark.parametrize(("num_classes", "alpha3"), [(12, 8), (20, 3)])
def test_the_authors_tensors_fit_one_to_one(num_classes, alpha3):
    theirs = authors_tensors(num_classes, alpha3=alpha3)
    if num_classes == 12:
        assert len(theirs) == 189
        assert sum(t.numel() for t in theirs.values()) == 358_193
    model = espnet(num_classes=num_classes, alpha3=alpha3)
    ours = from_authors(theirs, model.state_dict())
    model.load_state_dict(ours, strict=True)
    counters = {name for name in ours if name.endswith("num_batches_tracked")}
    used = [float(tensor.flatten()[0]) for name, tensor in ours.items() if name not in counters]
    assert sorted(used) == list(range(len(theirs)))  # each of theirs once
    assert all(ours[name] == 0 for name in counters)


def test_the_authors_names_mean_what_they_say():
    theirs = authors_tensors()
    ours = from_authors(theirs, NAMES)
    for name, authors_name in {
        "encoder.stem.conv.weight": "encoder.level1.conv.weight",
        "encoder.down3.transform.4.weight": "encoder.level3_0.d16.conv.weight",
        "encoder.down3.norm.prelu.weight": "encoder.level3_0.act.weight",
        "encoder.level3.7.reduce.weight": "encoder.level3.7.c1.conv.weight",
        "encoder.level3.7.norm.bn.running_var": "encoder.level3.7.bn.bn.running_var",
        "encoder.norm2.bn.bias": "encoder.b2.bn.bias",
        "project3.weight": "encoder.classifier.conv.weight",
        "project2.weight": "level3_C.conv.weight",
        "bn3.weight": "br.weight",
        "up3.weight": "up_l3.0.weight",
        "fuse2.1.transform.0.weight": "combine_l2_l3.1.d1.conv.weight",
        "up2.1.prelu.weight": "up_l2.1.act.weight",
        "fuse1.bn.running_mean": "conv.bn.running_mean",
        "up1.weight": "classifier.weight",
    }.items():
        assert ours[name] is theirs[authors_name]


def test_counts_of_batches_are_taken_where_there_are_any():
    counter = torch.tensor(7)
    ours = from_authors({**authors_tensors(), "encoder.b3.bn.num_batches_tracked": counter}, NAMES)
    assert ours["encoder.norm3.bn.num_batches_tracked"] is counter


@pytest.mark.parametrize("name", ["classifier.weight", "encoder.level3.4.d8.conv.weight"])
def test_a_missing_tensor_is_named(name):
    tensors = authors_tensors()
    del tensors[name]
    with pytest.raises(ValueError, match=f"1 missing .{name}., 0 unknown"):
        from_authors(tensors, NAMES)


@pytest.mark.parametrize("name", ["module.br.weight", "encoder.b4.bn.weight", "fuse1.bn.bias"])
def test_an_unknown_tensor_is_named(name):
    with pytest.raises(ValueError, match=f"0 missing .., 1 unknown .{name}."):
        from_authors({**authors_tensors(), name: torch.zeros(1)}, NAMES)


def test_the_encoders_file_is_refused_with_the_way_out():
    encoder = {
        name.removeprefix("encoder."): tensor
        for name, tensor in authors_tensors().items()
        if name.startswith("encoder.")
    }
    with pytest.raises(ValueError, match="not that of ESPNet-C"):
        from_authors(encoder, NAMES)
