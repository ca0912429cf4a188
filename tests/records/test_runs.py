"""Runs read back: what follows from their files, and files that do not belong together."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import RecordError
from pynode.records.files import write_json, write_lines
from pynode.records.runs import Run, in_order, load_run, records_of, run_folders
from tests.records.test_iteration import RECORD
from tests.records.test_run_files import CONFIG

RECORDS = [replace(RECORD, iteration=k, loss=float(k), validation_loss=10.0 + k) for k in range(4)]
DONE: dict[str, Any] = {"status": "finished", "iterations": 4, "best_validation_loss": 10.0}


def make(folder: Path, records: int = 4, summary: dict[str, Any] | None = None, **config: Any) -> Path:
    """A run directory of four iterations with its first `records` records."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {**CONFIG, "iterations": 4, **config})
    write_lines(folder / "records.jsonl", RECORDS[:records])
    if summary is not None:
        write_json(folder / "summary.json", summary)
    return folder


def test_a_finished_run(tmp_path: Path) -> None:
    folder = make(tmp_path / "disc-opt-rk4-seed-x-seed3", summary=DONE, seed=3)
    write_json(folder / "evaluation.json", {"metrics": {"a": 1.0}, "series": {}})
    run = load_run(folder)
    assert (run.method, run.seed, run.label, run.setting) == ("disc-opt", 3, folder.name, "disc-opt-rk4-seed-x")
    assert run.finished
    assert run.records == RECORDS
    assert run.evaluation == {"metrics": {"a": 1.0}, "series": {}}
    assert run.summary == DONE


def test_what_a_run_is_compared_by() -> None:
    """The validation loss, or the loss as trained where the study did so."""
    run = Run({"faithful": False, "method": {"method": "x"}, "seed": 1}, None, RECORDS, None, "label")
    assert run.quality() == [10.0, 11.0, 12.0, 13.0]
    assert replace(run, config={**run.config, "faithful": True}).quality() == [0.0, 1.0, 2.0, 3.0]
    assert run.setting == "label", "a label without a seed is its own setting"
    assert run.method == "x"
    assert replace(run, config={**run.config, "multilevel": {"levels": [1]}}).method == "x-multilevel"


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    """Without a summary it may have any number of records; a failed one is not finished either."""
    run = load_run(make(tmp_path / "going", records=2))
    assert (run.finished, run.summary, run.evaluation, len(run.records)) == (False, None, None, 2)
    failed = load_run(make(tmp_path / "failed", records=2, summary={**DONE, "status": "failed", "iterations": 2}))
    assert not failed.finished
    assert load_run(make(tmp_path / "begun", records=0)).records == []


def test_records_that_the_summary_does_not_speak_of(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"holds 3 records, but summary\.json speaks of 4 iterations, 0 of them lost"):
        load_run(make(tmp_path / "short", records=3, summary=DONE))
    lost = load_run(make(tmp_path / "lost", records=3, summary={**DONE, "lost_records": 1}))
    assert len(lost.records) == 3
    with pytest.raises(RecordError, match="4 iterations, 1 of them lost"):
        load_run(make(tmp_path / "more", records=4, summary={**DONE, "lost_records": 1}))


def test_records_beyond_the_end_or_out_of_order(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="its iterations are not in order, or not below 3"):
        load_run(make(tmp_path / "beyond", iterations=3))
    assert load_run(make(tmp_path / "within", records=3, iterations=3)).records == RECORDS[:3]
    assert in_order(RECORDS, 4)
    assert in_order([RECORDS[0], RECORDS[3]], 4), "iterations may be lost"
    assert in_order([], 0)
    assert not in_order(RECORDS, 3)
    assert not in_order([RECORDS[1], RECORDS[1]], 4)
    assert not in_order([RECORDS[2], RECORDS[1]], 4)


def test_packed_records_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    folder = make(tmp_path / "runs" / "one", summary=DONE)
    packed = folder / "records.jsonl.gz"
    packed.write_bytes(gzip.compress((folder / "records.jsonl").read_bytes()))
    assert records_of(folder) == folder / "records.jsonl"
    (folder / "records.jsonl").unlink()
    assert records_of(folder) == packed
    assert load_run(folder).records == RECORDS
    packed.unlink()
    assert records_of(folder) == folder / "records.jsonl", "where the next one is written"


def test_folders_of_runs_are_those_with_a_file_of_a_run(tmp_path: Path) -> None:
    for name in ("b/config.json", "a/summary.json", "d/records.jsonl", "c/records.jsonl.gz", "e/notes.txt"):
        path = tmp_path / "runs" / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert [folder.name for folder in run_folders(tmp_path)] == ["a", "b", "c", "d"]
    assert run_folders(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    ("sessions", "threads"),
    [
        (None, 1),
        ([], 1),
        ([{"torch_threads": 4, "ranks": 2}], 8),
        ([{"torch_threads": 4, "ranks": 1}, {"torch_threads": 2}], 2),
        ([{"torch_threads": 4}, {"torch_threads": None, "ranks": "2"}, 7], 1),
        ({"torch_threads": 4}, 1),
    ],
)
def test_the_threads_of_a_run_are_those_of_its_sessions(tmp_path: Path, sessions: Any, threads: int) -> None:
    folder = make(tmp_path / "run", summary=DONE)
    if sessions is not None:
        write_json(folder / "environment.json", sessions)
    assert load_run(folder).threads == threads
    (folder / "environment.json").write_text("{")
    assert load_run(folder).threads == 1, "a run is as good without"
