"""Solves of any field: linear ones scale, reversed times lead back, more output times change nothing."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pynode.fields.base import FieldSpec
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from tests.properties.strategies import batch_shapes, monotone, schemes, seeds, specs, state_of, theta_of


def linear(seed: int, dim: int) -> torch.nn.Module:
    """dy/dt = A y."""
    module = torch.nn.Module()
    matrix = 0.5 * torch.randn(dim, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    module.register_parameter("A", torch.nn.Parameter(matrix))
    module.forward = lambda t, y: y @ matrix.T
    return module


@given(schemes, monotone(), batch_shapes, st.integers(1, 3), seeds, st.floats(-3, 3), st.integers(1, 4))
def test_a_linear_field_scales_and_adds(
    scheme: Scheme, times: list[float], batch: tuple[int, ...], dim: int, seed: int, factor: float, steps: int
) -> None:
    field, ts = linear(seed, dim), torch.tensor(times, dtype=torch.float64)
    method = DiscOpt(scheme, steps=steps)
    a, b = state_of((*batch, dim), seed), state_of((*batch, dim), seed + 1)
    together = method.solve(field, a + factor * b, ts).ys
    apart = method.solve(field, a, ts).ys + factor * method.solve(field, b, ts).ys
    # |A| T is at most about 6: states grow by e^6, and rounding with them
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-11 * float(together.abs().max() + 1))


@given(specs(), monotone(), batch_shapes, seeds)
def test_reversed_times_lead_back(spec: FieldSpec, times: list[float], batch: tuple[int, ...], seed: int) -> None:
    field = spec.build(theta=0.4 * theta_of(spec, seed))
    ts = torch.tensor(times, dtype=torch.float64) / 4  # |t| below 1: so that nothing blows up on the way
    y0 = state_of((*batch, spec.state_dim), seed)
    if int(getattr(spec, "input_power", 1)) > 1:
        y0 = 0.3 * y0
    with torch.no_grad():
        there = OptDisc(rtol=1e-9, atol=1e-11, engine="eager").solve(field, y0, ts).ys
        back = OptDisc(rtol=1e-9, atol=1e-11, engine="eager").solve(field, there[-1], ts.flip(0)).ys
    # errors of both solves, each some 1e-9 a step, grown by the field's own growth
    torch.testing.assert_close(back[-1], y0, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(back.flip(0), there, rtol=1e-5, atol=1e-6)


@given(specs(), schemes, monotone(at_most=3), batch_shapes, seeds, st.data())
def test_output_times_on_the_grid_do_not_change_the_states(
    spec: FieldSpec, scheme: Scheme, times: list[float], batch: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    """The same steps, some of their ends asked for in addition."""
    field = spec.build(theta=theta_of(spec, seed))
    y0 = 0.5 * state_of((*batch, spec.state_dim), seed)
    k = data.draw(st.integers(2, 4))
    finer = [a + (b - a) * j / k for a, b in pairwise(times) for j in range(k)] + times[-1:]
    with torch.no_grad():
        coarse = DiscOpt(scheme, steps=k, engine="eager").solve(field, y0, _tensor(times), throw=False).ys
        fine = DiscOpt(scheme, engine="eager").solve(field, y0, _tensor(finer), throw=False).ys
    # step sizes differ by rounding, which a field at hand magnifies by what it magnifies everything
    torch.testing.assert_close(fine[::k], coarse, rtol=1e-8, atol=1e-10, equal_nan=True)


@given(specs(), monotone(at_most=3), batch_shapes, seeds, st.integers(1, 3))
def test_samples_do_not_know_of_each_other(
    spec: FieldSpec, times: list[float], batch: tuple[int, ...], seed: int, steps: int
) -> None:
    """A batch is solved sample by sample to the same states."""
    field = spec.build(theta=theta_of(spec, seed))
    y0 = 0.5 * state_of((*batch, spec.state_dim), seed)
    method = DiscOpt(RK4, steps=steps)
    with torch.no_grad():
        ys = method.solve(field, y0, _tensor(times), throw=False).ys
        rows = y0.reshape(-1, spec.state_dim)
        alone = [method.solve(field, row, _tensor(times), throw=False).ys for row in rows]
    whole = ys.reshape(len(times), -1, spec.state_dim)
    if bool(torch.isfinite(ys).all()):  # one sample that blows up takes the batch with it
        torch.testing.assert_close(whole, torch.stack(alone, 1), rtol=1e-8, atol=1e-10)


def _tensor(times: list[float]) -> Tensor:
    return torch.tensor(times, dtype=torch.float64)
