"""The page about predicting: each command and each block of it, on a small network."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import segkit
from segbook import cli

PAGE = (Path(__file__).parents[2] / "docs/predict.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WEIGHTS = "pp_liteseg_t_camvid"  # of the page


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = segkit.create_model("unet", num_classes=3, channels=(4, 8))
    header = {
        "builder": "unet",
        "arguments": {"num_classes": 3, "channels": [4, 8]},
        "classes": ["sky", "road", "tree"],
        "normalisation": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]},
    }
    segkit.save_weights(model, f"{WEIGHTS}.safetensors", header=header)
    random = np.random.default_rng(0)
    for folder in ("photographs", "data/images", "data/masks"):
        Path(folder).mkdir(parents=True)
        for name in "ab":
            shape = (64, 96) if folder.endswith("masks") else (64, 96, 3)
            pixels = random.integers(0, 3 if folder.endswith("masks") else 256, shape)
            Image.fromarray(pixels.astype(np.uint8)).save(f"{folder}/{name}.png")
    Path("data/classes.txt").write_text("sky\nroad\ntree\n")


def test_each_block_of_the_page_works(small):
    commands = []
    for language, block in BLOCKS:
        if language == "python":
            exec(block.replace(WEIGHTS, f"{WEIGHTS}.safetensors"), {})
            continue
        for line in block.splitlines():
            words = shlex.split(line.partition(" > ")[0].replace(WEIGHTS, f"{WEIGHTS}.safetensors"))
            commands.append(words[1])
            done = CliRunner().invoke(cli.main, words[1:])
            assert done.exit_code == 0, (line, done.output)
    assert commands == ["predict"] * 3 + ["evaluate"] * 2 + ["predict"] * 3
    for folder in ("predicted", "scored", "slow", "windows", "tiles", "from_python"):
        assert {"a.png", "b.png"} == {path.name for path in Path(folder, "labels").iterdir()}
    assert Path("predicted/probs/a.npz").is_file()
    assert Path("scored/scores.json").is_file()
