"""Long ways: steps keep their length whatever the horizon, with inputs and without, in judging and in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.trajectories.build import first_model, prepare
from pynode.trajectories.data import Input
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.grid import longest_interval, make_grid
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import Solver, by_method, by_steps, roll_out
from pynode.trajectories.windows import Windows, together
from tests.trajectories.made import series, trajectory

AT = np.array([0.3, 50.0, 100.0, 400.0, 400.1, 800.0])
"""Times, in the model's unit."""


def oscillator(with_input: bool) -> tuple[SeriesModel, Windows]:
    """A model of z'' = -z by z and z' in the model's units, and a window from 0 to the times `AT`."""
    times = 0.1 * np.arange(60)
    values = np.stack((np.cos(times), np.sin(times)), -1)
    known = (Input(np.array([0.0, 5000.0]), np.array([1.0, 1.0])),) if with_input else ()
    kinds = ("interpolated",) if with_input else ()
    of = series(trajectory("a", times, values, known), names=("x", "y"), kinds=kinds)  # type: ignore[arg-type]
    prepared = prepare(of, [np.ones(60, bool)], augment=0)
    model = first_model(prepared, 0)
    field = model.field.inner
    assert isinstance(field, LinearAndNetwork)
    with torch.no_grad():
        for part in field.parameters():
            part.zero_()
        field.linear.weight[:, :2] = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    short = series(trajectory("a", np.zeros(1), values[:1], known), names=("x", "y"), kinds=kinds).each[0]  # type: ignore[arg-type]
    unit = prepared.scaling.time
    grid = make_grid(short, prepared.scaling, kinds, further=AT * unit, longest=longest_interval(kinds))  # type: ignore[arg-type]
    return model, together([(grid, 0, len(grid.times) - 1, np.ones(len(grid.times), bool))])


@pytest.mark.parametrize("with_input", [False, True])
@pytest.mark.parametrize("solve", [by_steps(2), by_method(DiscOpt(RK4, 2), [])], ids=["judging", "training"])
def test_an_oscillation_keeps_phase_and_height_to_800_units(solve: Solver, with_input: bool) -> None:
    model, windows = oscillator(with_input)
    assert windows.is_smooth is not with_input
    with torch.no_grad():
        path = roll_out(model, windows, torch.tensor([[1.0, 0.0]], dtype=torch.float64), solve)[:, 0]
    clock = windows.offsets[0].numpy()
    assert clock[-1] == pytest.approx(800)
    truth = np.stack((np.cos(clock), -np.sin(clock)), -1)
    assert np.abs(path.numpy() - truth).max() < 0.03


def test_gradients_pass_through_all_parts_of_a_long_way() -> None:
    model, windows = oscillator(with_input=False)
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    path = roll_out(model, windows, start, by_method(DiscOpt(RK4, 4), []))
    path[-1, 0, 0].backward()
    assert start.grad is not None
    assert start.grad[0].numpy() == pytest.approx([np.cos(800), np.sin(800)], abs=0.01)
