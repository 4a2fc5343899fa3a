"""Regions of a trained OCRNet on the three photographs: asked as the network asks, kept small."""

from __future__ import annotations

import pytest
import torch

from segbook.reports import regions
from segkit import create_model, data, transforms
from segkit.metrics import ConfusionMatrix
from segkit.weights import save_weights

MEAN_STD = {"mean": [0.4, 0.4, 0.4], "std": [0.3, 0.3, 0.3]}


def saved(path, name, classes):
    torch.manual_seed(0)
    network = create_model(name, num_classes=len(classes)).eval()
    header = {
        "builder": name, "arguments": {"num_classes": len(classes)}, "classes": list(classes),
        "normalisation": MEAN_STD, "metric": {"split": "val", "value": 0.25}, "step": 7,
    }  # fmt: skip
    save_weights(network, path, header=header)
    return network


@pytest.mark.slow
def test_what_is_kept_is_what_the_network_says(tmp_path, monkeypatch):
    network = saved(tmp_path / "a.safetensors", "ocrnet_hrnet_w18_small", data.camvid.CLASSES)
    path = regions.write(tmp_path / "a.safetensors", tmp_path / "run")
    assert path.stat().st_size < 600_000
    kept = regions.read(tmp_path / "run")
    assert kept.about == "ocrnet_hrnet_w18_small, step 7, val mIoU 25.0"
    counts = ConfusionMatrix(11)
    for k, name in enumerate(data.PHOTOGRAPHS):
        image, mask = data.photograph(name)
        image = transforms.evaluate(**MEAN_STD)(image, mask)[0][None]
        with torch.no_grad():
            counts.update(network(image).logits.argmax(1), mask[None])
            said = network.regions(image)
        maps, relation = kept.regions[k]
        torch.testing.assert_close(relation, said.relation, atol=0.01, rtol=0)
        torch.testing.assert_close(maps.sum((2, 3)), torch.ones(1, 11))
        assert (maps / said.maps.amax((2, 3), keepdim=True)).max() < 1.1
    assert kept.miou["answer"] == pytest.approx(counts.miou())
    assert list(kept.miou) == ["first prediction", "answer"]
    monkeypatch.setattr(regions, "PUBLISHED", tmp_path)
    assert regions.read("run").about == kept.about


def test_other_networks_and_classes_are_refused(tmp_path):
    saved(tmp_path / "b.safetensors", "pp_liteseg_t", data.camvid.CLASSES)
    with pytest.raises(ValueError, match="weights are of PPLiteSeg with 11"):
        regions.write(tmp_path / "b.safetensors", tmp_path)
