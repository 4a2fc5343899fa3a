"""Prediction: a trained network over a folder of images, as files; and its scores on a data set.

    from segbook.prediction import evaluate, open_data, open_network, predict_folder

    network = open_network("pp_liteseg_t_camvid")
    predict_folder(network.model, network.header, ["photographs"], "out")
    evaluate(network, open_data(network, "camvid", "test", data_root="data/camvid")).scores

`segbook predict` and `segbook evaluate` do the same, and `segbook export` what `export_file` does:
the network as one file for use elsewhere.
"""

from __future__ import annotations

from segbook import lazy

__getattr__ = lazy(
    __name__,
    {
        "Evaluated": "evaluation",
        "ExportedFile": "export",
        "Network": "network",
        "Predicted": "folder",
        "evaluate": "evaluation",
        "export_file": "export",
        "open_data": "evaluation",
        "open_network": "network",
        "predict_folder": "folder",
    },
)
