"""What holds for each widget, whatever it shows."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("anywidget", reason="the notebooks extra is not installed")

from segbook import widgets  # noqa: E402
from segbook.widgets.widget import Widget  # noqa: E402

ALL = [kind for kind in vars(widgets).values() if isinstance(kind, type)]


def test_they_are_widgets():
    assert ALL
    assert all(issubclass(kind, Widget) for kind in ALL)
    assert {kind.__name__ for kind in ALL} == set(widgets.__all__)


@pytest.mark.parametrize("kind", ALL)
def test_its_script_and_style_are_there_and_ask_for_nothing(kind):
    """They are text in the class, read from package data; a page of it needs no network."""
    for text in (kind._esm, kind._css):
        assert len(text) > 1000
        assert not re.search(r"https?://|@import|import\s*\(|^import\s|fetch\(", text, re.M)


@pytest.mark.parametrize("kind", ALL)
def test_what_its_script_reads_is_sent(kind):
    synced = kind.class_traits(sync=True)
    assert kind.title
    assert set(kind.state) <= set(synced)
    read = set(re.findall(r"model\.get\(\"(\w+)\"\)", kind._esm))
    assert read <= set(kind.state), "its page would lack them"
