"""Names that terminals, Markdown and HTML take for more than text, in whatever a user reads."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import mistune
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from segbook import cli, recipes, text
from segbook.builders.data import build_data
from segbook.reports.compare import compare
from segbook.reports.publish import markdown
from segbook.runs.folder import RunFolder
from segbook.widgets import MaskExplorer
from segkit.metrics import ConfusionMatrix

BAD = [
    "\x1b]0;title\x07", "\x1b]52;c;ZXZpbA==\x07", "\x9b31m", "a\rb", "a\nRUN forged", "\u202etxt",
    "\u2028x", "\0", "\udc80", "\ud800", "a|b", "<script>alert(1)</script>", "<img src=x>", "`x`",
    "```", "[a](javascript:b)", "![a](b)", "$\\nope{x$", "# a", "**a**", "&lt;", "\\", "it's",
]  # fmt: skip
EVERYTHING = " ".join(BAD)
MARKDOWN = mistune.create_markdown(plugins=["table", "strikethrough", "math"])


def run(*arguments):
    """What a command prints; nothing in it acts on a terminal."""
    done = CliRunner().invoke(cli.main, [str(argument) for argument in arguments])
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    bad = {c for c in done.output if c not in "\n\t" and text.one_line(c) != c}
    assert not bad, bad
    return done.output


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """A finished run of which every text is somebody's markup."""
    monkeypatch.setenv("SEGBOOK_RUNS", str(tmp_path / "runs"))
    recipe = recipes.override(
        recipes.get("pp_liteseg_t_synthetic"),
        {"steps": 3, "warmup": 0, "note": EVERYTHING, "name": EVERYTHING, "length": 4,
         "image_size": (64, 64), "crop": (64, 64)},
    )  # fmt: skip
    classes = [f"{BAD[k % len(BAD)]} {k}" for k in range(len(build_data(recipe)["val"].classes))]
    test = {"miou": 0.5, "policy": "dataset", "accuracy": 0.5, "iou": [0.5] * len(classes)}
    result = {"miou": 0.5, "policy": "dataset", "split": "val", "classes": classes, "step": 3,
              "iou": [0.5] * len(classes), "test": test}  # fmt: skip
    folder = RunFolder.create(
        "x", kind="train", recipe_name=EVERYTHING, overrides={"note": EVERYTHING},
        recipe=recipe.to_dict(), reason=EVERYTHING, parameters={EVERYTHING: EVERYTHING},
        error={"name": EVERYTHING, "message": EVERYTHING}, versions={EVERYTHING: EVERYTHING},
        git_commit=EVERYTHING, machine=EVERYTHING, precision=EVERYTHING, threads=1, seconds=1.0,
        cpu_seconds=1.0, data_manifest={"val": "``" + EVERYTHING, EVERYTHING: "x"}, result=result,
        seconds_total=1.0, forecast={"seconds": 1.0, "low": 0.5, "high": 2.0, "actual": 1.0},
    )  # fmt: skip
    folder.update(status="finished")
    folder.log(f"resumed at step 2 {BAD[0]}{BAD[10]}")
    name = "".join(one for one in BAD if not set(one) & {"/", "\0", "\ud800"})
    folder.path.rename(folder.path.with_name(name))
    return RunFolder(folder.path.with_name(name)), recipe


def test_the_terminal(hostile, tmp_path):
    folder, _ = hostile
    assert run("list").count("\n") == 2
    page = run("show", folder.path)
    assert "\nRUN forged" not in page
    assert json.loads(run("show", folder.path, "--json"))["reason"] == EVERYTHING
    json.loads(run("list", "--json"))
    run("forecast", "--check")
    run("resume", folder.path)
    for command in ("show", "resume", "train", "doctor", "forecast", "run"):
        assert "\nRUN forged" not in run(command, "a\nRUN forged\x1b]0;x\x07")
    run("\x1b]0;x\x07")
    run("show", "--\x1b]0;x\x07")
    run("train", "unet_synthetic", "--set", f"data={EVERYTHING}")
    run("train", "unet_synthetic", "--set", f"{EVERYTHING}=1")


