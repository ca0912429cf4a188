"""What a run comes down to: summary.json."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pynode.records.files import finite, lines_if_any
from pynode.records.iteration import IterationRecord
from pynode.records.runs import RECORDS
from pynode.training.config import RunConfig
from pynode.training.progress import Progress


def summarise(config: RunConfig, directory: Path, progress: Progress, **more: Any) -> dict[str, Any]:
    """Per-iteration figures are medians (seconds) and means (evaluations) over iterations that did not fail.

    `failed_iterations` are those that a policy went on after, `lost_records` those that a damaged file took.
    """
    every = lines_if_any(directory / RECORDS, IterationRecord)
    records = [r for r in every if r.failure is None]
    memory = [r.peak_memory_bytes for r in records if r.peak_memory_bytes is not None]

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
        "stopped_early": progress.pace.stopped,
        # of all iterations, so not known where records of some are lost
        "training_seconds": sum(r.seconds for r in every) if len(every) == progress.iteration else None,
        **more,
    }
