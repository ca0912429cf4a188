"""Reading and writing records: JSON lines that are appended, JSON files that are replaced atomically.

Numbers that are not finite are written as null.  Lines and files carry a checksum (pynode/records/seal.py), so that
what a disk did to them is noticed; those of earlier versions have none and are taken as they are.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from pynode.errors import OutputDirectoryError, RecordError, StorageError
from pynode.records.seal import KEY, sealed, unsealed

T = TypeVar("T")


def finite(value: float | None) -> float | None:
    """`value`, or None where it is not finite: JSON has no other word for that."""
    return value if value is not None and math.isfinite(value) else None


def append_line(path: Path, record: Any) -> None:
    """Appends a dataclass or mapping as one JSON line; raises `StorageError` where that can't be done."""
    append_text(path, _line(record))


def append_text(path: Path, text: str) -> None:
    """Appends `text` to a file; raises `StorageError` where that can't be done."""
    with _storing(path), path.open("ab") as file:
        file.write(text.encode())


def end_line(path: Path) -> None:
    """Ends the last line of a file, where it is there and was torn, so that the next one stands by itself."""
    if path.exists() and (content := path.read_bytes()) and not content.endswith(b"\n"):
        append_text(path, "\n")


def free_name(path: Path) -> Path:
    """`path`, or with the next number that no file has."""
    taken, number = path, 1
    while taken.exists():
        number += 1
        taken = path.with_name(f"{path.name}.{number}")
    return taken


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Replaces `path` by the given records, atomically."""
    write_atomically(path, "".join(_line(r) for r in records).encode())


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The records of a JSON-lines file, which may be gzipped (`.gz`).

    A torn last line (a run was killed while writing it) is left out.

    Raises `RecordError` that names the file and the line.
    """
    found = []
    lines = _lines(path)
    sealed_ones = _are_sealed(lines)
    for number, line in enumerate(lines, start=1):
        try:
            found.append(_record(line, kind, sealed_ones))
        except ValueError as error:
            raise RecordError(f"{path}, line {number} is damaged: {error}; remove the run or restore it") from error
    return found


def lines_if_any(path: Path, kind: type[T]) -> list[T]:
    """The records of a file, none where there is no such file."""
    return read_lines(path, kind) if path.exists() else []


def read_intact_lines(path: Path, kind: type[T]) -> tuple[list[T], list[str]]:
    """The records of a JSON-lines file as far as they are intact, and the lines that are not."""
    found, damaged = [], []
    lines = _lines(path)
    sealed_ones = _are_sealed(lines)
    for line in lines:
        try:
            found.append(_record(line, kind, sealed_ones))
        except ValueError:
            damaged.append(line)
    return found, damaged


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; a byte that is no UTF-8 damages its own line alone."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"can't read {path}: {error}; is this the directory of a run?") from error
    # a complete file ends in a newline, so its last piece is empty; anything else was cut short
    return content.decode("utf-8", errors="backslashreplace").split("\n")[:-1]


def _are_sealed(lines: list[str]) -> bool:
    """Whether the lines are of a version that gave each its checksum: then one without is damaged."""
    return any(f'"{KEY}": "' in line for line in lines)


def _record(line: str, kind: type[T], is_sealed: bool) -> T:
    """The record in a line; raises `ValueError` where there is none, or not the one that was written."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    # a record written before a field was there has that field's default
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
    try:
        data = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested without end") from error
    if not isinstance(data, dict):
        raise ValueError("no record")
    if is_sealed and KEY not in data:
        raise ValueError("it has no checksum, and others have")
    data = unsealed(data)
    if not needed <= set(data) <= names:
        raise ValueError(f"expected the fields {sorted(names)}")
    return kind(**data)


def _line(record: Any) -> str:
    return json.dumps(sealed(_plain(record)), allow_nan=False) + "\n"


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> None:
    """Replaces `path` by `data`, atomically, indented for readers unless it is long."""
    plain = _plain(data)
    content = sealed(plain) if isinstance(plain, dict) else plain
    write_atomically(path, (json.dumps(content, indent=indent, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `RecordError` that names it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return unsealed(found) if isinstance(found, dict) else found
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(f"can't read {path}: {error}; is this the directory of a run?") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames: a reader sees the old file or the new one, never a part.

    Raises `StorageError` where that can't be done; the old file is then as it was.
    """
    with _storing(path):
        beside = write_beside(path, content)
        os.replace(beside, path)
        sync_directory(path.parent)


def write_beside(path: Path, content: bytes) -> Path:
    """Writes `content` to a file beside `path`, down to the disk, and returns it; nothing is left of a failure."""
    beside = path.with_name(f".{path.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        beside.unlink(missing_ok=True)  # of a process that was killed; a link put there would lead elsewhere
        with os.fdopen(os.open(beside, flags, 0o666), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)  # half a file would hold the space that is missing
        raise
    return beside


def rename(path: Path, target: Path) -> None:
    """Gives a file another name, if it is there; raises `StorageError` where that can't be done."""
    with _storing(path), contextlib.suppress(FileNotFoundError):
        os.replace(path, target)


def remove(path: Path) -> None:
    """Removes a file, if it is there; raises `StorageError` where that can't be done."""
    with _storing(path):
        path.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Brings what was appended to `path` down to the disk, so that a loss of power can't take it."""
    with _storing(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Brings renames in `path` down to the disk, where the system can do that."""
    if os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


PROBE = ".writable"
"""A file that is made and removed to see whether that can be done."""


def make_directory(path: Path) -> Path:
    """Creates `path` with its parents; raises `OutputDirectoryError` where nothing can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / PROBE
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have been as quick
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputDirectoryError(f"--out {path}: can't write there ({reason}); choose another directory") from error
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return _plain(asdict(value))
    return value
