"""Each check of network and settings finds its fault, and is silent on good settings."""

import copy

import pytest
import torch
from torch import nn

from segkit import create_model
from segkit.catalog import MODELS
from segkit.doctor import settings
from segkit.doctor.model.dry_run import Reach, atrous_reach, check_network, dry_run
from segkit.inputs import spatial_dims
from segkit.losses.combine import AuxLoss
from segkit.nn import ConvBNReLU
from segkit.outputs import SegOutput
from segkit.transforms import MEAN, STD


class Tiny(nn.Module):
    """A network with an auxiliary output, and a head that may be left unused."""

    def __init__(self, *, names=("side",), unused=False):
        super().__init__()
        self.body = ConvBNReLU(3, 4)
        self.head, self.side = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)
        self.spare = nn.Conv2d(4, 5, 1) if unused else nn.Identity()
        self.aux_losses = {name: AuxLoss(0.4) for name in names}

    def forward(self, images):
        x = self.body(images)
        return SegOutput(self.head(x), {"side": self.side(x)} if self.training else {})


def meta(name, **options):
    with torch.device("meta"):
        return create_model(name, num_classes=5, **options)


def checks(findings):
    return {finding.check: finding.severity for finding in findings}


def look(model, images=(4, 3, 64, 64), **options):
    return checks(check_network(model, images, **options)[1])


def test_a_dry_run_leaves_a_network_as_it_was():
    model = create_model("pp_liteseg_t", num_classes=5).eval()
    state = copy.deepcopy(model.state_dict())
    random = torch.get_rng_state()
    found = dry_run(model, (2, 3, 64, 64))
    assert found.aux == ("p4", "p5")
    assert not found.refusal
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    assert not any(part.training for part in model.modules())
    assert all(weight.grad is None and not weight.is_meta for weight in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)


def test_saved_bytes_are_those_of_a_real_step():
    model = create_model("unet_resnet18", num_classes=5).train()
    kept = {}
    own = {weight.untyped_storage().data_ptr() for weight in model.state_dict().values()}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.randn(2, 3, 64, 64))
    real = sum(t.untyped_storage().nbytes() for key, t in kept.items() if key not in own)
    assert dry_run(model, (2, 3, 64, 64)).saved == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.full
def test_every_network_can_be_run_dry(name):
    network = meta(name)
    size = (32, 48, 32) if spatial_dims(network) == 3 else (256, 352)
    found = dry_run(network, (2, 3, *size))
    assert (found.refusal, found.foreign, found.without_gradient) == ("", "", ())
    assert found.saved > 1e6


def test_a_good_network_is_fine():
    assert look(Tiny()) == {}
    assert look(meta("pp_liteseg_t")) == {}


def test_a_batch_of_one_with_image_pooling():
    model = meta("deeplab_v3_plus_resnet18")
    _, findings = check_network(model, (1, 3, 320, 320))
    assert checks(findings) == {"batch_of_one": "error"}
    assert "batch of 2 or more" in findings[0].what
    assert findings[0].fix == "--set batch_size=2, or more"
    _, findings = check_network(model, (1, 3, 320, 320), processes=9)
    assert findings[0].fix.startswith("--set batch_size=18, or more")
    assert look(model, (2, 3, 320, 320)) == {}
    assert look(Tiny(), (1, 3, 64, 64)) == {}  # no pooling: one image will do


def test_a_size_that_the_network_refuses():
    class Picky(Tiny):
        def forward(self, images):
            if images.shape[-1] < 32:
                raise ValueError("images are 32 pixels wide or more")
            return super().forward(images)

    for batch in (1, 2):
        assert look(Picky(), (batch, 3, 64, 16)) == {"network_refuses": "error"}
        assert look(Picky(), (batch, 3, 64, 64)) == {}


@pytest.mark.parametrize("name", ["unet", "segformer_b0", "deeplab_v3_plus_mobilenet_v2"])
def test_channels_that_the_images_do_not_have(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=2, in_channels=4)
    _, [found] = check_network(model, (2, 3, 64, 64))
    assert (found.severity, found.check) == ("error", "in_channels")
    assert "takes images of 4 channels, and these have 3" in found.what
    assert "in_channels=3" in found.fix


def test_an_atrous_reach_beyond_the_crop():
    model = meta("deeplab_v3_plus_resnet18")
    _, findings = check_network(model, (2, 3, 256, 256))
    assert checks(findings) == {"atrous_reach": "warning"}
    assert "reaches 18 pixels on a map of 16x16" in findings[0].what
    assert "304" in findings[0].fix
    assert look(model, (2, 3, 304, 304)) == {}
    assert atrous_reach((Reach("conv", (6, 6), (7, 7)),), (112, 112)) is None


def test_aux_without_loss_and_loss_without_aux():
    _, findings = check_network(Tiny(names=("side", "other")), (2, 3, 16, 16))
    assert checks(findings) == {"unused_aux": "error"}
    assert "loss 'other' has no output" in findings[0].what
    _, findings = check_network(Tiny(names=()), (2, 3, 16, 16))
    assert "output 'side' has no loss" in findings[0].what


def test_an_aux_weight_of_zero_or_without_aux():
    assert look(Tiny(), aux_weight=0.0) == {"aux_weight": "warning"}
    assert look(Tiny(), aux_weight=0.4) == {}
    assert look(meta("unet_padded"), aux_weight=0.4) == {"aux_weight": "note"}


