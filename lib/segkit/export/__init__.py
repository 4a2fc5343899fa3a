"""Trained networks in another form: for fast prediction here, or for use elsewhere."""

from segkit.export.inference import InferenceNetwork, optimize_for_inference

__all__ = ["InferenceNetwork", "optimize_for_inference"]
