"""The command line that the scripts share."""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .archive import ArchiveError, Limits, extract
from .dataset import DataError, DataSet
from .download import FetchError, download
from .pictures import INCOMING, check, convert, find_source

OK, FAILED, INTERRUPTED = 0, 1, 130
RESERVE = 64 << 20  # bytes left free on the disk whatever we fetch


def main(
    spec: DataSet, argv: Sequence[str] | None = None, *, description: str | None = None
) -> int:
    """Run a data set's script.

    Args:
        spec: the data set.
        argv: arguments without the program's name; None takes the process's own.
        description: the head of ``--help``.

    Returns:
        0 when the data are complete and right, 1 when they are not (a check, a download or an
        archive failed), 130 after Ctrl-C. Wrong arguments exit with 2, as argparse does.
    """
    given = _parse(spec, argv, description)
    out: Path = given.out
    try:
        if given.check and not out.is_dir():
            raise DataError(f"{out}: there is no such folder; leave out --check to fetch into it")
        if not given.check:
            present = sum(i.find(out, ours=True) is not None for i in spec.items(out, ours=True))
            lacking = max(0, spec.pictures - present)
            if not lacking and all((out / name).is_file() for name in spec.lists):
                print(f"{out}: {spec.title} is complete, nothing to do (--check looks closer).")
                return OK
            print(f"{spec.terms}\n{lacking:,} of {spec.pictures:,} pictures to bring in")
            _fill(spec, out, given, lacking)
        problems = check(out, spec)
    except (ArchiveError, DataError, FetchError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    if problems:
        print(f"{spec.title} in {out}: {len(problems)} problems:", *problems, sep="\n  ")
        print("Delete the files named above and run the script again to have them replaced.")
        return FAILED
    counts = ", ".join(f"{part.count} {part.name}" for part in spec.parts)
    proven = "has the pixels of the origin" if spec.manifest else "can be read"
    print(f"{spec.title} in {out}: all is well, {counts} pairs, every picture {proven}.")
    return OK


def _parse(
    spec: DataSet, argv: Sequence[str] | None, description: str | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"{spec.name}.py",
        description=description,
        epilog=f"address  {spec.archive_url}\n\n{spec.terms}\n"
        "exit codes: 0 complete and right, 1 not, 2 wrong usage, 130 Ctrl-C",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("data") / spec.name, metavar="FOLDER",
        help="where the data go; what is there already is kept (default: %(default)s)")  # fmt: skip
    add("--sha256", metavar="HEX", default=spec.archive_sha256,
        help="hash that the archive must have (default: the origin's, if any)")  # fmt: skip
    add = parser.add_mutually_exclusive_group().add_argument
    add("--from", dest="source", type=Path, metavar="FOLDER|ARCHIVE",
        help="take a local copy: a folder or a zip, tar, tar.gz, tar.bz2 or tar.xz, with the "
        "origin's folders; they may lie some folders down")  # fmt: skip
    add("--url", default=spec.archive_url, help="fetch the archive from another address")
    add("--check", action="store_true",
        help="fetch nothing; compare every file in --out with the origin's figures")  # fmt: skip
    given = parser.parse_args(argv)
    source, out = given.source, given.out
    if out.exists() and not out.is_dir():
        parser.error(f"--out {out}: is a file; give a folder")
    if source and not (source.is_dir() or source.is_file()):
        parser.error(f"--from {source}: there is no such folder or archive")
    if given.sha256 != spec.archive_sha256 and (given.check or (source and source.is_dir())):
        parser.error("--sha256 is an archive's hash; it goes with a download or --from ARCHIVE")
    return given


def _fill(spec: DataSet, out: Path, given: argparse.Namespace, lacking: int) -> None:
    """Bring in what `out` lacks. What is verified stays, whatever happens later."""
    incoming, source = out / INCOMING, given.source
    incoming.mkdir(parents=True, exist_ok=True)
    needed, free = 3 * spec.archive_bytes + RESERVE, shutil.disk_usage(out).free
    if lacking and needed > free:  # the archive, what comes out of it, and our copy
        raise DataError(
            f"{out}: {needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free; make room "
            "or give another folder with --out"
        )
    if lacking and source and source.is_dir():
        convert(find_source(source, spec), out, spec)
    elif lacking:
        most = 8 * spec.archive_bytes
        name = hashlib.sha256(given.url.encode()).hexdigest()[:12]
        archive = source or incoming / f"{name}.archive"
        if not archive.is_file():
            print(f"from {given.url} (about {spec.archive_bytes / 1e6:.0f} MB)", flush=True)
            download(given.url, archive, max_bytes=most)
        unpacked = incoming / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)  # what a killed call was extracting
        try:
            with archive.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if given.sha256 and found != given.sha256.lower():
                whence = source or given.url
                raise DataError(f"{whence}: its sha256 is {found}, expected {given.sha256.lower()}")
            extract(archive, unpacked, Limits(total_bytes=most))
            convert(find_source(unpacked, spec), out, spec)
        except (ArchiveError, DataError):
            if not source:
                archive.unlink()  # so that the next call does not stumble over it again
            raise
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    texts = {name: "\n".join(lines) + "\n" for name, lines in spec.lists.items()}
    for name, text in {**texts, "TERMS.txt": spec.terms}.items():
        (incoming / name).write_text(text, encoding="utf-8", newline="\n")
        os.replace(incoming / name, out / name)
    shutil.rmtree(incoming)
