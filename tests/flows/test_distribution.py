"""`flow(context)` keeps what `torch.distributions` promises: shapes, densities, samples that can be differentiated."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)

from pynode.errors import InvalidArgument
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.distribution import FlowDistribution
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

FINE = DiscOpt(RK4, steps=24)
EAGER = DiscOpt(RK4, steps=24, engine="eager")
SPEC = ConcatSquash((2, 8, 8, 2))


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Some numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plain(**options: Any) -> Flow:
    """A flow without a context."""
    return Flow.build(SPEC, seed=1, method=FINE, **options)


def conditional(**options: Any) -> Flow:
    """A flow of three columns of context."""
    return Flow.build(SPEC, context=3, seed=1, method=FINE, **options)


@pytest.mark.parametrize("batch", [None, (), (4,), (2, 4)], ids=str)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (0,)], ids=str)
def test_shapes_are_those_of_torch(batch: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    density = plain()() if batch is None else conditional()(normal(*batch, 3))
    lead = (*shape, *(batch or ()))
    parent: object = density
    assert isinstance(parent, Distribution)
    assert density.batch_shape == (batch or ())
    assert density.event_shape == (2,)
    assert density.sample(shape).shape == (*lead, 2)
    assert density.rsample(shape).shape == (*lead, 2)
    samples, log_p = density.rsample_and_log_prob(shape)
    assert samples.shape == (*lead, 2)
    assert log_p.shape == lead
    assert density.log_prob(samples).shape == lead


def test_log_prob_is_that_of_the_flow() -> None:
    """Row by row, for values that broadcast with the batch of contexts."""
    flow, x, c = conditional(), normal(4, 2), normal(4, 3, seed=1)
    torch.testing.assert_close(flow(c).log_prob(x), flow.log_prob(x, c))
    each = torch.stack([flow.log_prob(x, row) for row in c], dim=1)
    torch.testing.assert_close(flow(c).log_prob(x[:, None]), each)
    torch.testing.assert_close(flow(c[0]).log_prob(x), each[:, 0])
    torch.testing.assert_close(flow(c[:, None]).log_prob(x), each.T)
    unconditional = plain()
    torch.testing.assert_close(unconditional().log_prob(x[0]), unconditional.log_prob(x[:1])[0])


def test_samples_come_with_their_density() -> None:
    """One solve says what a solve back says."""
    for density in (plain()(), conditional()(normal(3, 3)), conditional()(normal(3))):
        samples, log_p = density.rsample_and_log_prob((6,))
        torch.testing.assert_close(log_p, density.log_prob(samples), rtol=0, atol=1e-6)


@pytest.mark.parametrize("trainable_horizon", [False, True])
def test_samples_can_be_differentiated(*, trainable_horizon: bool) -> None:
    """By parameters, horizon and context, against central differences at the same draws."""
    flow, context = conditional(trainable_horizon=trainable_horizon), normal(4, 3, seed=5).requires_grad_()
    weights = normal(3, 4, 2, seed=7)
    draws = copy.deepcopy(flow.draws)

    def value(c: Tensor) -> Tensor:
        flow.draws = copy.deepcopy(draws)
        return (weights * flow(c).rsample((3,))).sum()

    horizons = [] if flow.log_horizons is None else [flow.log_horizons]
    parameters = [*flow.fields.parameters(), *horizons]  # in the order of `theta`
    by_context, *by_parameters = torch.autograd.grad(value(context), [context, *parameters])
    direction, step = normal(4, 3, seed=9), 1e-5
    with torch.no_grad():
        difference = float(value(context + step * direction) - value(context - step * direction)) / (2 * step)
    assert float((by_context * direction).sum()) == pytest.approx(difference, rel=1e-6)
    theta, way = flow.theta(), normal(flow.theta().numel(), seed=11)
    ends = []
    for sign in (1, -1):
        flow.set_theta(theta + sign * step * way)
        ends.append(float(value(context).detach()))
    flat = torch.cat([g.reshape(-1) for g in by_parameters])
    assert float(flat @ way) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("times", [2, 4])
def test_moved_points_can_be_differentiated_by_horizons(times: int, *, backwards: bool) -> None:
    """The end and the states on the way, against differences, and under `torch.func`."""
    flow, points = plain(trainable_horizon=True, blocks=2), normal(5, 2)
    assert flow.log_horizons is not None
    start = flow.log_horizons.detach().clone()
    weights = normal(2 * (times - 1) + 1, 5, 2, seed=3) if times > 2 else normal(5, 2, seed=3)

    def value(log_horizons: Tensor) -> Tensor:
        call = {"backwards": backwards, "times": times, "method": EAGER}
        return (
            weights * torch.func.functional_call(Moving(flow), {"flow.log_horizons": log_horizons}, points, call)
        ).sum()

    (gradient,) = torch.autograd.grad(value(leaf := start.clone().requires_grad_()), leaf)
    for k, step in enumerate(1e-5 * torch.eye(2, dtype=torch.float64)):
        with torch.no_grad():
            difference = float(value(start + step) - value(start - step)) / 2e-5
        assert float(gradient[k]) == pytest.approx(difference, rel=1e-6)
    with torch.no_grad():
        unchanged = flow.move(points, backwards=backwards, times=times)
    torch.testing.assert_close(flow.move(points, backwards=backwards, times=times), unchanged)
    torch.testing.assert_close(torch.func.grad(value)(start), gradient)


class Moving(torch.nn.Module):
    """Calls `Flow.move`."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, points: Tensor, **options: Any) -> Tensor:
        return self.flow.move(points, **options)


