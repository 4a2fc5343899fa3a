"""Two processes with half a batch each against one with all of it.

The two run all scenarios in one start, forked from here, which imports nothing anew.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import socket
import warnings
from datetime import timedelta

import pytest
import torch
from torch import nn

from segkit import catalog, data, engine, losses
from segkit.engine import distributed
from segkit.engine.evaluate import evaluate
from segkit.engine.ghost import ghost_batches
from segkit.outputs import SegOutput

K, BATCH, STEPS = 3, 4, 6
WEIGHT = torch.tensor([0.5, 1.0, 4.0])


class Net(nn.Module):
    def __init__(self, norm: bool, frozen: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.norm.frozen = frozen
        self.head, self.aux = nn.Conv2d(8, K, 1), nn.Conv2d(8, K, 1)
        self.aux_losses = {"c2": losses.AuxLoss(weight=0.5)}

    def forward(self, images):
        x = self.norm(self.conv(images)).relu()
        return SegOutput(self.head(x), {"c2": self.aux(x[..., ::2, ::2])} if self.training else {})


def stream(spoil: int | None = None):
    """This process's part of each batch; void lies mostly in the first images."""
    share = BATCH // distributed.world_size()
    mine = slice(distributed.rank() * share, (distributed.rank() + 1) * share)
    for position in range(99):
        generator = torch.Generator().manual_seed(position)
        images = torch.randn(BATCH, 3, 12, 12, generator=generator)
        labels = images.argmax(1)
        labels[0] = 255
        labels[1, :7] = 255
        labels[3, :, 5] = 255
        if spoil == distributed.rank():
            images[mine] = float("nan")
        yield images[mine], labels[mine]


def go(loss=None, *, norm=False, frozen=False, spoil=None, ghosts=1, **options):
    torch.manual_seed(0)
    model = Net(norm, frozen)
    average = engine.averaged(model, 0.9)
    found = {"loss": [], "parts": [], "error": None}
    try:
        with ghost_batches(model, ghosts):
            for step in engine.train(
                model,
                stream(spoil),
                loss=losses.combine(loss or losses.cross_entropy, model.aux_losses),
                optimizer=torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9),
                steps=STEPS,
                ema=average,
                **options,
            ):
                found["loss"].append(step.loss)
                found["parts"].append(step.parts["c2"])
                found["share"] = step.images_per_second * step.seconds
    except engine.NonFiniteLossError as error:
        found["error"] = str(error)
    for name, network in (("model", model), ("ema", average.module)):
        found[name] = {k: v.flatten().tolist() for k, v in network.state_dict().items()}
    return found


def go_far():
    """The losses of a paper's network over 20 steps in float64, where no rounding hides a fault."""
    torch.manual_seed(0)
    model = catalog.create_model("pp_liteseg_t", num_classes=K).double()
    for part in model.modules():
        part.frozen = isinstance(part, nn.BatchNorm2d)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    batches = (
        (images.double().repeat(1, 1, 6, 6), labels.repeat(1, 6, 6)) for images, labels in stream()
    )
    loss = losses.combine(weighted, model.aux_losses)
    steps = engine.train(model, batches, loss=loss, optimizer=optimizer, steps=20)
    return [step.loss for step in steps]


def weighted(logits, labels):
    return losses.cross_entropy(logits, labels, weight=WEIGHT, label_smoothing=0.1)


def ohem_of_all(logits, labels):
    return losses.ohem_cross_entropy(logits, labels, threshold=1.0, weight=WEIGHT)


