"""What the machine has is read rightly, and each check of it finds its fault."""

from pathlib import Path

import pytest
import torch

from segkit.doctor import machine

GB = 10**9


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path):
    """A system with 8 GiB free and no control groups."""
    write(tmp_path / "proc/meminfo", "MemTotal: 9999 kB\nMemAvailable: 8388608 kB\n")
    return tmp_path


def test_memory_of_this_machine():
    found = machine.available_memory()
    assert found is None or 0 < found < 2**50
    assert machine.available_cores() >= 1


def test_memory_is_what_the_system_has(root):
    assert machine.available_memory(root) == 8 * 2**30
    assert machine.available_memory(root / "elsewhere") is None


def test_memory_is_what_the_control_group_leaves(root):
    write(root / "proc/self/cgroup", "0::/jobs/one\n")
    write(root / "sys/fs/cgroup/jobs/one/memory.max", "max\n")
    write(root / "sys/fs/cgroup/jobs/one/memory.current", "7\n")
    write(root / "sys/fs/cgroup/jobs/memory.max", "1000000\n")  # of the group above
    write(root / "sys/fs/cgroup/jobs/memory.current", "400000\n")
    write(root / "sys/fs/cgroup/jobs/memory.stat", "anon 5\ninactive_file 100000\n")
    assert machine.available_memory(root) == 700_000


def test_memory_of_version_one_inside_a_container(root):
    write(root / "proc/self/cgroup", "4:memory:/on/the/host\n1:cpu,cpuacct:/on/the/host\n")
    write(root / "sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n")
    write(root / "sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n")
    assert machine.available_memory(root) == 700_000


def test_cores_are_what_the_control_group_leaves(root):
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert machine.available_cores(root) == 1
    write(root / "sys/fs/cgroup/cpu.max", "max 100000\n")
    assert machine.available_cores(root) == machine.available_cores(root / "elsewhere")


def test_a_small_disk(small_disk):
    folder = small_disk / "runs" / "new"  # not made yet
    assert machine.disk_space(folder, checkpoint=100_000, weights=50_000) is None
    tight = machine.disk_space(folder, checkpoint=240_000, weights=100_000)
    assert tight.severity == "warning"
    two = machine.disk_space(folder, checkpoint=300_000, weights=100_000)  # not three
    assert two.severity == "warning"
    full = machine.disk_space(folder, checkpoint=10**6, weights=500_000)
    assert (full.severity, full.check) == ("error", "disk_space")
    assert "1 MB free" in full.what
    assert "4 MB" in full.what
    assert "SEGBOOK_RUNS" in full.fix


def test_small_shared_memory(small_disk):
    batch = 4 * 64 * 64 * machine.BYTES_PER_PIXEL  # 328 kB
    assert machine.shared_memory(1, batch, folder=small_disk) is None
    finding = machine.shared_memory(4, batch, folder=small_disk)
    assert (finding.severity, finding.check) == ("error", "shared_memory")
    assert "--set workers=1" in finding.fix
    assert machine.shared_memory(0, batch, folder=small_disk) is None
    assert machine.shared_memory(4, batch, folder=Path("/no/such/folder")) is None


def test_memory_for_caches_and_a_step():
    fits = {"cached": GB, "workers": 0, "step": GB, "state": GB // 10}
    assert machine.memory(4 * GB, **fits) is None
    assert machine.memory(None, **fits) is None
    caches = machine.memory(8 * GB, **{**fits, "workers": 8})
    assert (caches.severity, caches.check) == ("warning", "memory")
    assert "8 x 1.0 GB" in caches.what
    assert caches.fix == "--set workers=6"
    step = machine.memory(4 * GB, **{**fits, "step": 5 * GB})
    assert "batch_size" in step.fix


def test_memory_of_a_gpu():
    assert machine.gpu_memory(16 * GB, step=8 * GB, state=GB) is None
    assert machine.gpu_memory(None, step=8 * GB, state=GB) is None
    finding = machine.gpu_memory(8 * GB, step=12 * GB, state=GB)
    assert finding.check == "gpu_memory"
    assert "accumulate" in finding.fix


def test_more_threads_than_cores():
    assert machine.cores(8, workers=4, threads=8) is None
    assert machine.cores(2, workers=0, threads=2) is None
    finding = machine.cores(2, workers=2, threads=2)
    assert "4 busy threads (1 x (2 workers + 2 threads)) on 2 cores" in finding.what
    assert finding.fix == "--set workers=1"
    assert machine.cores(8, workers=2, threads=8, processes=2).fix == "OMP_NUM_THREADS=2"
    many = machine.cores(2, workers=0, threads=1, processes=9)
    assert "9 x (0 workers + 1 thread)" in many.what
    assert many.fix == "--nproc 2, or fewer"


def test_a_gpu_that_waits_for_one_core():
    assert machine.no_workers(0, cores=8, device="cuda", decodes=True).fix == "--set workers=7"
    assert machine.no_workers(0, cores=8, device="cpu", decodes=True) is None
    assert machine.no_workers(0, cores=8, device="cuda", decodes=False) is None
    assert machine.no_workers(4, cores=8, device="cuda", decodes=True) is None


def test_number_formats_that_are_imitated(monkeypatch):
    def check(precision, device="cpu", bfloat16=True, channels_last=None):
        return machine.number_format(
            precision, device=device, bfloat16=bfloat16, channels_last=channels_last
        )

    for precision in ("auto", "float32", "bfloat16"):
        assert check(precision) is None
    assert check("float16", "cuda") is None
    assert "float16 on a CPU" in check("float16").what
    assert "bfloat16 on a CPU" in check("bfloat16", bfloat16=False).what
    assert check("auto", channels_last=True) is None or not torch.backends.mkldnn.is_available()
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert "oneDNN" in check("auto", channels_last=True).what
    assert check("auto", channels_last=False) is None
