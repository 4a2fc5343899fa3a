"""The command line that the scripts share."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from .archive import ArchiveError, Limits, extract
from .check import check
from .convert import INCOMING, convert, convert_file, find_source, missing, write_text
from .dataset import DataError, DataSet, Item
from .download import FetchError, download, file_sha256, require_space
from .progress import Progress, in_parallel

OK, FAILED, INTERRUPTED = 0, 1, 130
THREADS = 8  # connections at once where files come one by one
PICTURE_BYTES = 16 << 20  # no single picture of these data sets is larger


def main(spec: DataSet, argv: Sequence[str] | None = None, *, description: str = "") -> int:
    """Run a data set's script.

    Args:
        spec: the data set.
        argv: arguments without the program's name; None takes the process's own.
        description: the head of ``--help``.

    Returns:
        0 when the data are complete and right, 1 when they are not (a check, a download or an
        archive failed), 130 after Ctrl-C. Wrong arguments exit with 2, as argparse does.
    """
    arguments = _parse(spec, argv, description)
    out: Path = arguments.out
    try:
        if arguments.check and not out.is_dir():
            raise DataError(f"{out}: there is no such folder; leave out --check to fetch into it")
        if not arguments.check:
            if not _lacking(out, spec) and all((out / name).is_file() for name in spec.lists):
                print(f"{out}: {spec.title} is complete, nothing to do (--check looks closer).")
                return OK
            print(spec.terms)
            _fill(spec, out, arguments)
        report = check(out, spec)
    except (ArchiveError, DataError, FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    print(f"{spec.title} in {out}\n{report}")
    if not report.ok:
        print("Delete the files named above and run the script again to have them replaced.")
    return OK if report.ok else FAILED


def _parse(spec: DataSet, argv: Sequence[str] | None, description: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{spec.name}.py",
        description=description,
        epilog=f"addresses (for --url)\n  {spec.archive_url}  (default)\n  {spec.files_url}\n\n"
        f"{spec.terms}\nexit codes: 0 complete and right, 1 not, 2 wrong usage, 130 Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("data") / spec.name, metavar="FOLDER",
        help="where the data go; what is there already is kept (default: %(default)s)")  # fmt: skip
    add("--sha256", metavar="HEX", default=spec.archive_sha256,
        help="hash that the archive must have (default: the origin's, if any)")  # fmt: skip
    add = parser.add_mutually_exclusive_group().add_argument
    add("--from", dest="source", type=Path, metavar="FOLDER|ARCHIVE",
        help="take a local copy: a folder or a zip, tar, tar.gz, tar.bz2 or tar.xz, in the "
        "origin's layout or in ours; the data may lie some folders down")  # fmt: skip
    add("--url", metavar="URL", default=spec.archive_url,
        help="take it from another address: an archive, or, where it ends in /, a folder whose "
        "files are fetched one by one")  # fmt: skip
    add("--check", action="store_true",
        help="fetch nothing; compare every file in --out with the origin's figures")  # fmt: skip
    given = parser.parse_args(argv)
    local, out = given.source, given.out
    one_by_one = given.url.endswith("/")
    hashed = given.sha256 != spec.archive_sha256
    for wrong, why in (
        (out.exists() and not out.is_dir(), f"--out {out}: is a file; give a folder"),
        (local and not local.exists(), f"--from {local}: there is no such folder or archive"),
        (local and local.resolve() == out.resolve(), f"--from and --out are both {out}; give two "
         "folders, or --check to look at it"),
        (hashed and (given.check or (local and local.is_dir())), "--sha256 is an archive's hash; "
         "it goes with a download or --from ARCHIVE"),
        (hashed and one_by_one, "--sha256 is an archive's hash, but --url ends in / and names a "
         "folder"),
        (one_by_one and not spec.manifest, f"--url names a folder, but nothing lists the files of "
         f"{spec.title}; give the address of an archive"),
    ):  # fmt: skip
        if wrong:
            parser.error(why)
    return given


def _lacking(out: Path, spec: DataSet) -> int:
    """How many pictures `out` does not have yet."""
    present = len(spec.items(out, ours=True)) - len(missing(out, spec))
    return max(0, spec.pictures - present)


def _fill(spec: DataSet, out: Path, given: argparse.Namespace) -> None:
    """Bring in what `out` lacks. What is verified stays, whatever happens later."""
    incoming, local = out / INCOMING, given.source
    incoming.mkdir(parents=True, exist_ok=True)
    for stale in incoming.glob(".unpacked-*"):  # what a killed call was extracting
        shutil.rmtree(stale)
    lacking = _lacking(out, spec)
    print(f"{lacking:,} of {spec.pictures:,} pictures to bring in")
    if lacking and local is None and given.url.endswith("/"):
        require_space(out, spec.archive_bytes)
        _fetch_one_by_one(spec, out, given.url)
    elif lacking and local is not None and local.is_dir():
        require_space(out, spec.archive_bytes)
        convert(find_source(local, spec, apart_from=out), out, spec)
    elif lacking:
        archive = local or _fetch_archive(spec, incoming, given.url, given.sha256)
        if local and given.sha256 and (found := file_sha256(local)) != given.sha256.lower():
            raise DataError(f"{local}: its sha256 is {found}, expected {given.sha256.lower()}")
        require_space(out, 2 * spec.archive_bytes)
        unpacked = incoming / "unpacked"
        try:
            extract(archive, unpacked, Limits(total_bytes=8 * spec.archive_bytes))
            convert(find_source(unpacked, spec), out, spec)
        except (ArchiveError, DataError):
            if local is None:
                archive.unlink()  # so that the next call does not stumble over it again
            raise
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    for name, stems in spec.lists.items():
        write_text(out / name, "".join(f"{stem}\n" for stem in stems))
    write_text(out / "TERMS.txt", spec.terms)
    shutil.rmtree(incoming)


def _fetch_archive(spec: DataSet, incoming: Path, url: str, sha256: str | None) -> Path:
    """Download the archive, or find that an earlier call did."""
    path = incoming / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}.archive"
    if path.exists() and (not sha256 or file_sha256(path) == sha256.lower()):
        return path
    print(f"from {url} (about {spec.archive_bytes / 1e6:.0f} MB)", flush=True)
    with Progress("download", unit="MB") as progress:
        return download(
            url,
            path,
            sha256=sha256,
            expected_bytes=spec.archive_bytes,
            max_bytes=8 * spec.archive_bytes,
            progress=progress,
        )


def _fetch_one_by_one(spec: DataSet, out: Path, url: str) -> None:
    """Download, verify and place each picture by itself: a broken run loses nothing."""

    def bring(item: Item) -> None:
        name = f"{item.name(ours=False)}.png"
        path = out / INCOMING / "files" / name
        try:
            download(url + urllib.parse.quote(name), path, max_bytes=PICTURE_BYTES)
            convert_file(item, path, out, spec, ours=False)
        finally:
            path.unlink(missing_ok=True)

    in_parallel(bring, missing(out, spec), label="download", threads=THREADS)
