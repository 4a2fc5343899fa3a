"""The certificates that are written still hold: the cheap part is measured again here."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from segbook.certificates import measure
from segbook.certificates.certify import CLASSES, complaints, facts_of, measured, on_meta, read
from segbook.certificates.facts import facts
from segbook.certificates.parity import load_pairs
from segbook.cli import main
from segkit.backbones import BACKBONES
from segkit.catalog import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAIRS = load_pairs(ROOT / "tests" / "parity")


@pytest.fixture(params=list(MODELS))
def name(request):
    return request.param


def test_is_green_and_of_this_code(name):
    own = [pair for pair in PAIRS if pair.name == name]
    assert complaints(read(name, ROOT), own) == [], f"segbook certify {name}"


@pytest.mark.slow
def test_has_the_parameters_that_it_says(name):
    assert measure.parameters(on_meta(name, num_classes=CLASSES)) == read(name, ROOT)["parameters"]


@pytest.mark.full
def test_says_what_is_measured_now(name):
    certificate = read(name, ROOT)
    for key, value in measured(name, facts_of(name)).items():
        assert certificate[key] == value, f"{key}: segbook certify {name}"


def test_every_pair_is_of_something_in_the_catalogue():
    names = {pair.name for pair in PAIRS}
    known = set(MODELS) | {f"backbones.{name}" for name in BACKBONES}
    # smp has DeepLabV3 on ResNet-34, which our class builds and no entry of the catalogue is
    assert names <= known | {"deeplab_v3_resnet34"}


def test_no_pair_stands_twice():
    ids = [pair.id for pair in PAIRS]
    assert len(ids) == len(set(ids))


def test_facts_are_of_the_catalogue_and_about_all_of_it():
    assert set(facts()) == set(MODELS)


def test_no_certificate_is_left_over():
    written = {path.stem for path in (ROOT / "docs" / "certificates").glob("*.json")}
    assert written == set(MODELS)


@pytest.mark.slow
def test_the_command_finds_them_and_models_md_as_they_should_be(monkeypatch):
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(main, ["certify", "--all", "--check"])
    assert result.exit_code == 0, result.output
