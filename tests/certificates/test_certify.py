"""How certificates are made: counts, costs, hashes, and that each of them can be red."""

import ast
import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from segbook.certificates import certify, code, measure, models_md
from segbook.certificates.facts import Comparison, Reference
from segbook.certificates.parity import load_pairs
from segbook.cli import main
from segkit.catalog import MODELS
from segkit.outputs import SegOutput
from segkit.weights import save_weights

ROOT = Path(__file__).resolve().parents[2]


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, images):
        return SegOutput(self.head(self.relu(self.conv(images))), {})


@pytest.fixture
def tiny():
    with torch.device("meta"):
        return Tiny()


def test_parameters_by_submodule(tiny):
    assert measure.parameters(tiny) == {"total": 118, "conv": 108, "head": 10}


def test_flops_count_a_multiply_add_as_two(tiny):
    assert measure.flops(tiny, (8, 16)) == 2 * 8 * 16 * (3 * 4 * 9 + 4 * 2)


def test_activations_are_what_autograd_keeps(tiny):
    # the image, and the rectified map once, though the ReLU and the head both need it
    assert measure.activation_bytes(tiny, (8, 16)) == 4 * 8 * 16 * (3 + 4)


def test_shapes_are_spelled(tiny):
    assert measure.shapes(tiny, [(33, 47)]) == {"33x47": [1, 2, 33, 47]}


def test_hash_sees_code_but_no_comment(tmp_path, monkeypatch):
    root = tmp_path / "segkit"
    shutil.copytree(code.ROOT, root)
    monkeypatch.setattr(code, "ROOT", root)
    path = root / "models" / "unet.py"
    monkeypatch.setattr(code.inspect, "getsourcefile", lambda builder: str(path))
    before, text = code.code_hash(MODELS["unet"]), path.read_text()

    path.write_text(text.replace('"""U-Net: a path', '"""U-Net, a path') + "\n# a comment\n")
    assert code.code_hash(MODELS["unet"]) == before
    path.write_text(text.replace('venue="MICCAI"', 'venue="MICCAI in Munich"'))
    assert code.code_hash(MODELS["unet"]) == before
    path.write_text(text.replace("6 * self.scale - 4", "6 * self.scale - 5"))
    assert code.code_hash(MODELS["unet"]) != before
    path.write_text(text)

    block = root / "nn" / "conv.py"  # which unet.py has through `from segkit.nn import …`
    block.write_text(block.read_text().replace("kernel_size // 2", "kernel_size // 3"))
    assert code.code_hash(MODELS["unet"]) != before


def test_hash_sees_what_a_package_does_to_its_names(tmp_path, monkeypatch):
    root = tmp_path / "segkit"
    shutil.copytree(code.ROOT, root)
    source = root / "models" / "unet.py"
    monkeypatch.setattr(code, "ROOT", root)
    monkeypatch.setattr(code.inspect, "getsourcefile", lambda builder: str(source))
    before = code.code_hash(MODELS["unet"])
    package = root / "nn" / "__init__.py"
    text = package.read_text()

    package.write_text(text + "\nfrom segkit.nn.aspp import ASPP as _unused\n")
    assert code.code_hash(MODELS["unet"]) == before
    package.write_text(text + "\nresize = print\n")
    assert code.code_hash(MODELS["unet"]) != before
    package.write_text(text)
    outputs = root / "outputs.py"
    outputs.write_text(
        outputs.read_text().replace("    c2: T\n    c3: T\n", "    c3: T\n    c2: T\n")
    )
    assert code.code_hash(MODELS["unet"]) != before


