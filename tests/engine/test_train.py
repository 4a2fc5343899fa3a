import math

import pytest
import torch
from torch import nn

from segkit import engine, losses
from segkit.outputs import SegOutput

K = 3


class Tiny(nn.Module):
    aux_losses = {"c2": losses.AuxLoss(weight=0.5)}

    def __init__(self, dropout: float = 0.3):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout2d(dropout)
        self.head = nn.Conv2d(8, K, 1)
        self.aux = nn.Conv2d(8, K, 1)

    def forward(self, images):
        x = self.drop(self.bn(self.conv(images)).relu())
        aux = {"c2": self.aux(x[..., ::2, ::2])} if self.training else {}
        return SegOutput(self.head(x), aux)


def batches(start=0, batch_size=4, closed=None):
    """Learnable: the label is the brightest channel."""
    try:
        position = start
        while True:
            generator = torch.Generator().manual_seed(position)
            images = torch.randn(batch_size, 3, 16, 16, generator=generator)
            yield images, images.argmax(1)
            position += 1
    finally:
        if closed is not None:
            closed.append(True)


def make(seed=0, **options):
    torch.manual_seed(seed)
    model = Tiny(**options)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    return model, optimizer, losses.combine(losses.cross_entropy, model.aux_losses)


def test_learns_and_reports():
    model, optimizer, loss = make(dropout=0.0)
    steps = list(
        engine.train(
            model, batches(), loss=loss, optimizer=optimizer, schedule=engine.poly(60), steps=60
        )
    )
    assert [s.index for s in steps] == list(range(1, 61))
    assert steps[-1].loss < 0.5 * steps[0].loss
    first = steps[0]
    assert first.loss == pytest.approx(first.parts["main"] + 0.5 * first.parts["c2"], rel=1e-5)
    assert first.lr == pytest.approx(0.02)
    assert steps[30].lr == pytest.approx(0.02 * 0.5**0.9)
    assert first.images_per_second == pytest.approx(4 / first.seconds)


