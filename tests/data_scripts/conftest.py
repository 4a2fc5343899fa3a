"""A web server on this machine that can be told to misbehave, and two data sets of a few pixels."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts.fetching.dataset import DataSet, Part
from data_scripts.fetching.pictures import make_manifest
from data_scripts.isbi_em import membrane_ids


@dataclass
class Resource:
    """One address of the server, and how it misbehaves.

    `cuts` and `statuses` are used up one a request: after how many bytes the connection is cut,
    and what is answered in place of the file.
    """

    body: bytes
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    obeys_if_range: bool = True
    shift: int = 0  # sends the range this many bytes too late
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)


@dataclass
class Seen:
    """One request as the server saw it; `sent` counts the body's bytes."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class Site:
    """The server: fill `files`, read `seen`."""

    def __init__(self) -> None:
        self.files: dict[str, Resource] = {}
        self.seen: list[Seen] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                seen = Seen(self.path, dict(self.headers))
                site.seen.append(seen)
                with suppress(ConnectionError):  # the client gave up, as some tests make it
                    site.answer(self, seen)
                self.close_connection = True

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, seen: Seen) -> None:
        file = self.files.get(seen.path.lstrip("/"))
        if file is None or file.statuses:
            seen.status, headers = (404, {}) if file is None else file.statuses.pop(0)
            handler.send_response(seen.status)
            for name, value in {"Content-Length": "0", **headers}.items():
                handler.send_header(name, value)
            handler.end_headers()
            return
        start, size = 0, len(file.body)
        wanted = seen.headers.get("Range")
        condition = seen.headers.get("If-Range")
        fits = condition in (None, file.etag, file.modified) or not file.obeys_if_range
        seen.status = 200
        if wanted and file.ranges and fits:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            seen.status = 206 if start < size else 416
        handler.send_response(seen.status)
        if seen.status == 416:
            handler.send_header("Content-Range", f"bytes */{size}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        start += file.shift if seen.status == 206 else 0
        body = file.body[start:]
        if seen.status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        for name, value in (("ETag", file.etag), ("Last-Modified", file.modified)):
            if value:
                handler.send_header(name, value)
        if file.chunked:
            handler.send_header("Transfer-Encoding", "chunked")
        else:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        cut = file.cuts.pop(0) if file.cuts else None
        body = body[:cut]
        seen.sent = len(body)
        if file.chunked:
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
            if cut is None:
                handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.wfile.write(body)


@pytest.fixture
def site(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    site = Site()
    yield site
    site.stop()


@pytest.fixture
def resource():
    return Resource


@dataclass
class Tiny:
    """A made data set: what its script would say of it, and its folder in the origin's layout."""

    spec: DataSet
    origin: Path


def shares(folder: Path, num_classes: int) -> tuple[float, ...]:
    masks = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    counts = np.bincount(np.concatenate(masks, axis=None), minlength=num_classes)
    return tuple(float(share) for share in 100 * counts / counts.sum())


@pytest.fixture
def streets(tmp_path) -> Tiny:
    """Two splits as SegNet's CamVid has them, three classes, 8x6 RGB."""
    rng = np.random.default_rng(3)
    root, parts = tmp_path / "made" / "streets", []
    for split, count in (("train", 3), ("val", 2)):
        for folder, shape, top in ((split, (6, 8, 3), 256), (f"{split}annot", (6, 8), 3)):
            (root / folder).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, top, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{split}_{number}.png")
        share = shares(root / f"{split}annot", 3)
        parts.append(
            Part(
                name=split,
                images=f"{split}/images",
                masks=f"{split}/masks",
                origin_images=split,
                origin_masks=f"{split}annot",
                count=count,
                shares=share,
            )
        )
    spec = DataSet(
        name="streets",
        title="Tiny streets",
        terms="Cite: nobody, it was made for a test.\n",
        classes=("road", "sky", "void"),
        size=(8, 6),
        image_mode="RGB",
        parts=tuple(parts),
        archive_url="http://127.0.0.1:9/nothing",
        archive_bytes=10_000,
    )
    as_ours = [replace(p, images=p.origin_images, masks=p.origin_masks) for p in parts]
    manifest = make_manifest(root, replace(spec, parts=tuple(as_ours)))
    return Tiny(replace(spec, manifest=manifest), root)


@pytest.fixture
def cells(tmp_path) -> Tiny:
    """One grey folder pair as the ISBI origin has it: label 255 is cell, 0 membrane; lists."""
    rng = np.random.default_rng(4)
    root, ours = tmp_path / "made" / "cells" / "train", tmp_path / "made" / "right"
    for folder in (root / "image", root / "label", ours / "images", ours / "masks"):
        folder.mkdir(parents=True)
    for number in range(3):
        image = Image.fromarray(rng.integers(0, 256, (5, 5), dtype=np.uint8))
        label = rng.choice(np.array([0, 255], np.uint8), (5, 5))
        for path in (root / "image", ours / "images"):
            image.save(path / f"{number}.png")
        Image.fromarray(label).save(root / "label" / f"{number}.png")
        Image.fromarray(np.where(label == 0, 1, 0).astype(np.uint8)).save(
            ours / "masks" / f"{number}.png"
        )
    part = Part(
        name="all",
        images="images",
        masks="masks",
        origin_images="image",
        origin_masks="label",
        count=3,
        shares=shares(ours / "masks", 2),
    )
    spec = DataSet(
        name="cells",
        title="Tiny cells",
        terms="Cite: nobody.\n",
        classes=("cell interior", "membrane"),
        size=(5, 5),
        image_mode="L",
        parts=(part,),
        archive_url="http://127.0.0.1:9/nothing",
        archive_bytes=10_000,
        ids_from_origin=membrane_ids,
        lists={
            "classes.txt": ("cell interior", "membrane"),
            "train.txt": ("0", "1"),
            "val.txt": ("2",),
        },
    )
    return Tiny(replace(spec, manifest=make_manifest(ours, spec)), root)
