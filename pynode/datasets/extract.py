"""Unpacks one folder of a .tar.gz, trusting nothing in it; folders that are either complete or not there."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pynode.datasets.errors import ArchiveError
from pynode.datasets.sources import CHUNK

MAX_BYTES = 4 << 30


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder beside `target` to be filled; it becomes `target` at the end, and is removed on any error.

    Where another process completed `target` in the meantime, that one stays.  Raises `OSError` where nothing can be
    written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.unfinished-{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)  # of a killed process that had our number
    beside.mkdir()
    try:
        yield beside
        try:
            os.rename(beside, target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def extract(
    archive: Path, target: Path, *, prefix: str, required: tuple[str, ...] = (), max_bytes: int = MAX_BYTES
) -> Path:
    """`target`, a folder with the members below `prefix` ("data/power/"), named without it.

    The folder appears when all is unpacked and the whole archive was read, its checksum with it; until then, and after
    any error, there is none.  An existing `target` is left as it is.  Hidden files (`._data.npy`) are left out.

    Raises `ArchiveError` where the archive is cut short or damaged, has a member that would leave the folder (absolute
    or with `..`), a link or a device below `prefix`, more than `max_bytes` there, or lacks one of `required`; and where
    nothing can be written.
    """
    if target.exists():
        return target
    try:
        with whole_folder(target) as folder:
            _unpack(archive, folder, prefix, max_bytes)
            for name in required:
                if not (folder / name).is_file():
                    raise ArchiveError(f"{archive} has no {prefix}{name}: it is another archive; replace it")
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ArchiveError(f"{archive} is cut short or damaged: {error}; remove it and fetch it again") from error
    except OSError as error:
        raise ArchiveError(f"{archive} can't be unpacked to {target}: {error}; free space or choose a root") from error
    return target


def _unpack(archive: Path, folder: Path, prefix: str, max_bytes: int) -> None:
    total = 0
    # a stream: each byte is read once, in order
    with gzip.open(archive) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as tar:
            for member in tar:
                name = _safe_name(archive, member)
                if not name.startswith(prefix) or member.isdir() or PurePosixPath(name).name.startswith("."):
                    continue
                if not member.isreg():
                    raise ArchiveError(f"{archive} has a link or device {member.name}: refused; use the published file")
                total += member.size
                if total > max_bytes:
                    raise ArchiveError(
                        f"{archive} unpacks to more than max_bytes = {max_bytes}: refused; use the published file"
                    )
                _write(tar, member, folder / name.removeprefix(prefix))
        while unzipped.read(CHUNK):  # the checksum stands at the very end
            pass


def _safe_name(archive: Path, member: tarfile.TarInfo) -> str:
    """The member's name without a leading `./`."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or any(c in member.name for c in "\\:\0"):
        raise ArchiveError(
            f"{archive} has a member {member.name!r} outside its folder: refused; use the published file"
        )
    return str(path)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = tar.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("xb") as file:  # "x": no member twice
        shutil.copyfileobj(content, file, CHUNK)
    if path.stat().st_size != member.size:
        raise tarfile.ReadError(f"{member.name} has {path.stat().st_size} bytes instead of {member.size}")
