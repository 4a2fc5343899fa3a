"""The catalog: names, look-up, cards, and nothing on disk that it misses."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import segkit
from segkit.builder import Paper, option_names
from segkit.catalog import (
    MODELS,
    ON_ANY_BACKBONE,
    create_model,
    list_models,
    model_card,
    options_of,
)

MODEL_FILES = sorted(
    path
    for path in (Path(segkit.__file__).parent / "models").glob("*.py")
    if path.stem != "__init__"
)


def test_names_are_sorted_and_are_the_builders_own():
    assert list(MODELS) == sorted(MODELS)
    assert all(name == builder.__name__ for name, builder in MODELS.items())


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_every_public_builder_of_every_model_file_is_in_the_catalog(path):
    module = sys.modules[f"segkit.models.{path.stem}"]
    builders = {
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and not name.startswith("_")
        and value.__module__ == module.__name__
        and "num_classes" in option_names(value)
    }
    assert builders, f"{path.name} has no builder"
    assert builders == {builder.__name__ for builder in module.builders}
    assert builders <= MODELS.keys() | ON_ANY_BACKBONE.keys()


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_every_model_file_names_its_paper_and_what_differs(path):
    module = sys.modules[f"segkit.models.{path.stem}"]
    assert "\nPaper: " in module.__doc__
    if module.PAPER.url:
        assert "\nDiffers from the paper:" in module.__doc__
        assert "https://" in module.__doc__


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: path.stem)
def test_every_files_paper_is_that_of_its_docstring(path):
    module = sys.modules[f"segkit.models.{path.stem}"]
    paper = module.PAPER
    assert isinstance(paper, Paper)
    assert paper_line(paper) in " ".join(module.__doc__.split())


def paper_line(paper):
    """What a model file's docstring says of its paper."""
    said = f'Paper: {paper.authors}, "{paper.title}", {f"{paper.venue} {paper.year}".strip()}'
    return f"{said}, {paper.url or 'no paper yet'}"


def test_a_network_without_a_paper_says_so():
    own = Paper("Wide Skips", "A. Author", "", 2026, "", "classic")
    assert paper_line(own) == 'Paper: A. Author, "Wide Skips", 2026, no paper yet'


def test_create_model_calls_the_builder():
    with torch.device("meta"):
        model = create_model("pp_liteseg_t", num_classes=7, attention="channel")
    assert type(model).__name__ == "PPLiteSeg"
    assert type(model.uafm3.attention).__name__ == "ChannelAttention"


def test_an_unknown_name_is_told_the_three_closest():
    with pytest.raises(
        ValueError, match="'pp_litseg_t'.*pp_liteseg_t, pp_liteseg_b, pp_lite"
    ) as error:
        create_model("pp_litseg_t", num_classes=7)
    assert sum(name in str(error.value) for name in (*MODELS, *ON_ANY_BACKBONE)) >= 3


def test_a_name_that_is_close_to_nothing_still_gets_three_suggestions():
    with pytest.raises(ValueError, match=r"closest names are \w+, \w+, \w+\."):
        model_card("@")


def test_list_models_filters_by_pattern():
    assert list_models() == list(MODELS)
    assert list_models("pp_liteseg_*") == ["pp_liteseg_b", "pp_liteseg_t"]
    assert list_models("PP*") == []


def test_list_models_filters_by_what_a_paper_is_about():
    assert list_models("stdc*", kind="real-time") == ["stdc1_seg", "stdc2_seg"]
    assert "pp_liteseg_t" not in list_models(kind="medical")
    kinds = ("classic", "multi-scale", "attention", "real-time", "transformer", "medical")
    assert sorted(name for kind in kinds for name in list_models(kind=kind)) == list_models()
    with pytest.raises(ValueError, match="kind is 'fast'; it is one of classic, .*real-time"):
        list_models(kind="fast")


def test_unknown_options_are_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="unet does not take depth; it takes num_classes, in_ch"):
        create_model("unet", num_classes=2, depth=9)
    with pytest.raises(ValueError, match="it takes .*region_channels, backbone$"):
        create_model("ocrnet_resnet50", num_classes=2, name="x")
    assert options_of("pp_liteseg_t") == [
        *("num_classes", "in_channels", "weights"),
        *("sppm", "attention", "fuse_c5", "count_include_pad", "backbone", "fld"),
    ]
    assert "weights_backbone" in options_of("pp_liteseg_t", "resnet18")


