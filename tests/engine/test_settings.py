"""What a machine computes fastest in."""

import pytest
import torch

from segkit.engine import best_precision


@pytest.mark.parametrize(
    ("processor", "precision"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True}, "bfloat16"),
        ({"architecture": "aarch64", "bf16": True}, "bfloat16"),
        ({"avx512_f": True, "avx512_bf16": False}, "float32"),  # it would be imitated
        ({}, "float32"),
    ],
)
def test_a_processor_with_instructions_for_bfloat16_takes_it(monkeypatch, processor, precision):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor)
    assert best_precision("cpu") == precision


def test_without_onednn_it_is_float32(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert best_precision("cpu") == "float32"


def test_another_device_is_float32():
    assert best_precision("mps") == "float32"
