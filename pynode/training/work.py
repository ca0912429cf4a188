"""What an iteration of training spends, and the record of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pynode.problems.base import Objective
from pynode.records.files import finite
from pynode.records.iteration import IterationRecord
from pynode.solution import SolveStats


@dataclass
class Work:
    """What one attempt at an iteration has spent so far; `solves` are the live counts of solves that have ended."""

    loss: float = math.nan
    norm: float = math.nan
    forward: float = 0.0
    backward: float = 0.0
    optimiser: float = 0.0
    exchange: float = 0.0
    objective: Objective | None = None
    solves: list[SolveStats] = field(default_factory=list)

    @property
    def stats(self) -> SolveStats:
        """Of all solves that ended."""
        own = SolveStats() if self.objective is None else self.objective.stats
        return sum(self.solves, own)

    def record(self, iteration: int, best_loss: float, **more: Any) -> IterationRecord:
        """The record of `iteration`; `more` are its fields that are no part of this."""
        stats = self.stats
        return IterationRecord(
            iteration=iteration,
            loss=finite(self.loss),
            best_loss=finite(best_loss),
            gradient_norm=finite(self.norm),
            seconds_forward=self.forward,
            seconds_backward=self.backward,
            seconds_optimiser=self.optimiser,
            nfe_forward=stats.nfe_forward,
            nfe_backward=stats.nfe_backward,
            n_vjp_forward=stats.forward.n_vjp,
            n_vjp_backward=stats.backward.n_vjp,
            n_accepted=stats.forward.n_accepted,
            n_rejected=stats.forward.n_rejected,
            n_accepted_backward=stats.backward.n_accepted,
            n_rejected_backward=stats.backward.n_rejected,
            seconds_bridge=stats.seconds_bridge,
            engine=stats.engine,
            seconds_exchange=self.exchange,
            drift=stats.drift,
            **more,
        )
