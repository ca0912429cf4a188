"""Schemes: each converges at the order it claims, takes the steps it was told, and keeps the state's dtype."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.grid import TimeGrid
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.studies.gradients.taylor import fitted_slope


def times(*values: float) -> Tensor:
    """Output times in float64."""
    return torch.tensor(values, dtype=torch.float64)


def turning(t: Tensor, y: Tensor) -> Tensor:
    """Nonlinear, coupled and time-dependent: (cos w, sin w) with dw/dt = y_0 (2 + sin 3t); see `solution`."""
    speed = y[0] * (2 + torch.sin(3 * t))
    return torch.stack([-y[1] * speed, y[0] * speed])


def solution(t: float) -> Tensor:
    """(1 / cosh s, tanh s) with s = 2t + (1 - cos 3t) / 3, from dw / cos w = ds."""
    s = 2 * t + (1 - math.cos(3 * t)) / 3
    return torch.tensor([1 / math.cosh(s), math.tanh(s)], dtype=torch.float64)


@pytest.mark.parametrize("outputs", [(0.0, 0.4, 1.0), (1.0, 0.6, 0.0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", SCHEMES.names())
def test_measured_order_is_the_nominal_one(name: str, outputs: tuple[float, ...]) -> None:
    """Slope of the error against the step size, by regression, in either time direction."""
    scheme, ts = SCHEMES.load(name), times(*outputs)
    exact = torch.stack([solution(t) for t in outputs])
    # small enough steps for the leading term, errors still far above rounding
    counts = {5: [8, 12, 16, 24, 32], 8: [3, 4, 5, 6]}.get(scheme.order, [16, 24, 32, 48, 64])
    errors = [
        float((scheme.solve(turning, solution(outputs[0]), TimeGrid.between(ts, n)) - exact).norm()) for n in counts
    ]
    assert errors[-1] > 1e-12
    slope = fitted_slope([1 / n for n in counts], errors)
    if scheme.order < 5:
        assert slope == pytest.approx(scheme.order, abs=0.15)
    else:  # the leading term is small, so the slope is that of the next one in part; test_tableaux has the conditions
        assert scheme.order - 0.4 < slope < scheme.order + 1.5


@pytest.mark.parametrize("name", SCHEMES.names())
def test_order_conditions_of_the_quadrature(name: str) -> None:
    """sum b_i c_i^(q-1) = 1/q up to the order: a scheme is exact for polynomials in t of lower degree."""
    scheme = SCHEMES.load(name)
    for q in range(1, scheme.order + 1):
        assert sum(b * c ** (q - 1) for b, c in zip(scheme.b, scheme.c, strict=True)) == pytest.approx(1 / q, rel=1e-14)


@pytest.mark.parametrize("steps", [1, 3, (1, 4)])
@pytest.mark.parametrize("name", SCHEMES.names())
def test_steps_are_counted_exactly(name: str, steps: int | tuple[int, ...]) -> None:
    """A stub field sees stages x steps calls, at the stage times, in order."""
    scheme, seen = SCHEMES.load(name), []

    def stub(t: Tensor, y: Tensor) -> Tensor:
        seen.append(t.item())
        return torch.ones_like(y)

    grid = TimeGrid.between(times(0.0, 1.0, 4.0), steps)
    ys = scheme.solve(stub, torch.zeros(1).double(), grid)
    assert len(seen) == scheme.n_stages * grid.n_steps
    assert grid.n_steps == (2 * steps if isinstance(steps, int) else sum(steps))
    assert seen == grid.stage_times(scheme.c).reshape(-1).tolist()
    assert ys.reshape(-1).tolist() == pytest.approx([0.0, 1.0, 4.0], rel=1e-14)


@pytest.mark.parametrize("name", SCHEMES.names())
def test_one_step_by_hand(name: str) -> None:
    """For y' = y one step multiplies by 1 + h + h^2/2 + ... up to the order, by what its stages make of it beyond."""
    scheme, h = SCHEMES.load(name).formula, 0.3
    expected = sum(h**k / math.factorial(k) for k in range(scheme.order + 1))
    a = torch.tensor([[*row, *[0.0] * (scheme.n_stages - len(row))] for row in scheme.a], dtype=torch.float64)
    stages = torch.ones(scheme.n_stages).double()
    for k in range(1, scheme.n_stages + 1):  # h^k b A^(k-1) 1
        if k > scheme.order:
            expected += h**k * float(torch.tensor(scheme.b).double() @ stages)
        stages = a @ stages
    y = scheme.solve(lambda _, y: y, torch.ones(1).double(), TimeGrid.between(times(0.0, h)))[-1]
    assert y.item() == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("name", SCHEMES.names())
def test_dtype_and_device_of_the_state_are_kept(name: str, wanted: bool, dtype: torch.dtype) -> None:
    """Whatever the dtype of the times, and whether or not they want a gradient."""
    scheme, y0 = SCHEMES.load(name), torch.ones(2, 3, dtype=dtype)

    def field(t: Tensor, y: Tensor) -> Tensor:
        assert t.dtype == y.dtype == dtype
        return t * y

    ts = times(0.0, 0.5, 1.0).requires_grad_(wanted)
    ys = scheme.solve(field, y0, TimeGrid.between(ts, 2), ts)
    assert (ys.dtype, ys.device, ys.shape) == (dtype, y0.device, (3, 2, 3))
    assert ys.requires_grad == wanted


@pytest.mark.parametrize("name", SCHEMES.names())
def test_all_views_of_a_solve_agree(name: str) -> None:
    """`walk`, `trajectory` and `solve` are one computation, and y0 is left as it was."""
    scheme, y0 = SCHEMES.load(name), solution(0.2)
    grid = TimeGrid.between(times(0.2, 0.5, 1.1), (2, 3))
    walked = torch.stack(list(scheme.walk(turning, y0, grid)))
    assert torch.equal(scheme.trajectory(turning, y0, grid), walked)
    assert torch.equal(scheme.solve(turning, y0, grid), walked[[0, 2, 5]])
    assert torch.equal(y0, solution(0.2))


def test_unequal_rules_have_unequal_names() -> None:
    """The classical rule and the 3/8 rule differ; torchdiffeq calls the second one `rk4`."""
    grid, y0 = TimeGrid.between(times(0.0, 1.0)), solution(0.0)
    classical, three_eighths = (SCHEMES.load(n).solve(turning, y0, grid)[-1] for n in ("rk4", "rk38"))
    assert float((classical - three_eighths).norm()) > 1e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scheme("x", 1, a=((0.0,),), b=(1.0,), c=(0.0,)),
        lambda: Scheme("x", 1, a=((),), b=(0.5,), c=(0.0,)),
        lambda: Scheme("x", 2, a=((), (0.5,)), b=(0.5, 0.5), c=(0.0, 1.0)),
        lambda: Scheme("x", 1, a=((),), b=(1.0,), c=(0.5,)),
        lambda: Scheme("x", 2, a=((), (1.0,)), b=(1.0,), c=(0.0, 1.0)),
    ],
    ids=["implicit", "weights", "nodes", "first node", "lengths"],
)
def test_tableaux_that_are_none_are_refused(make: Callable[[], Scheme]) -> None:
    """A slip in a table of numbers would otherwise show as a lower order only."""
    with pytest.raises(InvalidArgument, match="tableau"):
        make()
