"""Where weights come from: a file, a URL with its checksum, torchvision; what is read never runs.

A weights file is safetensors: tensors by name, and in its metadata, under "segkit", a JSON header
that says what is needed to use them. The usual fields:

    builder, arguments      "pp_liteseg_t", {"num_classes": 11}: what to call to get the network
    classes, palette        names and RGB colours, in the order of the logits
    normalisation           {"mean": [...], "std": [...]}, of RGB in 0..1
    metric, value, policy   "miou", 0.61, "dataset": what was measured, on which data, in which way
    licence, source         of the weights: "Apache-2.0", a run, a URL
"""

from segkit.weights.downloads import Source, cache_dir, fetch
from segkit.weights.files import read_header, save_weights
from segkit.weights.fine_tuning import Loaded, load_for_classes
from segkit.weights.loading import load_weights, with_weights

__all__ = [
    "Loaded",
    "Source",
    "cache_dir",
    "fetch",
    "load_for_classes",
    "load_weights",
    "read_header",
    "save_weights",
    "with_weights",
]
