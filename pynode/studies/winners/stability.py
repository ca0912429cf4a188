"""How stable the backward solve of Opt-Disc is, by architecture and horizon (RQ5).

The state is re-solved backwards from its end alone.  A field that contracts forwards expands backwards, so errors grow
like exp(rate x horizon); antisymmetric and Hamiltonian fields do neither (Haber & Ruthotto 2017; Chang et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from pynode.engines.choice import AUTO
from pynode.errors import SolveError
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.methods.opt_disc import OptDisc
from pynode.problems.series.stress import VanDerPol, VanDerPolOptions
from pynode.records.files import finite
from pynode.schemes.dopri8 import DOPRI8
from pynode.solution import Status
from pynode.studies.gradients.oracle import continuous_gradient, flat_gradient
from pynode.studies.winners.map import engine_of_reference, one_engine
from pynode.studies.winners.record import StabilityRecord

DIM, WIDTH, BATCH = 4, 16, 8
GAIN = 1.5
"""Glorot weights times this: rough enough for dynamics to show within the horizons."""

MAX_STEPS = 20_000

HORIZONS = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)


def rough_field(spec: FieldSpec, seed: int) -> Field:
    """A field with enlarged initial weights and biases that are not zero."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(spec.n_params, dtype=torch.float64, generator=generator)
    return spec.build(theta=GAIN * spec.initial_theta(seed) + noise)


@cache
def van_der_pol_field(seed: int) -> Field:
    """An MLP with the dynamics of Van der Pol's oscillator (mu = 2): it contracts strongly off its cycle."""
    return VanDerPol(options=VanDerPolOptions(stiffness=2.0)).collocated(seed)


def gradient_flow(seed: int) -> Field:
    """An MLP with W_1 = -W_0^T: f is minus the gradient of a convex energy, so all directions contract."""
    field = rough_field(MLP((DIM, WIDTH, DIM)), seed)
    with torch.no_grad():
        first, _, last, _ = field.parameters()
        last.copy_(-first.T)
    return field


FIELDS: dict[str, Callable[[int], Field]] = {
    # name: the field of a seed
    "mlp": partial(rough_field, MLP((DIM, WIDTH, DIM))),
    "mlp, gradient flow": gradient_flow,
    "mlp, van der pol": van_der_pol_field,
    "antisymmetric": partial(rough_field, Antisymmetric(DIM)),
    "antisymmetric, damped": partial(rough_field, Antisymmetric(DIM, gamma=0.5)),
    "hamiltonian": partial(rough_field, Hamiltonian(DIM, WIDTH)),
}
"""What the backward solve is tried on."""


def measure_stability(
    architecture: str, horizon: float, seed: int, *, rtol: float = 1e-5, engine: str = AUTO
) -> StabilityRecord:
    """Opt-Disc's gradient of the mean of |y(T)|^2 over 8 states, and its reconstruction of y(0), at `rtol`.

    By `engine`, or the one that "auto" stands for.  A solve that fails is recorded, with what could be measured all the
    same.
    """
    engine = one_engine(engine)
    field = FIELDS[architecture](seed)
    y0 = torch.randn((BATCH, field.spec.state_dim), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    ts = torch.tensor([0.0, horizon], dtype=torch.float64)
    params = list(field.parameters())
    how: dict[str, Any] = {"max_steps": MAX_STEPS, "adjoint": "backsolve", "drift": "ignore", "engine": engine}
    method = OptDisc(rtol=rtol, atol=rtol / 100, **how)
    record = StabilityRecord(
        problem="stability",
        architecture=architecture,
        horizon=horizon,
        seed=seed,
        rtol=rtol,
        gradient_error=None,
        reconstruction_error=None,
        nfe_forward=0,
        nfe_backward=0,
        failure=None,
        engine=engine,
    )

    def loss_of(by: GradientMethod) -> Tensor:
        return by.solve(field, y0, ts).ys[-1].square().sum(-1).mean()

    by = engine_of_reference(engine)
    try:
        reference, _ = continuous_gradient(
            loss_of, params, target=1e-8, max_steps=4096, scheme=DOPRI8, first=8, engine=by
        )
    except SolveError as error:  # of the reference: it says nothing about Opt-Disc
        return replace(record, failure=f"no reference gradient: {error}")
    solution = method.solve(field, y0, ts, throw=False)
    if solution.status is not Status.SUCCESS:
        failure = f"forward: {solution.status.sentence}"
        return replace(record, nfe_forward=solution.stats.nfe_forward, failure=failure)

    def gradient_error() -> float:
        gradient = flat_gradient(solution.ys[-1].square().sum(-1).mean(), params)
        return float((gradient - reference).norm() / reference.norm())

    @torch.no_grad()
    def reconstruction_error() -> float:
        back = method.solve(field, solution.ys[-1].detach(), ts.flip(0)).ys[-1]
        return float((back - y0).norm() / y0.norm())

    gradient, no_gradient = _attempt("gradient", gradient_error)
    reconstruction, no_reconstruction = _attempt("reconstruction", reconstruction_error)
    return replace(
        record,
        gradient_error=gradient,
        reconstruction_error=reconstruction,
        nfe_forward=solution.stats.nfe_forward,
        nfe_backward=solution.stats.nfe_backward,
        failure="; ".join(filter(None, (no_gradient, no_reconstruction))) or None,
    )


def _attempt(what: str, measure: Callable[[], float]) -> tuple[float | None, str | None]:
    """The number, or None and why there is none: a solve failed, or the number is not finite."""
    try:
        value = finite(measure())
    except SolveError as error:
        return None, f"{what}: {error}"
    return value, None if value is not None else f"{what}: not finite"
