"""The cache: from archive to mapped arrays, and nothing half-made in between."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets import cache
from pynode.datasets.cache import MANIFEST, NAMES, available, data_root, dataset, fetch, store
from pynode.datasets.errors import CacheError, DataError, DataMissing, DownloadError
from pynode.datasets.sources import FOLDERS, MAF_ARCHIVE, Digest, Source
from pynode.datasets.splits import Splits
from pynode.errors import UnknownName, UsageError

Make = Callable[[Mapping[str, bytes]], Path]
SHAPE = (43, 17, 1, 2)


@pytest.fixture
def source(server: Any, make_archive: Make, miniboone_npy: bytes) -> Source:
    """An archive with a small MINIBOONE, on a server."""
    server.content = make_archive({"data/miniboone/data.npy": miniboone_npy}).read_bytes()
    digest = Digest("md5", hashlib.md5(server.content).hexdigest())
    return Source(server.url, "data.tar.gz", digest, len(server.content), "small", {"miniboone": SHAPE})


def files(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_fetch_then_read(source: Source, server: Any, tmp_path: Path) -> None:
    root = tmp_path / "root"
    seen: list[int] = []
    fetched = fetch("miniboone", root, lambda done, _: seen.append(done), source=source)
    assert seen[-1] == source.size
    assert files(root) == sorted(
        ["data.tar.gz", "data.tar.gz.sha256"]
        + [f"miniboone/{name}" for name in (MANIFEST, "test.npy", "train.npy", "validation.npy")]
    )
    assert not [p for p in root.iterdir() if p.name.startswith(".")]
    read = dataset("miniboone", root, verify=True)
    for part in ("train", "validation", "test"):
        rows = getattr(read, part)
        assert isinstance(rows, np.memmap)
        assert rows.dtype == np.float32
        assert not rows.flags.writeable
        np.testing.assert_array_equal(rows, getattr(fetched, part))
    assert read.mean is not None
    assert read.std is not None
    raw = np.random.default_rng(5).normal(size=(20, 43))
    np.testing.assert_array_equal(read.mean, raw[:18].mean(axis=0))  # exact: JSON keeps each bit of a float64
    np.testing.assert_allclose(read.unstandardised(read.test), raw[18:], atol=1e-6)
    fetch("miniboone", root, source=source)
    assert len(server.asked) == 1


def test_an_imported_set_of_the_published_size_is_fetched_only_on_request(source: Source, tmp_path: Path) -> None:
    """That it has as many rows says nothing of their values."""
    train, validation, test = (np.full((n, SHAPE[0]), 3.0, dtype=np.float32) for n in SHAPE[1:])
    store(Splits("miniboone", train, validation, test), tmp_path)
    assert (fetch("miniboone", tmp_path, source=source).train == 3.0).all()
    fetched = fetch("miniboone", tmp_path, source=source, replace=True)
    assert not (fetched.train == 3.0).any()
    np.testing.assert_array_equal(dataset("miniboone", tmp_path, verify=True).train, fetched.train)


def test_archive_put_by_hand(source: Source, server: Any, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "data.tar.gz").write_bytes(server.content)
    assert fetch("miniboone", tmp_path / "root", source=source).dim == 43
    assert server.asked == []
    with pytest.raises(DownloadError):
        fetch("gas", tmp_path / "root", source=source, sha256="0" * 64)


def test_missing_data_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataMissing) as caught:
        dataset("gas", tmp_path)
    assert isinstance(caught.value, UsageError)
    assert "python experiments/run.py data fetch gas" in str(caught.value)
    assert MAF_ARCHIVE.url in str(caught.value)
    assert str(tmp_path / "data.tar.gz") in str(caught.value)
    assert not available("gas", tmp_path)


@pytest.mark.parametrize("call", [dataset, available, fetch])
def test_unknown_name(call: Callable[[str, Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean 'power'"):
        call("powr", tmp_path)


def small(value: float = 1.0) -> Splits:
    rows = np.full((4, 3), value, dtype=np.float32)
    return Splits("power", rows, rows[:2], rows[:1])


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "shorter":
        path.write_bytes(content[:-4])
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("how", ["gone", "shorter", "other"])
def test_damage_is_found(tmp_path: Path, part: str, how: str) -> None:
    store(small(), tmp_path)
    assert available("power", tmp_path)
    assert dataset("power", tmp_path, verify=True).mean is None
    damage(tmp_path / "power" / f"{part}.npy", how)
    with pytest.raises(CacheError, match=r"rebuild it: python experiments/run\.py data fetch power"):
        dataset("power", tmp_path, verify=True)
    assert available("power", tmp_path) == (how == "other")  # a changed bit costs a reading of all bytes to find


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"format": 99})])
def test_damaged_manifest(tmp_path: Path, content: str) -> None:
    store(small(), tmp_path)
    (tmp_path / "power" / MANIFEST).write_text(content)
    with pytest.raises(CacheError, match="rebuild it"):
        dataset("power", tmp_path)


def test_fetch_rebuilds_what_is_damaged(source: Source, tmp_path: Path) -> None:
    before = np.array(fetch("miniboone", tmp_path, source=source).train)
    damage(tmp_path / "miniboone" / "train.npy", "other")
    np.testing.assert_array_equal(fetch("miniboone", tmp_path, source=source).train, before)
    assert dataset("miniboone", tmp_path, verify=True).dim == 43


def test_interrupted_preprocessing_leaves_nothing(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(name: str, raw: Path) -> Splits:
        assert name == "miniboone"
        assert (raw / "data.npy").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "prepare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("miniboone", tmp_path / "root", source=source)
    assert files(tmp_path / "root") == ["data.tar.gz", "data.tar.gz.sha256"]
    assert not available("miniboone", tmp_path / "root")


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def interrupted(path: Path) -> Digest:
        written.append(path.name)
        if len(written) == 3:
            raise KeyboardInterrupt
        return Digest("sha256", "0" * 64)

    monkeypatch.setattr(cache, "file_digest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store(small(), tmp_path)
    assert written == ["train.npy", "validation.npy", "test.npy"]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataMissing):
        dataset("power", tmp_path)


def test_an_older_cache_is_replaced(tmp_path: Path) -> None:
    store(small(1.0), tmp_path)
    store(small(2.0), tmp_path)
    assert dataset("power", tmp_path).train[0, 0] == 2.0


def test_unexpected_shape_is_refused(source: Source, tmp_path: Path) -> None:
    other = Source(source.url, source.file_name, source.digest, None, "", {"miniboone": (44, 17, 1, 2)})
    with pytest.raises(DataError, match=r"\(43, 17, 1, 2\) instead of \(44, 17, 1, 2\)"):
        fetch("miniboone", tmp_path, source=other)
    assert not available("miniboone", tmp_path)


def test_root_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="set PYNODE_DATA to another folder"):
        store(small(), tmp_path / "file")


def test_where_the_root_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PYNODE_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert data_root() == tmp_path / ".cache" / "pynode"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert data_root() == tmp_path / "xdg" / "pynode"
    monkeypatch.setenv("PYNODE_DATA", "~/mine")
    assert data_root() == tmp_path / "mine"
    assert data_root("given") == Path("given")


def test_tables_of_names_agree() -> None:
    assert set(NAMES) == set(FOLDERS) == set(MAF_ARCHIVE.shapes)
