"""The summary of a run: medians of seconds, means of evaluations, and what it says of iterations that are missing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.errors import RecordError
from pynode.methods.disc_opt import DiscOpt
from pynode.records.files import lines_if_any, write_lines
from pynode.records.iteration import IterationRecord
from pynode.training.config import RunConfig
from pynode.training.progress import Progress, summarise
from pynode.training.schedules import Pace

CONFIG = RunConfig("spiral", DiscOpt(), 3, 8, 0.1, 0.0)


def record(k: int) -> IterationRecord:
    """Iteration k, whose numbers are told apart by their sums."""
    x = float(k * k)
    return IterationRecord(
        iteration=k,
        loss=1.0,
        best_loss=1.0,
        validation_loss=None,
        gradient_norm=1.0,
        seconds_forward=x,
        seconds_backward=10 * x,
        seconds_optimiser=100 * x,
        nfe_forward=k,
        nfe_backward=10 * k,
        n_vjp_forward=100 * k,
        n_vjp_backward=1000 * k,
        n_accepted=0,
        n_rejected=0,
        n_accepted_backward=0,
        n_rejected_backward=0,
        peak_memory_bytes=None,
        engine="eager",
        seconds_exchange=1000 * x,
        seconds_bridge=0.5 * x,
    )


RECORDS = [record(1), record(2), record(4), replace(record(3), failure="it failed", engine="fused")]
DONE = Progress(iteration=4, best_loss=0.5, best_validation=math.inf, best_iteration=2, pace=Pace(stopped=True))


def summarised(folder: Path, progress: Progress, **more: Any) -> dict[str, Any]:
    """The summary of the records in `folder`."""
    return summarise(CONFIG, lines_if_any(folder / "records.jsonl", IterationRecord), progress, **more)


def test_medians_of_seconds_and_means_of_evaluations(tmp_path: Path) -> None:
    """Over the iterations that did not fail: seconds 1, 4, 16 of which 4 is in the middle; counts 1, 2, 4."""
    write_lines(tmp_path / "records.jsonl", RECORDS)
    summary = summarise(
        CONFIG, lines_if_any(tmp_path / "records.jsonl", IterationRecord), DONE, status="finished", more=1
    )
    assert summary["seconds_forward"] == 4
    assert summary["seconds_backward"] == 40
    assert summary["seconds_optimiser"] == 400
    assert summary["seconds_exchange"] == 4000
    assert summary["seconds_bridge"] == 2
    assert summary["seconds_per_iteration"] == 4444
    assert summary["nfe_forward"] == pytest.approx(7 / 3)
    assert summary["nfe_backward"] == pytest.approx(70 / 3)
    assert summary["evaluations"] == pytest.approx(7777 / 3)
    assert summary["training_seconds"] == 1111 * (1 + 4 + 16 + 9), "of all iterations, failed ones too"
    assert (summary["iterations"], summary["failed_iterations"], summary["lost_records"]) == (4, 1, 0)
    assert (summary["best_loss"], summary["best_validation_loss"], summary["best_iteration"]) == (0.5, None, 2)
    assert (summary["seed"], summary["label"], summary["method"]) == (3, CONFIG.label, "disc-opt")
    assert (summary["engine"], summary["stopped_early"], summary["peak_memory_bytes"]) == ("eager", True, None)
    assert (summary["status"], summary["more"]) == ("finished", 1)


def test_lost_records_are_counted_and_leave_no_total(tmp_path: Path) -> None:
    write_lines(tmp_path / "records.jsonl", RECORDS)
    summary = summarised(tmp_path, replace(DONE, iteration=6))
    assert summary["lost_records"] == 2
    assert summary["training_seconds"] is None
    assert summary["seconds_forward"] == 4


def test_the_largest_memory_and_all_engines(tmp_path: Path) -> None:
    several = [
        replace(record(1), peak_memory_bytes=5, load_average=1.5),
        replace(record(2), peak_memory_bytes=7, load_average=1.25, engine="fused"),
    ]
    write_lines(tmp_path / "records.jsonl", [*several, replace(record(3), seconds_bridge=0.0, seconds_exchange=0.0)])
    summary = summarised(tmp_path, replace(DONE, iteration=3))
    assert (summary["peak_memory_bytes"], summary["engine"]) == (7, "eager, fused")
    assert summary["load_average"] == 1.5
    alone = [replace(r, seconds_bridge=0.0, seconds_exchange=0.0) for r in RECORDS]
    write_lines(tmp_path / "records.jsonl", alone)
    summary = summarised(tmp_path, DONE)
    assert (summary["seconds_bridge"], summary["seconds_exchange"]) == (None, None), "where there are none of them"
    assert summary["load_average"] is None, "which older records lack"


def test_a_run_without_iterations_has_no_medians(tmp_path: Path) -> None:
    summary = summarised(tmp_path, Progress())
    assert [summary[name] for name in ("seconds_per_iteration", "nfe_forward", "evaluations")] == [None] * 3
    assert (summary["engine"], summary["training_seconds"], summary["best_loss"]) == ("", 0, None)


def test_progress_goes_through_json() -> None:
    """Losses that are infinite before the first value are null in between."""
    for progress in (Progress(), DONE, Progress(pace=Pace(1, 2, 3, 0.25, 7, False), rate_factor=0.5, failures=2)):
        assert Progress.from_json(progress.to_json()) == progress
    assert Progress().to_json()["best_loss"] is None
    fresh = Progress.from_json({})
    assert (fresh.iteration, fresh.best_iteration, fresh.rate_factor, fresh.failures) == (0, 0, 1.0, 0)
    assert (fresh.best_loss, fresh.best_validation, fresh.pace) == (
        math.inf,
        math.inf,
        Pace(0, 0, 0, math.inf, -1, False),
    )
    for wrong in ({"iteration": -1}, {"rate_factor": -0.5}, {"pace": 3}, {"pace": {"validated_at": -2}}, {"x": 1}):
        with pytest.raises(RecordError, match="the progress in the checkpoint is damaged"):
            Progress.from_json(wrong)
