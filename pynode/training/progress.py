"""What a run carries from one iteration to the next, besides parameters and optimiser; its summary at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any, TypeVar

from pynode.errors import RecordError
from pynode.records.files import finite
from pynode.records.iteration import IterationRecord
from pynode.records.schema import Count, NonNegative, convert
from pynode.training.config import RunConfig
from pynode.training.schedules import Pace

INFINITE = ("best_loss", "best_validation", "best_at_level", "loss", "least")
"""Infinite before the first value; JSON has null for that."""

T = TypeVar("T")


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
            pace = _read(convert(data.get("pace", {}), dict[str, Any]), Pace)
            return _read({**data, "pace": pace}, cls)
        except ValueError as error:
            raise _damaged(error) from error


@dataclass
class FinishingProgress:
    """What the stages after Adam carry from one iteration to the next, besides tensors.

    `iteration` is the next one, counted over all stages, `stage` the number of the present one, `begun` whether it has
    changed the weights as it does at its begin; of it `gradients` have been taken, `rate` is the number of the length
    of its first steps, `loss` that at the present weights and `least` the least of all that were tried.  `start` is the
    SHA-256 digest of the weights that the first stage began with.
    """

    start: str
    iteration: Count = 0
    stage: Count = 0
    begun: bool = False
    gradients: Count = 0
    rate: Count = 0
    loss: float = math.inf
    least: float = math.inf

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the progress back."""
        return {k: finite(v) if isinstance(v, float) else v for k, v in vars(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FinishingProgress:
        """What a checkpoint holds; raises `RecordError` for the progress of another version."""
        try:
            return _read(data, cls)
        except ValueError as error:
            raise _damaged(error) from error


def _read(data: Mapping[str, Any], kind: type[T]) -> T:
    return convert({k: math.inf if k in INFINITE and v is None else v for k, v in data.items()}, kind)


def _damaged(error: ValueError) -> RecordError:
    return RecordError(
        f"the progress in the checkpoint is damaged or of another version of pynode: {error}; restore the checkpoint, "
        "or resume with that version"
    )


def summarise(config: RunConfig, every: Sequence[IterationRecord], progress: Progress, **more: Any) -> dict[str, Any]:
    """The summary of a run with the records `every` of Adam's iterations.

    Per-iteration figures are medians (seconds) and means (evaluations) over iterations that did not fail.
    `failed_iterations` are those that a policy went on after, `lost_records` those that a damaged file took.
    `load_average` is the highest of the run.
    """
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


def summarise_stages(every: Sequence[IterationRecord], progress: FinishingProgress, judged: set[str]) -> dict[str, Any]:
    """What the stages after Adam took together, from the records `every` of their iterations.

    `finishing_*` of those whose weights are `judged`, by name, `final_*` of the others; None where records are lost.
    """
    whole = len(every) == progress.iteration

    def over(pick: Callable[[IterationRecord], float], *, of_judged: bool) -> float | None:
        return sum(pick(r) for r in every if (r.stage in judged) is of_judged) if whole else None

    return {
        "finishing_iterations": progress.iteration,
        "finishing_failures": sum(r.failure is not None for r in every),
        "finishing_seconds": over(lambda r: r.seconds, of_judged=True),
        "finishing_gradients": over(lambda r: r.gradients, of_judged=True),
        "finishing_evaluations": over(lambda r: r.evaluations, of_judged=True),
        "final_seconds": over(lambda r: r.seconds, of_judged=False),
        "final_gradients": over(lambda r: r.gradients, of_judged=False),
    }
