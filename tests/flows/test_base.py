"""Base distributions other than the standard normal: densities that integrate to one, and parameters that learn."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Categorical,
    ComposeTransform,
    Distribution,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    TransformedDistribution,
    Uniform,
)

from pynode.errors import InvalidArgument
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.flow import ACCURATE, Flow, log_normal
from pynode.flows.metrics import inverse_errors
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

SPEC, FINE = ConcatSquash((2, 8, 2)), DiscOpt(RK4, steps=20)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Some numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


ZEROS, ONES = torch.zeros(2).double(), torch.ones(2).double()


def mixture() -> Distribution:
    """Three Gaussians."""
    means = torch.tensor([[-2.0, 0.0], [1.0, 1.5], [1.0, -1.5]]).double()
    parts = Independent(Normal(means, 0.4 * torch.ones(3, 2).double()), 1)
    return MixtureSameFamily(Categorical(probs=torch.tensor([0.5, 0.25, 0.25]).double()), parts)


class Learnt(nn.Module):
    """A Gaussian with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))
        self.log_scale = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def forward(self) -> Distribution:
        return Independent(Normal(self.loc, self.log_scale.exp()), 1)


class Conditional(nn.Module):
    """A Gaussian whose mean is a function of the context."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Linear(3, 2).double()

    def forward(self, context: Tensor) -> Distribution:
        return Independent(Normal(self.mean(context), torch.ones(len(context), 2).double()), 1)


BASES: dict[str, Callable[[], Any]] = {
    "student": lambda: Independent(StudentT(7.0 * ONES), 1),
    "laplace": lambda: Independent(Laplace(ZEROS, ONES), 1),
    "gaussian": lambda: MultivariateNormal(ONES, torch.tensor([[2.0, 0.5], [0.5, 1.0]]).double()),
    "mixture": mixture,
    "module": Learnt,
}


@pytest.mark.parametrize("name", BASES)
def test_density_integrates_to_one_and_is_that_of_the_samples(name: str) -> None:
    flow = Flow.build(SPEC, base=BASES[name](), seed=1, method=DiscOpt(RK4, steps=8))
    side = torch.linspace(-25, 25, 401, dtype=torch.float64)
    with torch.no_grad():
        log_p = flow.log_prob(torch.cartesian_prod(side, side))
        cell = float(side[1] - side[0]) ** 2
        assert float(log_p.exp().sum()) * cell == pytest.approx(1.0, abs=3e-3)
        entropy = -float((log_p.exp() * log_p).sum()) * cell
        samples = flow().sample((20_000,))
        assert -float(flow.log_prob(samples).mean()) == pytest.approx(entropy, abs=0.05)


@pytest.mark.parametrize("name", BASES)
def test_log_prob_is_the_change_of_variables(name: str) -> None:
    base = BASES[name]()
    flow, x = Flow.build(SPEC, base=base, seed=1), normal(5, 2)
    distribution = base() if isinstance(base, nn.Module) else base
    for method in (FINE, ACCURATE):
        moved = flow.transport(x, method=method)
        torch.testing.assert_close(moved.log_prob, distribution.log_prob(moved.z) + moved.log_det)
        assert not torch.allclose(moved.log_prob, log_normal(moved.z) + moved.log_det)
    torch.testing.assert_close(flow.base_log_prob(x), distribution.log_prob(x))
    assert type(flow.base_distribution()) is type(distribution)
    assert max(inverse_errors(flow, x, FINE).values()) < 1e-5


def test_the_standard_normal_by_name_is_the_default() -> None:
    named = Flow.build(SPEC, base=Independent(Normal(ZEROS, ONES), 1), seed=1)
    default, x = Flow.build(SPEC, seed=1), normal(5, 2)
    torch.testing.assert_close(named.log_prob(x), default.log_prob(x))
    torch.testing.assert_close(default.base_distribution().log_prob(x), log_normal(x))


@pytest.mark.parametrize("method", [DiscOpt(RK4, steps=6), OptDisc(rtol=1e-9, atol=1e-11)], ids=lambda m: m.name)
def test_parameters_of_a_module_are_trained(method: DiscOpt | OptDisc) -> None:
    """With gradients of density and samples against differences; `theta` and `state_dict` hold them."""
    flow, x, step = Flow.build(SPEC, base=Learnt(), seed=1, method=method), normal(5, 2), 1e-5
    base: Any = flow.base
    assert {"base.loc", "base.log_scale"} <= set(flow.state_dict())
    draws = copy.deepcopy(flow.draws)

    def samples() -> Tensor:
        flow.draws = copy.deepcopy(draws)
        return flow().rsample((4,))

    for value in (lambda: flow.log_prob(x).sum(), lambda: (samples() * normal(4, 2, seed=3)).sum()):
        by_loc, by_scale = torch.autograd.grad(value(), [base.loc, base.log_scale])
        for parameter, gradient in ((base.loc, by_loc), (base.log_scale, by_scale)):
            ends = []
            with torch.no_grad():
                for sign in (1, -2):
                    parameter[0] += sign * step
                    ends.append(float(value()))
                parameter[0] += step
            assert float(gradient[0]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-5)
    other = Flow.build(SPEC, base=Learnt(), seed=9, method=method)
    with torch.no_grad():
        base.loc += 1.0
    other.set_theta(flow.theta())
    torch.testing.assert_close(other.log_prob(x), flow.log_prob(x))
    other = Flow.build(SPEC, base=Learnt(), seed=9, method=method)
    other.load_state_dict(flow.state_dict())
    assert torch.equal(other.log_prob(x), flow.log_prob(x))


def test_a_base_may_depend_on_the_context() -> None:
    flow = Flow.build(SPEC, context=3, base=Conditional(), seed=1, method=FINE)
    x, c = normal(5, 2), normal(5, 3, seed=1)
    moved = flow.transport(x, c)
    expected = Independent(Normal(flow.base.mean(c), ONES.expand(5, 2)), 1)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(moved.log_prob, expected.log_prob(moved.z) + moved.log_det)
    torch.testing.assert_close(flow(c[0]).log_prob(x), flow.log_prob(x, c[0]))
    samples, log_p = flow(c).rsample_and_log_prob((3,))
    torch.testing.assert_close(log_p, flow(c).log_prob(samples), rtol=0, atol=1e-6)
    assert flow(c).base.batch_shape == (5,)


class Placed(nn.Module):
    """A Gaussian whose mean and scale are functions of the context without parameters."""

    def forward(self, context: Tensor) -> Distribution:
        return Independent(Normal(context[:, :2], context[:, 2:].exp().expand(-1, 2)), 1)


class Mixed(nn.Module):
    """A mixture whose means are the context."""

    def forward(self, context: Tensor) -> Distribution:
        means = torch.stack((context[:, :2], context[:, 1:]), dim=1)
        parts = Independent(Normal(means, torch.ones_like(means)), 1)
        return MixtureSameFamily(Categorical(logits=torch.zeros(len(context), 2).double()), parts)


@pytest.mark.parametrize("base", [Placed, lambda: Conditional().requires_grad_(False)], ids=["placed", "frozen"])
@pytest.mark.parametrize("method", [DiscOpt(RK4, steps=6), OptDisc(rtol=1e-9, atol=1e-11)], ids=lambda m: m.name)
def test_samples_have_a_gradient_by_the_context_of_a_base_that_learns_nothing(
    base: Callable[[], nn.Module], method: DiscOpt | OptDisc
) -> None:
    """Against differences; the field has a part of it, and the base another."""
    flow, way, step = Flow.build(SPEC, context=3, base=base(), seed=1, method=method), normal(5, 3, seed=2), 1e-5
    draws, weights, c = copy.deepcopy(flow.draws), normal(4, 5, 2, seed=3), normal(5, 3, seed=1)

    def value(context: Tensor) -> Tensor:
        flow.draws = copy.deepcopy(draws)
        samples, log_p = flow(context).rsample_and_log_prob((4,))
        flow.draws = copy.deepcopy(draws)
        torch.testing.assert_close(flow(context).rsample((4,)), samples, rtol=1e-6, atol=1e-6)
        return (samples * weights).sum() + log_p.sum()

    (by_context,) = torch.autograd.grad(value(leaf := c.clone().requires_grad_()), leaf)
    with torch.no_grad():
        difference = float(value(c + step * way) - value(c - step * way)) / (2 * step)
    assert float((by_context * way).sum()) == pytest.approx(difference, rel=1e-5)
    assert not flow(c.requires_grad_()).sample().requires_grad


def test_a_mixture_at_a_context_has_no_differentiable_samples() -> None:
    """It says so where the context wants a gradient, and draws where it wants none."""
    flow, c = Flow.build(SPEC, context=3, base=Mixed(), seed=1), normal(5, 3)
    assert flow(c).rsample().shape == (5, 2)
    with pytest.raises(InvalidArgument, match=r"can't be differentiated by its context \(it has no rsample\)"):
        flow(c.requires_grad_()).rsample()


def test_samples_of_the_base_follow_the_seed_alone() -> None:
    flow = Flow.build(SPEC, base=mixture(), seed=1)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    assert torch.equal(flow.sample(4, seed=3), flow.sample(4, seed=3))
    assert not torch.equal(flow.sample(4), flow.sample(4))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_base_in_another_precision_is_refused() -> None:
    """Its density would be rounded to it, and given in the flow's."""
    single, double = Independent(StudentT(5.0 * torch.ones(2)), 1), Independent(StudentT(5.0 * ONES), 1)
    problem = r"base = Independent\(StudentT\): its .*df is torch.float32, but the flow is torch.float64; build it from"
    for base in (single, Returns(single), Learnt().float()):
        with pytest.raises(InvalidArgument, match=r"is torch.float32, but the flow is torch.float64"):
            Flow.build(SPEC, base=base, seed=1)
    with pytest.raises(InvalidArgument, match=problem):
        Flow.build(SPEC, base=single, seed=1)
    flow, x = Flow.build(SPEC, base=single, seed=1, dtype=torch.float32), normal(3, 2).float()
    assert flow.log_prob(x).dtype is flow.sample(3).dtype is torch.float32
    converted = Flow.build(SPEC, base=double, seed=1).float()
    for call in (lambda: converted.log_prob(x), lambda: converted.sample(3), converted.base_distribution):
        with pytest.raises(InvalidArgument, match=r"is torch.float64, but the flow is torch.float32"):
            call()
    assert Flow.build(SPEC, base=Learnt(), seed=1).float().log_prob(x).dtype is torch.float32


