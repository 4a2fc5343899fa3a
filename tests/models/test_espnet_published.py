"""The authors' own weights, in our network, on our data set, under our metrics."""

import os
from pathlib import Path

import pytest
import torch

from segbook.certificates.published import evaluate_published, import_weights
from segkit.catalog import load_model
from segkit.metrics import POLICIES
from segkit.weights.converters import from_authors

SHARED = Path(os.environ.get("SEGBOOK_SHARED", Path(__file__).resolve().parents[3] / "shared"))

pytestmark = [pytest.mark.slow, pytest.mark.data]


@pytest.fixture(scope="module")
def authors_file():
    path = SHARED / "weights" / "espnet_camvid" / "espnet_p_2_q_8_camvid.pth"
    if not path.is_file():
        pytest.skip(f"the authors' weights are not at {path}")
    return path


@pytest.fixture(scope="module")
def imported(authors_file, tmp_path_factory):
    return import_weights(
        "espnet_camvid", authors_file, tmp_path_factory.mktemp("weights") / "espnet.safetensors"
    )


def test_every_value_of_the_file_has_its_place(authors_file, imported):
    theirs = torch.load(authors_file, map_location="cpu", weights_only=True)
    assert len(theirs) == 189
    model, header = load_model(imported)
    parameters = sum(p.numel() for p in model.parameters())
    statistics = {n: b for n, b in model.named_buffers() if n.endswith(("_mean", "_var"))}
    assert parameters == 354_517
    assert sum(b.numel() for b in statistics.values()) == 3_676
    assert sum(t.numel() for t in theirs.values()) == 354_517 + 3_676 == 358_193
    renamed = from_authors(theirs, model.state_dict())
    assert all(torch.equal(t, renamed[name]) for name, t in model.state_dict().items())
    assert len(header["classes"]) == model.up1.out_channels == 12


@pytest.mark.full
def test_camvid_scores_are_those_that_the_authors_report(imported, camvid_root):
    scores = {k: 100 * v for k, v in evaluate_published(imported, camvid_root).items()}
    # README of sacmehta/ESPNet: class average 68.30, mIoU 55.64.
    assert scores["class_accuracy"] == pytest.approx(68.30, abs=0.005)
    assert scores["void_as_fp_in_truth"] == pytest.approx(55.64, abs=0.05)
    # No other policy comes near, so that there is no doubt what they counted.
    others = [scores[policy] for policy in POLICIES if policy != "void_as_fp_in_truth"]
    assert min(abs(score - 55.64) for score in others) > 1
