"""The probe chooses the fastest setting by a clock of its own, and leaves no trace."""

import itertools
import random

import numpy as np
import pytest
import torch
from torch import nn

from segkit import losses
from segkit.engine import distributed
from segkit.engine.probe import Setting, can_fuse, probe, set_fused
from segkit.outputs import SegOutput

K = 3
DEFAULT = Setting("float32", channels_last=True)
PLAIN = Setting("float32")
HALF = Setting("bfloat16", channels_last=True)


class Clocked(nn.Module):
    """Learns, draws random numbers, keeps statistics, and lets time pass as it is told."""

    aux_losses = {}

    def __init__(self, seconds=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(0.3)
        self.head = nn.Conv2d(8, K, 1)
        self.seconds = seconds or {}

    def forward(self, images):
        Clock.now += self.seconds.get(self.used(images), 1.0)
        Clock.calls.append(self.used(images))
        np.random.rand(), random.random()  # noqa: NPY002
        return SegOutput(self.head(self.drop(self.bn(self.conv(images)).relu())), {})

    @staticmethod
    def used(images):
        half = torch.is_autocast_enabled("cpu")
        layout = images.is_contiguous(memory_format=torch.channels_last)
        return Setting("bfloat16" if half else "float32", channels_last=layout)


class Clock:
    now, calls = 0.0, []

    def __call__(self):
        return Clock.now


class Update(torch.optim.SGD):
    """Takes a second with its fused kernel and another time without."""

    ordinary = 1.0

    def step(self, closure=None):
        Clock.now += 1.0 if self.param_groups[0]["fused"] else self.ordinary
        return super().step(closure)


@pytest.fixture(autouse=True)
def clock():
    Clock.now, Clock.calls = 0.0, []
    return Clock()


def batch():
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return images, images.argmax(1)


def run(seconds=None, settings=(DEFAULT, PLAIN, HALF), optimizer=None, model=None, **options):
    model = model or Clocked(seconds)
    return probe(
        model,
        batch(),
        loss=losses.combine(losses.cross_entropy, {}),
        optimizer=optimizer or (lambda copied: Update(copied.parameters(), lr=0.1, momentum=0.9)),
        settings=settings,
        clock=Clock(),
        **options,
    )


def test_the_fastest_is_chosen():
    found = run({DEFAULT: 2.0, PLAIN: 3.0, HALF: 1.0})
    assert found.best == HALF
    assert found.seconds == {DEFAULT: 3.0, PLAIN: 4.0, HALF: 2.0}  # a second for the update
    assert found.steps == len(Clock.calls) == 18
    assert found.took == Clock.now
    assert not found.failed


def test_settings_take_turns():
    run()
    assert Clock.calls[:6] == [DEFAULT, PLAIN, HALF] * 2


def test_a_limit_ends_it_early(monkeypatch):
    slow = {DEFAULT: 3.0, PLAIN: 3.0, HALF: 1.0}  # and a second each for the update
    found = run(slow, limit=30.0)  # three rounds of ten seconds
    assert found.steps == 10
    assert found.decided
    assert found.best == HALF

    found = run(slow, limit=29.0)  # the last step begins at 28 seconds
    assert (found.steps, found.decided, found.best) == (9, True, HALF)

    found = run(slow, limit=27.0)
    assert (found.steps, found.decided, found.best) == (8, False, DEFAULT)

    found = run(slow, limit=0.0)
    assert (found.steps, found.decided, found.best) == (1, False, DEFAULT)

    monkeypatch.setattr(distributed, "gather", lambda spent: [0.0, spent])
    assert run(slow, limit=0.0).steps == 18, "the first of several processes has time"


def test_a_small_gain_leaves_the_default():
    seconds = {DEFAULT: 1.0, PLAIN: 2.0, HALF: 0.9}  # 1.9 against 2.0 with the update
    assert run(seconds).best == DEFAULT
    assert run(seconds, margin=0.04).best == HALF


def test_a_lucky_step_on_a_busy_machine_leaves_the_default():
    class Busy(dict):
        """The default's seconds go up and down; its fastest step is slower than the half's."""

        slow = itertools.cycle([9.0, 4.0, 9.0])

        def get(self, setting, default):
            return next(self.slow) if setting == DEFAULT else self[setting]

    found = run(Busy({PLAIN: 9.0, HALF: 3.0}))
    assert found.seconds[HALF] == 4.0
    assert found.seconds[DEFAULT] == 5.0
    assert found.best == DEFAULT


def test_the_fused_optimizer_is_chosen_by_its_own_time(monkeypatch):
    settings = (DEFAULT, DEFAULT._replace(fused=True))
    assert run(settings=settings).best == DEFAULT
    monkeypatch.setattr(Update, "ordinary", 3.0)
    found = run(settings=settings)
    assert found.best == settings[1]
    assert found.seconds == {settings[0]: 4.0, settings[1]: 2.0}


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_nothing_is_left_behind(kind):
    model = Clocked().to(memory_format=torch.channels_last).eval()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    made = []

    def optimizer(copied):
        made.append(kind(copied.parameters(), lr=0.1))
        assert copied is not model
        return made[-1]

    run(model=model, settings=(DEFAULT, PLAIN._replace(fused=True), HALF), optimizer=optimizer)
    assert len(made) == 1  # one copy, one optimizer
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model.conv.weight.grad, torch.ones_like(model.conv.weight))
    assert model.head.weight.grad is None
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.training
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1][1])  # noqa: NPY002
    assert random.getstate() == states[2]
    assert not torch.is_autocast_enabled("cpu")


