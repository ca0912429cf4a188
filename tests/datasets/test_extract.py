"""Unpacking: the wanted folder and nothing else, or an error and nothing at all."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pynode.datasets.errors import ArchiveError
from pynode.datasets.extract import extract

Make = Callable[[Mapping[str, "bytes | tarfile.TarInfo"]], Path]


def link(kind: bytes, to: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, to
    return info


def refused(archive: Path, target: Path, match: str, max_bytes: int = 10**6) -> None:
    """Extraction fails and leaves nothing beside the archive."""
    before = set(archive.parent.parent.rglob("*"))
    with pytest.raises(ArchiveError, match=match):
        extract(archive, target, prefix="data/power/", required=("data.npy",), max_bytes=max_bytes)
    assert set(archive.parent.parent.rglob("*")) == before


def test_only_the_wanted_folder(make_archive: Make, tmp_path: Path) -> None:
    archive = make_archive(
        {
            "./data/power/data.npy": b"p" * 3000,
            "data/power/more/notes": b"n",
            "data/power/._data.npy": b"hidden",
            "data/powerful/data.npy": b"q",
            "data/gas/x": b"g",
        }
    )
    target = extract(archive, tmp_path / "raw", prefix="data/power/", required=("data.npy",))
    contents = {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
    assert contents == {"data.npy": b"p" * 3000, "more/notes": b"n"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive.tar.gz", "raw"]


def test_an_existing_folder_is_left_alone(make_archive: Make, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    extract(make_archive({"data/power/data.npy": b"p"}), tmp_path / "raw", prefix="data/power/")
    assert list((tmp_path / "raw").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "data/power/../../evil", "/tmp/evil", "data/power/..", "C:\\evil"])
def test_members_outside_are_refused(make_archive: Make, tmp_path: Path, name: str) -> None:
    refused(make_archive({"data/power/data.npy": b"p", name: b"evil"}), tmp_path / "raw", "outside its folder")


@pytest.mark.parametrize(
    "member",
    [
        link(tarfile.SYMTYPE, "/etc/hostname"),
        link(tarfile.LNKTYPE, "data/power/data.npy"),
        link(tarfile.CHRTYPE, ""),
        link(tarfile.FIFOTYPE, ""),
    ],
    ids=["symlink", "hardlink", "device", "fifo"],
)
def test_links_and_devices_are_refused(make_archive: Make, tmp_path: Path, member: tarfile.TarInfo) -> None:
    refused(make_archive({"data/power/data.npy": b"p", "data/power/x": member}), tmp_path / "raw", "link or device")


def test_a_file_through_a_link_is_refused(make_archive: Make, tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {
        "data/power/up": link(tarfile.SYMTYPE, ".."),
        "data/power/up/evil": b"evil",
    }
    refused(make_archive(members), tmp_path / "raw", "link or device")


def test_too_large(make_archive: Make, tmp_path: Path) -> None:
    members: dict[str, bytes | tarfile.TarInfo] = {"data/power/data.npy": b"0" * 600, "data/power/more": b"0" * 600}
    archive = make_archive(members)
    refused(archive, tmp_path / "raw", "max_bytes = 1199", max_bytes=1199)
    assert extract(archive, tmp_path / "raw", prefix="data/power/", max_bytes=1200).is_dir()


def test_missing_and_repeated_members(make_archive: Make, tmp_path: Path) -> None:
    refused(make_archive({"data/power/other": b"p"}), tmp_path / "raw", "no data/power/data.npy")
    archive = make_archive({"data/power/data.npy": b"p", "./data/power/data.npy": b"q"})
    refused(archive, tmp_path / "raw", "can't be unpacked")


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated(make_archive: Make, tmp_path: Path, share: float) -> None:
    content = os.urandom(50_000)
    archive = make_archive({"data/power/data.npy": content, "data/gas/x": content})
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    refused(archive, tmp_path / "raw", "cut short or damaged")


def test_damaged(make_archive: Make, tmp_path: Path) -> None:
    archive = make_archive({"data/power/data.npy": os.urandom(50_000)})
    whole = bytearray(archive.read_bytes())
    whole[25_000] ^= 1  # incompressible content is stored as it is: only the checksum can tell
    archive.write_bytes(whole)
    refused(archive, tmp_path / "raw", "cut short or damaged")


def test_not_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    archive.write_bytes(b"<html>please log in</html>")
    refused(archive, tmp_path / "raw", "cut short or damaged")
    archive.write_bytes(gzip.compress(b"not a tar" * 1000))
    refused(archive, tmp_path / "raw", "cut short or damaged")
