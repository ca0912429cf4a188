"""What a run had spent when it first was as good as a given loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pynode.records.results import Run


@dataclass(frozen=True)
class Spent:
    """Training seconds, NFE-F + NFE-B, all evaluations (with vector-Jacobian products), iterations.

    `solving` are the seconds of forward solve, loss and gradient, that is all but the optimiser's.
    """

    seconds: float = 0.0
    nfe: int = 0
    evaluations: int = 0
    iterations: int = 0
    solving: float = 0.0


def spent_until(run: Run, target: float) -> Spent | None:
    """Cost of all iterations before the first whose parameters have a loss of at most `target`; None if none has."""
    spent = Spent()
    for record, quality in zip(run.records, run.quality(), strict=True):
        if quality is not None and quality <= target:
            return spent
        spent = Spent(
            spent.seconds + record.seconds,
            spent.nfe + record.nfe,
            spent.evaluations + record.evaluations,
            spent.iterations + 1,
            spent.solving + record.seconds_forward + record.seconds_backward,
        )
    return None


def best_quality(run: Run) -> float:
    """The smallest loss of a run by which it is compared; infinite where there is none."""
    return min((q for q in run.quality() if q is not None), default=math.inf)
