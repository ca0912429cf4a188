"""Fetches a published file over HTTP: continues an interrupted download and never leaves an unchecked file.

Bytes go to `NAME.part`; only a file of the right digest gets its name.  Beside it lies `NAME.sha256`, in the format of
sha256sum, which later checks demand as well (`sources.py` says why).
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias

from pynode.datasets.errors import DownloadError
from pynode.datasets.sources import CHUNK, Digest, file_digest
from pynode.errors import InvalidArgument

Progress: TypeAlias = Callable[[int, "int | None"], None]
"""Called with the bytes that are there and the bytes in all, None where the server does not say."""

TIMEOUT = 60.0
"""Seconds without a byte before a transfer counts as broken."""


def download(
    url: str,
    path: Path,
    *,
    digest: Digest,
    size: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    timeout: float = TIMEOUT,
) -> Path:
    """`path`, after the file at `url` is there and has been checked; a file that lies there already is only checked.

    `size` in bytes, `sha256` an additional digest to demand, `timeout` in seconds.  Raises `DownloadError` where the
    file can't be fetched (what arrived is kept, and the next call goes on from there) or is not the published one (what
    arrived is removed), and `InvalidArgument` for an address other than http or https.
    """
    if not url.startswith(("http://", "https://")):
        raise InvalidArgument("url", url, "not a web address", "give one that starts with https:// or http://")
    by_hand = f"download {url} by hand and put it at {path}"
    demanded = (digest, *([Digest("sha256", sha256)] if sha256 else []))
    if path.exists():
        if wrong := _mismatch(path, path, demanded):
            raise DownloadError(f"{path} {wrong}; remove it and try again, or {by_hand}")
        _remember(path)
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        total = _transfer(url, part, size, progress, timeout)
        done = part.stat().st_size
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadError(f"can't fetch {url}: {reason}; try again, or {by_hand}") from error
    if total is not None and done < total:
        raise DownloadError(
            f"{url} broke off after {done} of {total} bytes; try again, which goes on from there, or {by_hand}"
        )
    if wrong := _mismatch(part, path, demanded):
        part.unlink()
        raise DownloadError(f"what came from {url} {wrong}; it was removed: try again, or {by_hand}")
    os.replace(part, path)
    _remember(path)
    return path


def _transfer(url: str, part: Path, size: int | None, progress: Progress | None, timeout: float) -> int | None:
    """Appends to `part` what is missing of the file; returns its size where the server says it, else `size`."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "pynode"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        # nothing lies beyond what is there: it is complete, or of another file, which its digest tells
        return size
    with response:
        start, total = _place(response, have)
        if start not in (0, have):
            part.unlink()  # or the next call would ask the same
            raise OSError(f"asked for the bytes from {have} on, the server sent others")
        total = total if total is not None else size
        if size is not None and total != size:
            raise OSError(f"the server's file has {total} bytes instead of {size}")
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            _copy(response, file, start, total, progress)
            file.flush()
            os.fsync(file.fileno())
    return total


def _place(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes belong (-1 where that can't be told), and the size of the whole file, None if unknown.

    A server that ignores the wish for a range sends everything: that belongs at 0.
    """
    if response.status == http.client.PARTIAL_CONTENT:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            return -1, None
        return have, None if match[2] == "*" else int(match[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None, progress: Progress | None
) -> None:
    while piece := response.read(CHUNK):
        done += len(piece)
        if total is not None and done > total:
            raise OSError(f"the server sent more than the {total} bytes it announced")
        file.write(piece)
        if progress:
            progress(done, total)


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _mismatch(file: Path, path: Path, demanded: tuple[Digest, ...]) -> str:
    """What is wrong with `file`, which is or is to be `path`; empty where nothing is."""
    record = _record(path)
    if record.is_file():
        digest_text = re.match(r"[0-9a-f]{64}\b", record.read_text(encoding="utf-8", errors="replace"))
        if not digest_text:
            return f"can't be checked, because {record} is damaged (remove that file)"
        demanded = (*demanded, Digest("sha256", digest_text[0]))
    for digest in demanded:
        if (actual := digest.of(file)) != digest:
            return f"has the digest {actual} instead of {digest}"
    return ""


def _remember(path: Path) -> None:
    if _record(path).exists():
        return
    try:
        _record(path).write_text(f"{file_digest(path).hexadecimal}  {path.name}\n", encoding="utf-8")
    except OSError as error:
        raise DownloadError(
            f"can't write {_record(path)} ({error.strerror}); make its folder writable, or set PYNODE_DATA to another"
        ) from error
