"""What only a GPU can show: copies, precisions, kernels, NCCL, SyncBatchNorm, events, memory.

tests/gpu/check.sh runs these first. The networks are small: they ask whether it is right.
"""

from __future__ import annotations

import copy
import itertools
import os

import pytest
import torch
from torch import multiprocessing, nn

import segkit
from segkit import engine, export, losses, random_state
from segkit.engine import distributed
from segkit.engine.memory import explain_out_of_memory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
K, SIZE = 5, (96, 128)


@pytest.fixture(autouse=True)
def _exact_products():
    """TensorFloat-32 is off, so that float32 may be compared with the processor's."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        yield
        torch.set_float32_matmul_precision(before)


def network(name: str = "pp_liteseg_t") -> nn.Module:
    torch.manual_seed(0)
    return segkit.create_model(name, num_classes=K)


def batches(images: int = 4):
    generator = torch.Generator().manual_seed(1)
    for _ in itertools.count():
        x = torch.randn(images, 3, *SIZE, generator=generator)
        yield x, x.argmax(1)


def train(model: nn.Module, steps: int = 6, **options):
    options = {"optimizer": torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)} | options
    stream = options.pop("batches", None) or batches()
    loss = losses.combine(losses.cross_entropy, model.aux_losses)
    return list(engine.train(model, stream, loss=loss, steps=steps, **options))


def test_a_gpu_trains_as_the_processor_does():
    here, there = train(network(), 3), train(network().cuda(), 3)
    assert [step.loss for step in there] == pytest.approx([step.loss for step in here], rel=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_every_setting_trains(precision, channels_last, fused):
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=fused)
    steps = train(
        model, 30, optimizer=optimizer, precision=precision, channels_last=channels_last
    )  # fmt: skip
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


def test_float16_skips_a_step_that_overflows_and_goes_on():
    model = network().cuda()
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)  # the first gradients overflow
    before = [weight.detach().clone() for weight in model.parameters()]
    train(model, 1, precision="float16", scaler=scaler)
    assert all(map(torch.equal, before, model.parameters()))
    assert scaler.get_scale() < 2.0**40
    steps = train(model, 40, precision="float16", scaler=scaler)
    assert steps[-1].loss < steps[0].loss


def test_a_resume_has_the_bits_of_a_training_that_was_not_stopped(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        model = network().cuda()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        stream = list(itertools.islice(batches(), 6))
        train(model, 3, optimizer=optimizer, batches=iter(stream))
        kept = copy.deepcopy((model.state_dict(), optimizer.state_dict(), random_state.state()))
        whole = train(model, 6, start=3, optimizer=optimizer, batches=iter(stream[3:]))
        model.load_state_dict(kept[0])
        optimizer.load_state_dict(kept[1])
        random_state.restore(kept[2])
        again = train(model, 6, start=3, optimizer=optimizer, batches=iter(stream[3:]))
    finally:
        torch.use_deterministic_algorithms(False)
    assert [step.loss for step in again] == [step.loss for step in whole]


def test_a_compiled_network_gives_the_same_labels_and_trains():
    model = network().cuda().eval()
    images = next(batches())[0].cuda()
    compiled = torch.compile(model)
    with torch.inference_mode():
        same = (compiled(images).logits.argmax(1) == model(images).logits.argmax(1)).float().mean()
    assert same > 0.999
    torch.compiler.reset()
    steps = train(torch.compile(network().cuda()), 20, precision="bfloat16", channels_last=True)
    torch.compiler.reset()
    assert steps[-1].loss < steps[0].loss


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_fast_form_gives_the_same_labels(precision):
    model = network().cuda().eval()
    images = next(batches())[0].cuda()
    fast = export.optimize_for_inference(model, precision=precision)
    with torch.inference_mode():
        labels = fast.predict_labels(images)
        same = (labels == model(images).logits.argmax(1)).float().mean()
    assert same > (0.999 if precision == "float32" else 0.95)


def test_memory_that_does_not_suffice_is_explained():
    images = torch.empty(4, 3, *SIZE)
    with pytest.raises(engine.OutOfMemoryError, match="batch"), explain_out_of_memory(1, images):
        torch.empty(2**50, device="cuda")


def test_events_time_what_the_gpu_does():
    from segbook.bench.clock import on_gpu

    matrix = torch.randn(2048, 2048, device="cuda")
    on_gpu(lambda: matrix @ matrix)
    once = on_gpu(lambda: matrix @ matrix).wall
    often = on_gpu(lambda: [matrix @ matrix for _ in range(50)]).wall
    assert 0 < once < often


def _share(rank: int, processes: int, store: str, norm: bool, out: str) -> None:
    """One of the processes that share this machine's only GPU: gloo allows that, NCCL does not."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes)}
    backend = "gloo" if processes > 1 else "cpu:gloo,cuda:nccl"
    torch.backends.cudnn.allow_tf32 = False
    torch.distributed.init_process_group(
        backend, init_method=f"file://{store}", rank=rank, world_size=processes
    )
    device = torch.device("cuda")
    model = network("unet_resnet18").to(device)
    model = distributed.convert_sync_batchnorm(model, "on" if norm else "off", device)
    own = ((x.chunk(processes)[rank], y.chunk(processes)[rank]) for x, y in batches())
    steps = train(model, 4, batches=own, ema=engine.averaged(model, 0.9))
    torch.distributed.all_reduce(torch.ones(1, device=device))  # NCCL, where there is one process
    distributed.broadcast_buffers(model)
    if rank == 0:
        torch.save([step.loss for step in steps], out)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_that_share_batches_and_batchnorm_train_as_one_does(processes, tmp_path):
    whole = [step.loss for step in train(network("unet_resnet18").cuda(), 4)]
    arguments = (processes, str(tmp_path / "store"), True, str(tmp_path / "losses"))
    multiprocessing.spawn(_share, arguments, nprocs=processes)
    assert torch.load(tmp_path / "losses") == pytest.approx(whole, rel=2e-3)
