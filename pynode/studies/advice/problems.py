"""Problems as subjects of advice: errors in float64 on few rows, times on the training's batch and in its precision."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor

from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.base import Problem
from pynode.problems.density.base import Density, FlowBatch
from pynode.records.table_data import mark_of
from pynode.studies.advice.subject import LossOf, Posed, Practice, Subject, check_loss
from pynode.studies.gradients.oracle import flat_gradient

SHARE_OF_ONE = 0.01
"""A gradient on the training's batch may take this share of the budget, else it is timed on fewer rows."""


def problem_subject(
    exact: Problem,
    actual: Problem,
    *,
    budget: float,
    seed: int,
    iterations: int,
    learning_rate: float,
    trained: dict[str, Tensor] | None = None,
    config: dict[str, Any] | None = None,
) -> Subject:
    """The training of a problem: `exact` is the problem in float64, `actual` as it is trained.

    Raises `InvalidArgument` for an objective that can't be advised on.
    """
    model, own = exact.model(seed), actual.model(seed)
    precise = Posed(_loss(exact, model, exact.check_batch()), _params(model), _rows(exact.check_batch()))
    check_loss(precise)
    rows, note = _affordable(actual, own, precise.samples, budget)
    notes = (note,) if note else ()

    def batch(iteration: int) -> Any:
        if rows is None or not isinstance(actual, Density):
            return actual.batch(iteration)
        return actual.first_batch(rows, iteration)

    timed = Posed(_loss(actual, own, batch(0)), _params(own), _rows(batch(0)))
    practice = Practice(
        lambda k: _loss(actual, own, batch(k)),
        timed.params,
        lambda: actual.parameter_groups(own),
        iterations,
        learning_rate,
    )
    return Subject(
        exact.name,
        precise,
        timed,
        practice if iterations else None,
        trained or {},
        config or {},
        mark_of(exact.data_record()),
        notes,
    )


def _params(model: Any) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def _loss(problem: Problem, model: Any, batch: Any) -> LossOf:
    def loss(method: GradientMethod) -> Tensor:
        return problem.objective(method, model, batch).loss

    return loss


def _rows(batch: Any) -> int:
    """Samples of a batch; 0 where it is a trajectory or where that is not known."""
    return len(batch.x) if isinstance(batch, FlowBatch) else 0


def _affordable(problem: Problem, model: Any, few: int, budget: float) -> tuple[int | None, str]:
    """How many rows of a batch are timed, None for all, and a sentence where that is not all."""
    if not isinstance(problem, Density) or problem.batch_rows <= max(few, 1):
        return None, ""
    params, work = _params(model), DiscOpt(steps=1)
    loss = _loss(problem, model, problem.first_batch(few))
    flat_gradient(loss(work), params)  # compiles
    began = time.perf_counter()
    flat_gradient(loss(work), params)
    one = time.perf_counter() - began
    affordable = int(few * SHARE_OF_ONE * budget / max(one, 1e-6))
    if affordable >= problem.batch_rows:
        return None, ""
    rows = max(few, affordable)
    return rows, (
        f"Timed and tried on {rows:,} of the {problem.batch_rows:,} rows of a batch: a whole one would take too long "
        "for the budget of time; on more rows kernels and arithmetic count for more, and fixed costs for less."
    )
