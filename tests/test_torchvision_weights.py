"""torchvision's segmentation networks: their weights in ours give their logits.

Nothing here leaves the machine: the "download" is from a server in this process.
"""

import argparse
import hashlib
import io
import zipfile

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models import segmentation

import segkit
from segkit.weights import load_for_classes, load_weights, torchvision_weights

PAIRS = {
    "fcn_resnet50": segmentation.fcn_resnet50,
    "deeplab_v3_mobilenet_v3_large": segmentation.deeplabv3_mobilenet_v3_large,
    "deeplab_v3_resnet50": segmentation.deeplabv3_resnet50,
    "lraspp_mobilenet_v3_large": segmentation.lraspp_mobilenet_v3_large,
}
LRASPP = "LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1"


def theirs(build, num_classes=5, seed=0):
    """A network of torchvision's whose every tensor matters."""
    torch.manual_seed(seed)
    options = {} if build is segmentation.lraspp_mobilenet_v3_large else {"aux_loss": True}
    model = build(weights=None, weights_backbone=None, num_classes=num_classes, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if "resnet50" in n else ()) for n in PAIRS]
)
@torch.no_grad()
def test_a_file_of_theirs_gives_their_logits(name, tmp_path):
    model = theirs(PAIRS[name])
    torch.save(model.state_dict(), tmp_path / "theirs.pth")
    ours = segkit.create_model(name, num_classes=5, weights=tmp_path / "theirs.pth").eval()
    images = torch.randn(1, 3, 33, 48, dtype=torch.float64)
    expected = model.double()(images)["out"]
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours.double()(images).logits, expected, rtol=0, atol=1e-9)


def rebuild(number):
    return segkit.create_model("lraspp_mobilenet_v3_large", num_classes=number)


