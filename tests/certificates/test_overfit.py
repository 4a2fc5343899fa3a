"""Two real images are learned by heart: by one network a family here, by all where it is asked for.

    SEGBOOK_OVERFIT=all pytest tests/certificates/test_overfit.py

takes an hour on one core; `segbook certify --all --data-root CAMVID` does the same and writes it
down, and `test_certificates.py` holds the certificates to the code that they were made of.
"""

import os

import pytest
import torch
from torch import nn

from segbook.certificates.certify import facts_of, learned
from segbook.certificates.code import code_hash
from segbook.certificates.overfit import overfit, windows
from segkit.catalog import MODELS
from segkit.outputs import SegOutput

QUICK = {
    "bisenet_v2",
    "espnet",
    "fast_scnn",
    "fcn_hrnet_w18_small",
    "linknet_resnet18",
    "lraspp_mobilenet_v3_large",
    "pp_liteseg_t",
    "segformer_b0",
    "stdc1_seg",
    "unet_resnet18",
}


@pytest.mark.full
@pytest.mark.data
@pytest.mark.parametrize("name", list(MODELS))
def test_learns_two_real_images_by_heart(name, camvid_root):
    if name not in QUICK and os.environ.get("SEGBOOK_OVERFIT") != "all":
        pytest.skip("one network a family is enough for every day: SEGBOOK_OVERFIT=all runs all")
    known = facts_of(name)
    if len(known.size) == 3:
        pytest.skip("a network for volumes")
    result = learned(name, known, code_hash(MODELS[name]), camvid_root)
    assert result["passed"], result
    assert result["steps"] <= 300


@pytest.mark.data
def test_windows_show_what_they_should(camvid_root):
    images, labels = windows(camvid_root)
    assert images.shape == (2, 3, 96, 128)
    for mask in labels:
        counts = torch.bincount(mask.flatten(), minlength=256)[:11]
        assert (counts > 0).sum() == 5
        assert counts[counts > 0].min() > 0.05 * mask.numel()


def test_a_network_that_sees_nothing_fails():
    class Blind(nn.Module):
        aux_losses = {}

        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.zeros(1, 3, 1, 1))

        def forward(self, images):
            return SegOutput(self.scores.expand(len(images), 3, *images.shape[2:]), {})

    labels = torch.arange(3).repeat(2, 8, 4)
    result = overfit(Blind(), torch.randn(2, 3, 8, 12), labels, num_classes=3, steps=20)
    assert not result["passed"]
    assert result["steps"] == 20
    assert 0 < result["miou"] < 0.5
