"""Unpack a zip or tar archive that may have been made to do harm.

`zipfile` and `tarfile` (with its filter "data") do the unpacking. What they let pass is refused
before: links, names that another system takes for a different one, and archives that grow beyond
every limit. An archive is taken whole or not at all.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

CHUNK = 1 << 16  # bytes
LONGEST_HEADER = 1 << 16  # bytes; of a tar's extended header, which tarfile reads into memory
XZ_MEMORY = 256 << 20  # bytes; an xz header may ask for gigabytes
ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
BAD_NAMES = (
    (r"^[/\\]", "an absolute path"),
    (r"^[A-Za-z]:", "a drive letter"),
    (r"(^|/)\.\.(/|$)", "a path that climbs out with '..'"),
    (
        r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]',
        "a backslash, colon, wildcard or control character in its name",
    ),
    (r"[^/]{201}|^.{1001}", "a name too long"),
    (r"(?i)(^|/)(con|prn|aux|nul|(com|lpt)[1-9])(\.[^/]*)?(/|$)", "a name that Windows reserves"),
    (r"[^/][. ](/|$)|(^|/) (/|$)", "a name that Windows reserves"),
)


class ArchiveError(ValueError):
    """An archive that is refused or damaged; the message names it and the member."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may grow to."""

    members: int = 100_000  # files and folders together
    file_bytes: int = 64 << 20  # one file
    total_bytes: int = 1 << 30  # all files together
    ratio: int = 100  # bytes out for each byte in, of a member and of the whole
    ratio_floor: int = 16 << 20  # bytes; with less than this out no ratio is suspicious


def extract(archive: Path, folder: Path, limits: Limits | None = None) -> Path:
    """Unpack `archive` into the new folder `folder`, all of it or nothing.

    Args:
        archive: a zip, tar, tar.gz, tar.bz2 or tar.xz; recognised by its content, not its name.
        folder: must not exist; after an error it does not either.
        limits: what is still believable; None takes the defaults.

    Raises:
        ArchiveError: not an archive, damaged, over a limit, or with a member that is refused.
        OSError: the disk's fault (full, not readable).

    Source: the Python manual's advice in "tarfile: Extraction filters".
    """
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as file:
            gate = _Gate(archive, limits or Limits())
            zipped = file.peek(4).startswith((b"PK\x03\x04", b"PK\x05\x06"))
            (_extract_zip if zipped else _extract_tar)(file, folder, gate)
    except Exception as error:  # the libraries raise nearly anything at a damaged file
        shutil.rmtree(folder)
        if isinstance(error, ArchiveError) or getattr(error, "errno", None) is not None:
            raise  # refused by us, or the disk's fault (full, not readable), not the archive's
        raise ArchiveError(f"{archive}: damaged or cut short ({error}); fetch it again") from error
    return folder


class _Gate:
    """Decides on every member by its header; neither library writes more than that states."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.packed = archive.stat().st_size
        self.members = self.total = 0
        self.is_file: dict[str, bool] = {}  # by folded path; False is a folder

    def refuse(self, member: str, why: str) -> ArchiveError:
        return ArchiveError(f"{self.archive}: member {member!r} is refused: {why}")

    def admit(self, name: str, size: int, packed: int, *, is_folder: bool) -> None:
        """Refuse a member by its name, its size, or what it adds up to with those before."""
        for pattern, why in BAD_NAMES:
            if re.search(pattern, name):
                raise self.refuse(name, why)
        parts = PurePosixPath(name).parts  # drops "." and doubled slashes
        if not parts and not is_folder:
            raise self.refuse(name, "a file without a name")
        for depth in range(1, len(parts) + 1):
            # Folded as Windows and macOS do, where A.png and a.png are one file.
            key = unicodedata.normalize("NFC", "/".join(parts[:depth])).casefold()
            new_file = depth == len(parts) and not is_folder
            if key in self.is_file and (new_file or self.is_file[key]):
                raise self.refuse(name, "the same name twice")
            self.is_file[key] = new_file
        self.members += 1
        self.total += size
        if self.members > self.limits.members:
            raise self.refuse(name, f"more than {self.limits.members:,} members")
        self.check(name, size, packed, self.limits.file_bytes, "")
        self.check(name, self.total, self.packed, self.limits.total_bytes, " in all")

    def check(self, name: str, size: int, packed: int, most: int, all_: str) -> None:
        if size > most:
            raise self.refuse(name, f"it unpacks to {size:,} bytes{all_}, over {most:,}")
        if size > self.limits.ratio_floor and size > self.limits.ratio * packed:
            raise self.refuse(name, f"it unpacks to more than {self.limits.ratio} times its size")


def _extract_zip(file: BufferedReader, folder: Path, gate: _Gate) -> None:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # orig_filename: zipfile cuts `filename` at a NUL, which would hide what follows it.
            name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise gate.refuse(name, "neither a file nor a folder (a symbolic link, a device)")
            if info.flag_bits & 1:
                raise gate.refuse(name, "encrypted")
            if info.compress_type not in ZIP_METHODS:  # LZMA takes as much memory as it likes
                raise gate.refuse(name, f"compression method {info.compress_type}")
            gate.admit(name, info.file_size, info.compress_size, is_folder=name.endswith("/"))
        archive.extractall(folder)


def _extract_tar(file: BufferedReader, folder: Path, gate: _Gate) -> None:
    extended = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE}
    extended |= {tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
            info = super().frombuf(buf, encoding, errors)
            if info.type in extended and info.size > LONGEST_HEADER:
                raise gate.refuse(info.name, f"an extended header over {LONGEST_HEADER:,} bytes")
            return info

    chunks = _decompressed(file, gate)
    stream: Any = SimpleNamespace(read=lambda size: next(chunks, b""))
    # "r|" reads strictly forwards: one pass, no seeking about in a hostile file.
    with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK, tarinfo=Header) as archive:
        for info in archive:
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise gate.refuse(info.name, "neither a file nor a folder (a link, a device), or "
                                  "a sparse file")  # fmt: skip
            gate.admit(info.name, info.size, gate.packed, is_folder=info.isdir())
            archive.extract(info, folder, set_attrs=False, filter="data")
    for _ in chunks:  # to the end, so that the checksum of the compression is verified
        pass


def _decompressed(file: BufferedReader, gate: _Gate) -> Iterator[bytes]:
    """The bytes of a tar, in chunks of 64 KiB at most, counted: those that are skipped as well."""
    head = file.peek(512)
    compressed = next(
        (open_ for magic, open_ in COMPRESSIONS.items() if head.startswith(magic)), None
    )
    if compressed is lzma.open:  # which has no memory limit; the decompressor reads the header
        lzma.LZMADecompressor(memlimit=XZ_MEMORY).decompress(head, 1)
    if compressed is None and head[257:262] != b"ustar":
        raise ArchiveError(
            f"{gate.archive}: not an archive that is understood (zip, tar, tar.gz, tar.bz2, tar.xz)"
        )
    file = compressed(file) if compressed else file
    count = 0
    while chunk := file.read(CHUNK):
        count += len(chunk)
        most = gate.limits.total_bytes + 4096 * gate.limits.members  # and headers
        gate.check("(all)", count, gate.packed, most, " in all")
        yield chunk
