"""Field specifications: any JSON builds a field that does what it promises, or is refused in words."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.errors import UsageError
from pynode.fields.base import FieldSpec, field_from_json
from tests.properties.profiles import tried
from tests.properties.strategies import batch_shapes, field_descriptions, seeds, specs, state_of, theta_of

MOST_PARAMETERS = 10_000
"""A description may ask for a field that fits no machine; only its bookkeeping is tried then."""


@example({"architecture": "mlp", "widths": [1, 1], "activation": ["tanh"]}, (), 0, torch.float64)
@example({"architecture": "mlp", "widths": None}, (), 0, torch.float64)
@example({"architecture": "antisymmetric", "dim": True}, (), 0, torch.float64)
@example({"architecture": "antisymmetric", "dim": 1, "gamma": "a"}, (), 0, torch.float64)
@example({"architecture": "antisymmetric", "dim": 1, "gamma": 10**400}, (), 0, torch.float64)
@example(None, (), 0, torch.float64)
@given(field_descriptions(), batch_shapes, seeds, st.sampled_from([torch.float64, torch.float32]))
@tried(100)
def test_a_description_builds_or_is_refused(data: Any, batch: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    try:
        spec = field_from_json(data)
    except UsageError:
        return
    assert field_from_json(spec.to_json()) == spec
    assert field_from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert hash(spec) == hash(field_from_json(spec.to_json()))
    assert spec.n_params == sum(slot.size for slot in spec.slots()) if len(str(spec.n_params)) < 6 else True
    if spec.n_params <= MOST_PARAMETERS:
        check_field(spec, batch, seed, dtype)


@given(specs(), batch_shapes, seeds, st.sampled_from([torch.float64, torch.float32]))
def test_a_field_does_as_it_says(spec: FieldSpec, batch: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    check_field(spec, batch, seed, dtype)


def check_field(spec: FieldSpec, batch: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """theta goes in and comes out, values and divergences have their shapes, gradients are finite."""
    theta = theta_of(spec, seed)
    assert torch.equal(spec.build(theta=theta).theta(), theta)
    field = spec.build(theta=theta, dtype=dtype)
    y = state_of((*batch, spec.state_dim), seed, dtype).requires_grad_()
    t = torch.tensor(0.3, dtype=dtype)
    value = field(t, y)
    assert (value.shape, value.dtype) == (y.shape, dtype)
    same, divergence = field.divergence(t, y)
    assert (divergence.shape, divergence.dtype) == (torch.Size(batch), dtype)
    # the same sums in another order
    torch.testing.assert_close(same, value)
    (value.square().sum() + divergence.sum()).backward()
    wanted = [y, *field.parameters()]
    assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in wanted)
    assert y.grad is not None


@given(specs(), st.integers(0, 30), seeds)
def test_theta_of_another_length_is_refused(spec: FieldSpec, length: int, seed: int) -> None:
    theta = torch.zeros(length, dtype=torch.float64)
    if length == spec.n_params:
        assert torch.equal(spec.build(theta=theta).theta(), theta)
        return
    field = spec.build(seed=seed)
    before = field.theta()
    try:
        field.set_theta(theta)
    except UsageError:
        assert torch.equal(field.theta(), before)
    else:
        raise AssertionError("accepted")


@given(specs(), batch_shapes, seeds)
def test_the_divergence_is_the_trace_of_the_jacobian(spec: FieldSpec, batch: tuple[int, ...], seed: int) -> None:
    field = spec.build(theta=theta_of(spec, seed))
    t = torch.tensor(-0.4, dtype=torch.float64)
    y = state_of((*batch, spec.state_dim), seed)
    divergences = field.divergence(t, y)[1].reshape(-1)
    jacobians = [torch.func.jacrev(lambda row: field(t, row))(row) for row in y.reshape(-1, spec.state_dim)]
    torch.testing.assert_close(divergences, torch.stack([torch.trace(j) for j in jacobians]))
