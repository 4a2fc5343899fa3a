"""The library of Segbook: networks, data, training and metrics for semantic segmentation."""

from segkit.catalog import create_model, list_models, load_model
from segkit.outputs import SegOutput
from segkit.weights import save_weights

__version__ = "0.3.0"

__all__ = ["SegOutput", "create_model", "list_models", "load_model", "save_weights"]
