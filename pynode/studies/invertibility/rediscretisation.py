"""Re-discretisation (RQ4): a trained flow under other schemes, step counts and tolerances than in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pynode.clock import Clock, load_average
from pynode.engines.solvers import solver_of
from pynode.errors import SolveError
from pynode.flows.flow import Flow
from pynode.flows.metrics import inverse_errors
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.density.base import rows_at_once
from pynode.records.files import finite
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats, collected_stats
from pynode.studies.invertibility.record import RediscretisationRecord, Use
from pynode.types import State

STEPS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32)
TOLERANCES = tuple(10.0**-k for k in range(1, 8))


@dataclass(frozen=True)
class TrainedFlow:
    """A flow with its best weights: its run, and the method that it was trained by (`method`, of name `trained_by`)."""

    flow: Flow
    problem: str
    run: str
    trained_by: str
    method: GradientMethod
    seed: int = 0
    context: Tensor | None = None
    """The context `(n, k)` of the samples, where the flow has a condition."""

    def first(self, x: State) -> Tensor | None:
        """The context of samples `x` `(n, dim)`, which are its first ones."""
        return None if self.context is None else self.context[: len(x)]


def discretisations(
    schemes: Sequence[Scheme], steps: Sequence[int] = STEPS, tolerances: Sequence[float] = TOLERANCES
) -> list[GradientMethod]:
    """Every scheme at every step count, and dopri5 at every tolerance (rtol = atol)."""
    fixed: list[GradientMethod] = [DiscOpt(scheme, n) for scheme in schemes for n in steps]
    return fixed + [OptDisc(rtol=tol, atol=tol) for tol in tolerances]


def rediscretise(
    trained: TrainedFlow, x: State, methods: Sequence[GradientMethod], *, bound: float
) -> Iterator[RediscretisationRecord]:
    """One record for each of `methods`: log-likelihood and inverse error of the flow on the samples `x` `(n, dim)`."""
    for method in methods:
        yield _measure(trained, x, method, bound=bound, use="other")


def evaluate_training(
    trained: TrainedFlow, x: State, evaluation: GradientMethod, *, bound: float
) -> Iterator[RediscretisationRecord]:
    """The flow on `x` `(n, dim)` with the discretisation it was trained with, and with `evaluation` instead.

    A third record has the round trip that begins with the first and ends with the second: how far the flow as trained
    is from the flow as evaluated.  Where both are the same discretisation, there is no third one.
    """
    as_trained = _measure(trained, x, trained.method, bound=bound, use="training")
    yield as_trained
    if _discretisation(trained.method) == _discretisation(evaluation):
        yield replace(as_trained, use="evaluation")
        return
    yield _measure(trained, x, evaluation, bound=bound, use="evaluation")
    with collected_stats() as solves:
        errors, failure = _errors(trained, x, trained.method, evaluation)
    yield RediscretisationRecord(
        **_described(trained, trained.method),
        samples=len(x),
        bound=bound,
        use="mixed",
        failure=failure,
        **errors,
        **_ran(solves),
    )


@torch.no_grad()
def _measure(
    trained: TrainedFlow, x: State, method: GradientMethod, *, bound: float, use: Use
) -> RediscretisationRecord:
    clock = Clock(x.device)
    clock.start()
    nll, nfe, failure = None, None, None
    with collected_stats() as solves:
        try:
            nll, nfe = _likelihood(trained.flow, x, trained.first(x), method)
        except SolveError as error:
            failure = str(error)
        seconds = clock.lap()
        errors, lost = _errors(trained, x, method, method)
    return RediscretisationRecord(
        **_described(trained, method),
        samples=len(x),
        bound=bound,
        nll=finite(nll),
        **errors,
        nfe=nfe,
        seconds=seconds,
        failure=failure or lost,
        use=use,
        **_ran(solves),
    )


def _errors(
    trained: TrainedFlow, x: State, method: GradientMethod, back: GradientMethod
) -> tuple[dict[str, Any], str | None]:
    """Inverse errors for a record, None instead of infinite, and in that case why."""
    failed: list[SolveError] = []
    rows = rows_at_once(trained.flow)
    how: dict[str, Any] = {"seed": trained.seed, "rows": rows, "context": trained.first(x)}
    errors = inverse_errors(trained.flow, x, method, back=back, on_failure=failed.append, **how)
    recorded = {name: finite(value) for name, value in errors.items()}
    if None not in recorded.values():
        return recorded, None
    return recorded, str(failed[0]) if failed else "the way there and back ends in values that are not finite"


def _ran(solves: Sequence[SolveStats]) -> dict[str, Any]:
    """What a record says of how its solves ran: their engine, and what else kept the machine busy."""
    return {"engine": sum(solves, SolveStats()).engine, "load_average": load_average()}


def _likelihood(flow: Flow, x: State, context: Tensor | None, method: GradientMethod) -> tuple[float, int]:
    """-log p in nats, the mean over all rows, and the evaluations of the chunk that needed most."""
    total, nfe = 0.0, 0
    size = rows_at_once(flow)
    for k, rows in enumerate(x.split(size)):
        given = None if context is None else context[k * size : (k + 1) * size]
        moved = flow.transport(rows, given, method=method, draw=Draw())
        total += float(moved.log_prob.double().sum())
        nfe = max(nfe, sum(stats.nfe_forward for stats in moved.solves))
    return -total / len(x), nfe


def _described(trained: TrainedFlow, method: GradientMethod) -> dict[str, Any]:
    """What a record says of the flow, of its training and of the method it is used with."""
    steps, of_training = method.recipe.steps, trained.method
    return {
        "problem": trained.problem,
        "run": trained.run,
        "trained_by": trained.trained_by,
        "seed": trained.seed,
        "scheme": _scheme(method),
        "adaptive": method.adaptive,
        "setting": method.setting,
        "atol": getattr(steps, "atol", None),
        "trained_scheme": _scheme(of_training),
        "trained_steps": None if of_training.adaptive else int(of_training.setting),
        "trained_rtol": of_training.setting if of_training.adaptive else None,
    }


def _scheme(method: GradientMethod) -> str:
    """The name of the scheme, or for adaptive steps of the solver."""
    scheme = method.recipe.scheme
    return solver_of(scheme) if method.adaptive else scheme.name


def _discretisation(method: GradientMethod) -> tuple[str, bool, float, float | None]:
    """What decides the numbers of a forward solve."""
    steps = method.recipe.steps
    return _scheme(method), method.adaptive, method.setting, getattr(steps, "atol", None)
