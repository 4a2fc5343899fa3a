"""Memory that ends in a training step: the error says what to lower."""

import os
import resource
import warnings

import pytest
import torch
from torch import nn

from segkit import engine
from segkit.outputs import SegOutput


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 64, 3, padding=1)

    def forward(self, images):
        return SegOutput(self.layer(images))


@pytest.mark.parametrize("size", [4000, 40_000])
def test_out_of_memory_says_what_to_lower(tmp_path, size):
    """The system refuses the allocation: the address space has no more than 300 MB to give."""

    def train():
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)
        model = Wide()
        images = torch.zeros(1, 3, 1, 1).expand(1, 3, size, size)
        stream = engine.train(
            model, iter([(images, torch.zeros(1, 1, 1))]), steps=1,
            loss=lambda output, labels: (output.logits.sum(), {}),
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        )  # fmt: skip
        try:
            next(iter(stream))
        except Exception as error:
            (tmp_path / "said").write_text(f"{type(error).__name__}: {error}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if not pid:
        try:
            train()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    said = (tmp_path / "said").read_text()
    assert said.startswith("OutOfMemoryError: memory ended in step 1"), said
    for word in (f"(1, 3, {size}, {size})", "batch_size", "accumulate", "crop", "precision"):
        assert word in said


@pytest.mark.parametrize(
    ("limited", "error"), [(True, engine.OutOfMemoryError), (False, RuntimeError)]
)
def test_what_onednn_says_is_memory_where_that_is_limited(limited, error, monkeypatch):
    class Failing(Wide):
        def forward(self, images):
            raise RuntimeError("could not create a primitive")

    model = Failing()
    batch = torch.zeros(1, 3, 8, 8), torch.zeros(1, 8, 8)
    stream = engine.train(
        model, iter([batch]), steps=1, loss=lambda *_: None,
        optimizer=torch.optim.SGD(model.parameters()),
    )  # fmt: skip
    soft = 1 << 46 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))
    with pytest.raises(error, match="could not create a primitive") as raised:
        next(iter(stream))
    assert type(raised.value) is error
