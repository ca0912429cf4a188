"""Records on disk: appended lines, atomic files, and what is said of damaged ones."""

from __future__ import annotations

import errno
import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest

from pynode.errors import OutputDirectoryError, RecordError, StorageError
from pynode.records import files
from pynode.records.files import (
    append_line,
    append_text,
    end_line,
    finite,
    free_name,
    lines_if_any,
    make_directory,
    read_intact_lines,
    read_json,
    read_lines,
    read_object,
    remove,
    rename,
    write_atomically,
    write_beside,
    write_json,
    write_lines,
    write_new,
)
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


def test_only_finite_numbers_are_written() -> None:
    assert (finite(1.5), finite(0.0), finite(None), finite(math.inf), finite(math.nan)) == (1.5, 0.0, None, None, None)


def test_records_of_all_kinds_become_plain_values(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {1: (Row(1, math.nan), {"a": [2.5]}), "true": True})
    assert read_json(path) == {"1": [{"number": 1, "value": None}, {"a": [2.5]}], "true": True}
    assert path.read_text().startswith('{\n "1": ['), "indented for readers"
    write_json(path, {"a": [1, 2]}, indent=None)
    assert path.read_text().count("\n") == 1
    write_json(path, [1, math.inf])
    assert path.read_text() == "[\n 1,\n null\n]\n", "a list has no checksum"


def test_a_changed_line_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [Row(1, 0.5), Row(2, 0.5)])
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("0.5", "0.6")]) + "\n")
    with pytest.raises(RecordError, match="line 2 is damaged: its checksum is another"):
        read_lines(path, Row)
    assert read_intact_lines(path, Row) == ([Row(1, 0.5)], [lines[1].replace("0.5", "0.6")])


def test_a_line_that_lost_its_checksum_is_damaged_where_others_have_one(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"number": 1, "value": 2.0}\n')
    assert read_lines(path, Row) == [Row(1, 2.0)]
    append_line(path, Row(2, 3.0))
    with pytest.raises(RecordError, match="line 1 is damaged: it has no checksum, and others have; mend it"):
        read_lines(path, Row, "mend it")
    assert read_intact_lines(path, Row) == ([Row(2, 3.0)], ['{"number": 1, "value": 2.0}'])


def test_a_byte_that_is_no_text_damages_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [Row(1, 0.5), Row(2, 0.5)])
    path.write_bytes(b"\xff" + path.read_bytes())
    assert read_intact_lines(path, Row)[0] == [Row(2, 0.5)]


def test_a_torn_line_is_ended_so_that_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    end_line(path)
    assert not path.exists(), "there is nothing to end"
    path.touch()
    end_line(path)
    assert path.read_bytes() == b""
    append_text(path, '{"numb')
    end_line(path)
    end_line(path)
    assert path.read_text() == '{"numb\n'
    append_line(path, Row(1, 1.0))
    assert read_intact_lines(path, Row) == ([Row(1, 1.0)], ['{"numb'])


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert lines_if_any(tmp_path / "rows.jsonl", Row) == []
    write_lines(tmp_path / "rows.jsonl", [Row(1, None)])
    assert lines_if_any(tmp_path / "rows.jsonl", Row) == [Row(1, None)]


def test_the_next_free_name(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert free_name(path) == path
    path.touch()
    assert free_name(path) == tmp_path / "x.2"
    (tmp_path / "x.2").touch()
    assert free_name(path) == tmp_path / "x.3"


def test_an_object_of_known_keys(tmp_path: Path) -> None:
    class Keys(TypedDict):
        number: int

    path = tmp_path / "x.json"
    write_json(path, {"number": 1, "more": 2})
    assert read_object(path, Keys) == {"number": 1, "more": 2}
    write_json(path, {"number": "1"})
    with pytest.raises(RecordError, match=r"x\.json is damaged: number: expected an integer, got \"1\"; mend it"):
        read_object(path, Keys, "mend it")


def test_a_new_file_replaces_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_new(path, b"first")
    with pytest.raises(StorageError, match="File exists"):
        write_new(path, b"second")
    assert path.read_bytes() == b"first"

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("pynode.records.files.os.link", no_links)
    with pytest.raises(StorageError, match="not permitted"):
        write_new(path, b"second")
    write_new(tmp_path / "y", b"third")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"first", "y": b"third"}


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pynode.records.files.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomically(path, b"new")
    with pytest.raises(OSError, match="No space"):
        write_beside(path, b"new")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x": b"old"}


def test_what_a_killed_process_left_beside_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"kept")
    (tmp_path / ".x.tmp").symlink_to("elsewhere")
    write_atomically(tmp_path / "x", b"new")
    assert (tmp_path / "x").read_bytes() == b"new"
    assert (tmp_path / "elsewhere").read_bytes() == b"kept"
    assert not (tmp_path / ".x.tmp").is_symlink()


def test_files_that_are_not_there_need_no_removal(tmp_path: Path) -> None:
    path = tmp_path / "x"
    remove(path)
    rename(path, tmp_path / "y")
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"1")
    rename(path, tmp_path / "y")
    assert [p.name for p in tmp_path.iterdir()] == ["y"]
    remove(tmp_path / "y")
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before the rename, the rename itself, and appended lines when asked."""
    synced: list[str] = []
    monkeypatch.setattr(
        "pynode.records.files.os.fsync", lambda n: synced.append(Path(f"/proc/self/fd/{n}").readlink().name)
    )
    write_atomically(tmp_path / "x", b"1")
    assert synced == [".x.tmp", tmp_path.name]
    files.sync_file(tmp_path / "x")
    assert synced[2:] == ["x"]


def test_a_directory_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    assert make_directory(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert make_directory(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_nothing_is_appended_to_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").mkdir()
    for append in (lambda path: append_line(path, Row(1, 1.0)), end_line):
        with pytest.raises(RecordError, match="it is a folder, not a regular file; move it away"):
            append(tmp_path / "rows.jsonl")
