"""Records on disk: appended lines, atomic files, and what is said of damaged ones."""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from pynode.errors import OutputDirectoryError, RecordError
from pynode.records.files import append_line, make_directory, read_json, read_lines, write_json, write_lines
from pynode.studies.results import load_results


@dataclass(frozen=True)
class Row:
    """A record for these tests."""

    number: int
    value: float | None


def test_lines_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [Row(i, 0.1 * i) for i in range(3)]
    for row in rows:
        append_line(path, row)
    assert read_lines(path, Row) == rows
    write_lines(path, rows[:1])
    assert read_lines(path, Row) == rows[:1]


def test_a_number_that_is_not_finite_is_null(tmp_path: Path) -> None:
    append_line(tmp_path / "rows.jsonl", Row(0, math.nan))
    assert read_lines(tmp_path / "rows.jsonl", Row) == [Row(0, None)]
    write_json(tmp_path / "x.json", {"a": [math.inf, 1.0]})
    assert read_json(tmp_path / "x.json") == {"a": [None, 1.0]}


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, Row(0, 1.0))
    with path.open("a") as file:
        file.write('{"number": 1, "val')
    assert read_lines(path, Row) == [Row(0, 1.0)]


@pytest.mark.parametrize("line", ["{", "[]", '{"number": 1}', '{"number": 1, "value": 2, "more": 3}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    append_line(path, Row(0, 1.0))
    with path.open("a") as file:
        file.write(line + "\n")
    append_line(path, Row(2, 1.0))
    with pytest.raises(RecordError, match=r"rows\.jsonl, line 2 is damaged"):
        read_lines(path, Row)


def test_writing_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    write_json(tmp_path / "x.json", {"a": 2})
    assert read_json(tmp_path / "x.json") == {"a": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_missing_files_and_directories_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"nothing\.json"):
        read_json(tmp_path / "nothing.json")
    with pytest.raises(RecordError, match="holds no results"):
        load_results(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputDirectoryError, match="can't write there"):
        make_directory(tmp_path / "file" / "below")


@pytest.mark.parametrize("name", ["config.json", "summary.json"])
def test_a_run_with_a_foreign_file_is_named(tmp_path: Path, name: str) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    good = {
        "problem": "spiral",
        "method": {"method": "disc-opt", "steps": 1},
        "seed": 0,
        "faithful": False,
        "iterations": 1,
    }
    write_json(run / "config.json", good)
    write_json(run / name, {"something": "else"})
    with pytest.raises(RecordError, match=name):
        load_results(tmp_path)


def test_gzipped_records_are_read_and_damage_is_told(tmp_path: Path) -> None:
    """Published runs keep theirs so."""
    record = Row(3, 0.5)
    write_lines(tmp_path / "rows.jsonl", [record, record])
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress((tmp_path / "rows.jsonl").read_bytes()))
    assert read_lines(packed, Row) == [record, record]
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(RecordError, match="can't read"):
        read_lines(packed, Row)


def test_records_from_before_a_field_was_there_have_its_default(tmp_path: Path) -> None:
    """What was recorded by an earlier version stays readable; a field that nobody knows, or one too few, is damage."""

    @dataclass(frozen=True)
    class Grown:
        first: int
        later: str = "none"

    path = tmp_path / "records.jsonl"
    path.write_text('{"first": 1}\n{"first": 2, "later": "some"}\n', encoding="utf-8")
    assert read_lines(path, Grown) == [Grown(1), Grown(2, "some")]
    for line in ('{"later": "some"}', '{"first": 1, "other": 2}'):
        path.write_text(line + "\n", encoding="utf-8")
        with pytest.raises(RecordError, match="line 1 is damaged"):
            read_lines(path, Grown)
