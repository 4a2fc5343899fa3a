"""Files from elsewhere: only plain ones are opened, at once, and what lies near a path is found."""

import os
import unicodedata
from pathlib import Path

import pytest

from segkit.files import FileError, nearby, open_regular, read_text, shown, what_is_there


@pytest.fixture
def odd(tmp_path):
    """By what a message says: something that is no plain file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dead").symlink_to("no where")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "to a pipe").symlink_to("pipe")
    return {
        tmp_path / "pipe": "is a pipe",
        tmp_path / "to a pipe": "is a pipe",
        Path("/dev/zero"): "is a device",
        tmp_path / "folder": "is a folder",
        tmp_path / "dead": "is a link to no where, where no file is",
        tmp_path / "loop": "is a link to loop",
        tmp_path / "gone": "is missing",
        tmp_path / "gone" / "deeper": "is missing",
        tmp_path / ("x" * 300): "cannot be opened",
        Path("nul\0byte"): "cannot be opened",
    }


def test_what_is_no_plain_file_is_named_and_never_waited_for(odd):
    for path, said in odd.items():
        assert what_is_there(path).startswith(said), path
        with pytest.raises(FileError) as raised:
            open_regular(path)
        assert raised.value.reason.startswith(said)
        assert str(raised.value).startswith(shown(path))


def test_a_limit_is_asked_before_a_byte_is_read(tmp_path):
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(40 << 30)
    with pytest.raises(
        FileError, match=r"sparse\.png has 42,949,672,960 bytes, at most 9 are read"
    ):
        open_regular(path, 9)
    path.write_bytes(b"123456789")
    with open_regular(path, 9) as file:
        assert file.read() == b"123456789"


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_bytes(b"x")

    def refuse(*_):  # the administrator may read everything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileError, match="may not be read .*chmod"):
        open_regular(path)


def test_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\r\nb\rc\n".encode())
    assert read_text(path, 99) == "é\nb\nc\n"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(FileError, match=r"a\.txt is no text in UTF-8"):
        read_text(path, 99)
    assert os.fsencode(read_text(path, 99, errors="surrogateescape")) == b"caf\xe9"


def test_a_name_that_is_no_text_can_be_printed():
    name = os.fsdecode(b"caf\xe9\n\x1b]0;title\x07.png")
    assert shown(name).isprintable()
    shown(name).encode()
    assert shown("Zürich 東京.png") == "Zürich 東京.png"
    assert str(FileError(name, "is missing")).isprintable()


@pytest.mark.parametrize(
    "typed",
    ["images/A.JPG", "images/a", "images/a.png", "IMAGES/a.jpg", "'images/a.jpg'",
     ' "images/a.jpg" ', "images\\a.jpg", "./images/a.jpg ", "images/a.jpeg"],
)  # fmt: skip
def test_what_was_meant_is_found(tmp_path, monkeypatch, typed):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    assert nearby(typed) == Path("images/a.jpg")
    assert "images/a.jpg lies there" in what_is_there(typed)


def test_a_home_and_the_other_unicode_form_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / unicodedata.normalize("NFD", "Zürich.png")
    path.write_bytes(b"")
    assert nearby("~/" + unicodedata.normalize("NFC", "Zürich.png")) == path
    assert nearby("~/Basel.png") is None
    assert nearby("nowhere/at/all.png") is None
