"""Prediction: a trained network over a folder of images, as files.

    from segbook.prediction import open_network, predict_folder

    network = open_network("pp_liteseg_t_camvid")
    predict_folder(network.model, network.header, ["photographs"], "out")

`segbook predict` does the same, and `segbook export` what `export_file` does: the network as one
file for use elsewhere.
"""

from __future__ import annotations

from segbook import lazy

__getattr__ = lazy(
    __name__,
    {
        "ExportedFile": "export",
        "Network": "network",
        "Predicted": "folder",
        "export_file": "export",
        "open_network": "network",
        "predict_folder": "folder",
    },
)
