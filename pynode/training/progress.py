"""What a run carries from one iteration to the next, besides parameters and optimiser; its summary at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pynode.errors import RecordError
from pynode.records.files import finite, lines_if_any
from pynode.records.iteration import IterationRecord
from pynode.records.runs import RECORDS
from pynode.records.schema import Count, NonNegative, convert
from pynode.training.config import RunConfig
from pynode.training.schedules import Pace

INFINITE = ("best_loss", "best_validation", "best_at_level")
"""Infinite before the first value; JSON has null for that."""


@dataclass
class Progress:
    """`iteration` is the next one, `rate_factor` the factor of the learning rate after failures, `failures` the number
    of failed iterations in a row."""

    iteration: Count = 0
    best_loss: float = math.inf
    best_validation: float = math.inf
    best_iteration: Count = 0
    rate_factor: NonNegative = 1.0
    failures: Count = 0
    pace: Pace = field(default_factory=Pace)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the progress back."""
        mine = {k: finite(v) for k, v in vars(self).items() if k != "pace"}
        return {**mine, "pace": {k: finite(v) for k, v in vars(self.pace).items()}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        """What a checkpoint holds; raises `RecordError` for the progress of another version."""
        try:
            pace = convert(data.get("pace", {}), dict[str, Any])
            mine = {**data, "pace": convert({k: _value(k, v) for k, v in pace.items()}, Pace)}
            return convert({k: _value(k, v) for k, v in mine.items()}, cls)
        except ValueError as error:
            raise RecordError(
                f"the progress in the checkpoint is damaged or of another version of pynode: {error}; restore the "
                "checkpoint, or resume with that version"
            ) from error


def _value(name: str, value: Any) -> Any:
    return math.inf if name in INFINITE and value is None else value


def summarise(config: RunConfig, directory: Path, progress: Progress, **more: Any) -> dict[str, Any]:
    """Per-iteration figures are medians (seconds) and means (evaluations) over iterations that did not fail.

    `failed_iterations` are those that a policy went on after, `lost_records` those that a damaged file took.
    `load_average` is the highest of the run.
    """
    every = lines_if_any(directory / RECORDS, IterationRecord)
    records = [r for r in every if r.failure is None]
    memory = [r.peak_memory_bytes for r in records if r.peak_memory_bytes is not None]
    loads = [r.load_average for r in every if r.load_average is not None]

    def over(pick: Callable[[list[float]], float], name: str) -> float | None:
        return pick([float(getattr(r, name)) for r in records]) if records else None

    return {
        "method": config.method.title,
        "backend": config.method.ran_by,
        "engine": ", ".join(sorted({r.engine for r in records})),
        "label": config.label,
        "seed": config.seed,
        "iterations": progress.iteration,
        "failed_iterations": len(every) - len(records),
        "lost_records": progress.iteration - len(every),
        "best_loss": finite(progress.best_loss),
        "best_validation_loss": finite(progress.best_validation),
        "best_iteration": progress.best_iteration,
        "seconds_per_iteration": over(median, "seconds"),
        "seconds_forward": over(median, "seconds_forward"),
        "seconds_backward": over(median, "seconds_backward"),
        "seconds_optimiser": over(median, "seconds_optimiser"),
        "seconds_bridge": over(median, "seconds_bridge") or None,
        "seconds_exchange": over(median, "seconds_exchange") or None,
        "nfe_forward": over(fmean, "nfe_forward"),
        "nfe_backward": over(fmean, "nfe_backward"),
        "evaluations": over(fmean, "evaluations"),
        "peak_memory_bytes": max(memory, default=None),
        "load_average": max(loads, default=None),
        "stopped_early": progress.pace.stopped,
        # of all iterations, so not known where records of some are lost
        "training_seconds": sum(r.seconds for r in every) if len(every) == progress.iteration else None,
        **more,
    }
