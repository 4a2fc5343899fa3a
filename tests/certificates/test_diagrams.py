"""The diagrams beside MODELS.md are of the networks as they are now."""

from pathlib import Path

import pytest

from segbook.certificates import diagrams
from segkit.catalog import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow  # the code of 29 networks is read
def test_each_model_file_has_one_of_this_code_and_nothing_is_left_over():
    wanted = diagrams.smallest(ROOT)
    assert {MODELS[name].__module__ for name in wanted} == {b.__module__ for b in MODELS.values()}
    files = list((ROOT / diagrams.FOLDER).iterdir())
    assert {path.stem for path in files} == wanted
    assert [name for name in wanted if not diagrams.is_current(name, ROOT)] == []
    assert sum(path.stat().st_size for path in files) < 1_500_000
    text = (ROOT / "MODELS.md").read_text("utf-8")
    assert all(f"({diagrams.FOLDER}/{name}.svg)" in text for name in wanted)


@pytest.mark.parametrize("name", ["segnet", "pp_liteseg_t"])
def test_it_is_drawn_as_now(name):
    path = ROOT / diagrams.FOLDER / f"{name}.svg"
    assert path.read_text("utf-8") == diagrams.draw(name), f"segbook certify {name}"


@pytest.mark.full
def test_all_are_drawn_as_now():
    for name in diagrams.smallest(ROOT):
        test_it_is_drawn_as_now(name)


def test_other_code_is_found_out(tmp_path):
    path = diagrams.write("unet", tmp_path)
    assert diagrams.is_current("unet", tmp_path)
    path.write_text(path.read_text("utf-8").replace("<!-- code ", "<!-- code 0"), "utf-8")
    assert not diagrams.is_current("unet", tmp_path)
    path.unlink()
    assert not diagrams.is_current("unet", tmp_path)
