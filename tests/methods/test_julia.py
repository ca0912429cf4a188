"""The Julia methods on the real stack: run where Julia is, skipped with the reason elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.engines.julia.engine import ADJOINTS, SOLVERS
from pynode.errors import SolveError
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import divergence
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.schemes import SCHEMES
from pynode.schemes.rk4 import RK4
from pynode.solution import Status

pytestmark = [pytest.mark.julia, pytest.mark.timeout(900)]  # the first calls compile

TS = torch.tensor([0.1, 0.5, 1.1], dtype=torch.float64)
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
FINE = DiscOpt(RK4, 200)

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]


def gradients(method: GradientMethod, field: Field, y0: Tensor, ts: Tensor) -> list[Tensor]:
    """States, then the gradients by y0, ts and theta of a loss of all states."""
    y0, ts = y0.clone().requires_grad_(), ts.clone().requires_grad_()
    ys = method.solve(field, y0, ts).ys
    by_y0, by_ts, *by_theta = torch.autograd.grad((ys - 0.3).square().sum(), [y0, ts, *field.parameters()])
    return [ys.detach(), by_y0, by_ts, torch.cat([g.reshape(-1) for g in by_theta])]


def worst(tensors: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest relative difference."""
    return max(float((a - b).norm() / b.norm()) for a, b in zip(tensors, wanted, strict=True))


@pytest.mark.parametrize("scheme", SCHEMES.names())
@pytest.mark.parametrize("field_name", FIELDS.names())
def test_disc_opt_is_torchs_to_rounding(
    field_name: str, scheme: str, small_field: FieldOf, small_state: StateOf
) -> None:
    """Every scheme and field, in both time directions."""
    field, y0 = small_field(field_name), small_state(field_name)
    for ts in (TS, TS.flip(0)):
        here, there = (kind(SCHEMES.load(scheme), (2, 3)) for kind in (DiscOpt, DiscOptJulia))
        assert worst(gradients(there, field, y0, ts), gradients(here, field, y0, ts)) < 1e-12


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("field_name", FIELDS.names())
def test_opt_disc_is_the_continuous_gradient(
    field_name: str, adjoint: str, small_field: FieldOf, small_state: StateOf
) -> None:
    """Every adjoint and field, in both time directions."""
    field, y0 = small_field(field_name), small_state(field_name)
    for ts in (TS, TS.flip(0)):
        by_julia = gradients(OptDiscJulia(adjoint=adjoint, **TIGHT), field, y0, ts)  # type: ignore[arg-type]
        assert worst(by_julia, gradients(FINE, field, y0, ts)) < 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(solver: str, small_field: FieldOf, small_state: StateOf) -> None:
    field, y0 = small_field("concatsquash"), small_state("concatsquash")
    by_julia = gradients(OptDiscJulia(solver=solver, **TIGHT), field, y0, TS)
    assert worst(by_julia, gradients(FINE, field, y0, TS)) < 1e-6


@pytest.mark.parametrize("vjp", ["reversediff", "zygote"])
def test_products_by_ad_are_those_by_hand(vjp: str, small_field: FieldOf, small_state: StateOf) -> None:
    field, y0 = small_field("mlp"), small_state("mlp")
    by_hand, by_ad = (gradients(OptDiscJulia(vjp=which, **TIGHT), field, y0, TS) for which in ("handwritten", vjp))  # type: ignore[arg-type]
    assert worst(by_ad, by_hand) < 1e-8


@pytest.mark.parametrize("kind", ["exact", "rademacher"])
@pytest.mark.parametrize("costs", [RunningCosts(), RunningCosts(kinetic=True, jacobian=True)])
def test_flows(kind: str, costs: RunningCosts) -> None:
    """Density, running costs and their gradient, by Disc-Opt to rounding and by Opt-Disc to its tolerance."""
    flow = Flow.build(ConcatSquash((2, 16, 16, 2)), blocks=2, horizon=0.5, trainable_horizon=True, seed=3)
    x = torch.randn(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for method in (DiscOpt(steps=64), DiscOptJulia(steps=64), OptDiscJulia(**TIGHT)):
        there = flow.transport(
            x, method=method, divergence=divergence(kind), draw=Draw(seed=5, iteration=2), costs=costs
        )
        loss = -there.log_prob.mean()
        for cost in (there.kinetic, there.jacobian):
            loss = loss if cost is None else loss + 0.1 * cost.mean()
        grads = torch.autograd.grad(loss, list(flow.parameters()))
        results.append([there.log_prob.detach(), torch.cat([g.reshape(-1) for g in grads])])
    assert worst(results[1], results[0]) < 1e-11
    assert worst(results[2], results[0]) < 1e-6


def test_float32_and_counts(small_field: FieldOf, small_state: StateOf) -> None:
    field, y0 = small_field("mlp").float(), small_state("mlp").float().requires_grad_()
    for method in (DiscOptJulia(steps=4), OptDiscJulia(rtol=1e-4, atol=1e-5)):
        solution = method.solve(field, y0, TS)
        solution.ys.square().sum().backward()
        assert solution.ys.dtype == torch.float32
        assert solution.stats.forward.n_f > 0
        assert solution.stats.forward.n_vjp == 0
        assert solution.stats.backward.n_vjp > 0
        assert solution.stats.seconds_bridge > 0
    assert DiscOptJulia(steps=4).solve(field, y0, TS).stats.forward.n_f == 4 * 4 * 2


def test_blow_ups_are_failed_solves() -> None:
    cubic = MLP((2, 2), input_power=3).build(theta=torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64))
    y0, ts = torch.ones(2, dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    with pytest.raises(SolveError) as caught:
        OptDiscJulia().solve(cubic, y0, ts)
    assert 0.4 < caught.value.t < 0.6  # dy/dt = y^3 from 1 ends at t = 1/2
    few = OptDiscJulia(max_steps=3, rtol=1e-12, atol=1e-12).solve(cubic, 0.1 * y0, ts, throw=False)
    assert few.status is Status.MAX_STEPS
