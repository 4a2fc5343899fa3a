"""The page about data of one's own, done from a folder of loose files to a prediction."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segbook import cli
from segkit.data.data_file import meanings

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_each_block_of_the_page_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for folder in ("cells", "new"):
        Path("scans", folder).mkdir(parents=True)
    for k in range(12):
        values = random.integers(0, 4095, (64, 80)).astype(np.uint16)
        mask = np.uint8([0, 3, 7, 8])[values // 1024]
        mask[:2, :2] = 255
        Image.fromarray(values).save(f"scans/cells/s{k:02}.png")
        Image.fromarray(mask).save(f"scans/cells/s{k:02}_mask.png")
    Image.fromarray(values).save("scans/new/one.png")
    commands = []
    for language, block in BLOCKS:
        if language == "yaml":
            assert "cells/*_mask" in Path("scans/data.yaml").read_text()
            Path("scans/data.yaml").write_text(block)
        elif language == "sh":
            for line in block.splitlines():
                words = shlex.split(line)
                done = CliRunner().invoke(cli.main, words[1:])
                commands.append(words[1])
                # A few pairs are a warning of the doctor, and no error.
                assert done.exit_code == 0, (line, done.output)
    assert {"data", "doctor", "train", "evaluate", "predict", "report"} == set(commands)
    assert len(Path("scans/train.txt").read_text().splitlines()) == 9
    labels = np.asarray(Image.open("predicted/labels/one.png"))
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_the_table_is_that_of_the_fields():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == meanings()