def test_samples_are_new_at_every_call_and_follow_the_seed() -> None:
    density, same = plain()(), plain()()
    first, second = density.sample((3,)), density.rsample((3,)).detach()
    assert not torch.equal(first, second)
    assert torch.equal(first, same.sample((3,)))
    assert torch.equal(second, same.rsample((3,)).detach())
    assert not first.requires_grad


def test_moments_of_samples_are_those_of_the_density() -> None:
    """The mean of -log p over samples is the entropy, by quadrature over a grid."""
    flow = conditional()
    context = normal(3, seed=2)
    side = torch.linspace(-7, 7, 141, dtype=torch.float64)
    with torch.no_grad():
        log_p = flow(context, method=DiscOpt(RK4, steps=8)).log_prob(torch.cartesian_prod(side, side))
        cell = float(side[1] - side[0]) ** 2
        assert float(log_p.exp().sum()) * cell == pytest.approx(1.0, abs=1e-4)
        entropy = -float((log_p.exp() * log_p).sum()) * cell
        _, sampled = flow(context).rsample_and_log_prob((20_000,))
    assert -float(sampled.mean()) == pytest.approx(entropy, abs=0.03)


def test_options_of_the_call_hold_for_all() -> None:
    flow, x = plain(divergence=Hutchinson()), normal(5, 2)
    accurate = flow(method=OptDisc(rtol=1e-9, atol=1e-11), divergence=Exact())
    exact = flow.log_prob(x, method=DiscOpt(RK4, steps=64), divergence=Exact())
    torch.testing.assert_close(accurate.log_prob(x), exact, rtol=0, atol=1e-7)
    draw = Draw(3, 1)
    assert torch.equal(flow(draw=draw).log_prob(x), flow.log_prob(x, draw=draw))
    state = flow.get_extra_state()
    for call in (FlowDistribution.sample, FlowDistribution.rsample, lambda d, n: d.rsample_and_log_prob(n)[1]):
        assert torch.equal(call(flow(draw=draw), (3,)), call(flow(draw=draw), (3,)))
        assert not torch.equal(call(flow(draw=draw), (3,)), call(flow(draw=Draw(3, 2)), (3,)))
    assert torch.equal(flow.get_extra_state(), state)


def test_expand_repeats_the_context() -> None:
    flow, c, x = conditional(), normal(1, 3), normal(4, 2)
    density = flow(c).expand((4,))
    assert density.batch_shape == (4,)
    torch.testing.assert_close(density.log_prob(x), flow(c[0]).log_prob(x))
    with pytest.raises(InvalidArgument, match=r"batch_shape = \(3,\): the batch shape \(4,\) can't be expanded"):
        density.expand((3,))


def test_a_density_without_a_context_expands_too() -> None:
    """All of the batch are alike, alone and inside distributions of torch."""
    flow = plain()
    density, x = flow().expand((3,)), normal(5, 3, 2)
    assert density.batch_shape == (3,)
    torch.testing.assert_close(density.log_prob(x), flow().log_prob(x))
    samples, log_p = density.rsample_and_log_prob((5,))
    assert samples.shape == (5, 3, 2)
    torch.testing.assert_close(log_p, density.log_prob(samples), rtol=0, atol=1e-6)
    loc = normal(3, 2, seed=1)
    shifted = TransformedDistribution(flow(), [AffineTransform(loc, 2.0)])
    assert shifted.sample((4,)).shape == (4, 3, 2)
    expected = flow().log_prob((x - loc) / 2) - 2 * math.log(2)
    torch.testing.assert_close(shifted.log_prob(x), expected)
    weights = torch.tensor([0.2, 0.3, 0.5]).double()
    mixed = MixtureSameFamily(Categorical(weights), flow().expand((3,)))
    torch.testing.assert_close(mixed.log_prob(x[:, 0]), flow().log_prob(x[:, 0]))
    with pytest.raises(InvalidArgument, match="can't be expanded"):
        density.expand((2,))


