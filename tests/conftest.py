"""What every test gets: one thread, a fixed seed, and the real data where it is."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

# Two threads on a busy machine can be fifteen times slower than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts us in the background lets us ignore Ctrl-C, and so would every child: but the
# tests of Ctrl-C send it.
in_main_thread = threading.current_thread() is threading.main_thread()
if in_main_thread and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(os.environ.get("SEGBOOK_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def onnx_file():
    """An ONNX file as `segbook export` writes them, of one convolution: bright is class 1."""
    onnx = pytest.importorskip("onnx", reason="takes the extra: pip install 'segbook[onnx]'")
    import json

    import numpy as np

    from segkit.export.files import Agreement, Exported

    weight = np.float32([[-0.5, -0.3, -0.4], [0.5, 0.3, 0.4]]).reshape(2, 3, 1, 1)
    numbers = {"scale": np.float32(255), "weight": weight, "bias": np.float32([0.6, -0.6])}
    node, kinds, info = onnx.helper.make_node, onnx.TensorProto, onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["images"], ["numbers"], to=kinds.FLOAT, name="cast"),
            node("Div", ["numbers", "scale"], ["colours"], name="divide"),
            node("Conv", ["colours", "weight", "bias"], ["logits"], name="score"),
        ],
        "bright",
        [info("images", kinds.UINT8, ["batch", 3, "height", "width"])],
        [info("logits", kinds.FLOAT, [None, None, None, None])],
        [onnx.numpy_helper.from_array(value, name) for name, value in numbers.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10
    )
    header = {
        "builder": "bright",
        "classes": ["dark", "bright"],
        "palette": [[0, 0, 80], [255, 240, 90]],
        "metric": {"name": "mIoU", "policy": "per_image_absent_1", "value": 0.5, "split": "val"},
        "input": {"name": "images", "dtype": "uint8", "colours": "RGB, 0..255"},
    }
    onnx.helper.set_model_props(model, {"segkit": json.dumps(header)})
    shapes = ((1, 3, 64, 96),)
    return Exported(model.SerializeToString(), header, Agreement(shapes, 0.0, 1.0, 0.0))


@pytest.fixture(autouse=True)
def _runs_elsewhere(tmp_path, monkeypatch):
    """No test leaves a run folder in the checkout, or takes one that the caller is writing."""
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SEGBOOK_RUN_FOLDER", raising=False)
    monkeypatch.delenv("SEGBOOK_RUN_TOKEN", raising=False)


@pytest.fixture(autouse=True)
def _signals_stay():
    """A command that was called in this process ends it, as far as its signals go."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _cures_can_be_followed(monkeypatch):
    """Whatever a test makes the doctor or the program say: what it names is there."""
    import hints

    from segbook import cli
    from segkit.doctor.finding import Finding

    made, refused = Finding.__post_init__, cli.refusal

    def checked(self):
        made(self)
        assert not hints.wrong(self.fix), (self.check, self.fix)

    def refusal(message, exit_code):
        assert not hints.wrong(message), message
        return refused(message, exit_code)

    monkeypatch.setattr(Finding, "__post_init__", checked)
    monkeypatch.setattr(cli, "refusal", refusal)


@pytest.fixture(scope="session")
def camvid_root() -> Path:
    """The real CamVid folder, or a skip that says what is missing."""
    root = SHARED / "data" / "camvid"
    if not root.is_dir():
        pytest.skip(f"the real CamVid images are not at {root}")
    return root


@pytest.fixture
def serve_bytes(tmp_path, monkeypatch):
    """Serve bytes on loopback to torch.hub: gives their URL and the paths that were asked for."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    servers = []

    def start(content: bytes, name: str) -> tuple[str, list[str]]:
        asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{name}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def make_disk(tmp_path):
    """Make a real file system of a size such as "260k" or "1m", or skip."""
    made = []

    def make(size: str) -> Path:
        path = tmp_path / f"disk{len(made)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs more rights")
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def small_disk(make_disk):
    """A file system of one megabyte."""
    return make_disk("1m")


@pytest.fixture(scope="session")
def shared_data():
    """A folder of real data beside the checkout, by its name, or a skip that says which."""

    def find(name: str) -> Path:
        root = SHARED / "data" / name
        if not root.is_dir():
            pytest.skip(f"the real data are not at {root}")
        return root

    return find
