"""Trained networks in another form: for fast prediction here, or for use elsewhere.

Elsewhere they go by `torch.export`, for images of the example's size or of any:

    network = LogitsOnly(model)
    program = torch.export.export(network, (images,))
    torch.onnx.export(network, (images,), "network.onnx", dynamo=True)  # needs onnxscript

TorchScript, which torch gives up, has limits here. ``torch.jit.script`` fails on every network: its
language lacks what their blocks are written in (``super().forward``, results by name).
``torch.jit.trace(LogitsOnly(model), images)`` works and records what happened to these images:
sizes are constants in it, so that it is right for images of the example's size only, and without a
check. A network of `optimize_for_inference` does neither: trace the one that it was made from.
"""

from segkit.export.inference import InferenceNetwork, optimize_for_inference
from segkit.export.logits import LogitsOnly

__all__ = ["InferenceNetwork", "LogitsOnly", "optimize_for_inference"]
