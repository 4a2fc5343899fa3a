"""Training, evaluation and prediction: loops that can be read, and functions around them."""

from segkit.engine.checkpoint import load_checkpoint, save_checkpoint
from segkit.engine.evaluate import evaluate
from segkit.engine.predict import predict, predict_probs
from segkit.engine.schedules import constant, cosine, poly
from segkit.engine.train import NonFiniteLossError, Step, averaged, train

__all__ = [
    "NonFiniteLossError",
    "Step",
    "averaged",
    "constant",
    "cosine",
    "evaluate",
    "load_checkpoint",
    "poly",
    "predict",
    "predict_probs",
    "save_checkpoint",
    "train",
]