def test_model_card_of_pp_liteseg():
    card = model_card("pp_liteseg_t")
    assert card["name"] == "pp_liteseg_t"
    assert card["summary"].startswith("PP-LiteSeg-T: STDC1")
    assert card["paper"].startswith('Peng et al., "PP-LiteSeg')
    assert card["paper"].endswith("https://arxiv.org/abs/2204.02681")
    assert card["file"] == "segkit/models/pp_liteseg.py"
    assert card["parameters"] == 8_141_600
    assert card["aux"] == {"p4": 1.0, "p5": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_card_is_complete(name):
    card = model_card(name)
    assert all(card[key] for key in ("name", "summary", "paper", "file", "parameters"))
    assert card["paper"].endswith("no paper yet") or "https://" in card["paper"]


@pytest.mark.slow
def test_importing_segkit_offers_the_catalog_and_needs_no_screen():
    program = (
        "import sys, segkit\n"
        "offered = {'SegOutput', 'create_model', 'list_models', 'load_model', 'save_weights'}\n"
        "assert set(segkit.__all__) == offered\n"
        "assert 'pp_liteseg_t' in segkit.list_models()\n"
        "screens = ['matplotlib', 'IPython', 'ipywidgets', 'papermill', 'nbformat', 'segbook']\n"
        "found = [name for name in screens if name in sys.modules]\n"
        "assert not found, found\n"
        "print(segkit.__version__)\n"
    )
    source_root = Path(segkit.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=source_root
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == segkit.__version__


def test_a_weights_file_builds_its_own_network(tmp_path):
    from segkit.catalog import load_model
    from segkit.weights import save_weights

    model = segkit.create_model("pp_liteseg_t", num_classes=3, fld=False).eval()
    header = {"builder": "pp_liteseg_t", "arguments": {"num_classes": 3, "fld": False}}
    save_weights(model, tmp_path / "model.safetensors", header=header)
    loaded, said = load_model(tmp_path / "model.safetensors")
    assert said["arguments"] == header["arguments"]
    assert not loaded.training
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(loaded(images).logits, model(images).logits)


def test_a_weights_file_that_does_not_say_its_network(tmp_path):
    from segkit.catalog import load_model
    from segkit.weights import save_weights

    save_weights(torch.nn.Linear(1, 1), tmp_path / "model.safetensors", header={"licence": "none"})
    with pytest.raises(ValueError, match="does not say which network"):
        load_model(tmp_path / "model.safetensors")


@pytest.mark.parametrize("further", ["weights", "weights_backbone"])
@pytest.mark.parametrize("value", ["/etc/passwd", "http://localhost:9/x#sha256=" + "0" * 64, None])
def test_a_header_opens_no_other_weights(tmp_path, monkeypatch, further, value):
    from segkit import catalog
    from segkit.weights import save_weights

    built = []
    monkeypatch.setattr(catalog, "create_model", lambda name, **arguments: built.append(name))
    path = tmp_path / "model.safetensors"
    header = {"builder": "unet_resnet18", "arguments": {"num_classes": 2, further: value}}
    save_weights(torch.nn.Linear(1, 1), path, header=header)
    with pytest.raises(ValueError, match=rf"model.safetensors has {further} among the arguments"):
        catalog.load_model(path)
    assert not built


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"builder": ["unet"]}, "needs a builder's name"),
        ({"builder": None, "arguments": {}}, "needs a builder's name"),
        ({"builder": "unet", "arguments": [2]}, "arguments as an object, got .* arguments .2."),
        ({"builder": "unet", "arguments": None}, "arguments as an object"),
        ({"builder": "unet"}, "needs num_classes"),
        ({"builder": "unet", "arguments": {"num_classes": 2, "depth": 9}}, "not take depth; it ta"),
        ({"builder": "unet", "arguments": {"num_classes": "two"}}, "to build unet with .*'two'"),
        ({"builder": "unet", "arguments": {"num_classes": 1}}, "to build unet with .* 1}"),
        ({"builder": "unet", "arguments": {"num_classes": 2, "name": "fpn"}}, "'name'"),
        ({"builder": "un_et", "arguments": {"num_classes": 2}}, "no model named 'un_et'"),
        ({"builder": "pspnet", "arguments": {"num_classes": 2}}, "name one, backbone=.resnet50"),
        ({"builder": "unet", "arguments": {"num_classes": 2, "backbone": 7}}, "which fails"),
    ],
)
def test_a_header_that_no_builder_takes_is_refused_by_its_file(tmp_path, header, message):
    from segkit.catalog import load_model
    from segkit.weights import save_weights

    save_weights(torch.nn.Linear(1, 1), tmp_path / "model.safetensors", header=header)
    with pytest.raises(ValueError, match=message) as error:
        load_model(tmp_path / "model.safetensors")
    assert "model.safetensors" in str(error.value)
