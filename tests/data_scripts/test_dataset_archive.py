"""Archives made to do harm: each is refused by name, and nothing of it stays."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from contextlib import nullcontext

import pytest

from data_scripts.fetching import archive as module
from data_scripts.fetching.archive import ArchiveError, Limits, extract

GOOD = {"top/train/a.png": b"first" * 100, "top/train/b.png": b"second", "top/read.txt": b""}
FORMATS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def make_tar(path, members, mode="w"):
    """`members`: (name or TarInfo, bytes) pairs."""
    with tarfile.open(path, mode) as archive:
        for name, body in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


def make_zip(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, body in members:
            archive.writestr(name, body)
    return path


def make(path, kind, members):
    if kind == "zip":
        return make_zip(path, members)
    return make_tar(path, members, "w:" + kind.removeprefix("tar").removeprefix("."))


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def place(tmp_path):
    """A folder for archives, and one for what comes out of them."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path


def refuse(place, archive, pattern, limits=None):
    """Expect a refusal that leaves neither the target nor anything beside it."""
    before = tree(place)
    with pytest.raises(ArchiveError, match=pattern) as caught:
        extract(archive, place / "out" / "data", limits)
    assert str(archive) in str(caught.value)
    assert tree(place) == before
    assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_a_good_archive_comes_out_whole(place, kind):
    # A name that lies about the kind: content decides.
    path = make(place / "in" / "data.archive", kind, GOOD.items())
    assert tree(extract(path, place / "out" / "data")) == GOOD
    assert [p.name for p in (place / "out").iterdir()] == ["data"]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_folders_and_dotted_prefixes_are_fine(place, kind):
    if kind == "zip":
        members = [("a/", b""), ("a/x.png", b"1"), ("./b/y.png", b"2")]
    else:
        folders = [tarfile.TarInfo("./"), tarfile.TarInfo("./a/"), tarfile.TarInfo("./a/")]
        for folder in folders:
            folder.type = tarfile.DIRTYPE
        members = [(f, b"") for f in folders] + [("./a/x.png", b"1"), ("b/y.png", b"2")]
    path = make(place / "in" / "x", kind, members)
    assert tree(extract(path, place / "out" / "data")) == {"a/x.png": b"1", "b/y.png": b"2"}


def test_a_folder_that_is_there_is_neither_replaced_nor_mixed(place):
    (place / "out" / "data").mkdir()
    with pytest.raises(FileExistsError):
        extract(make_tar(place / "in" / "good.tar", [("a", b"1")]), place / "out" / "data")
    assert tree(place / "out") == {}


def test_an_empty_zip_is_an_empty_folder(place):
    assert tree(extract(make_zip(place / "in" / "x", []), place / "out" / "data")) == {}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("\\\\host\\share", "absolute"),
        ("../up.png", "climbs"),
        ("a/../../up.png", "climbs"),
        ("a/..", "climbs"),
        ("C:/windows/x", "drive"),
        ("c:x", "drive"),
        ("a\\..\\b", "backslash"),
        ("a/x.png:stream", "colon"),
        ("a/\x07bell", "control"),
        ("a/what?.png", "wildcard"),
        ("con", "Windows"),
        ("a/LPT1.png", "Windows"),
        ("a/x.png.", "Windows"),
        ("a/x.png ", "Windows"),
        ("a" * 201, "too long"),
        ("a/" * 501 + "b", "too long"),
    ],
)
def test_names_that_reach_outside_or_trick_a_file_system(place, kind, name, why):
    path = make(place / "in" / "x", kind, [("good.png", b"1"), (name, b"2")])
    refuse(place, path, f"refused.*{why}")


def test_a_nul_does_not_hide_the_rest_of_a_name(place):
    info = zipfile.ZipInfo("x")
    info.filename = "good.png\0../../evil"
    refuse(place, make_zip(place / "in" / "x", [(info, b"1")]), "climbs|control")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "a.png"),
        ("a.png", "./a.png"),
        ("a.png", "A.PNG"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("a", "a/b.png"),
        ("a/b.png", "a"),
    ],
)
def test_the_same_name_twice(place, kind, names):
    warned = kind == "zip" and names[0] == names[1]
    with pytest.warns(UserWarning, match="Duplicate") if warned else nullcontext():
        path = make(place / "in" / "x", kind, [(name, b"1") for name in names])
    refuse(place, path, "same name twice")


@pytest.mark.parametrize(
    ("type_", "why"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "neither"),
        (tarfile.BLKTYPE, "neither"),
        (tarfile.FIFOTYPE, "neither"),
        (tarfile.GNUTYPE_SPARSE, "sparse"),
        (tarfile.CONTTYPE, None),
        (b"Z", "neither"),
    ],
)
def test_links_devices_and_sparse_files_in_a_tar(place, type_, why):
    info = tarfile.TarInfo("sneaky")
    info.type, info.linkname = type_, "/etc/passwd"
    path = make_tar(place / "in" / "x", [("good.png", b"1"), (info, b"")])
    if why is None:  # "contiguous" is an old name for a plain file
        assert tree(extract(path, place / "out" / "data")) == {"good.png": b"1", "sneaky": b""}
    else:
        refuse(place, path, f"'sneaky'.*{why}")