def test_equals_a_loop_written_by_hand():
    model, optimizer, loss = make(dropout=0.0)
    for _ in engine.train(model, batches(), loss=loss, optimizer=optimizer, steps=3, clip=0.1):
        pass
    other, optimizer, loss = make(dropout=0.0)
    other.train()
    stream = batches()
    for _ in range(3):
        images, labels = next(stream)
        optimizer.zero_grad()
        total, _ = loss(other(images), labels)
        total.backward()
        nn.utils.clip_grad_norm_(other.parameters(), 0.1)
        optimizer.step()
    for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_accumulation_is_the_gradient_of_the_larger_batch():
    """Without BatchNorm and dropout two batches of 4 are one of 8."""

    class Plain(nn.Module):
        aux_losses = {}

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, K, 3, padding=1)

        def forward(self, images):
            return SegOutput(self.conv(images), {})

    def run(batch_size, accumulate):
        torch.manual_seed(0)
        model = Plain()
        stream = batches(batch_size=4)

        def grouped():
            while True:
                parts = [next(stream) for _ in range(batch_size // 4)]
                yield torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loss = losses.combine(losses.cross_entropy, {})
        for _ in engine.train(
            model, grouped(), loss=loss, optimizer=optimizer, steps=3, accumulate=accumulate
        ):
            pass
        return model.conv.weight

    torch.testing.assert_close(run(4, 2), run(8, 1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_one_path_for_every_precision(precision, channels_last):
    model, optimizer, loss = make()
    steps = list(
        engine.train(
            model,
            batches(),
            loss=loss,
            optimizer=optimizer,
            steps=30,
            precision=precision,
            channels_last=channels_last,
        )
    )
    assert steps[-1].loss < steps[0].loss
    assert model.conv.weight.dtype is torch.float32


def test_nonfinite_loss_stops_with_the_parts_and_changes_nothing():
    model, optimizer, loss = make()
    before = {k: v.clone() for k, v in model.named_parameters()}

    def broken():
        yield torch.full((2, 3, 16, 16), math.nan), torch.zeros(2, 16, 16, dtype=torch.int64)

    with pytest.raises(engine.NonFiniteLossError, match=r"step 1: main nan, c2 nan"):
        list(engine.train(model, broken(), loss=loss, optimizer=optimizer, steps=5))
    assert all(torch.equal(before[k], v) for k, v in model.named_parameters())


def test_nonfinite_gradient_of_a_finite_loss_changes_nothing():
    """The square root of zero: its value is finite, its slope is not."""
    model, optimizer, _ = make(dropout=0.0)
    before = model.head.weight.clone()

    def loss(output, labels):
        total = (output.logits * 0).sum().sqrt()
        return total, {"main": total.detach()}

    with pytest.raises(engine.NonFiniteLossError, match="gradient's norm is nan at step 1"):
        list(engine.train(model, batches(), loss=loss, optimizer=optimizer, steps=5, clip=1.0))
    assert torch.equal(before, model.head.weight)


def test_an_abandoned_generator_leaves_no_trace():
    model, optimizer, loss = make()
    model.eval()
    closed = []
    stream = engine.train(model, batches(closed=closed), loss=loss, optimizer=optimizer, steps=50)
    next(stream)
    assert model.training
    assert not closed
    stream.close()
    assert not model.training
    assert closed == [True]


def test_batches_that_end_are_an_error_that_says_so():
    model, optimizer, loss = make()
    short = [next(batches())]
    with pytest.raises(ValueError, match="ended at step 1 of 3"):
        list(engine.train(model, short, loss=loss, optimizer=optimizer, steps=3))


def test_a_step_takes_a_batch():
    model, optimizer, loss = make()
    with pytest.raises(ValueError, match="accumulate is 0"):
        next(engine.train(model, batches(), loss=loss, optimizer=optimizer, steps=1, accumulate=0))


def test_unknown_precision_lists_the_known():
    model, optimizer, loss = make()
    with pytest.raises(ValueError, match="float32"):
        list(
            engine.train(
                model, batches(), loss=loss, optimizer=optimizer, steps=1, precision="half"
            )
        )


def test_moving_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    average = engine.averaged(model, 0.5)
    values = []
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
        values.append(average.module.weight.item())
    # The first update copies. Then kept = min(0.5, (1 + n) / (10 + n)): 2/11 and 3/12.
    second = 1.0 * 2 / 11 + 2.0 * 9 / 11
    assert values == pytest.approx([1.0, second, second * 0.25 + 4.0 * 0.75])


def test_moving_average_follows_running_statistics_and_counters():
    model, optimizer, loss = make()
    average = engine.averaged(model, 0.9)
    for _ in engine.train(model, batches(), loss=loss, optimizer=optimizer, steps=5, ema=average):
        pass
    assert average.module.bn.num_batches_tracked.item() == 5
    assert not torch.equal(average.module.bn.running_mean, model.bn.running_mean)
    assert average.module.bn.running_mean.abs().sum() > 0


@pytest.mark.parametrize("decay", [0.0, 1.0, -1])
def test_moving_average_refuses(decay):
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        engine.averaged(nn.Linear(1, 1), decay)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_training_has_the_same_bits(tmp_path, precision, accumulate):
    def state(model, average, optimizer):
        return {
            "model": dict(model.state_dict()),
            "ema": dict(average.state_dict()),
            "optimizer": optimizer.state_dict(),
        }

    def go(model, average, optimizer, loss, start, steps):
        return [
            s.loss
            for s in engine.train(
                model,
                batches(start=start * accumulate),
                loss=loss,
                optimizer=optimizer,
                schedule=engine.cosine(8),
                steps=steps,
                start=start,
                accumulate=accumulate,
                ema=average,
                precision=precision,
            )
        ]

    model, optimizer, loss = make()
    average = engine.averaged(model, 0.9)
    whole = go(model, average, optimizer, loss, 0, 8)

    first, optimizer_1, loss = make()
    average_1 = engine.averaged(first, 0.9)
    losses_1 = go(first, average_1, optimizer_1, loss, 0, 4)
    engine.save_checkpoint(tmp_path, state(first, average_1, optimizer_1))

    torch.manual_seed(12345)  # another process has other random numbers
    second, optimizer_2, loss = make(seed=99)
    average_2 = engine.averaged(second, 0.9)
    saved = engine.load_checkpoint(tmp_path)
    second.load_state_dict(saved["model"])
    average_2.load_state_dict(saved["ema"])
    optimizer_2.load_state_dict(saved["optimizer"])
    losses_2 = go(second, average_2, optimizer_2, loss, 4, 8)

    assert losses_1 + losses_2 == whole
    for a, b in (
        (model.state_dict(), second.state_dict()),
        (average.state_dict(), average_2.state_dict()),
    ):
        assert all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_on_a_gpu(precision):
    model, _, loss = make(dropout=0.0)
    model.cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    steps = list(
        engine.train(
            model,
            batches(),
            loss=loss,
            optimizer=optimizer,
            steps=40,
            precision=precision,
            channels_last=True,
        )
    )
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert next(model.parameters()).is_cuda


def test_frozen_modules_stay_in_eval_mode_whoever_calls_train_between_the_steps():
    model, optimizer, loss = make(dropout=0.0)
    model.bn.frozen = True
    before = model.bn.running_mean.clone()
    for _ in engine.train(model, batches(), loss=loss, optimizer=optimizer, steps=3):
        assert not model.bn.training
        assert model.conv.training
        model.train()  # as evaluation does when it puts a network back
    assert torch.equal(before, model.bn.running_mean)


def test_memory_that_ends_says_what_to_lower():
    model, optimizer, _ = make()

    def greedy(output, labels):
        torch.empty(1 << 60, dtype=torch.uint8)  # the allocator's real refusal

    with pytest.raises(
        MemoryError, match=r"step 1 .*\(4, 3, 16, 16\).*batch_size.*crop.*precision"
    ):
        next(engine.train(model, batches(), loss=greedy, optimizer=optimizer, steps=1))


def test_other_errors_stay_what_they_are():
    model, optimizer, _ = make()

    def wrong(output, labels):
        return output.logits @ labels

    with pytest.raises(RuntimeError, match="must match|dtype|size") as caught:
        next(engine.train(model, batches(), loss=wrong, optimizer=optimizer, steps=1))
    assert not isinstance(caught.value, MemoryError)
