"""Training, evaluation and prediction: loops that can be read, and functions around them."""

from segkit.engine.checkpoint import load_checkpoint, save_checkpoint
from segkit.engine.ema import averaged
from segkit.engine.evaluate import evaluate
from segkit.engine.freeze import freeze
from segkit.engine.ghost import ghost_batches
from segkit.engine.memory import OutOfMemoryError, keep_memory
from segkit.engine.predict import BLOCK, predict, predict_blocks, predict_probs
from segkit.engine.schedules import Warmup, constant, cosine, poly
from segkit.engine.settings import Settings, best_precision, default_settings
from segkit.engine.train import PRECISIONS, NonFiniteLossError, Step, train

__all__ = [
    "BLOCK",
    "PRECISIONS",
    "NonFiniteLossError",
    "OutOfMemoryError",
    "Settings",
    "Step",
    "Warmup",
    "averaged",
    "best_precision",
    "constant",
    "cosine",
    "default_settings",
    "evaluate",
    "freeze",
    "ghost_batches",
    "keep_memory",
    "load_checkpoint",
    "poly",
    "predict",
    "predict_blocks",
    "predict_probs",
    "save_checkpoint",
    "train",
]
