"""The page about predicting: each command and each block of it, on a small network."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from segbook import cli

PAGE = (Path(__file__).parents[2] / "docs/predict.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
WEIGHTS = "pp_liteseg_t_camvid"  # of the page


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
        assert [path.name for path in Path(folder, "labels").iterdir()] == ["one.png"]
    assert Path("predicted/probs/one.npz").is_file()
    assert Path("scored/scores.json").is_file()
