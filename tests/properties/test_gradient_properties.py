"""Gradients: Disc-Opt's is the derivative of the loss that it computed, and the engines agree on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from pynode.engines.fused import unavailable
from pynode.errors import SolveError
from pynode.fields.base import FieldSpec
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.base import Scheme
from tests.properties.profiles import tried
from tests.properties.strategies import batch_shapes, monotone, schemes, seeds, specs, state_of, theta_of

LARGEST_STATE = 10.0
"""Beyond it a finite difference says little: the field is about to blow up."""

ENGINES: tuple[str, ...] = ("eager", "fused")

memories = st.sampled_from(["store", "recompute", "checkpoint"])


def loss_at(spec: FieldSpec, method: DiscOpt, theta: Tensor, y0: Tensor, ts: Tensor) -> float:
    """The loss that is differentiated below: the sum of the sines of all states."""
    with torch.no_grad():
        return float(method.solve(spec.build(theta=theta), y0, ts).ys.sin().sum())


@given(specs(), schemes, memories, monotone(at_most=4), st.integers(1, 3), batch_shapes, seeds)
@tried(60)
def test_disc_opt_is_the_derivative_of_its_loss(
    spec: FieldSpec, scheme: Scheme, memory: str, times: list[float], steps: int, batch: tuple[int, ...], seed: int
) -> None:
    """Along a random direction in theta, y0 and the output times: a central difference in three variables at once."""
    method = DiscOpt(scheme, steps, memory)  # type: ignore[arg-type]
    theta = 0.6 * theta_of(spec, seed)
    y0 = (0.6 * state_of((*batch, spec.state_dim), seed)).requires_grad_()
    ts = torch.tensor(times, dtype=torch.float64, requires_grad=True)
    field = spec.build(theta=theta)
    ys = method.solve(field, y0, ts).ys
    assume(float(ys.detach().abs().max()) < LARGEST_STATE)
    ys.sin().sum().backward()
    assert y0.grad is not None
    assert ts.grad is not None
    by_theta = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in field.parameters()])
    along = [state_of(tuple(x.shape), seed + k) for k, x in enumerate((theta, y0, ts), start=1)]
    slope = sum(float((g * v).sum()) for g, v in zip((by_theta, y0.grad, ts.grad), along, strict=True))
    h = 1e-5
    ends = [
        loss_at(spec, method, theta + s * h * along[0], y0.detach() + s * h * along[1], ts.detach() + s * h * along[2])
        for s in (1, -1)
    ]
    difference = (ends[0] - ends[1]) / (2 * h)
    # h^2 times a third derivative, and rounding over h: together some 1e-9 of a slope of size one
    assert slope == pytest.approx(difference, rel=1e-5, abs=1e-6)


@pytest.mark.skipif(bool(unavailable()), reason="no kernels here")
@given(specs(), schemes, st.sampled_from(["store", "recompute"]), monotone(), st.integers(1, 3), batch_shapes, seeds)
@tried(60)
def test_the_engines_agree(
    spec: FieldSpec, scheme: Scheme, memory: str, times: list[float], steps: int, batch: tuple[int, ...], seed: int
) -> None:
    """States and gradients of Disc-Opt, fused and eager, or the same failure."""
    results: list[list[Any]] = []
    for engine in ENGINES:
        method = DiscOpt(scheme, steps, memory, engine=engine)  # type: ignore[arg-type]
        field = spec.build(theta=theta_of(spec, seed))
        y0 = state_of((*batch, spec.state_dim), seed).requires_grad_()
        try:
            ys = method.solve(field, y0, torch.tensor(times, dtype=torch.float64)).ys
        except SolveError as error:
            results.append([error.status])
            continue
        ys.sin().sum().backward()
        results.append([ys.detach(), y0.grad, *(p.grad for p in field.parameters())])
    eager, fused = results
    if not isinstance(eager[0], Tensor):
        assert fused == eager
        return
    assume(float(eager[0].abs().max()) < LARGEST_STATE)
    # sums in another order, magnified by a field that may grow tenfold on its way
    torch.testing.assert_close(fused, eager, rtol=1e-7, atol=1e-9)


@pytest.mark.skipif(bool(unavailable()), reason="no kernels here")
@given(specs(), monotone(at_most=3), st.integers(1, 3), seeds, st.booleans(), st.booleans(), st.booleans())
@tried(40)
def test_the_engines_agree_on_flows(
    spec: FieldSpec, times: list[float], n: int, seed: int, exact: bool, kinetic: bool, jacobian: bool
) -> None:
    """The state with its log-determinant and running costs."""
    costs = RunningCosts(kinetic, jacobian)
    probes = None if exact else state_of((n, spec.state_dim), seed + 1)
    kind = Exact() if exact else Hutchinson()
    results: list[list[Any]] = []
    for engine in ENGINES:
        field = spec.build(theta=0.6 * theta_of(spec, seed))
        flow = AugmentedField(field, spec.state_dim, kind, probes, costs)
        z = 0.6 * state_of((n, spec.state_dim), seed)
        y0 = torch.cat([z, torch.zeros(n, 1 + costs.columns, dtype=z.dtype)], 1).requires_grad_()
        try:
            ys = DiscOpt(engine=engine).solve(flow, y0, torch.tensor(times, dtype=torch.float64)).ys
        except SolveError:
            assume(False)
        assume(float(ys.detach().abs().max()) < LARGEST_STATE)
        ys.sin().sum().backward()
        results.append([ys.detach(), y0.grad, *(p.grad for p in field.parameters())])
    eager, fused = results
    for a, b in zip(eager, fused, strict=True):
        # a parameter that the loss does not know: None by autograd, zeros by the kernels
        torch.testing.assert_close(torch.zeros_like(b) if a is None else a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.skipif(bool(unavailable()), reason="no kernels here")
@given(specs(), monotone(at_most=3), batch_shapes, seeds)
@tried(20)
def test_the_engines_agree_on_the_adjoint_to_its_tolerances(
    spec: FieldSpec, times: list[float], batch: tuple[int, ...], seed: int
) -> None:
    results: list[list[Any]] = []
    for engine in ENGINES:
        method = OptDisc(rtol=1e-8, atol=1e-10, engine=engine)
        field = spec.build(theta=0.5 * theta_of(spec, seed))
        y0 = (0.5 * state_of((*batch, spec.state_dim), seed)).requires_grad_()
        ts = torch.tensor(times, dtype=torch.float64) / 2
        try:
            ys = method.solve(field, y0, ts).ys
        except SolveError:
            assume(False)
        assume(float(ys.detach().abs().max()) < LARGEST_STATE)
        ys.sin().sum().backward()
        results.append([ys.detach(), y0.grad, *(p.grad for p in field.parameters())])
    for a, b in zip(*results, strict=True):
        # tolerances are per step; what both solves add up to grows with the field
        torch.testing.assert_close(b, torch.zeros_like(b) if a is None else a, rtol=1e-4, atol=1e-5)
