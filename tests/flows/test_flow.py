"""The flow: a density that integrates to one, a map that inverts, a log-determinant that is one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import Flow, log_normal
from pynode.flows.metrics import density_on_grid, mass_on_grid
from pynode.flows.probes import Draw
from pynode.methods import METHODS
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.studies.gradients.taylor import taylor_test

FINE = DiscOpt(RK4, steps=24)


def rough_flow(dim: int = 2, blocks: int = 1, **more: Any) -> Flow:
    """A flow whose map is far from the identity; no parameter is zero."""
    flow = Flow.build(ConcatSquash((dim, 12, 12, dim), "tanh"), blocks=blocks, seed=3, **more)
    noise = torch.randn(flow.theta().shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise[len(noise) - (blocks if flow.log_horizons is not None else 0) :] = 0.0  # the horizons stay as asked for
    flow.set_theta(flow.theta() + 0.4 * noise)
    return flow


def points(n: int, dim: int = 2, seed: int = 0) -> Tensor:
    """Some data."""
    return torch.randn((n, dim), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_density_integrates_to_one() -> None:
    """On a grid that holds all of it, by the midpoint rule."""
    flow = rough_flow(blocks=2, horizon=0.7)
    density = density_on_grid(flow, -9, 9, 120, DiscOpt(RK4, steps=10))
    assert float(density.max()) > 0.02
    assert mass_on_grid(density, -9, 9) == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_log_det_is_that_of_the_map(dim: int, blocks: int) -> None:
    """Against log|det| of the Jacobian of the whole map, in both directions."""
    flow = rough_flow(dim, blocks)
    for way in (flow.transport, flow.inverse):

        def moved(u: Tensor, way: Any = way) -> Tensor:
            return way(u[None], method=FINE).z[0]

        x = points(3, dim)
        expected = [torch.linalg.slogdet(torch.autograd.functional.jacobian(moved, row))[1] for row in x]
        log_dets = way(x, method=FINE).log_det.detach()
        torch.testing.assert_close(log_dets, torch.stack(expected), rtol=0, atol=1e-6)
        assert float(log_dets.abs().max()) > 1e-2


def test_log_prob_is_the_change_of_variables() -> None:
    flow, x = rough_flow(), points(4)
    moved = flow.transport(x, method=FINE)
    torch.testing.assert_close(flow.log_prob(x, method=FINE), log_normal(moved.z) + moved.log_det)
    standard = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    torch.testing.assert_close(log_normal(x), standard.log_prob(x))


@pytest.mark.parametrize("method", [DiscOpt(RK4, steps=64), OptDisc(rtol=1e-9, atol=1e-11)], ids=lambda m: m.name)
def test_samples_invert_to_the_base(method: GradientMethod) -> None:
    """To the accuracy of the solver; densities there and back cancel."""
    flow = rough_flow(blocks=2)
    samples = flow.sample(50, seed=7, method=method)
    base = flow.base_samples(50, seed=7)
    there = flow.transport(samples, method=method)
    back = flow.inverse(base, method=method)
    torch.testing.assert_close(there.z, base, rtol=0, atol=1e-6)
    torch.testing.assert_close(back.z, samples, rtol=0, atol=1e-6)
    torch.testing.assert_close(there.log_det + back.log_det, torch.zeros(50).double(), rtol=0, atol=1e-6)
    assert float((samples - base).norm(dim=1).mean()) > 0.1
    assert not torch.equal(samples, flow.sample(50, seed=8, method=method))


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("name", METHODS.names())
@pytest.mark.parametrize("trainable", [False, True], ids=["fixed-T", "trained-T"])
def test_every_method_trains_a_flow(name: str, trainable: bool) -> None:
    """Its gradient is that of the continuous problem as solver accuracy grows, the horizons' included."""
    kind = METHODS.load(name)
    options: dict[str, Any] = {"rtol": 1e-8, "atol": 1e-10} if kind.adaptive else {"steps": 300}
    if name.startswith("disc-opt"):
        options["steps"] = 32
    flow, x = rough_flow(blocks=2, horizon=0.6, trainable_horizon=trainable), points(6)
    reference = gradient(flow, x, FINE)
    approximation = gradient(flow, x, kind(**options))
    tolerance = 2e-2 if name == "opt-disc-fixed" else 1e-6  # that one is off by O(h)
    assert float((approximation - reference).norm() / reference.norm()) < tolerance


def gradient(flow: Flow, x: Tensor, method: GradientMethod) -> Tensor:
    """Of the mean negative log-likelihood, by all parameters."""
    loss = -flow.log_prob(x, method=method).mean()
    return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(flow.parameters()))])


def test_the_horizon_gets_its_gradient() -> None:
    """Against a central difference in log T of each block."""
    flow, x = rough_flow(blocks=2, horizon=0.8, trainable_horizon=True), points(5)
    assert flow.log_horizons is not None
    (by_horizon,) = torch.autograd.grad(-flow.log_prob(x, method=FINE).mean(), flow.log_horizons)
    for k in range(2):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                flow.log_horizons[k] += sign * 1e-5
                values.append(float(-flow.log_prob(x, method=FINE).mean()))
                flow.log_horizons[k] -= sign * 1e-5
        assert float(by_horizon[k]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-9)
    assert float(by_horizon.abs().min()) > 1e-4
    torch.testing.assert_close(flow.horizons.detach(), torch.tensor([0.8, 0.8]).double())