def test_weights_without_a_gradient():
    _, findings = check_network(Tiny(unused=True), (2, 3, 16, 16))
    assert checks(findings) == {"without_gradient": "warning"}
    assert "2 of 9 weights get no gradient: spare.weight, spare.bias" in findings[0].what
    frozen = Tiny(unused=True)
    frozen.spare.requires_grad_(False)
    assert look(frozen) == {}
    assert look(Tiny().requires_grad_(False)) == {}


def test_a_network_that_meta_cannot_run_is_a_note():
    class Counting(Tiny):
        def forward(self, images):
            float(images.sum())
            return super().forward(images)

    assert look(Counting()) == {"not_rehearsed": "note"}


def test_normalisation_of_the_weights():
    used = {"mean": list(MEAN), "std": list(STD)}
    assert settings.normalisation(used, MEAN, STD) is None
    assert settings.normalisation(None, MEAN, STD) is None
    finding = settings.normalisation({"mean": [0.5] * 3, "std": [0.5] * 3}, MEAN, STD)
    assert (finding.severity, finding.check) == ("warning", "normalisation")
    assert "0.5" in finding.what


def test_batchnorm_with_tiny_batches():
    model = Tiny()
    assert settings.tiny_batchnorm(model, 8) is None
    finding = settings.tiny_batchnorm(model, 8, processes=4)
    assert "1 BatchNorm layers see 2 images" in finding.what
    assert "sync_bn=on" in finding.fix
    assert "sync_bn" not in settings.tiny_batchnorm(model, 8, processes=4, device="cpu").fix
    assert settings.tiny_batchnorm(model, 8, processes=4, synchronised=True) is None
    assert settings.tiny_batchnorm(nn.Conv2d(3, 3, 1), 1) is None


def test_synchronised_batchnorm_without_a_group():
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(Tiny())
    layers = sum(isinstance(part, nn.SyncBatchNorm) for part in converted.modules())
    alone = settings.synchronised_batchnorm(layers, processes=1, device="cuda")
    assert (alone.severity, alone.check) == ("warning", "synchronised_batchnorm")
    on_cpu = settings.synchronised_batchnorm(layers, processes=2, device="cpu")
    assert on_cpu.severity == "error"
    assert settings.synchronised_batchnorm(layers, processes=2, device="cuda") is None
    assert settings.synchronised_batchnorm(0, processes=1, device="cpu") is None


def test_crops_larger_than_the_images():
    sizes = [(360, 480)] * 4
    finding = settings.crop_padding(sizes, (720, 960), (0.5, 2.5))
    assert finding.severity == "warning"
    assert "94% at the smallest scale" in finding.what
    assert "(360, 480)" in finding.fix
    assert settings.crop_padding(sizes, (360, 480), (0.75, 2.0)) is None
    # Cityscapes in PP-LiteSeg: the smallest scale is almost all padding, the mean is not.
    assert settings.crop_padding([(1024, 2048)], (512, 1024), (0.125, 1.5)).severity == "note"
    assert settings.crop_padding([], (512, 512), (1, 1)) is None


def test_crops_without_labels():
    assert settings.labelled_share(0.9) is None
    assert settings.labelled_share(0.1).severity == "warning"
    assert settings.labelled_share(0.0).severity == "error"


def test_rare_classes_without_weights():
    pixels = torch.tensor([100_000, 50_000, 20, 0])
    classes = ("road", "sky", "pole", "train")
    finding = settings.rare_classes(pixels, classes, weighted=False)
    assert (finding.severity, finding.check) == ("note", "rare_classes")
    assert "pole (0.01%)" in finding.what
    assert "train" not in finding.what  # never present is another finding
    assert settings.rare_classes(pixels, classes, weighted=True) is None
    assert settings.rare_classes(pixels[:2], classes[:2], weighted=False) is None


@pytest.mark.parametrize(
    ("lr", "batch", "optimizer", "severity", "fix"),
    [
        (0.01, 8, "sgd", None, ""),
        (0.02, 16, "sgd", None, ""),
        (0.01, 16, "sgd", "warning", "lr=0.02"),
        (0.01, 2, "sgd", "warning", "lr=0.0025"),
        (0.02, 8, "sgd", "note", "lr=0.01"),
        (0.05, 8, "sgd", "warning", "lr=0.01"),
        (0.01, 16, "adamw", None, ""),
        (0.01, 32, "adamw", "warning", "lr=0.02"),
    ],
)
def test_learning_rate_and_batch_belong_together(lr, batch, optimizer, severity, fix):
    finding = settings.learning_rate(
        lr, batch, reference_lr=0.01, reference_batch=8, optimizer=optimizer
    )
    if severity is None:
        assert finding is None
    else:
        assert finding.severity == severity
        assert finding.fix == f"--set {fix}"


def test_learning_rates_of_another_optimizer():
    assert settings.learning_rate_range(0.01, "sgd") is None
    assert settings.learning_rate_range(6e-5, "adamw") is None
    assert "adamw" in settings.learning_rate_range(0.01, "adamw").what
    assert "nothing will be learned" in settings.learning_rate_range(1e-8, "sgd").why


def test_schedules_that_are_too_short():
    assert not list(settings.short_schedule(1000, 8, 400, warmup=100, evaluate_every=100))
    found = list(settings.short_schedule(10, 8, 400, warmup=6, evaluate_every=100))
    assert checks(found) == {
        "less_than_an_epoch": "warning",
        "long_warmup": "warning",
        "late_validation": "note",
    }
    assert found[0].fix == "--set steps=50 for one epoch"
