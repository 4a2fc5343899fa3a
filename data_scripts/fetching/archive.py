"""Unpack a zip or tar archive that may have been made to do harm.

Nothing outside the target is ever written: only plain files and folders with plain relative names
are taken, links and devices are refused, and every limit is checked on the bytes that really come
out, since an archive's own headers may lie. An archive is taken whole or not at all.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

CHUNK = 1 << 16  # bytes
LONGEST_HEADER = 1 << 16  # bytes; of a tar's extended header, which tarfile reads into memory
XZ_MEMORY = 256 << 20  # bytes; an xz header may ask for gigabytes
RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{n}{i}" for n in ("COM", "LPT") for i in range(1, 10)}
DAMAGE = (
    EOFError,
    OSError,  # gzip.BadGzipFile, and bz2's "Invalid data stream"
    ValueError,
    NotImplementedError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)


class ArchiveError(ValueError):
    """An archive that is refused or damaged; the message names it and the member."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an archive may grow to.

    Args:
        members: files and folders together.
        file_bytes: one file.
        total_bytes: all files together.
        ratio: bytes out for each byte in, of a member and of the whole.
        ratio_floor: bytes; with less than this out no ratio is suspicious.
    """

    members: int = 20_000
    file_bytes: int = 64 << 20
    total_bytes: int = 1 << 30
    ratio: int = 100
    ratio_floor: int = 16 << 20


def extract(archive: Path, folder: Path, limits: Limits | None = None) -> Path:
    """Unpack `archive` into the new folder `folder`.

    Args:
        archive: a zip, tar, tar.gz, tar.bz2 or tar.xz; recognised by its content, not its name.
        folder: made by this call, complete or not at all; an existing one is replaced.
        limits: what is still believable; None takes the defaults.

    Returns:
        `folder`; empty for an empty archive.

    Raises:
        ArchiveError: not an archive, damaged, over a limit, or with a member that is refused: an
            absolute or climbing path, a drive letter, a link, a device, an encrypted or sparse
            file, a repeated name.

    Source: the checks follow the Python manual's advice in "tarfile: Extraction filters".
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with archive.open("rb") as file:
            kind = _kind(file)
            guard = _Guard(archive, fresh, limits or Limits())
            if kind == "zip":
                _extract_zip(file, guard)
            else:
                _extract_tar(file, kind, guard)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)
    except DAMAGE as error:
        if isinstance(error, ArchiveError) or getattr(error, "errno", None) is not None:
            raise  # refused by us, or the disk's fault (full, not readable), not the archive's
        raise ArchiveError(f"{archive}: damaged or cut short ({error}); fetch it again") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _kind(file: BinaryIO) -> str:
    head = file.read(512)
    file.seek(0)
    for kind, magic in (("gz", b"\x1f\x8b"), ("bz2", b"BZh"), ("xz", b"\xfd7zXZ\0")):
        if head.startswith(magic):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    raise ArchiveError(
        f"{file.name}: not an archive that is understood (zip, tar, tar.gz, tar.bz2, tar.xz)"
    )


class _Guard:
    """Decides on every member and every chunk, and does the writing."""

    def __init__(self, archive: Path, folder: Path, limits: Limits) -> None:
        self.archive, self.folder, self.limits = archive, folder, limits
        self.packed_bytes = archive.stat().st_size
        self.members = 0
        self.total = 0
        self.is_file: dict[str, bool] = {}  # by folded path; False is a folder

    def refuse(self, member: str, why: str) -> ArchiveError:
        return ArchiveError(f"{self.archive}: member {member!r} is refused: {why}")

    def place(self, name: str, *, is_folder: bool) -> Path | None:
        """Return where a member goes; None for the archive's own root ("./")."""
        self.members += 1
        if self.members > self.limits.members:
            raise self.refuse(name, f"more than {self.limits.members:,} members")
        if why := _fault(name):
            raise self.refuse(name, why)
        parts = PurePosixPath(name).parts  # drops "." and doubled slashes
        if not parts:
            return None
        for depth in range(1, len(parts) + 1):
            # Folded as Windows and macOS do, where A.png and a.png are one file.
            key = unicodedata.normalize("NFC", "/".join(parts[:depth])).casefold()
            new = depth == len(parts) and not is_folder
            if key in self.is_file and (new or self.is_file[key]):
                raise self.refuse(name, "the same name twice")
            self.is_file[key] = new
        return self.folder.joinpath(*parts)

    def write(self, name: str, source: BinaryIO, stated: int, packed: int | None) -> None:
        """Copy one file; `stated` and `packed` are what the header says of its two sizes."""
        target = self.place(name, is_folder=False)
        if target is None:
            raise self.refuse(name, "a file without a name")
        if stated > self.limits.file_bytes:
            raise self.refuse(name, f"{stated:,} bytes, over {self.limits.file_bytes:,}")
        target.parent.mkdir(parents=True, exist_ok=True)
        size = 0
        with target.open("xb") as file:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                self.total += len(chunk)
                if size > self.limits.file_bytes:
                    raise self.refuse(name, f"over {self.limits.file_bytes:,} bytes")
                if self.total > self.limits.total_bytes:
                    raise self.refuse(name, f"over {self.limits.total_bytes:,} bytes in all")
                if packed is not None:
                    self.check_ratio(name, size, packed)
                self.check_ratio(name, self.total, self.packed_bytes)
                file.write(chunk)

    def check_ratio(self, name: str, unpacked: int, packed: int) -> None:
        ratio, floor = self.limits.ratio, self.limits.ratio_floor
        if unpacked > floor and unpacked > ratio * packed:
            raise self.refuse(name, f"it unpacks to more than {ratio} times its size")


