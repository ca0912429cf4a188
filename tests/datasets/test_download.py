"""Downloads: whole, resumed, refused, and what a user is told."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest

from pynode.datasets.download import download
from pynode.datasets.errors import DownloadError
from pynode.datasets.sources import MAF_ARCHIVE, Digest
from pynode.errors import InvalidArgument

CONTENT = bytes(range(256)) * 5000
MD5 = Digest("md5", hashlib.md5(CONTENT).hexdigest())
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "data.tar.gz"


def part_of(path: Path) -> Path:
    return path.with_name("data.tar.gz.part")


def test_whole_file_with_progress(server: Any, path: Path) -> None:
    server.content = CONTENT
    seen: list[tuple[int, int | None]] = []
    downloaded = download(server.url, path, digest=MD5, size=len(CONTENT), progress=lambda d, t: seen.append((d, t)))
    assert downloaded == path
    assert path.read_bytes() == CONTENT
    assert [d for d, _ in seen] == sorted({d for d, _ in seen})
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert not part_of(path).exists()
    # as `sha256sum` writes and `sha256sum -c` reads it
    assert path.with_name("data.tar.gz.sha256").read_text() == f"{SHA256}  data.tar.gz\n"


def test_a_file_that_is_there_is_not_fetched(server: Any, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    download(server.url, path, digest=MD5, sha256=SHA256)
    assert server.asked == []
    assert path.with_name("data.tar.gz.sha256").exists()


def test_resumed_after_a_broken_transfer(server: Any, path: Path) -> None:
    server.content, server.breaks_after = CONTENT, 1000
    with pytest.raises(DownloadError, match=f"broke off after 1000 of {len(CONTENT)} bytes"):
        download(server.url, path, digest=MD5)
    assert part_of(path).read_bytes() == CONTENT[:1000]
    assert not path.exists()
    server.breaks_after = None
    seen: list[int] = []
    download(server.url, path, digest=MD5, progress=lambda done, _: seen.append(done))
    assert server.asked == ["", "bytes=1000-"]
    assert seen[0] > 1000
    assert path.read_bytes() == CONTENT


def test_server_without_ranges_starts_again(server: Any, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(b"x" * 5000)
    server.content, server.ranges = CONTENT, False
    download(server.url, path, digest=MD5)
    assert server.asked == ["bytes=5000-"]
    assert path.read_bytes() == CONTENT


def test_a_complete_part_file_only_needs_its_name(server: Any, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT)
    server.content = CONTENT
    download(server.url, path, digest=MD5)
    assert path.read_bytes() == CONTENT


def test_wrong_range_is_refused_and_not_asked_again(server: Any, path: Path) -> None:
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:10])
    server.content, server.shift = CONTENT, 3
    with pytest.raises(DownloadError, match="the server sent others"):
        download(server.url, path, digest=MD5)
    download(server.url, path, digest=MD5)
    assert server.asked == ["bytes=10-", ""]
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_wrong_digest_removes_what_came(server: Any, path: Path, sha256: str | None) -> None:
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(DownloadError, match=rf"md5:[0-9a-f]+ instead of {MD5}; it was removed"):
        download(server.url, path, digest=MD5, sha256=sha256)
    assert list(path.parent.iterdir()) == []


def test_demanded_sha256(server: Any, path: Path) -> None:
    server.content = CONTENT
    with pytest.raises(DownloadError, match=f"sha256:{SHA256} instead of sha256:{'0' * 64}"):
        download(server.url, path, digest=MD5, sha256="0" * 64)
    assert not path.exists()


def test_wrong_size(server: Any, path: Path) -> None:
    server.content = CONTENT
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes instead of 7"):
        download(server.url, path, digest=MD5, size=7)


def test_a_wrong_file_put_by_hand_is_named_and_kept(server: Any, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"other")
    with pytest.raises(DownloadError, match="remove it and try again") as caught:
        download(server.url, path, digest=MD5)
    assert f"download {server.url} by hand and put it at {path}" in str(caught.value)
    assert path.read_bytes() == b"other"
    assert server.asked == []


def test_the_remembered_sha256_is_demanded_later(server: Any, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    record = path.with_name("data.tar.gz.sha256")
    record.write_text("1" * 64 + "  data.tar.gz\n")
    with pytest.raises(DownloadError, match=f"{SHA256} instead of sha256:{'1' * 64}"):
        download(server.url, path, digest=MD5)
    record.write_text("scrambled")
    with pytest.raises(DownloadError, match=r"data.tar.gz.sha256 is damaged"):
        download(server.url, path, digest=MD5)


def test_no_network(path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.tar.gz"
        with pytest.raises(DownloadError) as caught:  # bound, but nobody listens
            download(url, path, digest=MD5)
    assert f"can't fetch {url}" in str(caught.value)
    assert f"download {url} by hand and put it at {path}" in str(caught.value)


def test_a_silent_server_times_out(path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(DownloadError, match="timed out"):
            download(f"http://127.0.0.1:{silent.getsockname()[1]}/x", path, digest=MD5, timeout=0.2)


def test_only_the_web(path: Path) -> None:
    with pytest.raises(InvalidArgument, match="url = file:///etc/hostname"):
        download("file:///etc/hostname", path, digest=MD5)


@pytest.mark.parametrize(
    ("algorithm", "text"), [("crc32", "0" * 8), ("md5", "0" * 31), ("sha256", "g" * 64), ("md5", "A" * 32)]
)
def test_digests_have_a_form(algorithm: str, text: str) -> None:
    with pytest.raises(InvalidArgument):
        Digest(algorithm, text)


def test_the_archive_is_pinned() -> None:
    assert MAF_ARCHIVE.url.startswith("https://zenodo.org/")
    assert "1161203" in MAF_ARCHIVE.url
    assert str(MAF_ARCHIVE.digest) == "md5:9b9c9b0375315ad270eba4ce80c093ab"
