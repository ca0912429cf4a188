"""AD through the adaptive solver: tends to the true gradient, but is that of no loss at loose tolerances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.errors import InvalidArgument, SolveError
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.solution import Status
from pynode.studies.gradients.taylor import taylor_test

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
TS = torch.tensor([0.1, 0.5, 1.1], dtype=torch.float64)


def gradient(method: Any, field: Field, y0: Tensor) -> Tensor:
    """By parameters and y0, in one vector."""
    y0 = y0.clone().requires_grad_()
    ys = method.solve(field, y0, TS).ys
    gradients = torch.autograd.grad((ys - 0.3).square().sum(), [*field.parameters(), y0])
    return torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize("name", FIELDS.names())
def test_it_tends_to_the_true_gradient(name: str, small_field: FieldOf, small_state: StateOf) -> None:
    """As the tolerance shrinks."""
    field, y0 = small_field(name), small_state(name)
    reference = gradient(DiscOpt(RK4, 200), field, y0)
    errors = []
    for tol in (1e-3, 1e-6, 1e-9):
        approximation = gradient(AdaptiveAD(rtol=tol, atol=tol), field, y0)
        errors.append(float((approximation - reference).norm() / reference.norm()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-7


def test_it_is_not_the_gradient_of_the_computed_loss(small_field: FieldOf, small_state: StateOf) -> None:
    """At a loose tolerance the loss also moves through the step sizes, which the gradient leaves out."""
    field, y0, method = small_field("mlp"), small_state("mlp"), AdaptiveAD(rtol=1e-2, atol=1e-2)
    ts = torch.tensor([0.0, 4.0], dtype=torch.float64)
    result = taylor_test(lambda: method.solve(field, y0, ts).ys[-1].square().sum(), list(field.parameters()))
    assert not result.passes
    assert result.slope_e1 < 1.5


def test_work_is_counted(small_field: FieldOf, small_state: StateOf) -> None:
    """Forward as in Opt-Disc; backward one product for each evaluation of an accepted step, and no evaluation."""
    solution = AdaptiveAD(rtol=1e-5, atol=1e-5).solve(small_field("mlp"), small_state("mlp"), TS)
    forward, backward = solution.stats.forward, solution.stats.backward
    steps = forward.n_accepted + forward.n_rejected
    assert forward.n_f - 6 * steps in (2, 3)
    assert backward.evaluations == 0
    solution.ys.square().sum().backward()
    assert backward.n_f == 0
    assert forward.n_accepted <= backward.n_vjp <= forward.n_f


def test_failures_are_typed() -> None:
    """The same watch as in Opt-Disc."""
    y0, ts = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64)
    with pytest.raises(SolveError) as caught:
        AdaptiveAD().solve(lambda _, y: y * y, y0, ts)
    assert caught.value.status is Status.STEP_UNDERFLOW
    assert AdaptiveAD(max_steps=2).solve(lambda _, y: -y, y0, ts, throw=False).status is Status.MAX_STEPS


@pytest.mark.parametrize(
    ("options", "argument"), [({"solver": "rk4"}, "solver"), ({"rtol": 0.0}, "rtol"), ({"atol": -1.0}, "atol")]
)
def test_bad_options_are_named(options: dict[str, Any], argument: str) -> None:
    """When the method is written, not when it is first used."""
    with pytest.raises(InvalidArgument) as caught:
        AdaptiveAD(**options)
    assert caught.value.argument == argument
