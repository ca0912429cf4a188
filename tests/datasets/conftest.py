"""Small files in the formats of the archive, archives of them, and a web server that can misbehave."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Member = bytes | tarfile.TarInfo
"""Content of a file, or a link or device."""


@pytest.fixture
def make_archive(tmp_path: Path) -> Callable[[Mapping[str, Member]], Path]:
    """Writes a .tar.gz with the given members."""

    def make(members: Mapping[str, Member]) -> Path:
        path = tmp_path / "archive.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for name, member in members.items():
                info = tarfile.TarInfo(name)
                if isinstance(member, bytes):
                    info.size = len(member)
                    tar.addfile(info, io.BytesIO(member))
                else:
                    member.name = name
                    tar.addfile(member)
        return path

    return make


@pytest.fixture
def miniboone_npy() -> bytes:
    """A `data.npy` of 20 rows and 43 columns, as bytes."""
    content = io.BytesIO()
    np.save(content, np.random.default_rng(5).normal(size=(20, 43)))
    return content.getvalue()


@dataclass
class Server:
    """What the web server serves, how it fails, and what it was asked for."""

    url: str = ""
    content: bytes = b""
    ranges: bool = True
    breaks_after: int | None = None
    """Bytes of an answer after which the connection is closed."""
    shift: int = 0
    """By how much a range is not the one that was asked for."""
    asked: list[str] = field(default_factory=list)
    """The Range header of each request, empty where there was none."""


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine; it serves `content` at `url`."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            size, start = len(state.content), 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= size:
                    self.send_error(416)
                    return
                start += state.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            self.wfile.write(state.content[start:][: state.breaks_after])

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{listening.server_port}/data.tar.gz"
    yield state
    listening.shutdown()
    thread.join()
    listening.server_close()
