"""What others call the tensors of a network, turned into our names: one file a source."""

from segkit.weights.converters.espnet import from_authors
from segkit.weights.converters.torchvision import from_torchvision

__all__ = ["from_authors", "from_torchvision"]
