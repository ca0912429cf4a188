"""Reading and writing records: JSON lines that are appended, JSON files that are replaced atomically.

Numbers that are not finite are written as null.  Lines and files carry a checksum, so that damage is noticed; those of
earlier versions have none and are read without this check.  All that is read back is checked against a schema
(pynode/records/schema.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pynode.errors import OutputDirectoryError, RecordError, StorageError
from pynode.records.content import Unreadable, check_regular, is_there, read_content
from pynode.records.schema import KEY, convert, decode, parse, sealed

T = TypeVar("T")

RESTORE = "restore it, or delete it and run the command that made it again"
"""The remedy for a damaged file where there is no better one."""


def finite(value: float | None) -> float | None:
    """`value`, or None where it is not finite, which JSON can't express."""
    return value if value is not None and math.isfinite(value) else None


def append_line(path: Path, record: Any) -> None:
    """Appends a dataclass or mapping as one JSON line; raises `StorageError` where that can't be done."""
    append_text(path, _line(record))


def append_text(path: Path, text: str) -> None:
    """Appends `text` to a regular file; raises `StorageError` where that can't be done."""
    check_appendable(path)
    with _storing(path), path.open("ab") as file:
        file.write(text.encode())


def check_appendable(path: Path) -> None:
    """Raises `RecordError` where `path` is something else than a regular file, a pipe for instance."""
    if is_there(path):
        try:
            check_regular(path)
        except Unreadable as error:
            raise RecordError(f"can't write {path}: {error}; move it away") from error


def end_line(path: Path) -> None:
    """Ends the last line of a file, where it is there and was torn, so that the next one is a line of its own."""
    if not is_there(path):
        return
    try:
        content = read_content(path)
    except Unreadable as error:
        raise RecordError(f"can't read {path}: {error}; move it away") from error
    if content and not content.endswith(b"\n"):
        append_text(path, "\n")


def free_name(path: Path) -> Path:
    """`path`, or with the next number that no file has."""
    taken, number = path, 1
    while is_there(taken):
        number += 1
        taken = path.with_name(f"{path.name}.{number}")
    return taken


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Replaces `path` by the given records, atomically."""
    write_atomically(path, "".join(_line(r) for r in records).encode())


def read_lines(path: Path, kind: type[T], remedy: str = RESTORE) -> list[T]:
    """The records of a JSON-lines file, which may be gzipped (`.gz`).

    A torn last line (a run was killed while writing it) is left out.

    Raises `RecordError` that names the file, the line, the key and the `remedy`.
    """
    records = []
    lines = _lines(path, remedy)
    sealed_ones = _are_sealed(lines)
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_record(line, kind, sealed_ones))
        except ValueError as error:
            raise RecordError(f"{path}, line {number} is damaged: {error}; {remedy}") from error
    return records


def lines_if_any(path: Path, kind: type[T], remedy: str = RESTORE) -> list[T]:
    """The records of a file, none where there is no such file."""
    return read_lines(path, kind, remedy) if is_there(path) else []


def read_intact_lines(path: Path, kind: type[T]) -> tuple[list[T], list[str]]:
    """The records of a JSON-lines file as far as they are intact, and the lines that are not."""
    intact, damaged = [], []
    lines = _lines(path, RESTORE)
    sealed_ones = _are_sealed(lines)
    for line in lines:
        try:
            intact.append(_record(line, kind, sealed_ones))
        except ValueError:
            damaged.append(line)
    return intact, damaged


def _lines(path: Path, remedy: str) -> list[str]:
    """The whole lines of a file; a byte that is not UTF-8 damages its own line only."""
    try:
        content = read_content(path)
    except ValueError as error:
        raise RecordError(f"can't read {path}: {error}; {remedy}") from error
    # a complete file ends in a newline, so its last piece is empty; anything else was cut short
    return content.decode("utf-8", errors="backslashreplace").split("\n")[:-1]


def _are_sealed(lines: list[str]) -> bool:
    """Whether the version that wrote the lines gave each its checksum: then one without is damaged."""
    return any(f'"{KEY}": "' in line for line in lines)


def _record(line: str, kind: type[T], is_sealed: bool) -> T:
    """The record in a line; raises `ValueError` where there is none, or not the one that was written."""
    if is_sealed and f'"{KEY}": "' not in line:
        raise ValueError("it has no checksum, and others have")
    # a record written before a field was there has that field's default
    return convert(parse(line), kind)


def _line(record: Any) -> str:
    return json.dumps(sealed(_plain(record)), allow_nan=False) + "\n"


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> None:
    """Replaces `path` by `data`, atomically, indented for readers unless it is long."""
    plain = _plain(data)
    content = sealed(plain) if isinstance(plain, dict) else plain
    write_atomically(path, (json.dumps(content, indent=indent, allow_nan=False) + "\n").encode())


def read_json(path: Path, remedy: str = RESTORE) -> Any:
    """The content of a JSON file; raises `RecordError` that names it, and the `remedy`."""
    try:
        return parse(decode(read_content(path)))
    except ValueError as error:
        raise RecordError(f"can't read {path}: {error}; {remedy}") from error


def read_object(path: Path, kind: Any, remedy: str = RESTORE) -> dict[str, Any]:
    """The content of a JSON file that holds an object with the keys of the `TypedDict` `kind`, and perhaps more.

    Raises `RecordError` that names the file, the key and the `remedy`.
    """
    content = read_json(path, remedy)
    try:
        convert(content, kind)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}; {remedy}") from error
    return dict(content)


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames: a reader sees the old file or the new one, never a part.

    Raises `StorageError` where that can't be done; the old file is then as it was.
    """
    with _storing(path):
        beside = write_beside(path, content)
        os.replace(beside, path)
        sync_directory(path.parent)


def write_new(path: Path, content: bytes) -> None:
    """Writes a file that does not exist yet, whole or not at all.

    Raises `StorageError` where it exists, even if another process made it meanwhile, or can't be written.
    """
    with _storing(path):
        beside = write_beside(path, content)
        try:
            os.link(beside, path)  # unlike a rename, this fails where there is a file
        except OSError as error:
            if isinstance(error, FileExistsError) or os.path.lexists(path):
                raise
            os.replace(beside, path)  # a file system without links
        finally:
            beside.unlink(missing_ok=True)
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
    if path.is_file():
        raise OutputDirectoryError(f"--out {path}: is a file; choose another directory")
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