def test_the_doctor_of_a_folder(tmp_path):
    names = [one for one in BAD if not set(one) & {"/", "\0", "\ud800"}]
    classes = [one for one in names if "\udc80" not in one]  # which is no text, and refused
    for part in ("images", "masks"):
        (tmp_path / "d" / "train" / part).mkdir(parents=True)
        (tmp_path / "d" / "val" / part).mkdir(parents=True)
        for name in names:
            for split in ("train", "val"):
                path = tmp_path / "d" / split / part / f"{name}.png"
                Image.fromarray(np.full((8, 8), len(names), np.uint8)).save(path)
    (tmp_path / "d" / "classes.json").write_text(json.dumps(classes))
    printed = run("doctor", tmp_path / "d", "--workers", "0")
    assert "error" in printed
    assert "\nRUN forged" not in printed
    json.loads(run("doctor", tmp_path / "d", "--workers", "0", "--json"))


def cells(page):
    """The cells of each row of a page's tables, as a reader sees them."""
    return [
        [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
        for line in re.findall(r"<tr>(.*?)</tr>", MARKDOWN(page).replace("\n", ""))
    ]


def check_markdown(page: str) -> None:
    """Nothing of a name is markup: no element that the page did not put there itself."""
    made = MARKDOWN(page)
    allowed = "h1|h2|p|table|thead|tbody|tr|th|td|ul|li|pre|code|img"
    stray = [tag for tag in re.findall(r"<[^>]*>", made) if not re.match(rf"</?({allowed})\b", tag)]
    assert not stray, stray
    assert all(image.startswith('src="') for image in re.findall(r"<img ([^>]*)>", made))
    assert set(re.findall(r'src="([^"]*)"', made)) <= {
        "curves.png", "iou.png", "comparison.png", "worst.png",
    }  # fmt: skip
    assert page.replace("\n", "").isprintable()


def test_a_published_page(hostile):
    folder, recipe = hostile
    described = folder.read()
    classes = described["result"]["classes"]
    counts = ConfusionMatrix(len(classes))
    counts.update(torch.zeros(1, 4, 4, dtype=torch.int64), torch.zeros(1, 4, 4, dtype=torch.int64))
    page = markdown(described, recipe, {"val": counts, "test": counts}, folder, None)
    check_markdown(page)
    assert page.count("```") == 2 or re.findall("^```", page, re.M) == ["```", "```"]
    shown = [row[0] for row in cells(page) if len(row) == 3]
    for name in classes:
        assert text.one_line(name) in shown


def test_runs_side_by_side(hostile):
    folder, _ = hostile
    page = compare([folder, folder])
    check_markdown(page)
    assert len({len(row) for row in cells(page) if row}) == 1
    assert re.findall("^```", page, re.M) == ["```", "```"]


def test_the_explorer_on_a_page(tmp_path):
    image, truth = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    palette = [(1, 2, 3)] * len(BAD)
    explorer = MaskExplorer(image, truth, classes=BAD, palette=palette, names=[EVERYTHING])
    page = explorer.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 1
    assert "<img" not in page
    json.dumps(explorer._repr_mimebundle_()[0]["text/plain"]).encode()


def test_models_md_of_what_others_published(tmp_path):
    from segbook.certificates.models_md import published

    where = tmp_path / "docs" / "runs" / "a"
    where.mkdir(parents=True)
    result = {"model": "m", "data": "a|b<i>", "miou": {"val|": 0.5}}
    (where / "results.json").write_text(json.dumps([result]))
    [link] = published(tmp_path)["m"]
    [[cell, _]] = [row for row in cells(f"|a|b|\n|---|---|\n|{link}|c|\n") if row]
    assert cell == '<a href="docs/runs/a/README.md">a|b<i>: val| 50.0</a>'


def test_whatever_is_printed_goes_through_one_place():
    """Only the program's own doors print; what else prints is a child with no terminal."""
    root = Path(cli.__file__).parent
    printing = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if re.search(r"sys\.(stdout|stderr)\.(buffer|write)|os\.write\(|__std(out|err)__",
                     path.read_text(encoding="utf-8"))
    }  # fmt: skip
    assert printing <= {"notebooks/tee.py", "training/step_digests.py"}
