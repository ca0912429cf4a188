"""The Taylor test tells a right gradient from a wrong one, and leaves things as they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument, NonFiniteLoss
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.studies.gradients.taylor import fitted_slope, random_direction, taylor_test


class _WrongCube(torch.autograd.Function):
    """x^3 with a derivative that is off by the factor `ctx.factor`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x**3

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return 3 * ctx.factor * x**2 * grad, None


def parameters(dtype: torch.dtype = torch.float64) -> list[nn.Parameter]:
    """Two tensors of unlike shape and scale."""
    generator = torch.Generator().manual_seed(3)
    return [
        nn.Parameter(torch.randn(3, 2, dtype=dtype, generator=generator)),
        nn.Parameter(0.1 * torch.randn(4, dtype=dtype, generator=generator)),
    ]


def smooth(p: list[nn.Parameter], factor: float = 1.0) -> Callable[[], Tensor]:
    """A loss of third order in the parameters."""
    return lambda: _WrongCube.apply(torch.cat([q.reshape(-1) for q in p]), factor).sum() + p[0].square().sum()


@pytest.mark.parametrize("seed", range(3))
def test_a_right_gradient_is_called_exact(seed: int) -> None:
    """Slope 1 before and slope 2 after the linear term is taken away."""
    p = parameters()
    result = taylor_test(smooth(p), p, seed=seed)
    assert result.slope_e0 == pytest.approx(1.0, abs=0.05)
    assert result.slope_e1 == pytest.approx(2.0, abs=0.1)
    assert result.passes
    assert result.verdict.startswith("passes")


@pytest.mark.parametrize("factor", [0.0, 0.5, 0.99, 0.9999, 1.0001, -1.0])
def test_a_wrong_gradient_is_called_wrong(factor: float) -> None:
    """Even when it is off by no more than 0.01 %: the remainder then falls with slope 1."""
    p = parameters()
    result = taylor_test(smooth(p, factor), p)
    assert not result.passes
    assert result.slope_e1 < 1.5
    assert result.verdict.startswith("fails")


def test_the_sizes_are_powers_of_two() -> None:
    """h = 2^-k, as many remainders as sizes, E0 and E1 as defined."""
    p = parameters()
    loss, before = smooth(p), [q.detach().clone() for q in p]
    result = taylor_test(loss, p, halvings=12, seed=4)
    assert result.h == tuple(2.0**-k for k in range(13))
    assert len(result.e0) == len(result.e1) == 13
    v, k = random_direction(p, 4), 6
    start = loss()
    slope = sum((g * d).sum() for g, d in zip(torch.autograd.grad(start, p), v, strict=True))
    with torch.no_grad():
        for q, b, d in zip(p, before, v, strict=True):
            q.copy_(b + 2.0**-k * d)
    moved = float(loss().detach() - start.detach())
    assert result.e0[k] == pytest.approx(abs(moved), rel=1e-9)
    assert result.e1[k] == pytest.approx(abs(moved - 2.0**-k * float(slope)), rel=1e-9)


def test_a_linear_loss_is_exact_though_no_slope_can_be_fitted() -> None:
    """Its remainder is rounding error from the first size on."""
    p = parameters()
    result = taylor_test(lambda: p[0].sum() + 2 * p[1].sum(), p)
    assert result.passes
    assert result.fitted == (0, 0)
    assert "rounding" in result.verdict
    assert str(result) == result.verdict, "printed, it is a sentence"


def test_a_wrong_gradient_of_a_linear_loss_is_found() -> None:
    """Nothing but slope 1 is left then, at every size."""
    p = parameters()
    result = taylor_test(lambda: p[0].sum() + 2 * p[1].detach().sum() + p[1].sum() * 0, p)
    assert not result.passes
    assert result.slope_e1 == pytest.approx(1.0, abs=0.05)


def test_parameters_the_loss_does_not_use_are_no_obstacle() -> None:
    """Their gradient is zero, which is right."""
    p = parameters()
    assert taylor_test(lambda: (p[0] ** 3).sum(), p).passes


def test_parameters_are_restored_bit_by_bit() -> None:
    """Also where the loss fails in the middle; and no `.grad` is left behind."""
    p = parameters()
    before = [q.detach().clone() for q in p]
    taylor_test(smooth(p), p)
    assert all(torch.equal(q, b) for q, b in zip(p, before, strict=True))
    assert all(q.grad is None for q in p)
    calls = 0

    def failing() -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("no more")
        return smooth(p)()

    with pytest.raises(RuntimeError, match="no more"):
        taylor_test(failing, p)
    assert all(torch.equal(q, b) for q, b in zip(p, before, strict=True))


