"""The page about volumes, done from its first line to its last, in one folder."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from segbook import cli
from segbook.recipes import get, names

PAGE = Path(__file__).parents[2] / "docs" / "volumes.md"
TEXT = PAGE.read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_each_block_of_the_page_works(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for language, block in BLOCKS:
        first = block.partition("\n")[0]
        if language == "python":
            if first == "# balls.py":
                Path("balls.py").write_text(block)
                continue
            if found := [*tmp_path.glob("runs/balls-*/checkpoints/best.safetensors")]:
                shutil.copy(found[0], "balls.safetensors")
            exec(block, {})
            continue
        for line in block.splitlines():
            words = shlex.split(line)
            done = CliRunner().invoke(cli.main, words[1:])
            assert words[0] == "segbook"
            assert done.exit_code == 0, (line, done.output)
    assert float(capsys.readouterr().out) >= 0
    [run] = tmp_path.glob("runs/balls-*")
    scores = json.loads(Path("scores.json").read_text())
    assert scores["images"] == 2
    assert {*scores["dice"]} == {"ball"} == {*scores["hd95"]}
    lines = Path("scores.csv").read_text().splitlines()
    assert lines[0] == "image,mean_dice,mean_hd95,dice ball,hd95 ball"
    assert len(lines) == 5
    with np.load("predicted/labels/case_0.npz") as written, np.load("brains/case_0.npz") as given:
        assert written["label"].shape == given["label"].shape
        assert written["label"].max() <= 1
        assert np.array_equal(written["spacing"], given["spacing"])
        assert np.array_equal(written["affine"], given["affine"])
    page = Path("page/README.md").read_text()
    assert "## Case by case: val" in page
    assert "| case_4 |" in page
    assert {"comparison.png", "worst.png", "curves.png", "iou.png"} <= {
        path.name for path in Path("page").iterdir()
    }
    assert json.loads(Path("page/results.json").read_text())[0]["dice"]["val"] >= 0
    doctor = json.loads((run / "doctor.json").read_text())
    assert not [one for one in doctor["findings"] if one["severity"] == "error"]


def test_the_page_names_the_recipes_and_the_held_out_cases():
    from segkit.data import hippocampus

    assert {one for one in names() if get(one).is_of_volumes} <= {*re.findall(r"`(\w+)`", TEXT)}
    listed = [
        int(number) for number in re.findall(r"(?<![\d`])0?(\d{2,3})\b", TEXT.split("Held out")[1])
    ]
    assert {*hippocampus.TEST, *hippocampus.VAL} <= {*listed, 1}
