"""Trained networks in another form: for fast prediction here, or for use elsewhere.

Elsewhere they go as a file for images of any size, compared with the network before it is given
(``segbook export`` does the same for a run):

    exported = export_network(model, "onnx", normalisation={"mean": mean, "std": std})
    Path("network.onnx").write_bytes(exported.content)  # or "pt2", of torch.export

By hand ``torch.export.export(LogitsOnly(model), (images,))`` does. For ONNX use `export_network`:
torch's own exporter writes adaptive pooling for the example's size only, and does not say so.

TorchScript, which torch gives up, has limits here. ``torch.jit.script`` fails on every network: its
language lacks what their blocks are written in (``super().forward``, results by name).
``torch.jit.trace(LogitsOnly(model), images)`` works and records what happened to these images:
sizes are constants in it, so that it is right for images of the example's size only, and without a
check. A network of `optimize_for_inference` does neither: trace the one that it was made from.
"""

from segkit.export.files import Agreement, Exported, export_network
from segkit.export.inference import InferenceNetwork, optimize_for_inference
from segkit.export.int8 import quantize
from segkit.export.logits import LogitsOnly
from segkit.export.onnx_network import OnnxNetwork

__all__ = [
    "Agreement",
    "Exported",
    "InferenceNetwork",
    "LogitsOnly",
    "OnnxNetwork",
    "export_network",
    "optimize_for_inference",
    "quantize",
]
