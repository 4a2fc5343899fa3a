"""pyproject.toml, constraints.txt, environment.yml and .gitignore say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements() -> dict[str, Requirement]:
    listed = list(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        listed += extra
    parsed = [Requirement(text) for text in listed]
    return {canonicalize_name(r.name): r for r in parsed}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_requirement_is_pinned_to_a_version_it_allows():
    for name, requirement in requirements().items():
        assert name in pins(), f"{name} is not in constraints.txt"
        assert pins()[name] in requirement.specifier, f"{name}: the pin is outside the bounds"


def test_the_pins_of_torch():
    assert pins()["torch"] == "2.14.1"
    assert pins()["torchvision"] == "0.29.1"


def test_the_users_packages_are_required():
    wanted = "torch torchvision jupyterlab ipywidgets matplotlib numpy papermill nbval"
    assert set(wanted.split()) <= set(requirements())


def test_conda_installs_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "segbook"
    *conda, last = environment["dependencies"]
    python = next(d for d in conda if d.startswith("python"))
    assert SpecifierSet(python.removeprefix("python")) == SpecifierSet(PROJECT["requires-python"])
    assert last == {"pip": ["-c constraints.txt", "-e .[notebooks,test]"]}
    assert set(PROJECT["optional-dependencies"]) >= {"notebooks", "test"}


def test_the_library_is_not_ignored():
    lines = (ROOT / ".gitignore").read_text().splitlines()
    assert not [line for line in lines if line.strip("/ ") == "lib"]


@pytest.mark.parametrize("target", ["run", "test", "test-fast", "test-all", "lab", "lint", "bench"])
def test_what_the_readme_calls_exists(target):
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert f"make {target}" in (ROOT / "README.md").read_text()


def test_ci_calls_what_the_readme_tells_users_to_call():
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert "make run" in script
    assert "make test-all" in script


def test_figures_and_modules_travel_in_the_wheel():
    """The explorer's JavaScript is package data: it must lie inside a package."""
    assert list((ROOT / "segbook" / "widgets").glob("*/*.js"))