class Pictures:
    """Seven random images of two sizes; evaluation may change neither their number nor order."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.randn(3, 12, 12 if index < 4 else 9, generator=generator)
        return image, image.argmax(0)


def go_on(pause):
    """A digest of the weights after six steps, in one go or with a process group's new start."""
    torch.manual_seed(0)
    model = catalog.create_model("fast_scnn", num_classes=K)
    for part in model.modules():
        part.frozen = isinstance(part, nn.Dropout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    generator = torch.Generator().manual_seed(distributed.rank())
    images = torch.randn(2, 3, 64, 64, generator=generator)
    batches = itertools.repeat((images, images.argmax(1)))
    loss = losses.combine(losses.cross_entropy, model.aux_losses)
    for start, end in ((0, 3), (3, 6)) if pause else ((0, 6),):
        options = {"loss": loss, "optimizer": optimizer, "start": start, "steps": end}
        for _ in engine.train(model, batches, **options):
            pass
    return hashlib.sha256(b"".join(p.detach().numpy() for p in model.parameters())).hexdigest()


def count():
    torch.manual_seed(0)
    share = {"rank": distributed.rank(), "world_size": distributed.world_size()}
    counts = evaluate(Net(norm=True), data.sequential(Pictures(), 2, **share), num_classes=K)
    return {"matrix": counts.matrix.tolist(), "images": counts.images}


SCENARIOS = {
    "plain": lambda: go(clip=0.5),
    "weighted": lambda: go(weighted),
    "focal": lambda: go(losses.focal),
    "ohem": lambda: go(ohem_of_all),
    "accumulated": lambda: go(weighted, accumulate=2),
    "frozen": lambda: go(norm=True, frozen=True),
    "bfloat16": lambda: go(precision="bfloat16"),
    "norm": lambda: go(norm=True, ghosts=2 // distributed.world_size()),
    "nan": lambda: go(spoil=1),
    "far": go_far,
    "count": count,
}
OF_MORE = {"in_one_go": lambda: go_on(False), "paused": lambda: go_on(True)}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes found, by rank."""
    return found_by(2, tmp_path_factory.mktemp("two"))


def found_by(ranks, folder):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=work, args=(n, ranks, folder)) for n in range(ranks)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads
            for process in processes:
                process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(ranks)]


def work(rank, ranks, folder):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks))
    with distributed.process_group(folder / "store"):
        scenarios = SCENARIOS if ranks == 2 else OF_MORE
        found = {name: scenario() for name, scenario in scenarios.items()}
        (folder / f"{rank}.json").write_text(json.dumps(found))


def assert_close(found, expected):
    torch.testing.assert_close(
        torch.tensor(found), torch.tensor(expected), rtol=1e-5, atol=1e-5, equal_nan=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["plain", "weighted", "focal", "ohem", "accumulated", "frozen", "norm"]
)
def test_two_processes_are_one_with_the_whole_batch(both, name):
    one = SCENARIOS[name]()
    for found in both:
        assert len(found[name]["loss"]) == STEPS
        assert_close(found[name]["loss"], one["loss"])
        assert_close(found[name]["parts"], one["parts"])
        for network in ("model", "ema"):
            for key, values in one[network].items():
                assert_close(found[name][network][key], values)
    assert one["loss"][-1] < one["loss"][0]
    assert both[0][name]["share"] == pytest.approx(BATCH * (2 if name == "accumulated" else 1))


@pytest.mark.full
def test_two_processes_are_one_over_many_steps_of_a_papers_network(both):
    one = SCENARIOS["far"]()
    assert both[0]["far"] == both[1]["far"] == pytest.approx(one, rel=1e-11)
    assert one[-1] < 0.9 * one[0]


@pytest.mark.slow
def test_bfloat16_learns_as_much(both):
    assert both[0]["bfloat16"]["loss"] == pytest.approx(SCENARIOS["bfloat16"]()["loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SCENARIOS if name not in ("far", "count")])
def test_both_processes_have_the_same_bits(both, name):
    """Also the running statistics, of which each saw another half."""
    assert both[0][name]["model"] == both[1][name]["model"]
    assert both[0][name]["ema"] == both[1][name]["ema"]
    assert both[0][name]["loss"] == both[1][name]["loss"]


@pytest.mark.full
def test_three_processes_go_on_with_the_same_bits(tmp_path):
    """Three addends have an order, and a new start must not change it."""
    found = found_by(3, tmp_path)
    assert found[0] == found[1] == found[2]
    assert found[0]["paused"] == found[0]["in_one_go"]


@pytest.mark.slow
def test_a_number_that_is_none_in_one_process_stops_both(both):
    torch.manual_seed(0)
    start = {k: v.flatten().tolist() for k, v in Net(norm=False).state_dict().items()}
    for found in both:
        assert "the loss is nan at step 1" in found["nan"]["error"]
        assert found["nan"]["model"] == start


@pytest.mark.slow
def test_evaluation_counts_each_image_once(both):
    assert both[0]["count"] == both[1]["count"] == count()
    assert count()["images"] == 7


def test_one_process_touches_nothing():
    assert (distributed.rank(), distributed.world_size()) == (0, 1)
    with distributed.process_group():
        assert not torch.distributed.is_initialized()
    net = Net(norm=True)
    assert distributed.data_parallel(net) is net
    assert distributed.average(torch.tensor([1.5])).tolist() == [1.5]
    assert distributed.all_gather("x") == ["x"]


@pytest.mark.parametrize("wanted", ["auto", "off"])
def test_one_process_keeps_its_norms(wanted):
    net = Net(norm=True)
    assert distributed.convert_sync_batchnorm(net, wanted, torch.device("cuda")) is net
    assert type(net.norm) is nn.BatchNorm2d


def test_synchronised_norms_keep_weights_and_names():
    net = Net(norm=True)
    weights = dict(net.state_dict(keep_vars=True))
    net = distributed.convert_sync_batchnorm(net, "on", torch.device("cuda"))
    assert type(net.norm) is nn.SyncBatchNorm
    found = net.state_dict(keep_vars=True)
    assert found.keys() == weights.keys()
    assert all(found[key] is weights[key] for key in weights)


def test_synchronised_norms_need_a_gpu():
    with pytest.raises(ValueError, match="sync_bn='on' needs GPUs.*ghost_batches"):
        distributed.convert_sync_batchnorm(Net(norm=True), "on", torch.device("cpu"))


def test_two_processes_on_one_gpu_are_refused_by_name(monkeypatch):
    seen = [("a", "GPU-1"), ("b", "GPU-1"), ("a", "GPU-2")]  # by machine
    monkeypatch.setattr(distributed, "all_gather", lambda mine: seen)
    distributed._refuse_shared_gpus("GPU-1")
    seen.append(("a", "GPU-2"))
    with pytest.raises(ValueError, match="processes 3 and 4 have the same GPU on a"):
        distributed._refuse_shared_gpus("GPU-2")


def test_others_that_do_not_come_are_not_waited_for_for_ever(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        for name, value in {"RANK": "1", "WORLD_SIZE": "2", **place}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(distributed, "WAIT", timedelta(seconds=1))
        with (
            pytest.raises(ValueError, match="process 2 of 2 has not found the others at 127.0.0.1"),
            distributed.process_group(),
        ):
            pass
    assert not torch.distributed.is_initialized()


def test_one_process_of_one_touches_nothing(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.process_group():
        assert not torch.distributed.is_initialized()
