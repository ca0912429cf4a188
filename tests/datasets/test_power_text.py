"""POWER from UCI's text: as the archive's own format gives it, with gaps, packed, damaged."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets import power_text
from pynode.datasets.errors import DataError
from pynode.datasets.power_text import HEADER, read_power_text
from pynode.datasets.raw_files import prepare
from pynode.datasets.sources import file_digest
from pynode.datasets.splits import PARTS, Splits

Array = Any
PARTS_OF_POWER = (162, 18, 20)


def same(a: Splits, b: Splits) -> bool:
    """Whether two sets have the same rows and the same scale, to the bit."""
    arrays = [(getattr(a, part), getattr(b, part)) for part in PARTS]
    return all(np.array_equal(x, y) for x, y in [*arrays, (a.mean, b.mean), (a.std, b.std)])


def sizes(splits: Splits) -> tuple[int, ...]:
    return tuple(len(getattr(splits, part)) for part in PARTS)


def readings(n: int = 200) -> Array:
    """Rows in the order of the archive's columns, with as many digits as UCI's file has."""
    rng = np.random.default_rng(0)
    meters = [rng.random(n) * 5, rng.random(n), 220 + 20 * rng.random(n), rng.random(n) * 20]
    subs = [rng.integers(0, 40, n).astype(float) for _ in range(3)]
    return np.round(np.column_stack([*meters, *subs, (1044 + np.arange(n)) % 1440]), 3)


def lines_of(rows: Array, delimiter: str = ";") -> list[str]:
    """The same rows as lines of UCI's file."""
    return [
        delimiter.join(
            ["16/12/2006", f"{int(row[7]) // 60:02}:{int(row[7]) % 60:02}:00", *(f"{x:.3f}" for x in row[:7])]
        )
        for row in rows
    ]


def text_of(lines: list[str], delimiter: str = ";", end: str = "\n") -> str:
    return end.join([delimiter.join(HEADER), *lines]) + end


def as_zip(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("household_power_consumption.txt", text)


@pytest.fixture
def of_archive(tmp_path: Path) -> Splits:
    """POWER from the archive's own format."""
    (tmp_path / "archive").mkdir()
    np.save(tmp_path / "archive" / "data.npy", readings())
    return prepare("power", tmp_path / "archive").splits


WAYS: dict[str, Callable[[Path], object]] = {
    "text": lambda p: p.write_text(text_of(lines_of(readings()))),
    "crlf": lambda p: p.write_bytes(text_of(lines_of(readings()), end="\r\n").encode()),
    "no last newline": lambda p: p.write_text(text_of(lines_of(readings())).rstrip()),
    "commas": lambda p: p.write_text(text_of(lines_of(readings(), ","), ",")),
    "gzip": lambda p: p.write_bytes(gzip.compress(text_of(lines_of(readings())).encode())),
    "zip": lambda p: as_zip(p, text_of(lines_of(readings()))),
}


@pytest.mark.parametrize("way", WAYS)
def test_power_from_ucis_text_is_that_of_the_archive(tmp_path: Path, of_archive: Splits, way: str) -> None:
    path = tmp_path / "my rows"
    WAYS[way](path)
    prepared = prepare("power", path)
    assert prepared.left_out == 0
    assert sizes(prepared.splits) == PARTS_OF_POWER
    assert same(prepared.splits, of_archive)
    assert prepared.splits.provenance is not None
    (source,) = prepared.splits.provenance.sources
    assert (source.name, source.bytes, source.sha256) == (path.name, path.stat().st_size, file_digest(path).hexadecimal)


def test_rows_with_missing_values_are_left_out_and_counted(
    tmp_path: Path, of_archive: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = lines_of(readings())
    lines.insert(0, "28/4/2007;00:21:00;?;?;?;?;?;?;")
    lines.insert(50, "28/4/2007;00:21:00;;0.1;230.0;1.0;0.0;0.0;0.0")
    lines.insert(100, "28/4/2007;00:21:00;1.0;0.1;230.0;1.0;0.0;0.0;")
    lines.insert(150, "28/4/2007;00:21:00;1.0;0.1;nan;1.0;0.0;0.0;1.0")
    lines.insert(160, "")
    path = tmp_path / "gaps.txt"
    path.write_text(text_of(lines))
    for piece in (power_text.PIECE, 1000):  # in one piece and in many
        monkeypatch.setattr(power_text, "PIECE", piece)
        prepared = prepare("power", path)
        assert prepared.left_out == 4
        assert same(prepared.splits, of_archive)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda lines: [*lines[:2], "16/12/2006;17:2", *lines[2:]],
            r"line 4 has 2 cells instead of 9: the file is cut",
        ),
        (lambda lines: [*lines[:-1], lines[-1][:30]], r"line 201 has 4 cells instead of 9"),
        (lambda lines: [lines[0], lines[1].replace(";0.", ";x.", 1)], r"line 3: Global_\w+ is 'x\.\d+', not a number"),
        (lambda lines: [lines[0], lines[1].replace(":00;", ";", 1)], "line 3: Time is '17:25' instead of hours"),
        (
            lambda lines: [*lines[:3], lines[3].replace("17:27", "37:27")],
            "line 5: the time of day 37:27:00 is not between",
        ),
        (lambda lines: [lines[0], lines[1].replace(":00;", ":00:00;", 1)], "line 3: Time is '17:25:00:00' instead"),
        (lambda lines: [lines[0].rpartition(";")[0] + "; "], "no complete row below its header"),
        (lambda lines: [lines[0].replace(";2", "; ;2", 1).rpartition(";")[0]], r"line 2: \w+ is ' ', not a number"),
        (lambda _: [], "no complete row below its header"),
        (lambda _: ["28/4/2007;00:21:00;?;?;?;?;?;?;"], "no complete row below its header"),
        (lambda lines: lines[:9], r"rows = 9: too few"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "power.txt"
    path.write_text(text_of(change(lines_of(readings()))))
    with pytest.raises(DataError, match=message):
        prepare("power", path)


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_archives_that_are_cut_short(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "power"
    WAYS[kind](path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"power is cut short or damaged: .*; get the file again"):
        prepare("power", path)


def test_an_archive_of_several_files(tmp_path: Path, of_archive: Splits) -> None:
    path = tmp_path / "power.zip"
    as_zip(path, text_of(lines_of(readings())))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "nothing")
    assert same(prepare("power", path).splits, of_archive)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b.txt", "b")
    with pytest.raises(DataError, match=r"holds 2 files, none of them household_power_consumption\.txt"):
        prepare("power", path)
    with zipfile.ZipFile(path, "w") as archive:
        for folder in ("a", "b"):
            archive.writestr(f"{folder}/household_power_consumption.txt", text_of(lines_of(readings())))
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match="holds 3 files, 2 of them called household_power"):
        prepare("power", path)


def test_columns_of_ucis_text_in_the_order_of_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "power.txt"
    path.write_text(text_of(["16/12/2006;17:24:30;4.216;0.418;234.840;18.400;0.000;1.000;17.000"]))
    rows, left_out = read_power_text(path)
    assert rows.tolist() == [[4.216, 0.418, 234.84, 18.4, 0.0, 1.0, 17.0, 1044.5]]
    assert left_out == 0
