"""HRNetV2: the counts and the computation of mmsegmentation, and where its scores are made."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from segkit.models.fcn_hrnet import (
    FCNHRNet,
    fcn_hrnet_w18,
    fcn_hrnet_w18_small,
    fcn_hrnet_w48,
)
from segkit.nn import ConvBN


def count(module):
    return sum(p.numel() for p in module.parameters())


def on_meta(build, **options):
    with torch.device("meta"):
        return build(**{"num_classes": 19, **options})


# mmsegmentation 1.2.2, fcn_hr18s, fcn_hr18 and fcn_hr48: total, backbone, head, GFLOPs 512x1024.
REFERENCE = {
    fcn_hrnet_w18_small: (3_939_309, 3_860_720, 78_589, 38.4284),
    fcn_hrnet_w18: (9_640_849, 9_562_260, 78_589, 73.7005),
    fcn_hrnet_w48: (65_858_659, 65_325_120, 533_539, 373.7565),
}


@pytest.mark.slow
@pytest.mark.parametrize("build", REFERENCE)
def test_parameters_and_computation_are_those_of_mmsegmentation(build):
    total, backbone, head, gflops = REFERENCE[build]
    model = on_meta(build).eval()
    assert count(model) == total
    assert {n: count(m) for n, m in model.named_children() if count(m)} == {
        "backbone": backbone,
        "head": head,
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 512, 1024, device="meta"))
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=1e-3)


@pytest.mark.parametrize(("build", "more"), [(fcn_hrnet_w18, 270), (fcn_hrnet_w48, 720)])
def test_paddleseg_has_a_bias_more_in_front_of_batch_normalisation(build, more):
    paddleseg = {fcn_hrnet_w18: 9_641_119, fcn_hrnet_w48: 65_859_379}
    model = on_meta(build)
    biases = sum(m.conv.out_channels for m in model.head if isinstance(m, ConvBN))
    assert biases == more
    assert count(model) + biases == paddleseg[build]


def test_scores_are_made_at_stride_four_for_any_size():
    model = on_meta(fcn_hrnet_w18_small).eval()
    shapes = []
    model.head.register_forward_hook(lambda m, args, scores: shapes.append(scores.shape))
    logits = model(torch.empty(2, 3, 33, 47, device="meta")).logits
    assert shapes == [(2, 19, 9, 12)]
    assert logits.shape == (2, 19, 33, 47)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes=2"):
        FCNHRNet(on_meta(fcn_hrnet_w18_small).backbone, num_classes=1)