def _fault(name: str) -> str | None:
    """Say what is wrong with a member's name, or None."""
    parts = name.split("/")
    if name.startswith(("/", "\\")):
        return "an absolute path"
    if re.match(r"[A-Za-z]:", name):
        return "a drive letter"
    if ".." in parts:
        return "a path that climbs out with '..'"
    if re.search(r'[\x00-\x1f\x7f\\:*?"<>|\ud800-\udfff]', name):
        return "a backslash, colon, wildcard or control character in its name"
    if len(name) > 1000 or max(map(len, parts)) > 200:
        return "a name too long"
    for part in parts:
        if part not in ("", ".") and (
            part.endswith((".", " ")) or part.split(".")[0].upper() in RESERVED
        ):
            return "a name that Windows reserves"
    return None


def _extract_zip(file: BinaryIO, guard: _Guard) -> None:
    methods = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            # orig_filename: zipfile cuts `filename` at a NUL, which would hide what follows it.
            name = info.orig_filename
            kind = stat.S_IFMT(info.external_attr >> 16)
            if stat.S_ISLNK(kind):
                raise guard.refuse(name, "a symbolic link")
            if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise guard.refuse(name, "neither a file nor a folder")
            if info.flag_bits & 1:
                raise guard.refuse(name, "encrypted")
            if info.compress_type not in methods:
                raise guard.refuse(name, f"compression method {info.compress_type}")
            if name.endswith("/"):
                if target := guard.place(name, is_folder=True):
                    target.mkdir(parents=True, exist_ok=True)
                continue
            with archive.open(info) as source:
                guard.write(name, source, info.file_size, info.compress_size)


def _tar_header(guard: _Guard) -> type[tarfile.TarInfo]:
    """A header reader that does not let tarfile take a gigabyte of extended header into memory."""
    extended = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
    extended |= {tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE}

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
            info = super().frombuf(buf, encoding, errors)
            if info.type in extended and info.size > LONGEST_HEADER:
                raise guard.refuse(info.name, f"an extended header over {LONGEST_HEADER:,} bytes")
            return info

    return Header


class _Stream(io.RawIOBase):
    """The decompressed bytes of a tar, counted as they come, so that skipped ones count as well."""

    def __init__(self, chunks: Iterator[bytes], guard: _Guard) -> None:
        self.chunks, self.guard = chunks, guard
        self.count = 0
        self.rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self.rest:
            self.rest = next(self.chunks, b"")
            self.count += len(self.rest)
            limits = self.guard.limits
            if self.count > limits.total_bytes + 4096 * limits.members:  # headers and padding
                raise self.guard.refuse("(all)", f"over {limits.total_bytes:,} bytes in all")
            self.guard.check_ratio("(all)", self.count, self.guard.packed_bytes)
        size = min(len(buffer), len(self.rest))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size


def _decompressed(file: BinaryIO, kind: str) -> Iterator[bytes]:
    if kind == "xz":  # lzma.open has no memory limit, the decompressor has
        unpack = lzma.LZMADecompressor(memlimit=XZ_MEMORY)
        while not unpack.eof:
            packed = file.read(CHUNK) if unpack.needs_input else b""
            if unpack.needs_input and not packed:
                raise EOFError("the xz stream ends too early")
            if chunk := unpack.decompress(packed, CHUNK):
                yield chunk
        return
    opened = {"gz": gzip.open, "bz2": bz2.open}[kind](file) if kind != "tar" else file
    yield from iter(lambda: opened.read(CHUNK), b"")


def _extract_tar(file: BinaryIO, kind: str, guard: _Guard) -> None:
    stream = io.BufferedReader(_Stream(_decompressed(file, kind), guard), CHUNK)
    # "r|" reads strictly forwards: one pass, no seeking about in a hostile file.
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_tar_header(guard)) as archive:
        for info in archive:
            if info.issym() or info.islnk():
                raise guard.refuse(info.name, "a symbolic or hard link")
            if info.isdir():
                if target := guard.place(info.name, is_folder=True):
                    target.mkdir(parents=True, exist_ok=True)
                continue
            if not info.isreg() or info.issparse():
                raise guard.refuse(info.name, "neither a file nor a folder (or a sparse file)")
            guard.write(info.name, archive.extractfile(info), info.size, None)
    while stream.read(CHUNK):  # to the end, so that the checksum of the compression is verified
        pass
