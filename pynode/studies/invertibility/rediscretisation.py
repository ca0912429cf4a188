"""Re-discretisation (RQ4): a trained flow under other schemes, step counts and tolerances than in training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from pynode.clock import Clock
from pynode.errors import SolveError
from pynode.flows.flow import Flow
from pynode.flows.metrics import inverse_errors
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.records.files import finite
from pynode.schemes.base import Scheme
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.types import State

STEPS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32)
TOLERANCES = tuple(10.0**-k for k in range(1, 8))


def discretisations(
    schemes: Sequence[Scheme], steps: Sequence[int] = STEPS, tolerances: Sequence[float] = TOLERANCES
) -> list[GradientMethod]:
    """Every scheme at every step count, and dopri5 at every tolerance (rtol = atol)."""
    fixed: list[GradientMethod] = [DiscOpt(scheme, n) for scheme in schemes for n in steps]
    return fixed + [OptDisc(rtol=tol, atol=tol) for tol in tolerances]


@torch.no_grad()
def rediscretise(
    flow: Flow,
    x: State,
    methods: Sequence[GradientMethod],
    *,
    bound: float,
    problem: str,
    run: str,
    trained_by: str,
    seed: int = 0,
) -> Iterator[RediscretisationRecord]:
    """One record for each of `methods`: log-likelihood and inverse error of `flow` on the samples `x` `(n, dim)`."""
    clock = Clock(x.device)
    for method in methods:
        clock.start()
        failure, nll, nfe = None, math.inf, None
        try:
            moved = flow(x, method=method, draw=Draw())
            nll = -float(moved.log_prob.double().mean())
            nfe = sum(stats.nfe_forward for stats in moved.solves)
        except SolveError as error:
            failure = str(error)
        seconds = clock.lap()
        errors = inverse_errors(flow, x, method, seed=seed)
        yield RediscretisationRecord(
            problem=problem,
            run=run,
            trained_by=trained_by,
            seed=seed,
            scheme=method.family.split()[-1],
            adaptive=method.adaptive,
            setting=method.setting,
            samples=len(x),
            bound=bound,
            nll=finite(nll),
            **{name: finite(value) for name, value in errors.items()},
            nfe=nfe,
            seconds=seconds,
            failure=failure,
        )
