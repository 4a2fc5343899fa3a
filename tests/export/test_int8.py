"""A file in 8 bits, and the network that reads files; the file is written by hand, in no time."""

import json

import numpy as np
import pytest
import torch

from segkit.export.files import ONNX_PACKAGES, Agreement, Exported, find_spec
from segkit.export.int8 import quantize
from segkit.export.onnx_network import OnnxNetwork

pytestmark = pytest.mark.skipif(
    any(not find_spec(name) for name in ONNX_PACKAGES),
    reason="takes the extra: pip install 'segbook[onnx]'",
)


def images(count):
    return [torch.randint(256, (3, 33 + k, 47), dtype=torch.uint8) for k in range(count)]


def operations(content):
    import onnx

    return [node.op_type for node in onnx.load_from_string(content).graph.node]


def test_convolutions_become_whole_numbers_and_labels_stay(onnx_file):
    small = quantize(onnx_file, images(5))
    assert operations(onnx_file.content).count("QuantizeLinear") == 0
    assert operations(small.content).count("QuantizeLinear") >= 2  # before and after
    assert small.header == onnx_file.header | {"int8": {"images": 5}}
    assert [shape[2] for shape in small.agreement.shapes] == [33, 34, 35, 36]
    assert 0 < small.agreement.difference < 0.02 * small.agreement.largest
    assert small.agreement.labels < 0.02
    again = quantize(onnx_file, images(5))
    assert len(again.content) == len(small.content)


def test_nothing_is_said_to_the_log_and_the_file_keeps_its_header(onnx_file, caplog):
    small = quantize(onnx_file, images(2))
    assert not caplog.records
    assert OnnxNetwork(small.content).header == small.header


def test_ranges_are_those_of_the_images(onnx_file):
    """What is brighter than all images that were seen is cut off."""
    dark = [torch.full((3, 32, 32), 10, dtype=torch.uint8)]
    bright = torch.full((1, 3, 32, 32), 250, dtype=torch.uint8)
    seen, unseen = (
        OnnxNetwork(quantize(onnx_file, shown).content)(bright / 255).logits
        for shown in ([*dark, bright[0]], dark)
    )
    expected = OnnxNetwork(onnx_file.content)(bright / 255).logits
    torch.testing.assert_close(seen, expected, atol=0.02, rtol=0)
    assert (unseen - expected).abs().max() > 0.2


@pytest.mark.parametrize(("axes", "pooled"), [([-2, -1], True), ([2, 3], True), ([1], False)])
def test_a_mean_over_the_sides_is_pooled_in_whole_numbers(onnx_file, axes, pooled, capfd):
    import onnx

    model = onnx.load_from_string(onnx_file.content)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64(axes), "axes"))
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.append(
        onnx.helper.make_node("ReduceMean", ["scores", "axes"], ["logits"], name="mean", keepdims=1)
    )
    exported = onnx_file._replace(content=model.SerializeToString())
    small = quantize(exported, images(2))
    assert ("GlobalAveragePool" in operations(small.content)) == pooled
    assert small.agreement.difference < 0.03
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("content", "shown", "message"),
    [
        (None, [], "there are no images to calibrate by"),
        (b"no file", [torch.zeros(3, 32, 32, dtype=torch.uint8)], "cannot write .* in 8 bits"),
    ],
)
def test_what_cannot_be_quantised_is_said(onnx_file, content, shown, message):
    exported = Exported(content or onnx_file.content, {}, Agreement((), 0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match=message):
        quantize(exported, shown)


def test_a_file_is_a_network_that_takes_colours(onnx_file):
    import onnxruntime

    network = OnnxNetwork(onnx_file.content)
    given = torch.stack([torch.randint(256, (3, 40, 33), dtype=torch.uint8) for _ in range(2)])
    session = onnxruntime.InferenceSession(onnx_file.content)
    [expected] = session.run(None, {"images": given.numpy()})
    assert torch.equal(network(given / 255).logits, torch.from_numpy(expected))
    assert list(network.state_dict()) == ["sha256"]


@pytest.mark.parametrize(
    ("given", "colours", "message"),
    [
        (("UINT8", [None, 3, None, None]), "BGR, 0..255", "colours 'BGR, 0..255', and RGB is"),
        (("UINT8", [None, 3, None, None]), 5, "colours 5, and RGB is given here"),
        (("FLOAT", [None, 3, None, None]), "RGB", r"takes images tensor\(float\)"),
        (("UINT8", [None, 4, None, None]), "RGB", r"takes .*, 4, .* any size"),
        (("UINT8", [None, 3, 64, 96]), "RGB", r"takes .*, 3, 64, 96\] .* any size"),
    ],
)
def test_a_file_that_takes_something_else_is_no_network(onnx_file, given, colours, message):
    model = changed(onnx_file, colours, *given)
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(model.SerializeToString())


@pytest.mark.parametrize(
    ("stride", "channels", "message"),
    [
        (4, 3, r"logits of shape \(1, 2, 10, 12\) for images of \(1, 3, 40, 48\)"),
        (1, 1, r"the ONNX file fails on images of shape \(1, 3, 40, 48\): "),
    ],
)
def test_a_file_that_gives_something_else_says_so(onnx_file, stride, channels, message):
    import onnx

    model = changed(onnx_file, "RGB", "UINT8", [None, 3, None, None])
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("strides", [stride, stride]))
    weight = np.zeros((2, channels, 1, 1), np.float32)
    model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))
    with pytest.raises(ValueError, match=message):
        OnnxNetwork(model.SerializeToString())(torch.zeros(1, 3, 40, 48))


def changed(onnx_file, colours, kind, shape):
    """The file, with other colours in its header, and of another input."""
    import onnx

    model = onnx.load_from_string(onnx_file.content)
    header = onnx_file.header | {"input": {"colours": colours}}
    onnx.helper.set_model_props(model, {"segkit": json.dumps(header)})
    info = onnx.helper.make_tensor_value_info("images", getattr(onnx.TensorProto, kind), shape)
    model.graph.input[0].CopyFrom(info)
    if shape[1] == 4:
        weight = np.zeros((2, 4, 1, 1), np.float32)
        model.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(weight, "weight"))
    return model


def test_another_file_is_no_network(onnx_file):
    import onnx

    with pytest.raises(ValueError, match="is no ONNX file that can be read"):
        OnnxNetwork(b"not one")
    model = onnx.load_from_string(onnx_file.content)
    del model.metadata_props[:]
    with pytest.raises(ValueError, match="does not say how its images are normalised"):
        OnnxNetwork(model.SerializeToString())
    onnx.helper.set_model_props(model, {"segkit": json.dumps({"input": {}})})
    with pytest.raises(ValueError, match="does not say how its images are normalised"):
        OnnxNetwork(model.SerializeToString())
