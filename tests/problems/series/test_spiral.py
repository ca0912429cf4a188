"""The spiral: data, loss, the faithful defects, and how a trained field is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pynode.grid import TimeGrid
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.series.spiral import A, Spiral
from pynode.schemes.rk4 import RK4

RECORDED = Path(__file__).parents[2] / "reference" / "spiral.json"


def test_data_equal_those_of_another_solver() -> None:
    recorded = json.loads(RECORDED.read_text())
    spiral = Spiral()
    np.testing.assert_allclose(spiral.times.numpy(), recorded["ts"], rtol=1e-15)
    # both solvers ran at 1e-13; an error of the one grows over the trajectory
    np.testing.assert_allclose(spiral.data.numpy(), recorded["data"], rtol=0, atol=1e-11)


def test_the_field_is_the_studys() -> None:
    field = Spiral().model(seed=0)
    assert field.spec.n_params == 252
    assert field.spec.to_json() == {
        "architecture": "mlp",
        "widths": (2, 50, 2),
        "activation": "tanh",
        "input_power": 3,
    }
    assert all(float(p.detach().abs().max()) == 0 for name, p in field.named_parameters() if name.startswith("b"))


def test_loss_is_the_sum_of_squares() -> None:
    spiral, method = Spiral(), DiscOpt(steps=2)
    field = spiral.model(seed=3)
    objective = spiral.objective(method, field, spiral.batch(0))
    ys = method.solve(field, spiral.y0, spiral.times).ys
    torch.testing.assert_close(objective.loss, ((ys - spiral.data) ** 2).sum(), rtol=1e-15, atol=0)
    assert objective.stats.nfe_forward == 4 * 2 * 29


def test_faithful_steps_miss_the_data_times_for_fixed_steps_only() -> None:
    spiral = Spiral(faithful=True)
    assert float(spiral.misaligned_times[1]) == pytest.approx(0.05, rel=1e-14)
    field = spiral.model(seed=0)
    coarse = spiral.objective(DiscOpt(), field, spiral.y0).loss
    at_other_times = RK4.solve(field, spiral.y0, TimeGrid.between(torch.arange(30, dtype=torch.float64) * 0.05))
    torch.testing.assert_close(coarse, ((at_other_times - spiral.data) ** 2).sum())
    adaptive = spiral.objective(OptDisc(), field, spiral.y0).loss
    right_times = RK4.solve(field, spiral.y0, TimeGrid.between(spiral.times, 8))
    torch.testing.assert_close(adaptive, ((right_times - spiral.data) ** 2).sum(), rtol=1e-6, atol=0)


def test_faithful_data_carry_the_error_of_loose_tolerances() -> None:
    t = np.linspace(0, 1.5, 30)
    gap = np.abs(Spiral(faithful=True).true_states(t) - Spiral().true_states(t)).max()
    assert 1e-5 < gap < 1e-1


def test_validation_solves_accurately_enough() -> None:
    """The claim beside Spiral.accurate_steps, on the true field."""
    spiral = Spiral()
    matrix = torch.tensor(A)
    ys = RK4.solve(lambda _, u: u**3 @ matrix, spiral.y0, TimeGrid.between(spiral.times, Spiral.accurate_steps))
    assert float((ys - spiral.data).abs().max()) < 3e-5


def test_evaluation_extrapolates_to_six() -> None:
    spiral = Spiral()
    field = spiral.model(seed=0)
    evaluation = spiral.evaluate(field, DiscOpt())
    assert evaluation.metrics["fit_loss"] == spiral.validation_loss(field)
    assert (evaluation.series["t"][0], evaluation.series["t"][-1], len(evaluation.series["t"])) == (0, 6, 120)
    model, truth = np.array(evaluation.series["model"]), np.array(evaluation.series["truth"])
    assert evaluation.metrics["extrapolation_mse"] == pytest.approx(((model - truth) ** 2).mean())


def test_validation_of_a_field_that_blows_up_is_infinite() -> None:
    spiral = Spiral()
    field = spiral.model(seed=0)
    field.set_theta(1e200 * torch.ones(252, dtype=torch.float64))
    assert spiral.validation_loss(field) == float("inf")
