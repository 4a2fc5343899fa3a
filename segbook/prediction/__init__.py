"""Prediction: a trained network over a folder of images, as files.

    from segbook.prediction import open_network, predict_folder

    network = open_network("pp_liteseg_t_camvid")
    predict_folder(network.model, network.header, ["photographs"], "out")

`segbook predict` does the same.
"""

from __future__ import annotations

from segbook import lazy

__getattr__ = lazy(
    __name__,
    {
        "Network": "network",
        "Predicted": "folder",
        "open_network": "network",
        "predict_folder": "folder",
    },
)
