"""Recipes from a file, and a loss of one's own."""

import sys
from pathlib import Path

import pytest
import torch

from segbook import recipes
from segbook.builders.check import check_settings
from segbook.builders.loss import build_loss
from segkit.outputs import SegOutput

HEAD = "from segbook.recipes import Recipe, get, override\n"
ONE = (
    "def mine(width=3):\n"
    '    return override(get("unet_synthetic"), {"name": "mine", "steps": 7, "warmup": 0'
)
LOSSES = """
import torch
from torch.nn.functional import cross_entropy
def right(logits, labels, *, power=2.0, weight=None):
    assert logits.dtype is torch.float32
    return cross_entropy(logits, labels, weight, ignore_index=255) ** power
def pixels(logits, labels): return logits.mean(dim=1)
def constant(logits, labels): return torch.zeros(())
def void(logits, labels): return cross_entropy(logits, labels)
def lonely(logits): return logits.mean()
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    before = list(sys.path)
    monkeypatch.chdir(tmp_path)
    Path("my_loss.py").write_text(LOSSES)
    yield tmp_path
    sys.path[:] = before


def write(body, name="my_recipe.py"):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(HEAD + body)
    return name


def test_the_one_function_the_constant_and_the_named_one():
    one = ONE + "})\n"
    assert recipes.get(write(one)).steps == 7
    both = one + "def other():\n    return override(mine(), {'steps': 9})\n"
    assert recipes.get(write(both) + ":other").steps == 9
    assert recipes.get(write(both + "RECIPE = override(mine(), {'steps': 11})\n")).steps == 11
    builders = "def build(*, num_classes): ...\ndef _helper(): ...\n"
    assert recipes.get(write(one + builders)).steps == 7


def test_files_in_it_count_from_its_own_folder(here, monkeypatch):
    write(ONE + ', "model": "nets/n.py:build", "loss": "my_loss.py:right"})\n', "lab/my_recipe.py")
    for name in ("lab/my_recipe.py", f"{here}/lab/my_recipe.py"):
        recipe = recipes.get(name)
        assert recipe.model == f"{here}/lab/nets/n.py:build"
        assert recipe.loss == f"{here}/lab/my_loss.py:right"
        monkeypatch.chdir("/")


@pytest.mark.parametrize(
    ("weights", "whole"),
    [
        ("start.safetensors", "{}/lab/start.safetensors"),
        ("pp_liteseg_t_camvid", "pp_liteseg_t_camvid"),
        ("FCN_ResNet50_Weights.DEFAULT", "FCN_ResNet50_Weights.DEFAULT"),
    ],
)
def test_data_and_weights_count_from_its_own_folder_too(here, weights, whole):
    files = f', "data": "folder", "data_root": "pictures", "weights": "{weights}"}})\n'
    recipe = recipes.get(write(ONE + files, "lab/my_recipe.py"))
    assert recipe.data_root == f"{here}/lab/pictures"
    assert recipe.weights == whole.format(here)


@pytest.mark.parametrize(
    ("body", "name", "message"),
    [
        ("", "my_recipe.py", "holds not one recipe, .*: it has none"),
        (ONE + "})\ndef other(): ...\n", "my_recipe.py", "it has mine, other; one of several is"),
        (ONE + "})\n", "my_recipe.py:min", "my_recipe.py holds no recipe 'min', .*: it has mine"),
        ("def mine(): return 3\n", "my_recipe.py", r"mine\(\) gives a int, and not a segbook.re"),
        (ONE + ', "step": 3})\n', "my_recipe.py", "a recipe has no field 'step'"),
        (
            "",
            "my_recip.py",
            "my_recip.py is missing(, but|; the closest: my_recipe.py)",
        ),
        ("def mine(): return 1 / 0", "my_recipe.py", r"mine fails: ZeroDivisionError: .*line 2"),
        ("1 / 0", "my_recipe.py", r"cannot be executed: ZeroDivisionError: .*\(line 2\)"),
    ],
)
def test_a_file_that_holds_none_is_answered(body, name, message):
    write(body)
    with pytest.raises(ValueError, match=message):
        recipes.get(name)


def with_loss(name, **changes):
    changes = {"loss": name, "class_weights": "none", "warmup": 0, **changes}
    return recipes.override(recipes.get("unet_synthetic"), changes)


def test_a_loss_of_ones_own_gets_float32_its_options_and_the_weights_of_classes():
    recipe = with_loss("my_loss.py:right", class_weights="median", loss_options={"power": 3.0})
    check_settings(recipe)
    model = torch.nn.Linear(1, 1)
    model.aux_losses = {}
    counts = [torch.tensor([6, 2]), torch.tensor([8, 8])]
    logits = torch.randn(1, 2, 2, 4).bfloat16()
    labels = torch.tensor([[[0, 0, 0, 1], [0, 0, 0, 255]]])
    total, _ = build_loss(recipe, model, counts)(SegOutput(logits, {}), labels)
    weight = torch.tensor([2 / 3, 2])  # the median of the frequencies 6/8 and 2/8, over each
    plain = torch.nn.functional.cross_entropy(logits.float(), labels, weight, ignore_index=255)
    torch.testing.assert_close(total, plain**3)


@pytest.mark.parametrize(
    ("loss", "changes", "message"),
    [
        ("my_loss.py:pixels", {}, r"gives a Tensor of shape \(2, 8, 8\): a loss takes logits"),
        ("my_loss.py:constant", {}, r"gives a Tensor of shape \(\): .* scalar tensor with a grad"),
        ("my_loss.py:void", {}, "fails: IndexError: Target 255 is out of bounds"),
        ("my_loss.py:lonely", {}, r"loss='my_loss.py:lonely', loss_options=\{\}: lonely\(\) takes"),
        ("my_loss.py:rigth", {}, "has no function 'rigth': .* it has right"),
        ("my_loss.py:right", {"loss_options": {"p": 1}}, "takes power"),
        ("my_loss.py:void", {"class_weights": "median"}, "takes no weight"),
    ],
)
def test_a_loss_that_is_none_is_refused_before_anything_is_built(loss, changes, message):
    with pytest.raises(ValueError, match=message):
        check_settings(with_loss(loss, **changes))


def test_a_misspelt_loss_is_answered_with_the_closest():
    with pytest.raises(ValueError, match=r"or your own, my_loss.py:my_loss; .*did you mean 'dice'"):
        with_loss("dise")