def test_a_fixed_horizon_is_no_parameter() -> None:
    assert Flow.build(ConcatSquash((2, 64, 64, 64, 2)), horizon=0.5).theta().shape == (9224,)
    assert Flow.build(ConcatSquash((2, 4, 2)), blocks=3, trainable_horizon=True).theta().shape == (3 * 40 + 3,)


def test_running_costs_are_integrals_along_the_way() -> None:
    """Of a linear field all are known: f = A z, so |J|_F^2 = |A|_F^2 throughout."""
    flow = linear_flow(torch.tensor([[0.3, -1.0], [0.8, -0.2]]).double())
    x = points(4)
    moved = flow.transport(x, method=FINE, costs=RunningCosts(kinetic=True, jacobian=True))
    A = next(flow.parameters()).detach()
    assert moved.kinetic is not None
    assert moved.jacobian is not None
    torch.testing.assert_close(moved.jacobian, A.square().sum() * torch.ones(4).double())
    way = flow.move(x, method=DiscOpt(RK4), times=2001)
    speed = 0.5 * (way @ A.T).square().sum(-1)
    torch.testing.assert_close(moved.kinetic, torch.trapezoid(speed, dx=1 / 2000, dim=0), rtol=1e-6, atol=0)
    torch.testing.assert_close(moved.log_det, A.diagonal().sum() * torch.ones(4).double())
    torch.testing.assert_close(moved.z, x @ torch.linalg.matrix_exp(A).T)
    alone = flow.transport(x, method=FINE, costs=RunningCosts(jacobian=True))
    assert alone.kinetic is None
    torch.testing.assert_close(alone.jacobian, moved.jacobian)


class _Linear(nn.Module):
    def __init__(self, A: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(A)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return y @ self.weight.T


def linear_flow(A: Tensor) -> Flow:
    """dz/dt = A z for T = 1, by a module of a user's own."""
    return Flow([_Linear(A)], 2)


def test_a_users_own_module_is_a_field() -> None:
    """Forward-mode AD stands in for the formulas of the built-in fields, gradients included."""
    flow = linear_flow(torch.tensor([[0.1, 0.7], [-0.4, 0.2]]).double())
    x = points(3)
    result = taylor_test(lambda: -flow.log_prob(x, method=FINE).mean(), list(flow.parameters()))
    assert result.passes, result.verdict
    hutchinson = flow.log_prob(x, method=FINE, divergence=Hutchinson("rademacher"))
    assert torch.isfinite(hutchinson).all()


@pytest.mark.parametrize("steps", [1, 3])
def test_gradient_is_exact_for_the_discrete_loss_with_costs_and_hutchinson(steps: int) -> None:
    """Taylor slope 2 of what training minimises, at coarse steps."""
    flow, x = rough_flow(3, horizon=0.5, trainable_horizon=True), points(4, 3)
    method = DiscOpt(EULER, steps=steps)

    def loss() -> Tensor:
        costs = RunningCosts(kinetic=True, jacobian=True)
        moved = flow.transport(x, method=method, divergence=Hutchinson(), draw=Draw(1, 2), costs=costs)
        assert moved.kinetic is not None
        assert moved.jacobian is not None
        return (-moved.log_prob + 0.1 * moved.kinetic + 0.05 * moved.jacobian).mean()

    assert taylor_test(loss, list(flow.parameters())).passes


def test_work_is_counted_per_block() -> None:
    flow = rough_flow(blocks=3)
    moved = flow.transport(points(4), method=DiscOpt(RK4, steps=5))
    assert [stats.nfe_forward for stats in moved.solves] == [20, 20, 20]


def test_theta_goes_round() -> None:
    flow = rough_flow(blocks=2, trainable_horizon=True)
    other = Flow.build(ConcatSquash((2, 12, 12, 2)), blocks=2, seed=9, trainable_horizon=True)
    assert not torch.equal(other.theta(), flow.theta())
    other.set_theta(flow.theta())
    x = points(3)
    assert torch.equal(other.log_prob(x), flow.log_prob(x))
    with pytest.raises(InvalidArgument, match="wrong shape"):
        other.set_theta(flow.theta()[:-1])


def test_blocks_begin_differently() -> None:
    flow = Flow.build(ConcatSquash((2, 4, 2)), blocks=2, seed=0)
    first, second = flow.theta().split(flow.theta().numel() // 2)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flow([], 2), "a flow without blocks"),
        (lambda: Flow.build(ConcatSquash((2, 2)), horizon=-1.0), "horizon = -1.0"),
        (lambda: Flow.build(ConcatSquash((2, 2)), horizon=math.inf), "horizon = inf"),
        (lambda: Flow.build(ConcatSquash((2, 2)), blocks=0), "blocks = 0"),
        (lambda: rough_flow().log_prob(points(3, 5)), r"not \(batch, 2\)"),
        (lambda: rough_flow().log_prob(points(3)[0]), r"not \(batch, 2\)"),
        (lambda: rough_flow().log_prob(points(3)[:0]), "no samples"),
        (lambda: rough_flow().log_prob(points(3).float()), "the flow is torch.float64"),
        (lambda: rough_flow().log_prob(points(3) * math.nan), "NaN or infinite"),
        (lambda: rough_flow().sample(0), "n = 0"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_exact_is_the_default() -> None:
    flow, x = rough_flow(3), points(4, 3)
    assert torch.equal(flow.log_prob(x), flow.log_prob(x, divergence=Exact()))
    assert not torch.allclose(flow.log_prob(x), flow.log_prob(x, divergence=Hutchinson()))
