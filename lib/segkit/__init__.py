"""The library of Segbook: networks, data, training and metrics for semantic segmentation."""

from torch.utils import _pytree

from segkit.catalog import create_model, list_models, load_model
from segkit.outputs import SegOutput
from segkit.weights import save_weights

# So that torch.export.save can write a network's program; torch has no public function for it.
_pytree._register_namedtuple(SegOutput, serialized_type_name="segkit.outputs.SegOutput")

__version__ = "0.3.0"

__all__ = ["SegOutput", "create_model", "list_models", "load_model", "save_weights"]