def test_another_number_of_classes_leaves_out_the_scores(tmp_path):
    state = theirs(PAIRS["lraspp_mobilenet_v3_large"], 21).state_dict()
    torch.save(state, tmp_path / "theirs.pth")
    model = rebuild(4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    loaded = load_for_classes(model, tmp_path / "theirs.pth", rebuild=rebuild, num_classes=4)
    assert loaded.fresh == ("score_c3.bias", "score_c3.weight", "score_c5.bias", "score_c5.weight")
    assert (loaded.before, loaded.now, loaded.kept) == (21, 4, ())
    after = model.state_dict()
    assert all(torch.equal(after[k], before[k]) for k in loaded.fresh)
    assert torch.equal(after["project.conv.weight"], state["classifier.cbr.0.weight"])


# --- by name


@pytest.mark.parametrize(
    ("name", "model", "match"),
    [
        ("FCN_ResNet50_Weights.COCO", "fcn_resnet50", "no segmentation weights.*COCO_WITH_VOC"),
        ("ResNet50_Weights.IMAGENET1K_V2", "fcn_resnet50", "for a backbone: weights_backbone"),
        ("FCN_ResNet50_Weights.DEFAULT", "segnet", "not for SegNet"),
    ],
)
def test_names_that_cannot_be_used_ask_nobody(name, model, match, monkeypatch):
    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(ValueError, match=match):
        load_weights(segkit.create_model(model, num_classes=21), name)


def test_every_name_is_that_of_a_model_of_ours():
    from segbook.builders.model import check_named_weights
    from segbook.recipes.recipe import Recipe

    kinds = [n for n in dir(segmentation) if n.endswith("_Weights")]
    assert len(kinds) == 6
    for kind in kinds:
        model = kind.removesuffix("_Weights").lower().replace("deeplabv3", "deeplab_v3")
        assert model in segkit.list_models()
        check_named_weights(
            Recipe(name="r", model=model, weights=f"{kind}.DEFAULT", steps=1, lr=0.1)
        )
    with pytest.raises(ValueError, match="are for the model fcn_resnet50, not for fcn_resnet101"):
        check_named_weights(
            Recipe(
                name="r",
                model="fcn_resnet101",
                weights="FCN_ResNet50_Weights.DEFAULT",
                steps=1,
                lr=0.1,
            )
        )


@pytest.fixture
def serve(serve_bytes, monkeypatch):
    """Serve bytes as the file of LR-ASPP's weights; gives the paths that were asked for."""

    def start(content, name):
        url, asked = serve_bytes(content, name)
        monkeypatch.setattr(torchvision_weights.find(LRASPP).value, "url", url)
        return asked

    return start


def test_a_download_is_checked_kept_and_mapped(serve, tmp_path):
    state = theirs(PAIRS["lraspp_mobilenet_v3_large"], 21).state_dict()
    buffer = io.BytesIO()
    torch.save(state, buffer)
    name = f"lraspp-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    asked = serve(buffer.getvalue(), name)

    whole = segkit.create_model("lraspp_mobilenet_v3_large", num_classes=21, weights=LRASPP)
    three = rebuild(3)
    loaded = load_for_classes(
        three, LRASPP, rebuild=rebuild, num_classes=3, classes=("Tree", "Dining Table", "car")
    )

    assert asked == [f"/{name}"], "once: the second is from the cache"
    assert (tmp_path / "cache/hub/checkpoints" / name).exists()
    scores = state["classifier.high_classifier.weight"]
    assert torch.equal(whole.score_c5.weight, scores)
    assert loaded.kept == ("Dining Table", "car")
    assert torch.equal(three.score_c5.weight[1:], scores[[11, 7]])
    assert not torch.equal(three.score_c5.weight[0], scores[0])
    assert str(loaded) == (
        f"weights from {LRASPP}, made for 21 classes, now 3: score_c3, score_c5 start from random "
        "weights, but for the rows of Dining Table, car"
    )


def test_a_file_of_another_checksum_is_refused(serve, tmp_path):
    serve(b"something else", "lraspp-d234d4ea.pth")
    model = rebuild(21)
    before = model.score_c5.weight.clone()
    with pytest.raises(ValueError, match=r"LRASPP.*damaged or changed.*delete .*d234d4ea\.pth"):
        load_weights(model, LRASPP)
    assert torch.equal(model.score_c5.weight, before)
    assert not list((tmp_path / "cache").rglob("*.pth"))


def test_a_failed_download_says_where_to_put_the_file(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = "http://127.0.0.1:9/lraspp-d234d4ea.pth"
    monkeypatch.setattr(torchvision_weights.find(LRASPP).value, "url", url)
    with pytest.raises(ConnectionError, match=r"Fetch http://127\.0\.0\.1:9.*hub/checkpoints"):
        load_weights(rebuild(21), LRASPP)


# --- files from strangers


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_not_run(tmp_path, legacy):
    torch.save(
        {"a": Bomb(str(tmp_path / "exploded"))},
        tmp_path / "theirs.pth",
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(ValueError, match=r"theirs\.pth.*nothing in it was run"):
        load_weights(rebuild(5), tmp_path / "theirs.pth")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (
            {"a": {"a": torch.zeros(1)}, "b": {"a": torch.zeros(1)}},
            r"\['a'\], \['b'\].*state\['a'\]",
        ),
        ({"model": {"a": torch.zeros(1)}, "epoch": 3}, "of another network"),
        ([torch.zeros(1)], "no plain state dict"),
        ({"features.0.weight": torch.zeros(1)}, "of another network"),
        ({"backbone.0.0.weight": torch.zeros(1)}, "does not fit LRASPP"),
    ],
)
def test_other_contents_are_named(tmp_path, content, match):
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(ValueError, match=f"theirs.pth.*{match}"):
        load_weights(rebuild(5), tmp_path / "theirs.pth")


def test_a_checkpoint_of_torchvisions_script(tmp_path):
    """Its reference trains in parallel and saves its arguments beside the network."""
    state = theirs(PAIRS["lraspp_mobilenet_v3_large"]).state_dict()
    parallel = {f"module.{k}": v for k, v in state.items()}
    checkpoint = {"model": parallel, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}}
    torch.save(checkpoint, tmp_path / "model_3.pth")
    model = rebuild(5)
    load_weights(model, tmp_path / "model_3.pth")
    assert torch.equal(model.gate[1].weight, state["classifier.scale.1.weight"])

    torch.save(checkpoint | {"args": argparse.Namespace(lr=0.1)}, tmp_path / "model_4.pth")
    with pytest.raises(ValueError, match="nothing in it was run") as caught:
        load_weights(rebuild(5), tmp_path / "model_4.pth")
    exec(str(caught.value).rpartition("made it: ")[2])  # the cure, as it is printed
    model = rebuild(5)
    load_weights(model, tmp_path / "model_4.plain.pth")
    assert torch.equal(model.gate[1].weight, state["classifier.scale.1.weight"])


def test_a_compressed_archive_is_not_inflated(tmp_path):
    torch.save({"backbone.0.0.weight": torch.zeros(1000)}, tmp_path / "stored.pth")
    with zipfile.ZipFile(tmp_path / "stored.pth") as stored:
        with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
            for name in stored.namelist():
                bomb.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match=r"bomb\.pth.*compressed"):
        load_weights(rebuild(5), tmp_path / "bomb.pth")


def test_every_truncation_is_named(tmp_path):
    path = tmp_path / "theirs.pth"
    torch.save({"backbone.0.0.weight": torch.zeros(1)}, path)
    content = path.read_bytes()
    model = rebuild(5)
    for length in range(9, len(content), 211):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"theirs\.pth is damaged"):
            load_weights(model, path)