def test_the_copy_does_not_learn():
    copies = []

    def optimizer(copied):
        copies.append((copied, copied.conv.weight.clone()))
        return torch.optim.AdamW(copied.parameters(), lr=10.0, weight_decay=1.0)

    run(optimizer=optimizer)
    [(copied, weight)] = copies
    assert torch.equal(copied.conv.weight, weight)


def test_what_cannot_be_compiled_is_said(monkeypatch):
    compiled = DEFAULT._replace(compiled=True)
    monkeypatch.setattr(torch, "compile", lambda model: broken)

    def broken(images):
        raise RuntimeError("no compiler\nand a long story")

    found = run({DEFAULT: 2.0}, settings=(DEFAULT, compiled))
    assert found.best == DEFAULT
    assert found.failed == {compiled: "RuntimeError: no compiler"}


def test_compiling_must_pay(monkeypatch):
    compiled = DEFAULT._replace(compiled=True)

    def compile_slowly(model):
        calls = []

        def call(images):
            Clock.now += -1.0 if calls else 100.0  # 2 seconds a step become 1
            calls.append(images)
            return model(images)

        return call

    monkeypatch.setattr(torch, "compile", compile_slowly)
    options = {"seconds": {DEFAULT: 2.0}, "settings": (DEFAULT, compiled)}
    assert run(**options, run=110).best == DEFAULT
    assert run(**options, run=1100).best == compiled
    found = run(**options, run=1100, limit=30.0)  # the 100 seconds of compiling are not counted
    assert found.decided
    assert found.best == compiled


def test_an_error_of_the_network_is_not_hidden():
    with pytest.raises(ValueError, match="labels hold"):
        probe(
            Clocked(),
            (batch()[0], batch()[1] + K),
            loss=losses.combine(losses.cross_entropy, {}),
            optimizer=lambda copied: torch.optim.SGD(copied.parameters(), lr=0.1),
            settings=[DEFAULT],
        )


def test_refusals():
    with pytest.raises(ValueError, match="settings is empty"):
        run(settings=())
    with pytest.raises(ValueError, match=r"'float8' is unknown.*bfloat16"):
        run(settings=(Setting("float8"),))


def test_in_words():
    assert str(Setting("bfloat16", channels_last=True)) == "bfloat16, channels_last"
    assert str(Setting(fused=True, compiled=True)) == "float32, planes, fused, compiled"


def weights():
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(7))]


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_switching_keeps_what_the_optimizer_remembers(kind):
    def trained(switches):
        parameters = weights()
        optimizer = kind(parameters, lr=0.1, **({"momentum": 0.9} if kind is not AdamW else {}))
        for fused in switches:
            set_fused(optimizer, fused)
            for parameter in parameters:
                parameter.grad = parameter.detach().sin()
            optimizer.step()
        return parameters

    AdamW = torch.optim.AdamW
    ordinary, switched = trained([False] * 4), trained([True, False, True, False])
    for one, other in zip(ordinary, switched, strict=True):
        torch.testing.assert_close(one, other)


def test_an_optimizer_without_a_fused_form():
    optimizer = torch.optim.RMSprop(weights(), lr=0.1)
    assert not can_fuse(optimizer)
    set_fused(optimizer, False)
    with pytest.raises(ValueError, match="RMSprop has no fused form"):
        set_fused(optimizer, True)
    assert not can_fuse(torch.optim.SGD([nn.Parameter(torch.zeros(2, device="meta"))], lr=0.1))
    assert can_fuse(torch.optim.SGD(weights(), lr=0.1))


@pytest.mark.slow
def test_a_compiled_network_is_measured():
    compiled = DEFAULT._replace(compiled=True)
    model = nn.Sequential(nn.Conv2d(3, K, 1))
    found = probe(
        model,
        batch(),
        loss=lambda logits, labels: (losses.cross_entropy(logits, labels), {}),
        optimizer=lambda copied: torch.optim.SGD(copied.parameters(), lr=0.1),
        settings=[DEFAULT, compiled],
        steps=6,
    )
    assert set(found.seconds) == {DEFAULT, compiled}
    assert found.failed or found.seconds[compiled] > 0  # without a C++ compiler it says so
