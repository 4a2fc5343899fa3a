"""`segbook new`: a folder whose three files run as they are, whatever its name."""

import shlex
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from segbook import cli, recipes
from segbook.starter.command import lay_out
from segkit import create_model
from segkit.losses import combine, cross_entropy


def segbook(*words):
    return CliRunner().invoke(cli.main, words)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "run"),
    [
        ("first", "first"),
        ("my idea é", "my_idea_é"),
        ("-x", "x"),
        ("'; $(rm)", "rm"),
        ("!!", "idea"),
        ("deep/er/one", "one"),
        ("\x1b[31m", "31m"),
    ],
)
def test_any_name_does_and_the_next_commands_can_be_pasted(here, name, run):
    done = segbook("new", "--", name)
    assert done.exit_code == 0, done.output
    folder = here / name
    assert sorted(file.name for file in folder.iterdir()) == [
        "experiment.ipynb", "net.py", "recipe.py",
    ]  # fmt: skip
    assert recipes.get(str(folder / "recipe.py")).name == run
    lines = done.output.splitlines()
    [cd] = [line for line in lines if line.lstrip().startswith("cd ")]
    if name.isprintable():
        assert Path(shlex.split(cd)[1]) == Path(name)
    assert "\x1b" not in done.output


def test_what_is_there_is_left_alone(here):
    lay_out(Path("mine"))
    Path("mine/net.py").write_text("# changed")
    assert "mine is there already" in segbook("new", "mine").output
    assert Path("mine/net.py").read_text() == "# changed"
    assert segbook("new", "mine/net.py/inside").exit_code == 2
    assert segbook("new", ".").exit_code == 2


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 97)])
def test_its_network_keeps_the_contract(here, size, channels):
    lay_out(Path("mine"))
    model = create_model("mine/net.py:build", num_classes=5, in_channels=channels)
    images, labels = torch.randn(2, channels, *size), torch.randint(0, 5, (2, *size))
    output = model(images)
    assert output.aux.keys() == model.aux_losses.keys()
    combine(cross_entropy, model.aux_losses)(output, labels)[0].backward()
    assert all(p.grad.any() for p in model.parameters())
    together = model.eval()(images)
    assert (together.logits.shape, together.aux) == ((2, 5, *size), {})
    alone = model(images[:1]).logits
    torch.testing.assert_close(together.logits[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_trains_and_the_notebook_compares_from_its_first_minute(here):
    lay_out(Path("my idea"))
    monkey = Path("my idea/recipe.py")
    small = "image_size=(64, 96), length=16, crop=(64, 64)"
    monkey.write_text(monkey.read_text().replace("crop=(128, 160)", small))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir("my idea")
        for command in (
            "doctor recipe.py",
            "train recipe.py --set steps=2 --name alone",
            "run experiment.ipynb -p steps=2",
        ):
            done = segbook(*command.split())
            assert done.exit_code == 0, (command, done.output)
        assert "in proportion to steps=2 of 300" in segbook(
            "forecast", "recipe.py", "--set", "steps=2"
        ).stderr  # fmt: skip
        listed = segbook("list").output
        assert [line.split()[-5:-3] for line in listed.splitlines()[1:]] == [
            ["finished", "2/2"], ["finished", "2/2"], ["finished", "2/2"],
        ]  # fmt: skip
        runs = sorted(path.name for path in (here / "runs").iterdir())
        assert [name.split("-")[0] for name in runs] == ["alone", "experiment", "fast_scnn"]
        assert "net.py:build" in segbook("compare", *runs).output