def test_expanding_keeps_a_class_of_ones_own() -> None:
    class Named(FlowDistribution):
        pass

    expanded = Named(plain(), None).expand((2,))
    assert type(expanded) is Named
    assert expanded.batch_shape == (2,)


class Centred(torch.nn.Module):
    """A Gaussian around the first column of the context."""

    def forward(self, context: Tensor) -> Distribution:
        loc = context[:, :1].expand(-1, 2)
        return Independent(Normal(loc, torch.ones_like(loc)), 1)


@pytest.mark.parametrize("batch", [(), (4,), (4, 1), (2, 3)], ids=str)
def test_a_base_of_the_context_has_the_batch_shape_of_the_flow(batch: tuple[int, ...]) -> None:
    flow, context = conditional(base=Centred()), normal(*batch, 3, seed=2)
    base = flow(context).base
    assert base.batch_shape == flow(context).batch_shape == batch
    z = normal(6, *batch, 2, seed=3)
    loc = context[..., :1].expand(*batch, 2)
    expected = Independent(Normal(loc, torch.ones_like(loc)), 1)
    torch.testing.assert_close(base.log_prob(z), expected.log_prob(z))
    torch.testing.assert_close(base.log_prob(z[0]), expected.log_prob(z[0]))
    torch.testing.assert_close(base.log_prob(z[0].reshape(-1, 2)[0]), expected.log_prob(z[0].reshape(-1, 2)[0]))
    torch.testing.assert_close(base.mean, expected.mean)
    torch.testing.assert_close(base.variance, expected.variance)
    torch.testing.assert_close(base.entropy(), expected.entropy())
    for draw in (base.sample, base.rsample):
        samples = draw((4000,))
        assert samples.shape == (4000, *batch, 2)
        torch.testing.assert_close(samples.mean(0), loc, rtol=0, atol=0.1)


def test_the_base_is_a_distribution() -> None:
    flow = conditional()
    z = normal(4, 2)
    torch.testing.assert_close(flow(normal(4, 3)).base.log_prob(z), flow.base_log_prob(z, normal(4, 3)))
    assert flow(normal(3)).base.event_shape == (2,)


def test_it_says_what_it_is() -> None:
    assert repr(conditional()(normal(4, 3))) == "FlowDistribution(batch_shape=(4,), event_shape=(2,), context_dim=3)"
    assert isinstance(plain()(), FlowDistribution)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: plain()(normal(5, 2)),
            r"context = a tensor of shape \(5, 2\): this model has no.*transport\(x\)",
        ),
        (lambda: plain()().log_prob(normal(5, 3)), r"value = \(5, 3\): not \(..., 2\)"),
        (lambda: plain()().sample(5), r"sample_shape = 5: not a shape; write \(5,\)"),
        (lambda: plain()().rsample("5"), "sample_shape = '5': not a shape"),
        (
            lambda: plain().sample((5,)),  # type: ignore[arg-type]
            r"n = \(5,\): not a positive integer; .* flow\(\).sample",
        ),
        (lambda: plain()(params="abc"), "params = 'abc': not a list of tensors"),
        (lambda: plain()().log_prob(torch.zeros(0, 2, dtype=torch.int64)), "value = torch.int64: the flow is"),
        (lambda: plain()().log_prob(normal(3, 2) * torch.nan), "x = NaN or infinite entries: 6 of 6 entries"),
        (lambda: plain()(None, method="rk4"), "method = 'rk4': not a gradient method"),
        (lambda: conditional()(), r"this model has 3 columns of context; pass one of shape \(3,\)"),
        (lambda: conditional()(normal(5, 2)), r"context = \(5, 2\): not \(3,\) or \(batch, 3\)"),
        (lambda: conditional()([1.0, 2.0, 3.0]), "context = list"),
        (lambda: conditional()(normal(5, 3).float()), "context = torch.float32 on cpu: the model is torch.float64"),
        (lambda: conditional()(normal(5, 3) * float("nan")), "context"),
        (lambda: conditional()(normal(4, 3)).log_prob(normal(5, 2)), r"value = \(5, 2\): it does not broadcast"),
        (lambda: conditional().log_prob(normal(5, 2), normal(4, 3)), "not one row for each of 5 samples"),
        (lambda: conditional().sample(5, normal(4, 3)), r"flow\(context\).sample"),
        (lambda: conditional().log_prob(normal(5, 2)), "3 columns of context"),
        (lambda: plain().log_prob(normal(5, 2), normal(5, 3)), "this model has no context"),
        (lambda: plain()().log_prob(normal(5, 2).float()), "the flow is torch.float64"),
        (lambda: Flow.build(MLP((2, 4, 2)), context=normal(3)), "not a number of columns"),  # type: ignore[arg-type]
        (lambda: Flow.build(MLP((2, 4, 2)), context=-1), "context = -1: not a number of columns"),
    ],
)
def test_misuse_is_named(call: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        call()