@pytest.mark.parametrize(
    ("kind", "why"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "neither")]
)
def test_links_and_devices_in_a_zip(place, kind, why):
    info = zipfile.ZipInfo("sneaky")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    path = make_zip(place / "in" / "x", [("good.png", b"1"), (info, b"/etc/passwd")])
    refuse(place, path, f"'sneaky'.*{why}")


def test_a_zip_that_is_encrypted_or_uses_a_memory_hungry_method(place):
    path = make_zip(place / "in" / "lzma", [("a", b"1")], zipfile.ZIP_LZMA)
    refuse(place, path, "method 14")
    path = make_zip(place / "in" / "secret", [("a", b"1")])
    body = bytearray(path.read_bytes())
    body[body.index(b"PK\x01\x02") + 8] |= 1  # general purpose flag, bit 0
    path.write_bytes(body)
    refuse(place, path, "encrypted")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (Limits(members=3), "'d3'.*more than 3 members"),
        (Limits(file_bytes=999), "'d0'.*over 999"),
        (Limits(total_bytes=3999), "'d3'.*4,000 bytes in all, over 3,999"),
        (Limits(ratio=2, ratio_floor=900), "more than 2 times"),
    ],
    ids=["members", "one file", "all files", "ratio"],
)
def test_limits(place, kind, limits, why):
    path = make(place / "in" / "x", kind, [(f"d{i}", b"z" * 1000) for i in range(4)])
    if kind == "tar" and limits.ratio == 2:  # nothing is compressed
        assert len(tree(extract(path, place / "out" / "data", limits))) == 4
        return
    refuse(place, path, why, limits)


def test_many_small_bombs_count_together(place):
    """Members may overlap in a zip: each looks harmless, the whole is not."""
    path = make_zip(place / "in" / "x", [(f"d{i}", b"z" * 100_000) for i in range(4)])
    refuse(place, path, "'d2'.*more than 2 times", Limits(ratio=2, ratio_floor=250_000))


@pytest.mark.parametrize("kind", FORMATS)
def test_limits_that_are_just_kept(place, kind):
    limits = Limits(members=4, file_bytes=1000, total_bytes=4000, ratio=2, ratio_floor=60_000)
    path = make(place / "in" / "x", kind, [(f"d{i}", b"z" * 1000) for i in range(4)])
    assert len(tree(extract(path, place / "out" / "data", limits))) == 4


def test_a_bomb_behind_the_end_of_the_tar(place):
    """What follows the last member is decompressed to verify the checksum, and counts."""
    path = place / "in" / "x"
    inner = make_tar(place / "in" / "inner", [("a", b"1")])
    path.write_bytes(gzip.compress(inner.read_bytes() + b"\0" * 5_000_000))
    refuse(place, path, "more than 100 times", Limits(ratio_floor=1_000_000))


def test_an_extended_header_does_not_fill_the_memory(place):
    path = place / "in" / "x"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"comment": "z" * (module.LONGEST_HEADER + 1)}
        archive.addfile(info)
    refuse(place, path, "extended header")


def test_an_xz_that_asks_for_much_memory(place, monkeypatch):
    path = make(place / "in" / "x", "tar.xz", [("a", b"1")])
    monkeypatch.setattr(module, "XZ_MEMORY", 100_000)
    refuse(place, path, "damaged.*limit")


def test_a_zip_whose_header_lies_about_the_size(place):
    path = make_zip(place / "in" / "x", [("a", b"z" * 100_000)])
    body = path.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 10))
    path.write_bytes(body)
    refuse(place, path, "damaged")


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_short(place, kind):
    path = make(place / "in" / "x", kind, [("a", bytes(range(256)) * 400), ("b", b"1" * 20_000)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    refuse(place, path, "damaged or cut short")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_one_wrong_byte(place, kind):
    path = make(place / "in" / "x", kind, [("a", bytes(range(256)) * 4)])
    body = bytearray(path.read_bytes())
    body[{"zip": 60, "tar.gz": -6, "tar.bz2": 60, "tar.xz": 60}[kind]] ^= 0x55
    path.write_bytes(body)
    refuse(place, path, "damaged")


@pytest.mark.parametrize("body", [b"", b"<html>Not found</html>", b"\x89PNG\r\n\x1a\n" * 100])
def test_what_is_no_archive(place, body):
    path = place / "in" / "x"
    path.write_bytes(body)
    refuse(place, path, "not an archive.*zip, tar")


def test_the_disk_is_not_blamed_on_the_archive(place):
    with pytest.raises(FileNotFoundError):
        extract(place / "in" / "absent", place / "out" / "data")
