"""Reading and writing records: JSON lines that are appended, JSON files that are replaced atomically.

Numbers that are not finite are written as null.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from pynode.errors import OutputDirectoryError, RecordError

T = TypeVar("T")


def finite(value: float | None) -> float | None:
    """`value`, or None where it is not finite: JSON has no other word for that."""
    return value if value is not None and math.isfinite(value) else None


def append_line(path: Path, record: Any) -> None:
    """Appends a dataclass or mapping as one JSON line."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(_plain(record), allow_nan=False) + "\n")


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Replaces `path` by the given records, atomically."""
    write_atomically(path, "".join(json.dumps(_plain(r), allow_nan=False) + "\n" for r in records).encode())


def read_lines(path: Path, kind: type[T]) -> list[T]:
    """The records of a JSON-lines file, which may be gzipped (`.gz`).

    A torn last line (a run was killed while writing it) is left out.

    Raises `RecordError` that names the file and the line.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines = content.decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise RecordError(f"can't read {path}: {error}; is this the directory of a run?") from error
    # a complete file ends in a newline, so its last piece is empty; anything else was cut short
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    # a record written before a field was there has that field's default
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}  # type: ignore[arg-type]
    found = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            data = json.loads(line)
            if not isinstance(data, dict) or not needed <= set(data) <= names:
                raise ValueError(f"expected the fields {sorted(names)}")
            found.append(kind(**data))
        except ValueError as error:
            raise RecordError(f"{path}, line {number} is damaged: {error}; remove the run or restore it") from error
    return found


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> None:
    """Replaces `path` by `data`, atomically, indented for readers unless it is long."""
    write_atomically(path, (json.dumps(_plain(data), indent=indent, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file; raises `RecordError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"can't read {path}: {error}; is this the directory of a run?") from error


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside `path`, then renames: a reader sees the old file or the new one, never a part."""
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def make_directory(path: Path) -> Path:
    """Creates `path` with its parents; raises `OutputDirectoryError` where nothing can be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
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
