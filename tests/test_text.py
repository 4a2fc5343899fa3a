"""Text from elsewhere is shown as it is and does nothing."""

import shlex

import pytest
from matplotlib import pyplot as plt

from segbook import text

HOSTILE = [
    "\x1b]0;title\x07", "\x9b31m", "a\rb", "a\u2028b", "\u202etxt.exe", "\udc80", "$\\nope{x$",
    "\\$x$", "a|b", "<img src=x>", "`x`", "[a](b)", "$(touch x)", "'", "-rf",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_acts_is_left(name):
    for line in (text.one_line(name), text.markdown(name), text.figure(name)):
        assert line.isprintable()
        line.encode()
    assert text.terminal(f"a\n\t{name}").startswith("a\n\t")
    assert shlex.split(text.shell("segbook", "show", name)) == ["segbook", "show", name]
    drawn = plt.figure()
    drawn.text(0, 0, text.figure(name))
    drawn.canvas.draw()
    plt.close(drawn)


def test_words_of_any_script_stay():
    for word in ("Straße", "می\u200cخواهم", "道路", "a b"):
        assert text.one_line(word) == text.markdown(word) == text.figure(word) == word
