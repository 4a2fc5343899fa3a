"""Names of a user's own code: what they lead to, what is executed, and what is refused."""

import importlib.util
import py_compile
import sys
import wave
from pathlib import Path

import pytest
import torch

from segkit import create_model, load_model, outside, save_weights
from segkit.backbones import create_backbone
from segkit.data.catalog import find as find_data

UNCHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
NET = """
from torch import nn
from segkit import SegOutput

class Net(nn.Module):
    aux_losses = {}
    def __init__(self, num_classes, in_channels, width=4):
        super().__init__()
        self.head = nn.Conv2d(in_channels, num_classes, 3, padding=1)
    def forward(self, images):
        return SegOutput(self.head(images), {})

def build(*, num_classes, in_channels=3):
    return Net(num_classes, in_channels)
"""

BAD = """
import torch
from torch import nn
from segkit import SegOutput

class Odd(nn.Module):
    aux_losses = {}
    def __init__(self, num_classes, in_channels, answer):
        super().__init__()
        self.head, self.answer = nn.Conv2d(in_channels, num_classes, 3, 2, 1), answer
    def forward(self, images):
        return self.answer(self.head(images))

def plain(*, num_classes, in_channels=3): return nn.Conv2d(in_channels, num_classes, 1)
def number(*, num_classes, in_channels=3): return 3
def narrow(num_classes): return 3
def swallows(**options): return 3
def tensor(*, num_classes, in_channels=3): return Odd(num_classes, in_channels, lambda x: x)
def small(*, num_classes, in_channels=3):
    return Odd(num_classes, in_channels, lambda x: SegOutput(x, {}))
def fails(*, num_classes, in_channels=3): return Odd(num_classes, in_channels, lambda x: x.view(7))
def bare(*, in_channels): return nn.Conv2d(in_channels, 3, 1)
def nothing(): return {}
def listed(root): return []
def numbers(root): return {"train": 1, "val": 2}
def raises(*, num_classes, in_channels=3): return {}['key']
def leaves(*, num_classes, in_channels=3): raise SystemExit(0)
def exits(x): raise SystemExit(0)
def exiting(*, num_classes, in_channels=3): return Odd(num_classes, in_channels, exits)
part = dict
VALUE = 3
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    Path("my_net.py").write_text(NET)
    Path("bad.py").write_text(BAD)
    yield tmp_path
    sys.path[:] = before


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("my_net.py:build", True), ("my_net.py", True), ("my.module:build", True),
        ("unet", False), ("timm:resnet18", False), ("https://a.b/c", False), ("", False),
        (None, False), (7, False),
    ],
)  # fmt: skip
def test_what_is_a_name_of_outside_code(name, is_one):
    assert outside.is_outside(name) is is_one


def test_a_file_and_a_module_are_found_from_the_current_folder_and_from_any(here, monkeypatch):
    whole = f"{here}/my_net.py:build"
    assert outside.absolute("my_net.py:build") == outside.absolute("my_net:build") == whole
    assert outside.absolute("sub/../my_net.py:build") == whole
    assert outside.short(whole) == "my_net.py:build"
    monkeypatch.chdir("/")
    network = create_model(whole, num_classes=3, in_channels=1)
    assert network(torch.zeros(1, 1, 32, 40)).logits.shape == (1, 3, 32, 40)
    assert network.training
    assert outside.absolute("torch.nn:Conv2d") == "torch.nn:Conv2d"  # installed: by its name
    assert outside.find("torch.nn:Conv2d") is torch.nn.Conv2d


def test_the_check_of_a_network_draws_no_random_numbers():
    torch.manual_seed(3)
    drawn = create_model("my_net.py:build", num_classes=3).head.weight, torch.rand(3)
    torch.manual_seed(3)
    wanted = torch.nn.Conv2d(3, 3, 3).weight, torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(drawn, wanted, strict=True))


def test_files_beside_it_belong_to_it_and_hide_nobody_elses():
    for folder, value in (("a", 1), ("b", 2)):
        Path(folder).mkdir()
        Path(folder, "parts.py").write_text(f"VALUE = {value}")
        Path(folder, "random.py").write_text("import random as r\ndef f(): return r.__name__")
        Path(folder, "net.py").write_text("import parts, torch\ndef f(): return parts.VALUE")
    assert [outside.find(f"{folder}/net.py:f")() for folder in "aba"] == [1, 2, 1]
    assert sorted(outside.read("a/net.py:f").files) == ["net.py", "parts.py"]
    import random

    assert outside.find("a/random.py:f")() == "random"
    assert sys.modules["random"] is random
    assert not list(Path("a").glob("__pycache__"))
    before = outside.read("a/net.py:f").sha256
    Path("a/parts.py").write_text("VALUE = 10")
    assert outside.read("a/net.py:f").sha256 != before
    assert outside.find("a/net.py:f")() == 10


def test_a_package_comes_as_a_whole():
    Path("lab/nets").mkdir(parents=True)
    for name, text in {
        "__init__": "", "nets/__init__": "", "sizes": "WIDTH = 5",
        "nets/net": "from ..sizes import WIDTH\nimport lab.sizes\ndef f(): return WIDTH",
        "other": "raise SystemExit",
    }.items():  # fmt: skip
        Path("lab", f"{name}.py").write_text(text)
    for name in ("lab/nets/net.py:f", "lab.nets.net:f"):
        assert outside.find(name)() == 5
        assert outside.absolute(name) == f"{Path.cwd()}/lab/nets/net.py:f"
    wanted = ["lab/__init__.py", "lab/nets/__init__.py", "lab/nets/net.py", "lab/sizes.py"]
    assert sorted(outside.read("lab.nets.net:f").files) == wanted


def test_what_is_imported_later_is_each_folders_own():
    lazy = "def f():\n    from helper import V\n    return V\nclass C:\n    def __call__(self): "
    for folder, value in (("one", 1), ("two", 2)):
        Path(folder, "lab").mkdir(parents=True)
        Path(folder, "helper.py").write_text(f"V = {value}")
        Path(folder, "my_net.py").write_text(lazy + "import helper as h; return h.V + 10")
        Path(folder, "lab/__init__.py").touch()
        Path(folder, "lab/h.py").write_text(f"V = {value}")
        Path(folder, "lab/n.py").write_text("def f():\n    from .h import V\n    return V")
    found = [outside.find(f"{folder}/my_net.py:f") for folder in ("one", "two", "one")]
    methods = [outside.find(f"{folder}/my_net.py:C")() for folder in ("one", "two")]
    inside = [outside.find(f"{folder}/lab/n.py:f") for folder in ("one", "two")]
    Path("one/helper.py").write_text("V = 3")
    assert [each() for each in found] == [1, 2, 1]  # what was read, whatever is there now
    assert [each() for each in methods] == [11, 12]
    assert [each() for each in inside] == [1, 2]
    assert outside.find("one/my_net.py:f")() == 3
    assert "helper" not in sys.modules
    assert not any(str(Path.cwd()) in place for place in sys.path)


def test_only_what_was_hashed_is_executed(here):
    Path("a/site-packages").mkdir(parents=True)
    Path("a/net.py").write_text("import wave\nimport helper\ndef f(): return wave, helper.V")
    Path("a/wave.py").write_text("raise SystemExit")
    Path("a/helper.py").write_text("V = 1")
    cached = importlib.util.cache_from_source("a/helper.py")
    Path("evil.py").write_text("V = 2")
    py_compile.compile("evil.py", cached, invalidation_mode=UNCHECKED)
    assert outside.find("a/net.py:f")() == (wave, 1)
    Path("a/site-packages/evil.py").write_text("def f(): return 3")
    assert outside.find("a/site-packages/evil.py:f")() == 3
    assert list(outside.read("a/net.py:f").files) == ["net.py", "helper.py"]


def test_folders_without_init_and_names_of_folders_beside_it():
    Path("utils").mkdir()
    Path("torch").mkdir()
    Path("utils/sizes.py").write_text("WIDTH = 5")
    Path("net.py").write_text("import torch, utils.sizes as s\ndef f(): return s.WIDTH, torch")
    assert outside.find("net.py:f")() == (5, torch)
    assert sorted(outside.read("net.py:f").files) == ["net.py", "utils/sizes.py"]


def test_a_builder_may_take_anything_and_a_class_needs_no_default():
    Path("my_net.py").write_text(NET + "def kw(**kwargs): return Net(**kwargs)\n")
    wanted = create_model("my_net.py:kw", num_classes=3, width=5)
    assert type(wanted) is type(create_model("my_net.py:Net", num_classes=3))
    with pytest.raises(ValueError, match="my_net.py:build does not take width"):
        create_model("my_net.py:build", num_classes=3, width=5)


def test_dataclasses_annotations_and_the_compiler_find_the_module():
    Path("typed.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "import torch\n\nSCALE = 3\n"
        "@dataclass\nclass Size:\n    height: int\n\n"
        "def scaled(x):\n    return x * SCALE + sum(range(len('')))\n"
    )
    assert outside.find("typed.py:Size")(4).height == 4
    compiled = torch.compile(outside.find("typed.py:scaled"), backend="eager", fullgraph=True)
    assert compiled(torch.ones(2)).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_nett.py:build", "my_nett.py is missing; the closest: my_net.py.*: paths count from /"),
        ("my_net.py:biuld", "my_net.py has no function 'biuld': .* it has build"),
        ("my_net.py", "my_net.py is a file: name one of its functions, as in my_net.py:build; it "),
        ("bad.py:VALUE", "no function 'VALUE'"),
        ("no_module:build", "Python finds no module 'no_module' in /.* or installed"),
        ("a.b.c:build", "finds no module 'a.b.c'"),
        ("bad.py:plain", "gives a Conv2d without aux_losses: a dict with an AuxLoss"),
        ("bad.py:number", "gives int, not a network: a builder takes num_classes and in_channels"),
        ("bad.py:narrow", "takes num_classes, and is given in_channels by name, too"),
        ("bad.py:swallows", "gives int, not a network"),
        ("bad.py:tensor", r"its network gives a Tensor, not SegOutput\(logits, aux\) of segkit"),
        ("bad.py:small", r"logits of shape \(1, 3, 32, 48\) .*; wanted are \(1, 3, 64, 96\)"),
        ("bad.py:fails", "fails on a grey image of 64x96 pixels.*RuntimeError: shape"),
        ("bad.py:raises", r"bad.py:raises fails: KeyError: 'key' \(line 2\d\)"),
        ("bad.py:leaves", r"bad.py:leaves fails: SystemExit: 0 \(line 2\d\)"),
        ("bad.py:exiting", "fails on a grey image of 64x96 pixels.*SystemExit: 0"),
        ("bad.py:part", "bad.py:part: Python does not say what it takes; write a function"),
        ("lost.py:build", r"cannot be executed: ModuleNotFoundError: No module named 'own.no'"),
        ("syntax.py:build", r"syntax.py is no Python: SyntaxError: .* \(line 2\)"),
        ("raises.py:build", r"raises.py cannot be executed: ZeroDivisionError: .* \(line 3\)"),
        ("exits.py:build", r"exits.py cannot be executed: SystemExit: 3"),
        ("needs.py:build", r"cannot be executed: ModuleNotFoundError: No module named 'no_such'"),
        ("folder.py:build", "folder.py is a folder, not a file"),
        ("os:system", "takes command, and is given num_classes"),
    ],
)
def test_a_name_that_is_wrong_is_answered_in_a_sentence(name, message):
    Path("syntax.py").write_text("\ndef build(:\n")
    Path("raises.py").write_text("\n\n1 / 0\n")
    Path("exits.py").write_text("raise SystemExit(3)")
    Path("needs.py").write_text("import no_such")
    Path("folder.py").mkdir()
    Path("lost.py").write_text("import own.no")
    Path("own.py").touch()
    with pytest.raises(ValueError, match=message) as error:
        create_model(name, num_classes=3)
    assert "\n" not in str(error.value)


def test_backbones_and_data_that_are_none():
    with pytest.raises(ValueError, match="bad.py:bare gives a Conv2d that is no backbone: it tak"):
        create_backbone("bad.py:bare")
    for name, message in {
        "nothing": "takes nothing, and is given root by name",
        "listed": "gives a list: it must be a function of root that gives data sets by split",
        "numbers": "gives for 'train' int without classes, palette",
    }.items():
        with pytest.raises(ValueError, match=message):
            find_data(f"bad.py:{name}").open_splits("x")


def saved(path, **header):
    torch.manual_seed(0)
    save_weights(create_model("my_net.py:build", num_classes=3), path, header=header)


@pytest.mark.parametrize(
    ("header", "option"),
    [
        ({"builder": "my_net.py:build", "arguments": {"num_classes": 3}}, "model="),
        ({"builder": "my_net:build", "arguments": {"num_classes": 3}}, "model="),
        ({"builder": "os:system", "arguments": {"command": "touch x"}}, "model="),
        ({"builder": "unet", "arguments": {"num_classes": 3, "backbone": "n.py:b"}}, "backbone="),
        ({"builder": "unet", "arguments": {"num_classes": 3, "backbone": "n.py"}}, "backbone="),
    ],
)
def test_opening_weights_executes_nothing(here, monkeypatch, header, option):
    saved("w.safetensors", **header)
    Path("n.py").write_text("open('executed', 'w')")
    for name in ("find", "load", "read", "path_of"):
        monkeypatch.setattr(outside, name, lambda *_, **__: pytest.fail("looked up"))
    with pytest.raises(ValueError, match=f"to open a weights file executes no code: .*{option}"):
        load_model("w.safetensors")
    assert not Path("executed").exists()


def test_weights_are_opened_with_the_code_that_is_given():
    saved("w.safetensors", builder="my_net.py:build", arguments={"num_classes": 3})
    saved("bare.safetensors", arguments={"num_classes": 3})
    wanted = load_model("w.safetensors", model="my_net.py:build")[0]
    for path, model in (
        ("w.safetensors", outside.find("my_net:build")),
        ("bare.safetensors", "my_net.py:build"),
    ):
        network = load_model(path, model=model)[0]
        assert torch.equal(network.head.weight, wanted.head.weight)
        assert not network.training
    with pytest.raises(ValueError, match="my_net.py has no function 'bild'"):
        load_model("w.safetensors", model="my_net.py:bild")