def test_a_loss_that_blows_up_for_large_sizes_is_no_obstacle() -> None:
    """h = 1 may leave the region where the solve is finite; small sizes decide."""
    p = parameters()
    far = 0.1 * math.sqrt(sum(float(q.detach().square().sum()) for q in p))
    start = torch.cat([q.detach().reshape(-1) for q in p]).clone()

    def loss() -> Tensor:
        x = torch.cat([q.reshape(-1) for q in p])
        return (x**3).sum() / (0.0 if float((x.detach() - start).norm()) > far else 1.0)

    assert taylor_test(loss, p).passes


@pytest.mark.parametrize(
    ("loss_of", "argument"),
    [
        (lambda p: p[0], "loss"),
        (lambda p: p[0].sum() * math.nan, "loss"),
        (lambda p: p[0].sum() * math.inf, "loss"),
    ],
)
def test_a_loss_that_is_no_finite_scalar_is_refused(
    loss_of: Callable[[list[nn.Parameter]], Tensor], argument: str
) -> None:
    """Rather than fitting slopes to NaN."""
    p = parameters()
    with pytest.raises(InvalidArgument) as caught:
        taylor_test(lambda: loss_of(p), p)
    assert caught.value.argument == argument


def test_bad_parameters_are_refused() -> None:
    """None, constants and intermediate results cannot be moved."""
    p = parameters()
    for bad in ([], [torch.ones(2)], [2 * p[0]]):
        with pytest.raises(InvalidArgument) as caught:
            taylor_test(smooth(p), bad)
        assert caught.value.argument == "params"


def test_too_few_sizes_are_refused() -> None:
    """A slope needs its points."""
    p = parameters()
    with pytest.raises(InvalidArgument) as caught:
        taylor_test(smooth(p), p, halvings=3)
    assert caught.value.argument == "halvings"


def test_the_direction_is_seeded_and_as_long_as_the_parameters() -> None:
    """So that h is a relative step; the global generator is left alone."""
    p = parameters()
    state = torch.get_rng_state()
    v = random_direction(p, 5)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(v, random_direction(p, 5), strict=True))
    assert not torch.equal(v[0], random_direction(p, 6)[0])
    length, size = (math.sqrt(sum(float(x.detach().square().sum()) for x in xs)) for xs in (v, p))
    assert length == pytest.approx(size, rel=1e-12)
    zeros = [nn.Parameter(torch.zeros(5, dtype=torch.float64))]
    assert float(random_direction(zeros, 0)[0].norm()) == pytest.approx(1.0, rel=1e-12)


def test_fitted_slope() -> None:
    """Least squares in log-log; points that have no logarithm are left out."""
    assert fitted_slope([1.0, 2.0, 4.0], [3.0, 24.0, 192.0]) == pytest.approx(3.0)
    assert fitted_slope([1.0, 2.0, 4.0, 8.0], [3.0, 0.0, 192.0, math.inf]) == pytest.approx(3.0)
    assert math.isnan(fitted_slope([1.0, 2.0], [1.0, 0.0]))


def test_rounding_is_no_proof() -> None:
    """Where only large steps stand above rounding error, slope 2 says nothing about the gradient."""
    p = [nn.Parameter(torch.tensor([1.0], dtype=torch.float32))]
    result = taylor_test(lambda: 1e4 + 1e-2 * p[0].sum() + (10 * p[0].square()).sum() - 20 * p[0].sum(), p)
    assert not result.passes
    assert result.verdict.startswith("undecided")


def test_a_gradient_that_is_not_finite_is_no_pass() -> None:
    """NaN compares with nothing: it must not look like a remainder below rounding error."""
    p = nn.Parameter(torch.tensor([0.0, 1.0], dtype=torch.float64))
    with pytest.raises(NonFiniteLoss, match="the gradient has NaN"):
        taylor_test(lambda: torch.where(p > 1e9, p.sqrt(), torch.ones_like(p)).sum() + p[1], [p])


def test_a_loss_that_lives_at_one_point_only_is_undecided() -> None:
    p = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    before = p.detach().clone()
    result = taylor_test(lambda: p.sum() + (0.0 if torch.equal(p.detach(), before) else math.nan), [p])
    assert not result.passes
    assert result.verdict.startswith("undecided")


def test_solves_that_fail_far_away_do_no_harm() -> None:
    """Doubling the parameters may blow the solution up; the test lives on small changes."""
    w = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    y0, ts = torch.tensor([0.6], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    result = taylor_test(lambda: DiscOpt(steps=20).solve(lambda t, y: 1.8 * w * y**5, y0, ts).ys.sum(), [w])
    assert math.inf in result.e1
    assert result.passes


@pytest.mark.parametrize("error", [0.5, 1e-1, 1e-3, 1e-6])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_size_of_an_error_is_told(error: float, seed: int) -> None:
    """The part of the gradient along the direction that is wrong, whatever its size."""
    p = [nn.Parameter(torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64))]
    result = taylor_test(lambda: _WrongCube.apply(p[0], 1 + error).sum(), p, seed=seed)
    assert not result.passes
    assert result.rough_below is None
    assert error / 3 <= result.bound <= 3 * error
    assert f"off by about {result.bound:.0e}" in result.verdict