@pytest.mark.parametrize("part", code.PARTS)
def test_networks_import_in_the_way_that_the_hash_follows(part):
    for path in (code.ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not [a for a in node.names if a.name.startswith("segkit")], path
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                assert node.module != "segkit", path


def test_files_of_a_network_are_those_it_imports():
    names = {path.name for path in code.files(MODELS["pp_liteseg_t"])}
    assert {"pp_liteseg.py", "stdc.py", "conv.py"} <= names
    assert "resnet.py" not in names
    assert "catalog.py" not in names, "a new backbone would change every network's hash"


def test_reference_of_another_count_does_not_agree():
    good = Reference(name="a", parameters=24_438_979)
    assert certify.held_against("unet_resnet34", good)["agrees"]
    bad = certify.held_against("unet_resnet34", good._replace(parameters=24_438_978))
    assert not bad["agrees"]
    explained = good._replace(parameters=24_438_978, difference=1, why="one bias")
    assert certify.held_against("unet_resnet34", explained)["agrees"]


def test_part_of_a_network_is_held_against_a_reference():
    head = certify.held_against("fcn_resnet50", Reference(name="a", parameters=0, only=("head",)))
    without = Reference(name="a", parameters=0, without=("backbone", "aux_head"))
    assert head["ours"] == certify.held_against("fcn_resnet50", without)["ours"] > 0


def test_comparisons_by_hand_are_facts_of_the_certificate():
    known = certify.facts_of("segformer_b0")
    written = certify.read("segformer_b0", ROOT)["compared"]
    assert written == [certify.stated(entry) for entry in known.compared]
    multiples, odd = written
    assert multiples["difference"] == 5e-13
    assert (odd["difference"], odd["commit"], odd["date"]) == (0.38, "87a3c55", "2026-11-29")
    assert "reference" in odd
    assert "options" not in odd, "what is left empty is not said"


def test_comparisons_by_hand_are_in_models_md():
    text = (ROOT / "MODELS.md").read_text(encoding="utf-8")
    said = [name for name, known in certify.facts().items() if known.compared]
    assert len(said) == 25
    for name in said:
        assert f"- `{name}`: {models_md.listed(certify.facts_of(name).compared)}.\n" in text
    options = Comparison("theirs", 0.0, options={"gates": "x"}, up_to="nothing else")
    assert models_md.listed([options]) == "0 theirs (`gates='x'`), up to nothing else"


@pytest.mark.slow
def test_options_of_comparisons_are_taken_by_the_builders():
    for name, known in certify.facts().items():
        for entry in known.compared:
            certify.on_meta(name, num_classes=3, **entry.options)


def test_parity_of_another_size_is_no_parity(green):
    pairs = [p for p in load_pairs(ROOT / "tests" / "parity") if p.name == "unet_resnet18"]
    small = [{**entry, "size": [32, 32]} for entry in green["parity"]]
    assert "of other sizes" in certify.complaints({**green, "parity": small}, pairs)[0]


@pytest.fixture
def green():
    return certify.read("unet_resnet18", ROOT)


def test_complaints_name_each_fault(green):
    pairs = [p for p in load_pairs(ROOT / "tests" / "parity") if p.name == "unet_resnet18"]
    assert pairs
    assert certify.complaints(green, pairs) == []
    assert certify.complaints({}, pairs) == ["there is none"]
    assert "code has changed" in certify.complaints({**green, "code": "0"}, pairs)[0]
    missing = {**green, "parity": []}
    assert "no parity with smp.Unet" in certify.complaints(missing, pairs)[0]
    far = [{**green["parity"][0], "passed": False, "largest": 0.5}]
    assert "0.5" in certify.complaints({**green, "parity": far}, pairs)[0]
    lazy = {**green["overfit"], "passed": False, "miou": 0.3}
    assert "0.3 only" in certify.complaints({**green, "overfit": lazy}, pairs)[0]
    fewer = [{**green["references"][0], "agrees": False}]
    assert "parameters" in certify.complaints({**green, "references": fewer}, pairs)[0]


def test_command_writes_a_certificate_and_keeps_what_it_cannot_measure(tmp_path, monkeypatch):
    for part in ("segbook/certificates", "docs/certificates", "tests/parity"):
        shutil.copytree(ROOT / part, tmp_path / part)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "docs" / "certificates" / "pp_liteseg_t.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "parameters": {"total": 1}, "code": "0"}))
    result = CliRunner().invoke(main, ["certify", "pp_liteseg_t", "--check"])
    assert result.exit_code == 1
    assert "its code has changed since (0, now" in result.output

    result = CliRunner().invoke(main, ["certify", "pp_liteseg_t", "--no-parity"])
    assert result.exit_code == 0, result.output
    assert json.loads(path.read_text()) == before
    assert "pp_liteseg_t" in (tmp_path / "MODELS.md").read_text()


def test_command_outside_a_checkout_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["certify", "pp_liteseg_t"])
    assert result.exit_code == 2
    assert "not in a checkout of Segbook" in result.output


def test_trained_weights_are_in_models_md(tmp_path):
    header = {
        "builder": "unet", "data": {"name": "isbi_em"}, "agreement": 0.99987, "licence": "mine",
        "result": {"val": {"miou": 0.81239, "policy": "dataset"}}, "command": "segbook train a",
    }  # fmt: skip
    path = tmp_path / "lib" / "segkit" / "weights" / "bundled" / "small.safetensors"
    save_weights({"weight": torch.zeros(600, 600)}, path, header=header)
    _, found, section = models_md.render(tmp_path).partition("## Trained weights\n")
    assert found
    row = "| `small` | `unet` | isbi_em | 1.4 | val 81.2 (`dataset`) | 99.99 % | mine |\n"
    assert row in section
    assert section.endswith("- `small`: `segbook train a`\n")
