"""Flows conditioned on a context: gradients by context and parameters, the trace over z alone, every engine alike."""

from __future__ import annotations

import copy
import itertools
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import EngineUnavailable
from pynode.explanation import explain
from pynode.fields.base import FieldSpec, field_from_json
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import Divergence, Exact, Hutchinson, Slope
from pynode.flows.flow import Flow
from pynode.flows.metrics import density_on_grid, inverse_errors, mass_on_grid
from pynode.flows.probes import Draw
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from tests.flows.conditional import COLUMNS, DIM, FLOWS, C, X, normal

FINE = DiscOpt(RK4, steps=24)
COSTS = RunningCosts(kinetic=True, jacobian=True)
METHODS = [DiscOpt(RK4, steps=5), OptDisc(rtol=1e-9, atol=1e-11)]


def loss_and_gradient(flow: Flow, method: GradientMethod, costs: RunningCosts = COSTS) -> tuple[Tensor, Tensor]:
    """A loss of density and costs; its gradient by context, data and parameters."""
    c, x = C.clone().requires_grad_(), X.clone().requires_grad_()
    moved = flow.transport(x, c, method=method, draw=Draw(3), costs=costs)
    loss = -moved.log_prob.mean()
    for cost in (moved.kinetic, moved.jacobian):
        loss = loss if cost is None else loss + 0.1 * cost.mean()
    gradients = torch.autograd.grad(loss, [c, x, *flow.parameters()])
    return loss.detach(), torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize("name", FLOWS)
def test_log_det_is_that_of_the_map_at_the_context(name: str) -> None:
    """Against log|det| of the Jacobian by z alone, in both directions."""
    flow = FLOWS[name]()
    for way in (flow.transport, flow.inverse):
        for x, c in zip(X[:2], C[:2], strict=True):

            def moved(u: Tensor, way: Any = way, c: Tensor = c) -> Tensor:
                return way(u[None], c, method=FINE).z[0]

            expected = torch.linalg.slogdet(torch.autograd.functional.jacobian(moved, x))[1]
            log_det = way(x[None], c, method=FINE).log_det[0].detach()
            assert float(log_det) == pytest.approx(float(expected), abs=2e-6)


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("name", FLOWS)
def test_the_kernels_compute_what_torch_operators_do(name: str, method: GradientMethod, divergence: Divergence) -> None:
    """Density, running costs, and gradients by context, data and parameters."""
    flow = FLOWS[name](divergence=divergence)
    tolerance = 1e-11 if isinstance(method, DiscOpt) else 1e-6
    (value, gradient), (other, reference) = (
        loss_and_gradient(flow, method.on_engine(engine)) for engine in ("fused", "eager")
    )
    torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance)
    assert float((gradient - reference).norm() / reference.norm()) < tolerance
    assert explain(flow, X, method=method).engine == "fused"


GRADIENTS: list[tuple[GradientMethod, float]] = [
    (DiscOpt(RK4, steps=5, memory="recompute"), 1e-6),
    (DiscOpt(RK4, steps=5, memory="checkpoint", budget=2), 1e-6),
    (DiscOpt(RK4, steps=5, engine="eager"), 1e-6),
    (OptDisc(rtol=1e-8, atol=1e-10), 2e-4),
    (OptDisc(rtol=1e-8, atol=1e-10, adjoint="backsolve"), 2e-4),
    (OptDisc(rtol=1e-8, atol=1e-10, adjoint="backsolve", engine="eager"), 2e-4),
    (OptDisc(rtol=1e-8, atol=1e-10, landing=True, engine="eager"), 2e-4),
    (AdaptiveAD(rtol=1e-8, atol=1e-10), 2e-4),
]
"""Methods, and how near their gradients are to differences of their losses: adaptive steps make these rough."""


