"""Files that are whole or not there."""

import os

import pytest

from segbook.runs.files import write_whole


def test_what_is_killed_leaves_no_half_file(tmp_path):
    (tmp_path / "a").write_bytes(b"before")

    def killed(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a", killed)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"before"}


def test_a_link_in_a_files_place_is_replaced(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    os.symlink(tmp_path / "mine", tmp_path / "a")
    write_whole(tmp_path / "a", lambda file: file.write(b"new"))
    assert (tmp_path / "mine").read_bytes() == b"mine"
    assert (tmp_path / "a").read_bytes() == b"new"
    assert not (tmp_path / "a").is_symlink()
