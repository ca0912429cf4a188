"""The gradient-error study, on a field whose gradient is known in closed form, and on the spiral."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.problems.base import Objective
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.studies.gradients.errors import gradient_errors, study_grid
from pynode.studies.gradients.oracle import continuous_gradient, discrete_error, flat_gradient

TS = torch.tensor([0.0, 1.0], dtype=torch.float64)
ONE = torch.ones(1, dtype=torch.float64)
ADJOINTS: tuple[Literal["backsolve", "interpolating"], ...] = ("backsolve", "interpolating")


class Growth(torch.nn.Module):
    """dy/dt = w y: y(1) = e^w, and so is its derivative by w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([0.7], dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.w * y


def test_the_continuous_reference_is_right() -> None:
    field = Growth()
    gradient, uncertainty = continuous_gradient(lambda m: m.solve(field, ONE, TS).ys[-1].sum(), [field.w])
    assert float(gradient) == pytest.approx(math.exp(0.7), rel=1e-11)
    assert uncertainty < 1e-10


def test_discrete_error_tells_right_from_wrong() -> None:
    field = Growth()

    def loss() -> Tensor:
        return DiscOpt(EULER, 3).solve(field, ONE, TS).ys[-1].sum()

    exact = flat_gradient(loss(), [field.w])
    assert discrete_error(loss, [field.w], exact) < 1e-9
    assert discrete_error(loss, [field.w], 1.01 * exact) == pytest.approx(0.01, rel=1e-5)
    assert float(field.w.detach()) == 0.7


def test_records_carry_error_and_cost() -> None:
    field = Growth()

    def objective(method: GradientMethod) -> Objective:
        solution = method.solve(field, ONE, TS)
        return Objective.of(solution.ys[-1].sum(), (solution.stats,))

    methods = [DiscOpt(EULER, 4), OptDiscFixed(EULER, 4), OptDisc(rtol=1e-8, atol=1e-10), OptDisc(max_steps=1)]
    records = list(gradient_errors(objective, [field.w], methods, repeats=1))
    euler = (1 + 0.7 / 4) ** 3  # derivative of (1 + w/4)^4
    assert records[0].error == pytest.approx(1 - euler / math.exp(0.7), rel=1e-6)
    assert records[0].error_discrete is not None
    assert records[0].error_discrete < 1e-9
    # a scalar linear field commutes with itself: here the continuous adjoint on the grid gets another number
    assert records[1].error_discrete is not None
    assert records[1].error_discrete > 1e-3
    assert records[2].error is not None
    assert records[2].error < 1e-6
    assert records[2].error_discrete is None
    assert (records[0].nfe_forward, records[0].nfe_backward, records[0].n_vjp) == (4, 0, 4)
    assert records[0].seconds is not None
    assert records[3].failure is not None
    assert "its limit of steps" in records[3].failure


def test_an_adjoint_is_named_once() -> None:
    """Also where the method's own name has it, as on SciML; what runs the solve makes no difference here."""
    field = Growth()

    def loss(method: GradientMethod) -> Tensor:  # noqa: ARG001
        return DiscOpt(EULER, 4).solve(field, ONE, TS).ys[-1].sum()

    methods = [OptDisc(rtol=1e-3, atol=1e-5, solver="tsit5", adjoint=a, engine="julia") for a in ADJOINTS]
    methods += [OptDisc(rtol=1e-3, atol=1e-5, adjoint=a) for a in ADJOINTS]
    records = list(gradient_errors(loss, [field.w], methods, repeats=1))
    assert [r.family for r in records] == [
        *("opt-disc-julia backsolve tsit5", "opt-disc-julia interpolating tsit5"),
        *("opt-disc dopri5 backsolve", "opt-disc dopri5 interpolating"),
    ]
    assert [r.label for r in records] == [
        *("opt-disc-julia-backsolve-tsit5-rtol1e-03", "opt-disc-julia-interpolating-tsit5-rtol1e-03"),
        *("opt-disc-dopri5-rtol1e-03", "opt-disc-dopri5-rtol1e-03-interpolating"),
    ]


def test_a_users_own_loss() -> None:
    field = Growth()
    records = list(
        gradient_errors(lambda m: m.solve(field, ONE, TS).ys[-1].sum(), [field.w], [DiscOpt(steps=8)], repeats=1)
    )
    assert records[0].error is not None
    assert records[0].error < 1e-4
    assert (records[0].nfe_forward, records[0].n_vjp) == (32, 32)


def test_the_grid_covers_methods_and_accuracies() -> None:
    grid = study_grid()
    assert {m.name for m in grid} == {"disc-opt", "opt-disc", "opt-disc-fixed", "ad-adaptive"}
    assert len({m.label for m in grid}) == len(grid)
    assert sorted(m.setting for m in grid if m.name == "opt-disc") == sorted(10.0**-k for k in range(1, 11))


def test_drift_of_the_backsolve_is_recorded() -> None:
    """Beside the error of its gradient, however large; no other method has one."""
    field = MLP((2, 2), "tanh").build(theta=torch.tensor([-30.0, 30.0, 0.0, -1.0, 0.0, 0.0], dtype=torch.float64))
    y0, ts = torch.tensor([1.0, 0.5], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    methods = [m for m in study_grid([1e-7], [64], [RK4]) if m.name in ("disc-opt", "opt-disc")]
    records = list(
        gradient_errors(
            lambda method: Objective.of((s := method.solve(field, y0, ts)).ys[-1].square().sum(), (s.stats,)),
            list(field.parameters()),
            methods,
            repeats=1,
            own_loss=False,
        )
    )
    by_name = {record.method: record for record in records}
    assert by_name["disc-opt"].drift is None
    drift, error = by_name["opt-disc"].drift, by_name["opt-disc"].error
    assert drift is not None
    assert error is not None
    assert drift > 1e6
    assert error > 1


def test_a_loss_that_is_a_tensor_comes_with_its_counts() -> None:
    """Those of every solve behind it, as of a loss that names them; parameters may be a generator."""
    field = MLP((2, 4, 2)).build(seed=0)
    y0, ts = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0.0, 1.0, 3, dtype=torch.float64)

    def loss(method: GradientMethod) -> Tensor:
        half = method.solve(field, y0, ts).ys[-1]
        return method.solve(field, half, ts).ys[-1].square().mean()

    def named(method: GradientMethod) -> Objective:
        first = method.solve(field, y0, ts)
        second = method.solve(field, first.ys[-1], ts)
        return Objective.of(second.ys[-1].square().mean(), (first.stats, second.stats))

    methods = [DiscOpt(steps=3), DiscOpt(steps=3, memory="recompute"), OptDisc(rtol=1e-5, atol=1e-7)]
    for got, wanted in zip(
        gradient_errors(loss, field.parameters(), methods, repeats=1),
        gradient_errors(named, list(field.parameters()), methods, repeats=1),
        strict=True,
    ):
        assert got.nfe_forward == wanted.nfe_forward > 0
        assert (got.nfe_backward, got.n_vjp, got.engine) == (wanted.nfe_backward, wanted.n_vjp, wanted.engine)
        assert got.n_vjp > 0
    assert next(gradient_errors(loss, field.parameters(), methods[:1])).nfe_forward == 2 * 2 * 3 * 4


def test_no_parameters_are_an_error() -> None:
    with pytest.raises(InvalidArgument, match="params"):
        next(gradient_errors(lambda m: m.solve(Growth(), ONE, TS).ys[-1].sum(), [], [DiscOpt()]))
