"""What the pages' commands find: a small network under the name of the pages', and folders."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import segkit

WEIGHTS = "pp_liteseg_t_camvid"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Weights, photographs/ and data/ with images, masks and classes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    header = {
        "builder": "unet",
        "arguments": {"num_classes": 3, "channels": [4, 8]},
        "classes": ["sky", "road", "tree"],
        "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]},
    }
    segkit.save_weights(model, f"{WEIGHTS}.safetensors", header=header)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    for folder in ("photographs", "data/images"):
        Path(folder).mkdir(parents=True)
        Image.fromarray(pixels).save(f"{folder}/one.png")
    Path("data/masks").mkdir()
    network, _ = segkit.load_model(f"{WEIGHTS}.safetensors")
    colours = torch.from_numpy(pixels).permute(2, 0, 1)
    ready = segkit.transforms.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.2)).image(colours)
    labels = network(ready[None]).logits.argmax(1)[0].to(torch.uint8)
    Image.fromarray(labels.numpy()).save("data/masks/one.png")
    Path("data/classes.txt").write_text("sky\nroad\ntree\n")