class _Net(nn.Module):
    """A net whose activation has kinks."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.first, self.second = (
            nn.Parameter(0.5 * torch.randn(*shape, dtype=torch.float64, generator=generator))
            for shape in ((2, 32), (32, 2))
        )
        self.activation = activation

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.activation(y @ self.first + 0.1) @ self.second


KINKS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
}


@pytest.mark.parametrize("kink", KINKS)
def test_kinks_leave_an_exact_gradient_exact(kink: str) -> None:
    """Large sizes cross kinks; the smallest, which decide, do not."""
    field = _Net(KINKS[kink])
    y0 = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ts = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    result = taylor_test(lambda: DiscOpt(steps=2).solve(field, y0, ts).ys[-1].square().mean(), list(field.parameters()))
    assert result.passes, result.verdict


@pytest.mark.parametrize("kink", KINKS)
def test_an_adaptive_solve_over_kinks_is_rough_not_wrong(kink: str) -> None:
    """The step size control reacts to kinks, so at tiny sizes the loss has a slope of its own; the gradient is right
    to a few per cent and must not be called off by a multiple, as it was by the slope at the smallest size."""
    field = _Net(KINKS[kink])
    y0 = torch.randn(8, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ts = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    method = OptDisc(rtol=1e-4, atol=1e-6, engine="eager")  # whose step sizes react the most
    params = list(field.parameters())

    def loss(by: GradientMethod) -> Tensor:
        return by.solve(field, y0, ts).ys[-1].square().mean()

    for seed in range(2):
        result = taylor_test(lambda: loss(method), params, seed=seed)
        slopes = []
        for by in (method, DiscOpt(steps=100)):
            gradients = torch.autograd.grad(loss(by), params)
            slopes.append(
                sum(float((g * v).sum()) for g, v in zip(gradients, random_direction(params, seed), strict=True))
            )
        error = abs(slopes[0] / slopes[1] - 1)
        assert "the computed loss is rough below" in result.verdict
        assert abs(result.bound - error) < 0.02


@pytest.mark.parametrize("wave", [1e-4, 1e-6])
def test_a_rough_loss_is_called_rough(wave: float) -> None:
    """A smooth loss with a far smaller ripple; the gradient is that of the smooth part."""
    p = [nn.Parameter(torch.tensor([0.7, -1.2, 0.4], dtype=torch.float64))]

    def loss() -> Tensor:
        return (p[0] ** 3).sum() + wave * torch.sin(p[0].detach().sum() / wave)

    result = taylor_test(loss, p, seed=1)
    assert not result.passes
    assert result.rough_below is not None
    assert result.rough_below > wave
    assert "rough" in result.verdict
    assert result.bound < 0.1


class _OffBy(torch.autograd.Function):
    """The identity, with a gradient that is off by a relative error."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, error: float) -> Tensor:
        ctx.error = error
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * (1 + ctx.error), None


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.3, 0.3),
}


@pytest.mark.parametrize("error", [1e-1, -1e-1, 1e-3, -1e-3, 1e-5, 1e-6, -1e-6])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_size_of_an_error_is_that_of_the_gradient(name: str, error: float) -> None:
    """To a factor of three where the test fails; where it passes, the bound is no smaller than the error."""
    generator = torch.Generator().manual_seed(2)
    shapes = ((2, 16), (16,), (16, 2))
    p = [nn.Parameter(torch.randn(shape, dtype=torch.float64, generator=generator) / 2) for shape in shapes]
    y0 = torch.randn(8, 2, dtype=torch.float64, generator=generator)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)

    def loss() -> Tensor:
        ys = DiscOpt(steps=4).solve(lambda t, y: ACTIVATIONS[name](y @ p[0] + p[1]) @ p[2], y0, ts).ys
        return _OffBy.apply(ys[-1].square().mean(), error)

    result = taylor_test(loss, p)
    if result.passes:
        assert abs(error) < 2e-5
        assert result.bound > 0.9 * abs(error)
    else:
        assert abs(error) / 3 < result.bound < 3 * abs(error)
        assert f"off by about {result.bound:.0e}" in result.verdict


def test_parameters_may_be_a_generator() -> None:
    """As `module.parameters()` is."""
    net = nn.Linear(2, 1).double()
    x = torch.ones(3, 2, dtype=torch.float64)
    assert taylor_test(lambda: net(x).pow(3).sum(), net.parameters()).passes
    with pytest.raises(InvalidArgument, match="params"):
        taylor_test(lambda: x.sum(), nn.Tanh().parameters())
