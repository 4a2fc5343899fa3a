"""Text from elsewhere is shown as it is and does nothing."""

import html
import io
import os
import shlex
import subprocess
import sys

import click
import mistune
import pytest
from matplotlib import pyplot as plt
from tqdm import tqdm

from segbook import text

MARKDOWN = mistune.create_markdown(plugins=["table", "strikethrough", "math"])
HOSTILE = [
    "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\u2028b", "\u202etxt.exe", "\udc80", "$\\nope{x$",
    "\\$x$", "a|b", "<img src=x>", "`x`", "[a](b)", "$(touch x)", "'", "-rf", "", "a\nb", "\0",
    "```", "a``b", "\ud800", "__init__", "_a_", "~x~", "&lt;", "# x",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_acts_is_left(name):
    for line in (text.one_line(name), text.markdown(name), text.figure(name)):
        assert line.isprintable()
        line.encode()
    assert text.terminal(f"a\n\t{name}").startswith("a\n\t")
    drawn = plt.figure()
    drawn.text(0, 0, text.figure(name))
    drawn.canvas.draw()
    plt.close(drawn)


def test_words_of_any_script_stay():
    for word in ("Straße", "می\u200cخواهم", "道路", "a b"):
        assert text.one_line(word) == text.markdown(word) == text.figure(word) == word


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in ("\0", "\ud800")])
def test_a_command_can_be_pasted(name):
    command = text.shell("printf", "%s", name)
    assert command == text.one_line(command)
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=True)
    assert done.stdout == os.fsencode(name)
    if name.isprintable():
        assert shlex.split(command) == ["printf", "%s", name]


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_shows_the_very_text(name):
    shown = html.unescape(MARKDOWN(f"a {text.markdown(name)}b"))
    assert shown == f"<p>a {text.one_line(name)}b</p>\n"
    row = MARKDOWN(f"|a|b|\n|---|---|\n|{text.markdown(name)}|c|\n")
    assert html.unescape(row).count("<td>") == 2
    assert f"<td>{text.one_line(name)}</td>" in html.unescape(row)
    assert MARKDOWN(f"a {text.code(name)} b").count("<code>") == (name != "")
    assert text.one_line(name) in html.unescape(MARKDOWN(f"a {text.code(name)} b"))


def test_a_name_with_underscores_is_read_as_it_is_written():
    assert text.markdown("pp_liteseg_t_camvid") == "pp_liteseg_t_camvid"


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_written_meanwhile_does_nothing(name, capsys):
    with text.on_terminal():
        click.echo(f"a {name}")
        print(f"b {name}", file=sys.stderr)
        with tqdm(total=1, desc=name, file=sys.stderr) as bar:
            bar.set_postfix(name=name)
            tqdm.write(f"c {name}")
    said = capsys.readouterr()
    assert said.out == text.terminal(f"a {name}\nc {name}\n")
    lines = said.err.replace("\r", "").replace("\n", "")
    assert lines.isprintable()
    assert text.terminal(f"b {name}\n") in said.err
    assert sys.stdout.write("") == 0


def test_progress_bars_move_and_a_bar_of_bars_too():
    stream = io.StringIO()
    shown = text._Terminal(stream, text.BAR)
    for written in ("\r 5%", "\n\n", "\x1b[A\x1b[A", "\x1b[Ax", "\r\x1b]0;x\x07"):
        shown.write(written)
    assert stream.getvalue() == "\r 5%\n\n\x1b[A\x1b[A\\x1b[Ax\r\\x1b]0;x\\x07"


def test_a_terminal_that_knows_ascii_only():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    text._Terminal(stream, "").write("Straße – 5 %\n")
    stream.flush()
    assert stream.buffer.getvalue() == b"Stra\\xdfe \\u2013 5 %\n"


def test_a_reader_that_is_gone_ends_the_program_quietly():
    code = "from segbook.cli import main; main(['recipes'], prog_name='segbook')"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.stderr == b""
