"""Archives: whatever names, kinds and sizes their members have, nothing is written outside of the folder."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.datasets.errors import ArchiveError
from pynode.datasets.extract import extract
from tests.properties.profiles import tried
from tests.properties.strategies import damaged

PREFIX = "data/power/"
MOST = 1000
"""Bytes that may be unpacked here."""

parts = st.one_of(
    st.sampled_from(["..", ".", "", "data", "power", "a", "b.npy", ".hidden", "c:", "\\", "~", "x" * 200]),
    st.text(max_size=4),
)
names = st.one_of(
    st.lists(parts, min_size=1, max_size=5).map("/".join),
    parts.map(lambda p: PREFIX + p),
    st.lists(parts, min_size=1, max_size=3).map(lambda p: PREFIX + "/".join(p)),
    st.lists(parts, min_size=1, max_size=3).map(lambda p: "/" + "/".join(p)),
)
kinds = st.sampled_from(
    [tarfile.REGTYPE] * 6
    + [
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
        tarfile.CHRTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
    ]
)
members = st.tuples(names, kinds, st.binary(max_size=300), names)


def packed(content: list[tuple[str, bytes, bytes, str]]) -> bytes:
    """A .tar.gz with the given (name, kind, content, target of a link)."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for name, kind, data, target in content:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(data) if kind in (tarfile.REGTYPE, tarfile.CONTTYPE) else 0
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 1, mtime=0)


@pytest.fixture(scope="module")
def outside() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def unpack(outside: Path, content: bytes) -> list[Path] | None:
    """What was unpacked, None where it was refused; fails if anything lies elsewhere."""
    work = Path(tempfile.mkdtemp(dir=outside))
    archive, target = work / "archive.tar.gz", work / "inner" / "target"
    archive.write_bytes(content)
    archive.chmod(0o400)
    try:
        extract(archive, target, prefix=PREFIX, max_bytes=MOST)
        unpacked: list[Path] | None = sorted(target.rglob("*"))
    except ArchiveError:
        unpacked = None
    everything = {p.relative_to(work) for p in work.rglob("*")}
    inside = set() if unpacked is None else {p.relative_to(work) for p in unpacked} | {Path("inner/target")}
    assert everything - inside <= {Path("archive.tar.gz"), Path("inner")}
    assert archive.read_bytes() == content
    for path in unpacked or []:
        assert not path.is_symlink()
        assert path.is_dir() or os.stat(path).st_nlink == 1
    assert sum(path.stat().st_size for path in unpacked or [] if path.is_file()) <= MOST
    return unpacked


@example([(PREFIX + "\0", tarfile.REGTYPE, b"", "")])
@given(st.lists(members, max_size=5))
@tried(100)
def test_any_members(outside: Path, content: list[tuple[str, bytes, bytes, str]]) -> None:
    unpack(outside, packed(content))
    assert [p.name for p in outside.iterdir() if not p.is_dir()] == []


@given(
    damaged(
        packed([("data/power/a.npy", tarfile.REGTYPE, b"x" * 200, ""), ("data/gas/b", tarfile.REGTYPE, b"y" * 50, "")])
    )
)
@tried(100)
def test_damaged_archives(outside: Path, content: bytes) -> None:
    unpack(outside, content)


GOOD = packed([("data/power/a.npy", tarfile.REGTYPE, b"x" * 200, ""), ("data/gas/b", tarfile.REGTYPE, b"y" * 50, "")])


@given(st.data())
@tried(60)
def test_damaged_tars_in_a_whole_gzip(outside: Path, data: st.DataObject) -> None:
    """The checksum of the compression does not save what was packed wrongly."""
    unpack(outside, gzip.compress(data.draw(damaged(gzip.decompress(GOOD))), 1, mtime=0))


def test_a_good_archive_is_unpacked(outside: Path) -> None:
    unpacked = unpack(outside, GOOD)
    assert unpacked is not None
    assert [p.name for p in unpacked] == ["a.npy"]