class Returns(nn.Module):
    """A module that returns what it is given."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self) -> object:
        return self.value


class Scaled(nn.Module):
    """A Gaussian whose scale is the context, which has to be positive."""

    def forward(self, context: Tensor) -> Distribution:
        # torch.compile turns the validation off that is torch's default
        loc = torch.zeros(len(context), 2).double()
        return Independent(Normal(loc, context.expand(-1, 2), validate_args=True), 1)


class Warm(nn.Module):
    """A Gaussian with an option, which is no context."""

    def forward(self, temperature: float = 1.0) -> Distribution:
        return Independent(Normal(ZEROS, temperature * ONES), 1)


def test_a_base_may_need_a_context_other_than_zero() -> None:
    flow, x = Flow.build(SPEC, context=1, base=Scaled(), seed=1, method=FINE), normal(5, 2)
    moved = flow.transport(x, 2 * torch.ones(1).double())
    expected = Independent(Normal(ZEROS, 2 * ONES), 1).log_prob(moved.z) + moved.log_det
    torch.testing.assert_close(moved.log_prob, expected)
    with pytest.raises(InvalidArgument, match=r"base = Scaled: it fails when it is called with a context of shape"):
        flow.log_prob(x, -torch.ones(1).double())


def transformed(*transforms: Any) -> Distribution:
    """A standard normal through transforms."""
    return Independent(TransformedDistribution(Normal(ZEROS, ONES), list(transforms)), 1)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (transformed(AffineTransform(torch.zeros(2), 1.0)), r"its .*transforms\[0\].loc is torch.float32"),
        (
            transformed(ComposeTransform([AffineTransform(ZEROS, 1.0), AffineTransform(0.0, torch.ones(2))])),
            r"parts\[1\].scale is torch.float32",
        ),
        (transformed(AffineTransform(torch.zeros(2), 1.0).inv), "loc is torch.float32"),
        (transformed(AffineTransform(nn.Parameter(ZEROS.clone()), 1.0)), "loc requires grad, but no module holds it"),
        (Conditional(), "base = Conditional: it fails when it is called with nothing"),
        (Normal(ZEROS, ONES), r"base = Normal: 2 distributions of single numbers; wrap it: .*Independent\(base, 1\)"),
        (Normal(torch.zeros(3), torch.ones(3)), r"its event shape is \(\), but samples are \(2,\)"),
        (
            Independent(Normal(torch.zeros(3), torch.ones(3)), 1),
            r"its event shape is \(3,\), but samples are \(2,\)",
        ),
        (Independent(Normal(torch.zeros(4, 2), torch.ones(4, 2)), 1), r"it is a batch \(4,\) of distributions"),
        (Independent(Uniform(ZEROS, ONES), 1), r"support is not all of R\^dim"),
        (Independent(Poisson(ONES), 1), r"support is not all of R\^dim"),
        (Normal, "base = class Normal: not a distribution"),
        ("normal", "base = 'normal': not a distribution"),
        (Returns(3), "base = Returns: it returns int; return a torch.distributions.Distribution"),
        (Returns(Normal(ZEROS, ONES)), "wrap it"),
        (Independent(Normal(nn.Parameter(ZEROS.clone()), ONES), 1), "requires grad, but no module holds it"),
    ],
)
def test_misuse_is_named(base: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Flow.build(SPEC, base=base, seed=1)


def test_a_default_that_may_be_a_context_is_refused() -> None:
    assert Flow.build(SPEC, base=Warm(), seed=1).sample(3).shape == (3, 2)
    with pytest.raises(InvalidArgument, match="base = Warm: the first argument of its forward, 'temperature', has a"):
        Flow.build(SPEC, context=1, base=Warm(), seed=1)


def test_a_learnt_mixture_has_no_differentiable_samples() -> None:
    class Learning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.means = nn.Parameter(normal(3, 2))

        def forward(self) -> Distribution:
            parts = Independent(Normal(self.means, torch.ones(3, 2).double()), 1)
            return MixtureSameFamily(Categorical(logits=torch.zeros(3).double()), parts)

    flow = Flow.build(SPEC, base=Learning(), seed=1)
    assert flow().sample((4,)).shape == (4, 2)
    flow.log_prob(normal(3, 2)).sum().backward()
    with pytest.raises(InvalidArgument, match=r"use sample\(\), or a base with rsample"):
        flow().rsample((4,))
