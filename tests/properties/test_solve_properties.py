"""Solves: any initial state and output times give states of the documented shape, or a typed error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from pynode.errors import PynodeError, SolveError, UsageError
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.euler import EULER
from pynode.solution import Status
from pynode.torchdiffeq_interface import odeint
from pynode.torchdiffeq_interface.arguments import known_methods
from tests.properties.profiles import tried
from tests.properties.strategies import any_times, batch_shapes, mostly, plain, seeds, specs, theta_of

METHODS: tuple[GradientMethod, ...] = (
    DiscOpt(),
    DiscOpt(EULER, steps=3, memory="recompute"),
    DiscOpt(steps=2, memory="checkpoint"),
    OptDisc(rtol=1e-3, atol=1e-5, max_steps=300),
    OptDisc(solver="tsit5", rtol=1e-3, atol=1e-5, max_steps=300),
    OptDiscFixed(steps=2),
    AdaptiveAD(solver="bosh3", rtol=1e-3, atol=1e-5, max_steps=300),
)
DTYPES = (torch.float64, torch.float64, torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)


@st.composite
def states(draw: st.DrawFn) -> Any:
    """Initial states as users may pass them: of any shape, dtype and value; or no tensor."""
    if draw(st.integers(0, 19)) == 0:
        return draw(plain)
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    y = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(draw(seeds)))
    if y.numel() and draw(st.integers(0, 9)) == 0:
        y.view(-1)[0] = draw(st.sampled_from([float("nan"), float("inf"), 1e308, 1e-308]))
    return y.to(draw(st.sampled_from([*DTYPES, torch.complex128, torch.bool])))


def decay(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    return -0.5 * y


def explode(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    return 1 + y * y * y


def misshapen(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    return y.sum()


fields = st.sampled_from([decay, decay, explode, misshapen])


@given(fields, states(), any_times(), st.sampled_from(METHODS), st.booleans())
@tried(150)
def test_solve_gives_states_or_a_typed_error(f: Any, y0: Any, ts: Any, method: GradientMethod, throw: bool) -> None:
    try:
        solution = method.solve(f, y0, ts, throw=throw)
    except (UsageError, SolveError):
        return
    assert solution.ys.shape == (len(ts), *y0.shape)
    assert solution.ys.dtype == y0.dtype
    assert solution.status is Status.SUCCESS or not throw
    if solution.status is Status.SUCCESS:
        assert bool(torch.isfinite(solution.ys).all())
        assert torch.equal(solution.ys[0], y0)
    else:
        assert bool(torch.isnan(solution.ys).all())


@given(specs(), batch_shapes, seeds, any_times(), st.sampled_from(METHODS), st.sampled_from(DTYPES))
@tried(100)
def test_a_field_is_solved_and_differentiated_or_it_is_a_typed_error(
    spec: Any, batch: tuple[int, ...], seed: int, ts: Any, method: GradientMethod, dtype: torch.dtype
) -> None:
    field = spec.build(theta=theta_of(spec, seed))
    y0 = torch.ones((*batch, spec.state_dim)).to(dtype)
    if dtype.is_floating_point:
        y0.requires_grad_()
    try:
        ys = method.solve(field, y0, ts).ys
        ys.square().sum().backward()
    except (UsageError, SolveError):
        return
    assert ys.shape == (len(ts), *y0.shape)
    assert y0.grad is not None
    assert y0.grad.shape == y0.shape
    # a square that overflows is the caller's
    assert bool(torch.isfinite(y0.grad).all()) or not bool(torch.isfinite(ys.square().sum()))


@given(
    st.sampled_from([decay, decay, misshapen]),
    mostly(states(), st.lists(states(), max_size=3).map(tuple)),
    any_times(),
    mostly(st.sampled_from([*(m for m in known_methods() if m != "scipy_solver"), None, *METHODS])),
    mostly(st.none(), st.dictionaries(st.sampled_from(["step_size", "interp"]), plain, max_size=2)),
    mostly(st.sampled_from([1e-3, 1e-5]), st.one_of(st.floats(), plain)),
)
@example(decay, torch.tensor(float("nan")), torch.tensor([0.0, 1.0]), "heun3", None, 1e-3)
@example(decay, torch.zeros(0), torch.tensor([0.0, 1.0, 2.0, 3.0]), "implicit_adams", None, 1e-3)
@example(decay, torch.zeros(1), torch.tensor([0.0, 1.0]), "euler", {"interp": None}, 1e-3)
@example(decay, torch.zeros(1), torch.tensor([0.0, 1.0]), "euler", {"step_size": 1e-300}, 1e-3)
@example(decay, torch.zeros(1), torch.tensor([0.0, 1.0]), "euler", {"step_size": "a"}, 1e-3)
@example(decay, torch.zeros(1), torch.tensor([0.0, 1.0]), "dopri5", 7, 1e-3)
@example(decay, (), torch.tensor([0.0, 1.0]), "dopri5", None, 1e-3)
@example(decay, (torch.zeros(1),), torch.tensor([0.0, 1.0]), "dopri5", None, [])
@pytest.mark.filterwarnings("ignore:.*Unexpected arguments:UserWarning")  # torchdiffeq's word on options it ignores
@pytest.mark.filterwarnings("ignore:Functional iteration did not converge:UserWarning")  # and on implicit methods
@tried(200)
def test_odeint_gives_states_or_a_typed_error(f: Any, y0: Any, t: Any, method: Any, options: Any, rtol: Any) -> None:
    def func(t: Tensor, y: Any) -> Any:
        return tuple(f(t, part) for part in y) if isinstance(y, tuple) else f(t, y)

    try:
        ys = odeint(func, y0, t, method=method, options=options, rtol=rtol, atol=1e-5)
    except PynodeError:
        return
    for values, start in zip(ys, y0, strict=True) if isinstance(y0, tuple) else ((ys, y0),):
        assert values.shape == (len(t), *start.shape)
        assert torch.equal(values[0], start)
