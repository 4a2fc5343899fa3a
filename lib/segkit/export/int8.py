"""An ONNX file in whole numbers of 8 bits, for onnxruntime.

    exported = export_network(model, "onnx", normalisation={"mean": ..., "std": ...})
    small = quantize(exported, images)
    Path("network.int8.onnx").write_bytes(small.content)

Weights have a scale for each channel of what they make, activations one for each tensor: from the
least to the largest value that was seen while the network ran on the images. Onnxruntime computes
with the whole numbers where it finds a rounded input before an operation and a rounded output after
it, and in float32 elsewhere. An image is normalised in float32.

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference, CVPR 2018, https://arxiv.org/abs/1712.05877, section 2; scales by
channel: Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, 2018,
https://arxiv.org/abs/1806.08342, section 3.1.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch import Tensor

from segkit.export.files import Exported, compare, load_onnx, need_onnx
from segkit.export.program import first_line

COMPARED = 4
"""Images by which the file is compared with the one in float32: logits of many take much memory."""


def quantize(exported: Exported, images: Sequence[Tensor]) -> Exported:
    """Write an ONNX file anew in 8 bits; its ranges are those that are seen on images.

    Args:
        exported: an ONNX file of `export_network`.
        images: what the file takes, without the batch, such as uint8 RGB (3, H, W), of any sizes;
            some dozens, such as the network will see.

    Returns:
        The file, whose header has "int8", the number of images, and how it agrees with the one in
        float32 on the first of the images.

    Raises:
        ValueError: no images, or onnxruntime cannot quantise the file, with the reason.
        ImportError: the packages for ONNX are not installed.

    Example:
        >>> import segkit, torch
        >>> model = segkit.create_model("fast_scnn", num_classes=3)  # doctest: +SKIP
        >>> quantize(export_network(model, "onnx"), [torch.randn(3, 64, 96)])  # doctest: +SKIP
    """
    need_onnx()
    if not images:
        raise ValueError("there are no images to calibrate by: give some dozens")
    header = exported.header | {"int8": {"images": len(images)}}
    try:
        content = _quantize(exported.content, images, header)
    except Exception as error:  # whatever the tool meets with
        raise ValueError(
            f"onnxruntime cannot write the network in 8 bits and says: {first_line(error)}"
        ) from error
    batches = [image[None] for image in images[:COMPARED]]
    before, after = load_onnx(exported.content), load_onnx(content)
    agreement = compare(batches, [*map(before, batches)], [*map(after, batches)])
    return Exported(content, header, agreement)


def _quantize(content: bytes, images: Sequence[Tensor], header: dict[str, Any]) -> bytes:
    import onnx  # pyright: ignore[reportMissingImports]  # an extra
    from onnxruntime import quantization  # pyright: ignore[reportMissingImports]

    model = onnx.load_from_string(content)
    _name_global_pooling(model.graph)
    # Or it advises to fold batch normalisation, which torch.onnx has done.
    onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
    fed = ({"images": image[None].numpy()} for image in images)
    reader: Any = SimpleNamespace(get_next=lambda: next(fed, None))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            model,
            path,
            reader,
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        model = onnx.load(path)
    onnx.helper.set_model_props(model, {"segkit": json.dumps(header)})
    return model.SerializeToString()


def _name_global_pooling(graph: Any) -> None:
    """Let a mean over an image's sides be the pooling that it is, which has a form in 8 bits.

    As a mean in float32 it took 6 % of the time of DeepLabV3+ (ResNet-50) in 8 bits.
    """
    from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

    constants = {one.name: one for one in graph.initializer}
    for node in graph.node:
        if node.op_type != "ReduceMean" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        kept = all(one.i for one in node.attribute if one.name == "keepdims")
        if kept and sorted(axes) in ([-2, -1], [2, 3]):
            node.op_type = "GlobalAveragePool"
            del node.input[1:]
            del node.attribute[:]
    used = {name for node in graph.node for name in node.input}
    for name in constants.keys() - used:  # onnxruntime would warn of it
        graph.initializer.remove(constants[name])
