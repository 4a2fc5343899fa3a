"""The page about code of one's own, done from its first line to its last, in one folder."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import cli

PAGE = Path(__file__).parents[2] / "docs" / "your-network.md"
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_each_block_of_the_page_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("photographs").mkdir()
    Image.new("RGB", (96, 64), (90, 120, 30)).save("photographs/one.png")
    commands = []
    for language, block in BLOCKS:
        first = block.partition("\n")[0]
        if language == "python" and first.endswith(".py"):
            Path(first.removeprefix("# ")).write_text(block)
        elif language == "python":
            [best] = tmp_path.glob("runs/mine-*/checkpoints/best.safetensors")
            shutil.copy(best, "mine.safetensors")
            exec(block, {})
        else:
            for line in block.splitlines():
                words = shlex.split(line)
                commands.append(words[1])
                done = CliRunner().invoke(cli.main, words[1:])
                assert words[0] == "segbook"
                assert done.exit_code == 0, (line, done.output)
    assert {"doctor", "train", "compare", "show", "predict", "report"} <= set(commands)
    assert (tmp_path / "again/labels/one.png").read_bytes() == (
        tmp_path / "predicted/labels/one.png"
    ).read_bytes()
