"""torchvision's weights: by enum or name, downloaded and checked, for any number of channels.

Nothing here leaves the machine: the "download" is from a server in this process.
"""

import hashlib
import io
import socket

import pytest
import torch
from torchvision import models

from segkit.backbones import BACKBONES
from segkit.backbones.mobilenet_v2 import mobilenet_v2
from segkit.backbones.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from segkit.backbones.pretrained import adapt_channels
from segkit.backbones.resnet import resnet18, resnet50
from segkit.backbones.vgg import VGG16, vgg16

FAMILIES = [
    (resnet18, models.resnet18, models.ResNet18_Weights),
    (mobilenet_v2, models.mobilenet_v2, models.MobileNet_V2_Weights),
    (mobilenet_v3_large, models.mobilenet_v3_large, models.MobileNet_V3_Large_Weights),
    (mobilenet_v3_small, models.mobilenet_v3_small, models.MobileNet_V3_Small_Weights),
]


@pytest.fixture(scope="module")
def states():
    """A made-up state dict for each kind of weights, classifier included."""
    torch.manual_seed(0)
    made = {kind.__name__: network().state_dict() for _, network, kind in FAMILIES}
    made["VGG16_Weights"] = {**VGG16().state_dict(), "classifier.0.weight": torch.zeros(1)}
    return made


@pytest.fixture
def no_download(monkeypatch, states):
    """The made-up weights without a server; gives the list of what was asked."""
    asked = []

    def get_state_dict(self, **arguments):
        asked.append(arguments)
        return dict(states[type(self).__name__])

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", get_state_dict)
    return asked


@pytest.mark.parametrize(("build", "network", "kind"), FAMILIES)
def test_weights_fill_every_tensor_and_the_classifier_is_left_out(
    build, network, kind, states, no_download
):
    state = build(weights=kind.IMAGENET1K_V1).state_dict()
    assert all(torch.equal(tensor, states[kind.__name__][name]) for name, tensor in state.items())
    assert no_download == [{"check_hash": True, "weights_only": True}]


def test_vgg_takes_the_features(states, no_download):
    state = vgg16(weights="IMAGENET1K_V1").state_dict()
    assert all(torch.equal(tensor, states["VGG16_Weights"][name]) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1", "DEFAULT"])
def test_weights_by_name(name, states, no_download):
    model = resnet18(weights=name)
    assert torch.equal(model.conv1.weight, states["ResNet18_Weights"]["conv1.weight"])


@pytest.mark.parametrize("build", [resnet18, vgg16, mobilenet_v2, mobilenet_v3_large])
@torch.no_grad()
def test_a_grey_image_gives_what_it_gives_when_repeated(build, no_download):
    grey = torch.rand(1, 1, 40, 48, dtype=torch.float64)
    rgb = build(weights="IMAGENET1K_V1").double().eval()(grey.repeat(1, 3, 1, 1))
    one = build(weights="IMAGENET1K_V1", in_channels=1).double().eval()(grey)
    six = build(weights="IMAGENET1K_V1", in_channels=6).double().eval()(grey.repeat(1, 6, 1, 1))
    for expected, first, second in zip(rgb, one, six, strict=True):
        assert expected.std() > 0
        # The kernels are added up in float32.
        torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(second, expected, rtol=1e-4, atol=1e-6)


def test_channels_take_turns_and_are_scaled():
    weight = torch.randn(2, 3, 5, 5)
    assert adapt_channels(weight, 3) is weight
    red, green, blue = weight.unbind(1)
    torch.testing.assert_close(adapt_channels(weight, 1), (red + green + blue)[:, None])
    torch.testing.assert_close(
        adapt_channels(weight, 4), torch.stack([red, green, blue, red], dim=1) * 0.75
    )
    torch.testing.assert_close(adapt_channels(weight, 2), torch.stack([red, green], dim=1) * 1.5)


def test_unknown_names_are_answered_with_the_valid_ones():
    with pytest.raises(ValueError, match="'imagenet'; there are IMAGENET1K_V1, IMAGENET1K_V2"):
        resnet50(weights="imagenet")


def test_weights_of_another_network_are_refused():
    with pytest.raises(TypeError, match="ResNet18_Weights"):
        resnet18(weights=models.ResNet50_Weights.DEFAULT)
    with pytest.raises(ValueError, match="ResNet18_Weights has no weights named 'ResNet50_Weig"):
        resnet18(weights="ResNet50_Weights.IMAGENET1K_V1")


@pytest.mark.parametrize("build", [resnet18, mobilenet_v2, vgg16])
@pytest.mark.parametrize("in_channels", [1, 5])
def test_random_weights_see_other_channels(build, in_channels):
    features = build(in_channels=in_channels).eval()(torch.randn(2, in_channels, 32, 40))
    assert features.c5.shape[2:] == (1, 2)
    assert features.c2.std() > 1e-3


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_random_weights_open_no_connection(name, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    with torch.device("meta"):
        BACKBONES[name](in_channels=3)


# The real way: torch.hub asks a server, looks at the checksum in the file's name, keeps the file.


@pytest.fixture
def serve(serve_bytes, monkeypatch):
    """Serve bytes as the file of resnet18's weights; gives the paths that were asked for."""

    def start(content, name):
        url, asked = serve_bytes(content, name)
        monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
        return asked

    return start


def pth(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def test_a_download_is_checked_kept_and_adapted(serve, states, tmp_path):
    state = states["ResNet18_Weights"]
    content = pth(state)
    name = f"resnet18-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    asked = serve(content, name)

    model = resnet18(weights="IMAGENET1K_V1")
    grey = resnet18(weights="IMAGENET1K_V1", in_channels=1)

    assert asked == [f"/{name}"]  # once: the second is from the cache
    assert (tmp_path / "cache/hub/checkpoints" / name).read_bytes() == content
    assert torch.equal(model.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    torch.testing.assert_close(grey.conv1.weight, state["conv1.weight"].sum(1, keepdim=True))


def test_a_file_of_another_checksum_is_refused(serve, tmp_path):
    serve(pth({"conv1.weight": torch.zeros(1)}), "resnet18-f37072fd.pth")
    with pytest.raises(RuntimeError, match="invalid hash value"):
        resnet18(weights="IMAGENET1K_V1")
    assert not any((tmp_path / "cache/hub/checkpoints").iterdir())


def test_a_failed_download_says_where_the_file_belongs(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with socket.socket() as free:  # a port that nobody listens on
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/resnet18-f37072fd.pth"
        monkeypatch.setattr(models.ResNet18_Weights.IMAGENET1K_V1.value, "url", url)
        with pytest.raises(ConnectionError, match=r"put it into .*hub/checkpoints"):
            resnet18(weights="IMAGENET1K_V1")