@pytest.mark.parametrize(
    ("name", "method", "near"),
    [
        *((name, DiscOpt(RK4, steps=5), 1e-6) for name in FLOWS),
        *((name, *case) for name in ("concatsquash", "own") for case in GRADIENTS),
    ],
)
def test_gradients_are_those_of_finite_differences(name: str, method: GradientMethod, near: float) -> None:
    """By context and by parameters, in a random direction."""
    flow, step = FLOWS[name](method=method), 1e-5
    nearly = partial(pytest.approx, rel=near, abs=near / 100)
    c = C.clone().requires_grad_()
    by_context, *by_parameters = torch.autograd.grad(flow.log_prob(X, c).sum(), [c, *flow.parameters()])
    way, theta = normal(*C.shape, seed=4), flow.theta()
    with torch.no_grad():
        ends = [float(flow.log_prob(X, C + s * step * way).sum()) for s in (1, -1)]
        assert float((by_context * way).sum()) == nearly((ends[0] - ends[1]) / (2 * step))
        direction, ends = normal(len(theta), seed=5), []
        for sign in (1, -1):
            flow.set_theta(theta + sign * step * direction)
            ends.append(float(flow.log_prob(X, C).sum()))
    flat = torch.cat([g.reshape(-1) for g in by_parameters])
    assert float(flat @ direction) == nearly((ends[0] - ends[1]) / (2 * step))


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_the_adjoint_on_a_fixed_grid_is_of_first_order(name: str) -> None:
    """Its gradient by context, data and parameters comes twice as near with twice as many steps."""
    flow = FLOWS[name]()
    reference = loss_and_gradient(flow, FINE, RunningCosts())[1]
    coarse, fine = (
        loss_and_gradient(flow, OptDiscFixed(RK4, steps=n), RunningCosts())[1] - reference for n in (20, 40)
    )
    assert float(coarse.norm() / fine.norm()) == pytest.approx(2, abs=0.1)
    assert float(fine.norm() / reference.norm()) < 0.05


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_rows_with_one_context_are_those_of_a_shared_one(name: str) -> None:
    flow = FLOWS[name](method=DiscOpt(RK4, steps=5))
    shared, rows, column = (flow.log_prob(X, c) for c in (C[0], C[0].expand(6, -1), C[:1]))
    assert torch.equal(shared, rows)
    assert torch.equal(shared, column)
    (by_shared,) = torch.autograd.grad(flow.log_prob(X, c := C[0].clone().requires_grad_()).sum(), c)
    (by_rows,) = torch.autograd.grad(flow.log_prob(X, c := C[0].repeat(6, 1).requires_grad_()).sum(), c)
    torch.testing.assert_close(by_shared, by_rows.sum(0))


def test_a_context_that_is_not_used_changes_nothing() -> None:
    """Neither values nor the steps of an adaptive solver: its tolerances mean the same beside idle columns."""
    spec = ConcatSquash((DIM, 10, DIM))
    plain = Flow.build(spec, seed=3)
    many = Flow.build(spec, context=40, seed=3)
    first = many.fields[0]
    with torch.no_grad():
        for own, other in zip(first.parameters(), plain.fields[0].parameters(), strict=True):
            own.zero_()
            own[..., : other.shape[-1]] = other
    context = normal(6, 40)
    torch.testing.assert_close(many.log_prob(X, context), plain.log_prob(X))
    for tolerance, engine in itertools.product((1e-4, 1e-8), ("fused", "eager")):
        method = OptDisc(rtol=tolerance, atol=tolerance, engine=engine)
        moved, wanted = many.transport(X, context, method=method), plain.transport(X, method=method)
        torch.testing.assert_close(moved.log_prob, wanted.log_prob, rtol=0, atol=tolerance)
        assert abs(moved.solves[0].forward.n_accepted - wanted.solves[0].forward.n_accepted) <= 1


