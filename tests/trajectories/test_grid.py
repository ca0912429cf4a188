"""Grids: inputs between their rows, impulses, and nodes in gaps."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.build import prepare
from pynode.trajectories.data import Input, InputKind
from pynode.trajectories.grid import known_until, make_grid
from pynode.trajectories.scaling import fitted_scaling
from tests.trajectories.made import series, trajectory

ROWS = np.array([0.0, 1.0, 4.0])
VALUES = np.array([1.0, 2.0, 3.0])


def test_an_interpolated_input_has_values_at_both_ends() -> None:
    of = series(
        trajectory("a", ROWS, VALUES, (Input(np.array([0.0, 2.0, 4.0]), np.array([0.0, 2.0, 0.0])),)),
        kinds=("interpolated",),
    )
    scaling = fitted_scaling(of, [np.ones(3, bool)])
    grid = make_grid(of.each[0], scaling, of.input_kinds, longest=np.inf)
    assert grid.times.tolist() == [0, 1, 2, 4]
    back = grid.starts[:, 0] * scaling.input_scales[0] + scaling.input_shifts[0]
    assert back == pytest.approx([0, 1, 2])
    assert grid.rows.tolist() == [0, 1, 3]
    assert np.isnan(grid.values[2]).all()


def test_a_step_holds_until_the_next_row() -> None:
    of = series(trajectory("a", ROWS, VALUES, (Input(np.array([0.0, 2.0]), np.array([5.0, 7.0])),)), kinds=("steps",))
    grid = make_grid(of.each[0], fitted_scaling(of, [np.ones(3, bool)]), of.input_kinds, longest=np.inf)
    assert (grid.starts == grid.ends).all()
    assert grid.starts[0, 0] == grid.starts[1, 0] < grid.starts[2, 0]
    assert known_until(of.each[0], of.input_kinds) == (4.0, 0)


def test_impulses_happen_at_nodes_and_begin_a_grid() -> None:
    doses = Input(np.array([-1.0, 2.0, 9.0]), np.array([10.0, 20.0, 30.0]))
    of = series(trajectory("a", ROWS, VALUES, (doses,)), kinds=("jumps",))
    grid = make_grid(of.each[0], fitted_scaling(of, [np.ones(3, bool)]), of.input_kinds, longest=np.inf)
    assert grid.times.tolist() == [-1, 0, 1, 2, 4]
    assert (grid.jumps[:, 0] != 0).tolist() == [True, False, False, True, False]
    assert grid.jumps[3, 0] == pytest.approx(2 * grid.jumps[0, 0])
    ahead = make_grid(of.each[0], fitted_scaling(of, [np.ones(3, bool)]), of.input_kinds, further=np.array([10.0]))
    assert ahead.times[-1] == 10
    assert ahead.jumps[ahead.times == 9, 0] == pytest.approx(3 * grid.jumps[0, 0])


def test_long_gaps_are_divided() -> None:
    of = series(trajectory("a", ROWS, VALUES))
    grid = make_grid(of.each[0], fitted_scaling(of, [np.ones(3, bool)]), (), longest=0.5)
    assert np.diff(grid.times).max() <= 0.5
    assert set(ROWS) <= set(grid.times.tolist())


@pytest.mark.parametrize("kind", ["interpolated", "steps"])
def test_an_input_each_second_beside_hourly_values_is_thinned_to_its_means(kind: InputKind) -> None:
    seconds = np.arange(0, 3600 * 30.0, 10.0)
    level = 10 + np.sin(seconds / 20000) + 0.5 * np.random.default_rng(0).standard_normal(len(seconds))
    hours = 3600 * np.arange(30.0)
    of = series(trajectory("a", hours, np.sin(hours / 20000), (Input(seconds, level),)), kinds=(kind,))
    prepared = prepare(of, [np.ones(30, bool)], augment=0)
    (grid,) = prepared.grids
    assert len(grid.lengths) / 29 * prepared.window < 120
    assert (grid.times[grid.rows] == hours).all()
    means = (grid.starts + grid.ends)[:, 0] / 2
    whole = prepared.scaling.inputs_to_model(0, level)
    covered = seconds <= hours[-1]
    short = whole[covered]
    integral = (short[:-1] if kind == "steps" else (short[:-1] + short[1:]) / 2) @ np.diff(seconds[covered])
    assert means @ np.diff(grid.times) == pytest.approx(integral, rel=1e-9, abs=1e-6)


def test_a_step_that_does_not_change_is_no_node() -> None:
    rows = np.arange(0.0, 4)
    known = Input(np.arange(0, 3.1, 0.1), (np.arange(0, 3.1, 0.1) > 1.45).astype(float))
    of = series(trajectory("a", rows, np.sin(rows), (known,)), kinds=("steps",))
    scaling = fitted_scaling(of, [np.ones(4, bool)])
    grid = make_grid(of.each[0], scaling, ("steps",), longest=10)
    assert grid.times.tolist() == pytest.approx([0, 1, 1.5, 2, 3])
