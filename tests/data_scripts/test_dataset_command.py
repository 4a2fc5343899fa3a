"""The scripts as a user runs them: fetch, break, go on, check; exit codes and words."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts import camvid, isbi_em
from data_scripts.fetching import command, download
from data_scripts.fetching.command import main
from data_scripts.fetching.pictures import check
from segkit.data import FolderDataset

SCRIPTS = Path(camvid.__file__).parent


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _: None)


def pack(folder: Path, wrapper: str) -> bytes:
    """A tar.gz as a code host makes it: everything in one folder named after the commit."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.add(folder, wrapper)
    return body.getvalue()


@pytest.fixture
def served(streets, site, resource):
    """The spec of `streets`, its archive on the local server."""
    site.files["origin.tar.gz"] = resource(pack(streets.origin, "Tutorial-abc/CamVid"))
    return replace(streets.spec, archive_url=site.url + "origin.tar.gz")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetch_then_nothing_to_do_then_check(served, site, tmp_path, capsys):
    out = tmp_path / "data" / "streets"
    assert main(served, ["--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert text.index("Cite: nobody") < text.index("10 of 10 pictures") < text.index("all is well")
    assert names(out) == ["TERMS.txt", "train", "val"]
    assert (out / "TERMS.txt").read_text() == served.terms
    assert len(site.seen) == 1
    assert main(served, ["--out", str(out)]) == 0
    assert "is complete, nothing to do" in capsys.readouterr().out
    assert main(served, ["--out", str(out), "--check"]) == 0
    assert len(site.seen) == 1


def test_a_full_disk_is_seen_before_the_first_byte(served, site, tmp_path, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    needed = command.RESERVE + 3 * served.archive_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    assert main(served, ["--out", str(tmp_path / "out")]) == 1
    assert "make room" in capsys.readouterr().err
    assert site.seen == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    assert main(served, ["--out", str(tmp_path / "out")]) == 0


def test_the_terms_come_before_the_first_request(streets, tmp_path, capsys):
    dead = replace(streets.spec, archive_url="http://127.0.0.1:1/x")
    assert main(dead, ["--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "Cite: nobody" in said.out
    assert "no connection" in said.err


def test_a_broken_download_goes_on_at_the_next_call(served, site, tmp_path, capsys):
    archive = site.files["origin.tar.gz"]
    archive.cuts += [400] + [0] * 5
    out = tmp_path / "out"
    assert main(served, ["--out", str(out)]) == 1
    assert "The same command goes on" in capsys.readouterr().err
    assert main(served, ["--out", str(out)]) == 0
    assert site.seen[-1].headers["Range"] == "bytes=400-"
    assert names(out) == ["TERMS.txt", "train", "val"]


def test_an_archive_that_arrived_is_not_fetched_again(served, site, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "convert", interrupted)
        assert main(served, ["--out", str(out)]) == 130
    [archive] = (out / ".incoming").glob("*.archive")
    shutil.copytree(out, tmp_path / "spoilt")
    assert main(served, ["--out", str(out)]) == 0
    assert len(site.seen) == 1
    # One that does not have the hash is deleted, and fetched by the next call.
    (tmp_path / "spoilt" / ".incoming" / archive.name).write_bytes(b"spoilt")
    digest = hashlib.sha256(site.files["origin.tar.gz"].body).hexdigest()
    arguments = ["--out", str(tmp_path / "spoilt"), "--sha256", digest]
    assert main(served, arguments) == 1
    assert main(served, arguments) == 0
    assert len(site.seen) == 2


def test_what_a_killed_call_was_extracting_is_swept_away(served, tmp_path):
    stale = tmp_path / "out" / ".incoming" / "unpacked" / "top"
    stale.mkdir(parents=True)
    assert main(served, ["--out", str(tmp_path / "out")]) == 0
    assert not stale.exists()


def test_a_known_hash_is_verified(served, site, tmp_path, capsys):
    digest = hashlib.sha256(site.files["origin.tar.gz"].body).hexdigest()
    out = str(tmp_path / "out")
    assert main(served, ["--out", out, "--sha256", "0" * 64]) == 1
    assert digest in capsys.readouterr().err
    assert main(served, ["--out", out, "--sha256", digest]) == 0
    local = tmp_path / "local.tgz"
    local.write_bytes(site.files["origin.tar.gz"].body)
    other = str(tmp_path / "other")
    assert main(served, ["--out", other, "--from", str(local), "--sha256", "0" * 64]) == 1
    assert main(served, ["--out", other, "--from", str(local), "--sha256", digest]) == 0


def test_a_hostile_archive_is_refused_and_can_be_replaced(served, site, resource, tmp_path, capsys):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("../../evil.txt", "gotcha")
    good = site.files["origin.tar.gz"]
    site.files["origin.tar.gz"] = resource(body.getvalue())
    out = tmp_path / "out"
    assert main(served, ["--out", str(out)]) == 1
    assert "'../../evil.txt' is refused" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil.txt"))
    site.files["origin.tar.gz"] = good
    assert main(served, ["--out", str(out)]) == 0


@pytest.mark.parametrize("form", ["folder", "tar.gz", "zip"])
def test_from_a_local_copy(streets, tmp_path, form):
    source = tmp_path / "source"
    shutil.copytree(streets.origin, source / "SegNet" / "CamVid")
    if form == "tar.gz":
        (tmp_path / "s.tgz").write_bytes(pack(source, "x"))
        source = tmp_path / "s.tgz"
    elif form == "zip":
        source = Path(shutil.make_archive(str(tmp_path / "s"), "zip", source))
    before = source.stat().st_mtime_ns
    out = tmp_path / "out"
    assert main(streets.spec, ["--out", str(out), "--from", str(source)]) == 0
    assert check(out, streets.spec) == []
    assert source.stat().st_mtime_ns == before
    assert names(out) == ["TERMS.txt", "train", "val"]


def test_lists_are_written_and_completed(cells, tmp_path):
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--from", str(cells.origin)]
    assert main(cells.spec, arguments) == 0
    assert (out / "train.txt").read_text() == "0\n1\n"
    (out / "val.txt").unlink()
    assert main(cells.spec, arguments) == 0
    assert (out / "val.txt").read_text() == "2\n"


def test_a_folder_with_lists_is_read_without_being_told_its_classes(cells, tmp_path):
    out = tmp_path / "out"
    assert main(cells.spec, ["--out", str(out), "--from", str(cells.origin)]) == 0
    pairs = FolderDataset(out, "train")
    assert pairs.classes == cells.spec.classes
    assert len(pairs) == 2
    (out / "classes.txt").unlink()  # as earlier versions of the script left it
    assert main(cells.spec, ["--out", str(out), "--check"]) == 1
    assert main(cells.spec, ["--out", str(out)]) == 0
    assert FolderDataset(out, "val").classes == cells.spec.classes


def test_check_names_the_bad_file_and_how_to_replace_it(streets, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--from", str(streets.origin)]
    assert main(streets.spec, arguments) == 0
    path = out / "val" / "images" / "val_1.png"
    picture = np.asarray(Image.open(path)).copy()
    picture[0, 0, 0] ^= 1
    Image.fromarray(picture).save(path)
    capsys.readouterr()
    assert main(streets.spec, ["--out", str(out), "--check"]) == 1
    text = capsys.readouterr().out
    assert f"1 problems:\n  {path}: its pixels are not the origin's" in text
    assert "Delete the files named above" in text
    path.unlink()
    assert main(streets.spec, arguments) == 0


def test_check_of_nothing_says_so(streets, tmp_path, capsys):
    assert main(streets.spec, ["--out", str(tmp_path / "no"), "--check"]) == 1
    assert "there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "nowhere"], "no such folder or archive"),
        (["--from", ".", "--url", "http://x/"], "not allowed with"),
        (["--check", "--sha256", "00"], "archive's hash"),
        (["--out", "file"], "is a file"),
        (["--from", os.devnull], "no such folder or archive"),
        (["--frm", "x"], "unrecognized"),
    ],
)
def test_wrong_usage_exits_with_2(streets, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    with pytest.raises(SystemExit) as caught:
        main(streets.spec, arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def run(*arguments, cwd=SCRIPTS.parent):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", ["camvid", "isbi_em"])
def test_both_ways_of_calling_need_neither_torch_nor_segkit(name, tmp_path):
    for call in ([f"data_scripts/{name}.py"], ["-m", f"data_scripts.{name}"]):
        result = run("-X", "importtime", *call, "--check", "--out", str(tmp_path))
        assert result.returncode == 1, result.stderr
        assert "missing" in result.stdout
        imported = set(re.findall(r"\|\s+(\w+)$", result.stderr, re.MULTILINE))
        assert "numpy" in imported
        assert not imported & {"torch", "torchvision", "segkit", "segbook", "matplotlib"}


def test_the_folder_stands_alone_under_any_name(tmp_path):
    shutil.copytree(SCRIPTS, tmp_path / "elsewhere")
    result = run("elsewhere/isbi_em.py", "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for words in ("--from FOLDER|ARCHIVE", "TrakEM2", "exit codes", isbi_em.SPEC.archive_url):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("spec", "counts"),
    [(camvid.SPEC, {"train": 367, "val": 101, "test": 233}), (isbi_em.SPEC, {"all": 30})],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_committed_manifests_cover_the_data_sets(spec, counts):
    assert {part.name: len(spec.stems(part, SCRIPTS, ours=True)) for part in spec.parts} == counts
    assert {part.name: part.count for part in spec.parts} == counts
    digests = [item.digest for item in spec.items(SCRIPTS, ours=True)]
    assert len(digests) == 2 * sum(counts.values())
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests)
    assert len(set(digests)) == len(digests)  # no picture twice
    for part in spec.parts:
        assert len(part.shares) == len(spec.classes)
        assert sum(part.shares) == pytest.approx(100, abs=0.01)
    assert (SCRIPTS / "manifests" / f"{spec.name}.txt").stat().st_size < 150_000


def test_camvid_names_and_addresses():
    spec = camvid.SPEC
    assert spec.classes[0] == "Sky"
    assert spec.classes[11] == "Void"
    assert spec.parts[2].shares[10] == 0.189
    assert (spec.parts[0].origin_masks, spec.parts[0].masks) == ("trainannot", "train/masks")
    assert "test/0001TP_008550" in spec.manifest
    for made in (camvid, isbi_em):
        assert made.COMMIT in made.SPEC.archive_url
    lists = isbi_em.SPEC.lists
    assert lists["train.txt"] + lists["val.txt"] == tuple(map(str, range(30)))
    assert lists["classes.txt"] == isbi_em.SPEC.classes
