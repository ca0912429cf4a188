"""Time grids: any output times and steps make the grid that they describe, or are refused in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pynode.errors import UsageError
from pynode.grid import TimeGrid
from tests.properties.profiles import tried
from tests.properties.strategies import any_times, monotone, mostly, schemes

steps = mostly(st.one_of(st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=4)))


@given(any_times(), steps)
@tried(200)
def test_times_make_a_grid_or_are_refused(ts: Any, wanted: Any) -> None:
    try:
        grid = TimeGrid.between(ts, wanted)
    except UsageError:
        return
    check_grid(grid, ts)


@given(monotone(), st.data())
def test_good_times_always_make_a_grid(times: list[float], data: st.DataObject) -> None:
    n = len(times) - 1
    wanted = data.draw(st.one_of(st.integers(1, 5), st.lists(st.integers(1, 4), min_size=n, max_size=n)))
    ts = torch.tensor(times, dtype=torch.float64)
    grid = TimeGrid.between(ts, wanted)
    check_grid(grid, ts)
    assert list(grid.steps_per_interval) == ([wanted] * n if isinstance(wanted, int) else wanted)
    for scheme in (data.draw(schemes),):
        rows = grid.stage_times(scheme.c)
        assert len(rows) == grid.n_steps
        starts = [float(row[0]) for row in rows]  # c_1 = 0
        assert [starts[i] for i in grid.output_indices[:-1]] == times[:-1], "an output time is a grid point, unrounded"


def check_grid(grid: TimeGrid, ts: Any) -> None:
    """Through the times themselves, with whole steps that all go one way and sum to the interval."""
    assert list(grid.output_times) == ts.tolist()
    sizes = grid.step_sizes()
    assert len(sizes) == grid.n_steps == grid.output_indices[-1]
    assert grid.output_indices[0] == 0
    assert len(grid.output_indices) == len(grid.output_times)
    way = math.copysign(1.0, grid.output_times[-1] - grid.output_times[0])
    assert all(h * way >= 0 for h in sizes)
    assert math.fsum(sizes) == pytest.approx(grid.output_times[-1] - grid.output_times[0], rel=1e-12)
