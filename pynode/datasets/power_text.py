"""POWER's source as UCI distributes it: `household_power_consumption.txt`, one line a minute, or parts of it.

Two million lines are read in pieces, each by NumPy's own parser; only where a piece is wrong are its lines looked at
one by one.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.file_kinds import opened
from pynode.datasets.splits import Array
from pynode.wording import counted

USUAL = "household_power_consumption.txt"
HEADER = (
    "Date",
    "Time",
    "Global_active_power",
    "Global_reactive_power",
    "Voltage",
    "Global_intensity",
    "Sub_metering_1",
    "Sub_metering_2",
    "Sub_metering_3",
)
PIECE = 1 << 24
"""Bytes that are read at once."""

LONGEST = 10_000
"""Bytes of the first line that are looked at."""


def read_power_text(path: Path) -> tuple[Array, int]:
    """The rows `(rows, 8)`, float64, in the order of the archive's columns, and how many incomplete ones are left out.

    Columns: global active power (kW), global reactive power (kW), voltage (V), global intensity (A), sub-meterings 1 to
    3 (Wh), time of day (minutes).  A row with `?`, an empty cell or NaN is incomplete.  The file may be a gzip file or
    a zip archive.  Raises `DataError`, with the number of the line, for anything else than such a table.
    """
    with opened(path, USUAL) as file:
        delimiter = _delimiter(path, file.readline(LONGEST))
        pieces, incomplete, first = [np.empty((0, 8))], 0, 2
        while lines := file.readlines(PIECE):
            rows = _rows(path, lines, first, delimiter)
            pieces.append(rows)
            incomplete += sum(1 for line in lines if line.strip()) - len(rows)
            first += len(lines)
    rows = np.concatenate(pieces)
    if not len(rows):
        raise DataError(f"{path} has no complete row below its header: give a file with rows")
    return rows, incomplete


def _delimiter(path: Path, header: bytes) -> bytes:
    """ ";" as in UCI's file, or "," as some tools save it; raises `DataError` for another header."""
    text = header.decode("utf-8-sig", errors="replace").strip()
    for delimiter in (";", ","):
        if [name.strip().strip('"').lower() for name in text.split(delimiter)] == [name.lower() for name in HEADER]:
            return delimiter.encode()
    raise DataError(
        f"{path} does not begin with the line {';'.join(HEADER)}: it is not UCI's {USUAL}; give that file, or the "
        "archive's data.npy"
    )


def _rows(path: Path, lines: list[bytes], first: int, delimiter: bytes) -> Array:
    """The complete rows among these lines, the first of which has the number `first`."""
    empty, cells = delimiter * 2, len(HEADER)
    for number, line in enumerate(lines, first):
        if line.count(delimiter) != cells - 1 and line.strip():
            held = counted(line.count(delimiter) + 1, "cell")
            raise DataError(
                f"{path}, line {number} has {held} instead of {cells}: the file is cut short or damaged; get it again, "
                "or remove the line"
            )
    full = [
        line
        for line in lines
        if b"?" not in line and empty not in line and not (bare := line.strip()).endswith(delimiter) and bare
    ]
    if not full:
        return np.empty((0, 8))
    try:
        if any(line.count(b":") != 2 for line in full):
            raise ValueError("a time of day is not hours:minutes:seconds")  # else its parts would move the readings
        table = _numbers(b"".join(full), delimiter)
    except ValueError as error:
        raise DataError(f"{path}, {_wrong_line(lines, first, delimiter)}; get the file again, or mend it") from error
    minutes = 60 * table[:, 0] + table[:, 1] + table[:, 2] / 60
    if (outside := ~((minutes >= 0) & (minutes < 24 * 60))).any():
        wrong = full[int(np.argmax(outside))]
        time = wrong.split(delimiter)[1].decode("latin-1").strip()
        raise DataError(
            f"{path}, line {first + lines.index(wrong)}: the time of day {time} is not between 00:00:00 and 23:59:59; "
            "get the file again, or mend it"
        )
    rows = np.column_stack((table[:, 3:], minutes))
    return rows[np.isfinite(rows).all(axis=1)]


def _numbers(text: bytes, delimiter: bytes) -> Array:
    """Hours, minutes, seconds and the seven readings of lines; raises `ValueError`."""
    split = text.replace(b":", delimiter).decode("latin-1")
    return np.loadtxt(io.StringIO(split), delimiter=delimiter.decode(), usecols=range(1, 11), ndmin=2, comments=None)


def _wrong_line(lines: list[bytes], first: int, delimiter: bytes) -> str:
    """A sentence on the first line that can't be read."""
    for number, line in enumerate(lines, first):
        cells = line.strip().decode("latin-1").split(delimiter.decode())
        if len(cells) < len(HEADER) or "" in cells or b"?" in line:
            continue
        for name, cell in zip(HEADER[1:], cells[1:], strict=True):
            try:
                _ = [float(part) for part in (cell.split(":") if name == "Time" else [cell])]
            except ValueError:
                return f"line {number}: {name} is {cell!r}, not a number"
            if name == "Time" and cell.count(":") != 2:
                return f"line {number}: Time is {cell!r} instead of hours:minutes:seconds"
    return "one of its lines is not as the header says"
