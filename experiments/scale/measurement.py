"""Checks the model on this machine: calibrates it on some iterations, predicts others, and whole cells."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from experiments.benchmarks.ceilings import SQUARE, measure
from experiments.benchmarks.summary import spread
from experiments.scale.calibration import fit
from experiments.scale.machine import Machine
from experiments.scale.plan import Records
from experiments.scale.records import CalibrationRecord, TrialRecord
from experiments.scale.runs import CELLS, RealCell
from experiments.scale.runs import measure as measure_runs
from experiments.scale.trials import CALIBRATION, HELD_OUT, MOST_SECONDS, Measured, Trial, only_threads, run
from pynode.records.files import finite

CEILING_TURNS = 5


def check(
    hear: Callable[[str], None] = lambda _: None,
    calibration: Sequence[Trial] = CALIBRATION,
    held_out: Sequence[Trial] = HELD_OUT,
    cells: Sequence[RealCell] = CELLS,
    most_seconds: float = MOST_SECONDS,
) -> Records:
    """Records of the check, on one thread."""
    before = only_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            return _check(hear, calibration, held_out, cells, most_seconds, Path(name))
    finally:
        only_threads(before)


def _check(
    hear: Callable[[str], None],
    calibration: Sequence[Trial],
    held_out: Sequence[Trial],
    cells: Sequence[RealCell],
    most_seconds: float,
    folder: Path,
) -> Records:
    hear("plain products and a copy")
    ceilings = {dtype: _ceilings(dtype) for dtype in ("float32", "float64")}
    measured: list[tuple[Trial, Measured]] = []
    for trial in (*calibration, *held_out):
        hear(f"iterations: {trial.name}")
        measured.append((trial, run(trial, folder, most_seconds)))
    seen = [m for t, m in measured if not t.held_out]
    square, copied = ceilings["float32"]
    fitted = fit([m.work for m in seen], [median(m.seconds) for m in seen], square, "float32")
    machine = Machine(
        {dtype: rate for dtype, (rate, _) in ceilings.items()},
        fitted.bandwidth,
        fitted.launch,
        fitted.overlap,
        fitted.memory,
        fitted.link,
        fitted.host,
    )
    records: Records = {
        "calibration": [CalibrationRecord("float32", square, finite(fitted.bandwidth), fitted.launch, square, copied)],
        "trials": [_record(t, m, machine) for t, m in measured],
        "runs": measure_runs(cells, folder, machine, hear) if cells else [],
    }
    return records


def _ceilings(dtype: str) -> tuple[float, float]:
    """Operations and bytes a second of the square product and of the copy, medians of some turns."""
    turns = [measure([SQUARE], dtype, 1, "cpu") for _ in range(CEILING_TURNS)]
    product, copied = (median(1e9 * turn[k]["rate"] for turn in turns) for k in (0, 1))
    return product, copied


def _record(trial: Trial, found: Measured, machine: Machine) -> TrialRecord:
    seconds = spread(found.seconds)
    counts = found.counts
    return TrialRecord(
        name=trial.name,
        held_out=trial.held_out,
        problem=trial.problem,
        method=trial.method,
        dtype=trial.dtype,
        batch=found.sizes.rows,
        widths=list(found.sizes.spec.widths),  # type: ignore[attr-defined]
        evaluations=counts.forward + counts.backward + counts.products,
        operations=found.work.operations,
        bytes=found.work.bytes,
        launches=found.work.launches,
        predicted=machine.seconds(found.work, trial.dtype),
        measured=seconds.middle,
        low=seconds.low,
        high=seconds.high,
        processor=median(found.processor),
        repeats=len(found.seconds),
    )
