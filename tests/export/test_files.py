"""What `export_network` gives: a file that is the network at every size, or one sentence."""

import io
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

import segkit
from segkit.export import files, optimize_for_inference
from segkit.export.files import export_network
from segkit.models.unet import UNet
from segkit.nn import PyramidPooling, ResizeLogits
from segkit.transforms import Normalize

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
needs_onnx = pytest.mark.skipif(
    any(not files.find_spec(name) for name in files.ONNX_PACKAGES),
    reason="takes the extra: pip install 'segbook[onnx]'",
)
forms = pytest.mark.parametrize("to", ["pt2", pytest.param("onnx", marks=needs_onnx)])


class Small(nn.Module):
    """A pyramid between two convolutions: the least that PyTorch's exporter gets wrong."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.pyramid = PyramidPooling(4, 2, bins=(1, 3))
        self.score = nn.Conv2d(8, 3, 1)
        self.resize = ResizeLogits()

    def forward(self, images):
        x = self.score(self.pyramid(self.stem(images)))
        return segkit.SegOutput(self.resize(x, images.shape[-2:]), {})


def open_pt2(content):
    extra = {files.HEADER: ""}
    program = torch.export.load(io.BytesIO(content), extra_files=extra)
    return program.module(), json.loads(extra[files.HEADER])


@pytest.mark.slow
@forms
def test_a_file_is_the_network_at_every_size(to):
    model = Small().train()
    exported = export_network(
        model, to, normalisation={"mean": MEAN, "std": STD}, header={"classes": ["a", "b", "c"]}
    )
    assert model.training  # a copy was exported
    assert len({shape[2:] for shape in exported.agreement.shapes}) == 3
    run = files.FORMS[to][1](exported.content)
    model.eval()
    for shape in [(1, 3, 33, 47), (3, 3, 200, 31)]:  # others than those that it was compared at
        images = torch.randint(256, shape, dtype=torch.uint8)
        with torch.no_grad():
            expected = model(Normalize(MEAN, STD).image(images)).logits
            torch.testing.assert_close(run(images), expected, atol=1e-5, rtol=1e-5)
    header = exported.header
    assert header["classes"] == ["a", "b", "c"]
    assert header["input"]["dtype"] == "uint8"
    assert header["input"]["shape"] == ["batch", 3, "height", "width"]
    assert header["output"]["shape"] == ["batch", 3, "height", "width"]
    assert header["normalised_inside"] == {
        "divisor": 255, "channels": "RGB", "mean": MEAN, "std": STD,
    }  # fmt: skip


@pytest.mark.slow
@needs_onnx
@pytest.mark.parametrize("padded", [True, False])
def test_unet_mirrors_images_of_every_size_in_onnx(padded):
    """Its remainders by a size, and quotients of sizes that are rounded down below zero."""
    torch.manual_seed(0)
    model = UNet(num_classes=3, channels=(4, 8, 16), padded=padded).eval()
    run = files.FORMS["onnx"][1](export_network(model, "onnx").content)
    for shape in [(1, 3, 33, 47), (2, 3, 101, 38)]:
        images = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(run(images), model(images).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@needs_onnx
def test_an_onnx_file_says_what_it_is():
    import onnx

    exported = export_network(Small(), "onnx")
    model = onnx.load_from_string(exported.content)
    onnx.checker.check_model(model)
    props = {prop.key: prop.value for prop in model.metadata_props}
    assert json.loads(props["segkit"]) == exported.header
    for value, name in ((model.graph.input[0], "images"), (model.graph.output[0], "logits")):
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        assert (value.name, dims) == (name, ["batch", 3, "height", "width"])


@pytest.mark.slow
def test_a_pt2_file_takes_no_segkit_and_names_no_path():
    exported = export_network(Small(), "pt2")
    _, header = open_pt2(exported.content)
    assert header == exported.header
    assert header["input"]["dtype"] == "float32"  # what the network takes
    assert "normalised_inside" not in header
    assert __file__.encode() not in exported.content
    code = (
        "import io, sys, torch; file = io.BytesIO(sys.stdin.buffer.read()); "
        "logits = torch.export.load(file).module()(torch.zeros(1, 3, 40, 50)); "
        "assert 'segkit' not in sys.modules; print(*logits.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=exported.content, capture_output=True)
    assert done.stdout.split() == [b"1", b"3", b"40", b"50"], done.stderr


@pytest.mark.slow
def test_colours_may_be_read_in_another_order():
    normalisation = {"mean": MEAN, "std": STD, "channels": "BGR"}
    exported = export_network(Small(), "pt2", normalisation=normalisation)
    run, _ = open_pt2(exported.content)
    images = torch.randint(256, (2, 3, 40, 50), dtype=torch.uint8)
    normalised = Normalize(MEAN, STD).image(images.flip(1))
    expected = Small().eval()(normalised).logits
    torch.testing.assert_close(run(images), expected, atol=1e-5, rtol=1e-5)


class Cropping(Small):
    def forward(self, images):
        x = self.stem(images)
        twice = nn.functional.interpolate(x[..., ::2, ::2], scale_factor=2.0)
        x = x + twice[..., : x.shape[-2], : x.shape[-1]].contiguous()
        return segkit.SegOutput(self.resize(self.score(self.pyramid(x)), images.shape[-2:]), {})


@pytest.mark.slow
def test_what_torch_asked_while_tracing_refuses_no_size():
    exported = export_network(Cropping(), "pt2")
    assert exported.header["check_guards"] is False
    run = files.load_pt2(exported.content)
    images = torch.randn(1, 3, 75, 93)
    torch.testing.assert_close(run(images), Cropping().eval()(images).logits)


class Counting(Small):
    def forward(self, images):
        return super().forward(images + 0.01 * len(images))


@pytest.mark.slow
def test_a_network_that_counts_its_images_takes_one_a_time():
    exported = export_network(Counting(), "pt2")
    assert exported.header["input"]["shape"] == [1, 3, "height", "width"]
    assert {shape[0] for shape in exported.agreement.shapes} == {1}


class Looking(Small):
    def forward(self, images):
        return super().forward(images if images.mean() > 0 else -images)


class Branching(Small):
    def forward(self, images):
        wide = images.shape[-1] > images.shape[-2]
        return super().forward(images if wide else -images)


class Even(Small):
    def forward(self, images):
        images.unflatten(-1, (-1, 32))
        return super().forward(images)


class Shrinking(Small):
    def forward(self, images):
        return super().forward(images if images.shape[-1] < 500 else -images)


class Broken(Small):
    def forward(self, images):
        return super().forward(images / 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Looking, "cannot be exported for images of every size.*torch.export says: .*data-dep"),
        (Branching, "the pt2 file is not the network: largest difference .*% of labels differ"),
        (Even, r"takes no images of shape \(1, 3, 97, 65\).*pad inside"),
        (Shrinking, "another thing for images of sides above 499"),
        (Broken, "the pt2 file is not the network: largest difference nan"),
    ],
)
def test_what_cannot_be_exported_is_refused(network, message):
    with pytest.raises(ValueError, match=message) as caught:
        export_network(network(), "pt2")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@needs_onnx
def test_what_onnx_lacks_is_refused():
    class Sorting(Small):
        def forward(self, images):
            logits = super().forward(images).logits
            return segkit.SegOutput(logits * torch.linalg.svdvals(logits)[..., :1, None], {})

    with pytest.raises(ValueError, match="cannot be written as ONNX, torch.onnx says: ") as caught:
        export_network(Sorting(), "onnx")
    assert "\n" not in str(caught.value)


def test_arguments_are_checked(monkeypatch):
    with pytest.raises(ValueError, match="to='tflite': choose from onnx, pt2"):
        export_network(Small(), "tflite")
    fast = optimize_for_inference(Small(), precision="float32")
    with pytest.raises(ValueError, match="give the one that it was made from"):
        export_network(fast, "pt2")
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'segbook\[onnx\]'"):
        export_network(Small(), "onnx")


@pytest.mark.slow
def test_a_networks_own_output_can_be_saved():
    program = torch.export.export(Small().eval(), (torch.randn(1, 3, 64, 64),))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    images = torch.randn(1, 3, 64, 64)
    output = torch.export.load(file).module()(images)
    assert type(output) is segkit.SegOutput
    torch.testing.assert_close(output.logits, Small().eval()(images).logits)


@pytest.mark.full
@needs_onnx
@pytest.mark.parametrize(
    "name", ["pp_liteseg_t", "pspnet_resnet50", "upernet_resnet50", "fast_scnn", "segformer_b0"]
)
def test_onnx_of_networks_that_pool_or_attend(name, lived_in):
    model = lived_in(segkit.create_model(name, num_classes=5))
    normalisation = {"mean": MEAN, "std": STD}
    exported = export_network(model, "onnx", normalisation=normalisation)
    assert exported.agreement.difference < 1e-5 * exported.agreement.largest
