"""The references of the gradient study by numbers: when refinement stops, what is left of an error, what is timed."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pynode.clock import Clock
from pynode.fields.mlp import MLP
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.disc_opt_julia import DiscOptJulia
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.methods.opt_disc_julia import OptDiscJulia
from pynode.problems.base import Objective
from pynode.schemes.dopri8 import DOPRI8
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.studies.gradients.errors import STEPS, TOLERANCES, gradient_errors, study_grid
from pynode.studies.gradients.oracle import continuous_gradient, discrete_error, flat_gradient


def test_every_adaptive_method_has_an_atol_of_a_hundredth() -> None:
    grid = study_grid([1e-2, 1e-4], [1, 3], [EULER, RK4], engine="eager")
    assert grid == [
        DiscOpt(EULER, 1, engine="eager"),
        DiscOpt(EULER, 3, engine="eager"),
        DiscOpt(RK4, 1, engine="eager"),
        DiscOpt(RK4, 3, engine="eager"),
        OptDiscFixed(EULER, 1),
        OptDiscFixed(EULER, 3),
        OptDiscFixed(EULER, 1, "backward-euler"),
        OptDiscFixed(EULER, 3, "backward-euler"),
        OptDisc(rtol=1e-2, atol=1e-4, engine="eager", adjoint="backsolve", drift="ignore"),
        OptDisc(rtol=1e-4, atol=1e-6, engine="eager", adjoint="backsolve", drift="ignore"),
        AdaptiveAD(rtol=1e-2, atol=1e-4),
        AdaptiveAD(rtol=1e-4, atol=1e-6),
    ]


def test_the_grid_of_the_other_backend() -> None:
    grid = study_grid([1e-2], [2], [RK4], backend="julia")
    assert grid[0] == DiscOptJulia(RK4, 2)
    adjoints = grid[1:]
    assert len(adjoints) > 2
    assert all(isinstance(m, OptDiscJulia) and (m.rtol, m.atol) == (1e-2, 1e-4) for m in adjoints)
    assert len({m.label for m in grid}) == len(grid)


def test_accuracies_of_the_study() -> None:
    assert STEPS == (1, 2, 4, 8)
    assert list(TOLERANCES) == pytest.approx([10.0**-k for k in range(1, 11)])


def by_steps(values: Callable[[int], tuple[float, float]], asked: list[int]) -> Callable[[GradientMethod], Tensor]:
    """A loss whose gradient by `W` is `values(steps)`; notes the steps that are asked for."""

    def loss(method: GradientMethod) -> Tensor:
        assert isinstance(method, DiscOpt)
        assert (method.memory, method.engine) == ("recompute", "eager")
        assert isinstance(method.steps, int)
        asked.append(method.steps)
        return (torch.tensor(values(method.steps), dtype=torch.float64) * W).sum()

    return loss


W = torch.zeros(2, dtype=torch.float64, requires_grad=True)


def test_refinement_stops_where_the_change_says_that_the_error_is_small() -> None:
    """An error like h^4: a sixteenth is left by halving, so a change is 15 times what is left."""
    asked: list[int] = []
    gradient, left = continuous_gradient(by_steps(lambda n: (4.0 + 0.3 / n**4, 3.0), asked), [W], target=1e-8)
    # steps 8, 16, 32, 64: changes relative to |(4, 3)| = 5
    error = [0.3 / n**4 for n in asked]
    changes = [(a - b) / 5 for a, b in itertools.pairwise(error)]
    assert asked[0] == 8
    assert all(b == 2 * a for a, b in itertools.pairwise(asked))
    assert changes[-1] < 15e-8 <= changes[-2]
    assert left == pytest.approx(changes[-1] / 15, rel=1e-4)
    assert gradient.tolist() == pytest.approx([4.0 + error[-1], 3.0], rel=1e-15)


@pytest.mark.parametrize(("share", "steps"), [(14.9, 32), (15.1, 64)])
def test_a_change_of_fifteen_targets_is_too_large(share: float, steps: int) -> None:
    asked: list[int] = []
    values = {8: 1.0, 16: 1.0 + 1e-3, 32: 1.0 + 1e-3 + share * 1e-7, 64: 1.0 + 1e-3 + share * 1e-7}
    continuous_gradient(by_steps(lambda n: (values[n], 0.0), asked), [W], target=1e-7 / (1 + 1e-3))
    assert asked[-1] == steps


def test_refinement_stops_at_the_most_steps() -> None:
    asked: list[int] = []
    _, left = continuous_gradient(by_steps(lambda n: (1.0 + 1 / n, 0.0), asked), [W], max_steps=64)
    assert asked == [8, 16, 32, 64]
    assert left == pytest.approx((1 / 32 - 1 / 64) / (1 + 1 / 64) / 15)
    asked.clear()
    continuous_gradient(by_steps(lambda n: (1.0 + 1 / n, 0.0), asked), [W])
    assert max(asked) == 1024


def test_rounding_that_grows_ends_the_refinement_with_the_gradient_before() -> None:
    """A small change that is followed by a larger one is rounding; a large one is not, nor where all grow."""
    asked: list[int] = []
    values = {8: 1.0, 16: 1.0 + 5e-5, 32: 1.0 + 5e-5 + 6e-5}
    gradient, left = continuous_gradient(by_steps(lambda n: (values[n], 0.0), asked), [W])
    assert asked == [8, 16, 32]
    assert gradient.tolist() == [values[16], 0.0]
    assert left == pytest.approx(5e-5, rel=1e-3), "no order is seen, so nothing is divided by 15"
    asked.clear()
    values = {8: 1.0, 16: 1.0 + 2e-4, 32: 1.0 + 5e-4, 64: 1.0 + 5e-4}
    gradient, _ = continuous_gradient(by_steps(lambda n: (values[n], 0.0), asked), [W])
    assert asked == [8, 16, 32, 64], "growth of a large change says that steps are too coarse"
    assert gradient.tolist() == [values[64], 0.0]


def test_a_directional_derivative_is_that_of_a_polynomial_of_order_six() -> None:
    """Central differences of order 6 are exact for it, along any direction and in any number of them."""
    w = torch.tensor([0.5, -1.5], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return (w[0] ** 6 + 2 * w[0] ** 3 * w[1] ** 3 - w[1] ** 5).sum()

    exact = flat_gradient(loss(), [w])
    assert discrete_error(loss, [w], exact) < 1e-12
    for directions in (1, 3):
        assert discrete_error(loss, [w], 0.5 * exact, directions=directions) == pytest.approx(0.5, rel=1e-10)
        assert discrete_error(loss, [w], 1.25 * exact, directions=directions) == pytest.approx(0.25, rel=1e-10)
    assert w.tolist() == [0.5, -1.5]


def test_the_error_of_a_loss_that_does_not_change() -> None:
    w = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    constant = lambda: (0 * w).sum()  # noqa: E731
    assert discrete_error(constant, [w], torch.zeros(1).double()) == 0.0
    assert discrete_error(constant, [w], torch.ones(1).double()) == 1.0


def test_a_record_holds_relative_error_median_seconds_and_all_products(monkeypatch: pytest.MonkeyPatch) -> None:
    laps = iter([5.0, 1.0, 3.0, 100.0])
    monkeypatch.setattr(Clock, "lap", lambda _: next(laps))
    stats = SolveStats()
    stats.forward.n_f, stats.forward.n_vjp = 1, 2
    stats.backward.n_f, stats.backward.n_vjp = 4, 8
    truth = torch.tensor([3.0, 4.0], dtype=torch.float64)

    def objective(_: GradientMethod) -> Objective:
        return Objective.of((torch.tensor([3.0, 4.5], dtype=torch.float64) * W).sum() + 7.0, (stats,))

    (record,) = gradient_errors(objective, [W], [OptDisc(rtol=1e-3)], reference=(truth, 1e-6), repeats=3)
    assert record.error == pytest.approx(0.5 / 5)
    assert record.reference_uncertainty == 1e-6
    assert (record.nfe_forward, record.nfe_backward, record.n_vjp) == (1, 4, 10)
    assert record.seconds == 3.0
    assert record.scatter == pytest.approx((4.0 - 2.0) / 3.0)
    assert record.n_params == 2
    assert record.loss == 7.0
    assert record.setting == 1e-3


def test_the_formula_of_order_eight_gives_the_same_reference() -> None:
    """As the one of order 4, within what both say of themselves, from a tenth of the evaluations or less."""
    field = MLP((2, 8, 2)).build(seed=0)
    y0, ts = torch.ones(2, dtype=torch.float64), torch.linspace(0.0, 3.0, 4, dtype=torch.float64)
    counts = []

    def loss(method: GradientMethod) -> Tensor:
        solution = method.solve(field, y0, ts)
        counts.append(solution.stats.nfe_forward)
        return solution.ys.square().sum()

    params = list(field.parameters())
    fourth, left_4 = continuous_gradient(loss, params)
    many = sum(counts)
    counts.clear()
    eighth, left_8 = continuous_gradient(loss, params, scheme=DOPRI8, first=2)
    assert max(left_4, left_8) < 1e-10
    assert float((fourth - eighth).norm() / fourth.norm()) < 1e-10
    assert sum(counts) < many / 10
