"""Training, evaluation and prediction: loops that can be read, and functions around them."""

from segkit.engine.allocator import kept_memory
from segkit.engine.checkpoint import load_checkpoint, save_checkpoint
from segkit.engine.evaluate import evaluate
from segkit.engine.freeze import freeze
from segkit.engine.ghost import ghost_batches
from segkit.engine.predict import predict, predict_probs
from segkit.engine.probe import Probe, Setting, probe
from segkit.engine.schedules import constant, cosine, poly
from segkit.engine.settings import best_precision
from segkit.engine.train import NonFiniteLossError, OutOfMemoryError, Step, averaged, train

__all__ = [
    "NonFiniteLossError",
    "OutOfMemoryError",
    "Probe",
    "Setting",
    "Step",
    "averaged",
    "best_precision",
    "constant",
    "cosine",
    "evaluate",
    "freeze",
    "ghost_batches",
    "kept_memory",
    "load_checkpoint",
    "poly",
    "predict",
    "predict_probs",
    "probe",
    "save_checkpoint",
    "train",
]