def test_density_integrates_to_one() -> None:
    """At two contexts, whose densities differ."""
    flow = FLOWS["concatsquash"]()
    densities = [density_on_grid(flow, -9, 9, 100, DiscOpt(RK4, steps=6), c) for c in C[:2]]
    for density in densities:
        assert mass_on_grid(density, -9, 9) == pytest.approx(1.0, abs=2e-4)
    assert float((densities[0] - densities[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_the_way_back_is_the_inverse(name: str) -> None:
    flow = FLOWS[name]()
    samples = flow.sample(6, C, seed=4, method=FINE)
    torch.testing.assert_close(flow.move(samples, C, method=FINE), flow.base_samples(6, seed=4), rtol=0, atol=1e-6)
    assert flow.move(X, C, times=4).shape == (7, 6, DIM)
    errors = inverse_errors(flow, X, FINE, context=C, rows=4)
    assert max(errors.values()) < 1e-5
    assert torch.equal(flow.sample(6, C[0], seed=4), flow.sample(6, C[:1].expand(6, -1), seed=4))


@pytest.mark.parametrize("engine", ["eager", "auto"])
def test_horizons_are_trained_with_a_context(engine: str) -> None:
    flow = FLOWS["mlp"](trainable_horizon=True)
    method, step = DiscOpt(RK4, steps=5, engine=engine), 1e-5
    assert flow.log_horizons is not None
    (by_horizon,) = torch.autograd.grad(flow.log_prob(X, C, method=method).sum(), flow.log_horizons)
    ends = []
    with torch.no_grad():
        for sign in (1, -2):
            flow.log_horizons.add_(sign * step)
            ends.append(float(flow.log_prob(X, C, method=method).sum()))
    assert float(by_horizon.sum()) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_state_dict_theta_and_copies_hold_all(name: str) -> None:
    flow, other = FLOWS[name](), FLOWS[name]()
    with torch.no_grad():
        for p in other.parameters():
            p.add_(0.1)
    wanted = flow.log_prob(X, C)
    assert not torch.equal(other.log_prob(X, C), wanted)
    by_theta = FLOWS[name]()
    by_theta.set_theta(other.theta())
    torch.testing.assert_close(by_theta.log_prob(X, C), other.log_prob(X, C))
    other.load_state_dict(flow.state_dict())
    for same in (other, copy.deepcopy(flow)):
        assert torch.equal(same.log_prob(X, C), wanted)
        assert same.context_dim == COLUMNS


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_single_precision(name: str) -> None:
    flow = FLOWS[name](method=DiscOpt(RK4, steps=5))
    wanted = flow.log_prob(X, C).detach()
    for engine in ("fused", "eager"):
        values = flow.float().log_prob(X.float(), C.float(), method=DiscOpt(RK4, steps=5, engine=engine))
        assert values.dtype is torch.float32
        torch.testing.assert_close(values.double().detach(), wanted, rtol=0, atol=1e-5)


class Counted(Divergence):
    """A divergence of a user's own, which sees z alone."""

    def probes(self, draw: Draw, z: Tensor, block: int) -> None:  # noqa: ARG002
        return None

    def __call__(self, field: nn.Module, t: Tensor, z: Tensor, probes: Tensor | None, *, frobenius: bool) -> Slope:
        assert z.shape[-1] == DIM
        return Exact()(field, t, z, probes, frobenius=frobenius)


class Shifted(Hutchinson):
    """A subclass of pynode's own."""

    def __call__(self, field: nn.Module, t: Tensor, z: Tensor, probes: Tensor | None, *, frobenius: bool) -> Slope:
        assert probes is not None
        assert z.shape == probes.shape
        return super().__call__(field, t, z, probes, frobenius=frobenius)


@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_divergences_of_ones_own_see_no_context(name: str) -> None:
    flow, method = FLOWS[name](), DiscOpt(RK4, steps=5)
    for own_divergence, divergence in ((Counted(), Exact()), (Shifted(), Hutchinson())):
        moved, wanted = (
            flow.transport(X, C, method=method, divergence=d, draw=Draw(2), costs=COSTS)
            for d in (own_divergence, divergence)
        )
        torch.testing.assert_close(moved.log_prob, wanted.log_prob)
        torch.testing.assert_close(moved.jacobian, wanted.jacobian)


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("name", ["concatsquash", "own"])
def test_julia_computes_it_or_refuses(name: str) -> None:
    flow = FLOWS[name]()
    method, costs = DiscOptJulia(steps=5), RunningCosts(kinetic=True)
    same = DiscOpt(method.scheme, steps=5, engine="eager")
    (value, gradient), (other, reference) = (loss_and_gradient(flow, m, costs) for m in (method, same))
    torch.testing.assert_close(value, other)
    torch.testing.assert_close(gradient, reference)
    with pytest.raises(EngineUnavailable, match="Jacobian cost would include derivatives by the context"):
        loss_and_gradient(flow, method)


def test_second_derivatives() -> None:
    """A gradient penalty by the context, on the kernels and by torch operators."""
    results = []
    for engine in ("fused", "eager"):
        flow, c = FLOWS["concatsquash"](), C.clone().requires_grad_()
        log_p = flow.log_prob(X, c, method=DiscOpt(RK4, steps=3, engine=engine))
        (score,) = torch.autograd.grad(log_p.sum(), c, create_graph=True)
        gradients = torch.autograd.grad(score.square().sum(), [c, *flow.fields[0].parameters()])
        results.append(torch.cat([g.reshape(-1) for g in gradients]))
    torch.testing.assert_close(results[0], results[1])


def test_an_encoder_is_trained_through_the_context() -> None:
    flow, encoder = FLOWS["own"](method=DiscOpt(RK4, steps=3)), nn.Linear(5, COLUMNS).double()
    flow.log_prob(X, encoder(normal(6, 5))).mean().backward()
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in encoder.parameters())


@pytest.mark.parametrize("spec", [MLP((2, 4, 2), context=3), ConcatSquash((2, 4, 2), context=3)], ids=repr)
def test_specifications_say_their_context(spec: FieldSpec) -> None:
    assert spec.state_dim == 5
    assert spec.context_dim == 3
    assert field_from_json(spec.to_json()) == spec
    flow = Flow.build(spec, seed=0)
    assert (flow.dim, flow.context_dim) == (2, 3)
    assert "context" not in spec.with_context(0).to_json()
    field, y = spec.build(seed=1), normal(4, 5)
    t = torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(field(t, y)[:, 2:], torch.zeros(4, 3).double())
    v = normal(2, 4, 5, seed=3)
    pushed = torch.func.vmap(lambda u: torch.func.jvp(lambda w: field(t, w), (y,), (u,)))(v)
    torch.testing.assert_close(field.tangents(t, y, v)[1], pushed[1])
