"""The bytes of a file: regular ones up to a size, and what is said of all others."""

from __future__ import annotations

import gzip
import os
import socket
from pathlib import Path

import pytest

from pynode.records import content
from pynode.records.content import Unreadable, check_regular, is_there, read_content


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"12345")
    assert check_regular(path) == 5
    assert read_content(path) == b"12345"
    assert read_content(path, limit=5) == b"12345"
    with pytest.raises(Unreadable, match="it has more than 0 MiB"):
        read_content(path, limit=4)
    assert content.LIMIT == 1024**3


def test_the_limit_is_told_in_mebibytes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, 3 * 1024**2 + 1)
    with pytest.raises(Unreadable, match="it has more than 3 MiB"):
        read_content(path, limit=3 * 1024**2)


def test_the_limit_holds_for_what_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"a" * 3 * 1024**2))
    assert path.stat().st_size < 10_000
    assert read_content(path, limit=3 * 1024**2) == b"a" * 3 * 1024**2
    with pytest.raises(Unreadable, match="it has more than 2 MiB"):
        read_content(path, limit=3 * 1024**2 - 1)


def test_damaged_packing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    packed = gzip.compress(bytes(range(256)) * 10)
    for damaged in (b"plain text", packed[:-20], packed[:30] + b"\xff\xff\xff" + packed[33:]):
        path.write_bytes(damaged)
        with pytest.raises(Unreadable, match=r"."):
            read_content(path)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
    (tmp_path / "device").symlink_to("/dev/null")
    kinds = {"folder": "a folder", "pipe": "a named pipe", "socket": "a socket", "device": "a device"}
    for name, kind in kinds.items():
        assert is_there(tmp_path / name)
        for read in (check_regular, read_content):
            with pytest.raises(Unreadable, match=f"^it is {kind}, not a regular file$"):
                read(tmp_path / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    assert not is_there(tmp_path / "nothing")
    (tmp_path / "file").touch()
    assert is_there(tmp_path / "file")
    assert not is_there(tmp_path / "file" / "below")
    (tmp_path / "link").symlink_to("nowhere")
    assert is_there(tmp_path / "link"), "a link is a name that is taken"
    assert is_there(tmp_path / ("x" * 300)), "what can't be looked at is left to reading, which says why"
    for name in ("nothing", "link"):
        with pytest.raises(Unreadable, match=r"^No such file or directory$"):
            read_content(tmp_path / name)
