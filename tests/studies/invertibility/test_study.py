"""Tables and figure of re-discretisation by numbers: the coarsest that is invertible, medians over seeds, curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from pynode.studies.invertibility.grid_figure import draw_rediscretisation
from pynode.studies.invertibility.record import RediscretisationRecord
from pynode.studies.invertibility.study import Invertibility
from pynode.studies.results import Results

FIXED = RediscretisationRecord(
    "csv",
    "run",
    "disc-opt",
    0,
    "rk4",
    False,
    2.0,
    40,
    1e-3,
    nll=2.0,
    inverse_data=1e-4,
    inverse_base=5e-4,
    inverse_data_frobenius=0.25,
    inverse_base_frobenius=0.5,
    nfe=8,
    seconds=1.0,
)


def made(
    setting: float, inverse: float | None, nll: float | None, seed: int = 0, **more: Any
) -> RediscretisationRecord:
    """A record whose worse inverse error is `inverse`."""
    worse = replace(FIXED, inverse_data=inverse, inverse_base=inverse)
    return replace(worse, setting=setting, nll=nll, seed=seed, nfe=int(4 * setting), **more)


def results(*records: RediscretisationRecord) -> Results:
    """Records in a directory that is not there."""
    return Results(Path("nowhere"), runs=[], rediscretised=list(records))


STEPS = [
    made(1, 5e-4, 3.0),
    made(2, 2e-3, 2.5),
    made(4, 1e-3, 2.25),
    made(8, 9e-4, 2.125),
    made(8, 7e-4, 2.375, seed=1),
    made(16, 1e-5, 2.0),
]
TOLERANCES = [
    made(1e-4, 5e-4, 2.0, adaptive=True, scheme="dopri5"),
    made(1e-2, 2e-3, 1.75, adaptive=True, scheme="dopri5"),
]


def points(axes: Axes) -> list[tuple[list[float], list[float]]]:
    """Abscissae and ordinates of the lines with points."""
    drawn = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in axes.get_lines()]
    return [([float(v) for v in x], [float(v) for v in y]) for x, y in drawn]


def test_the_worse_direction_counts() -> None:
    assert FIXED.inverse == 5e-4
    assert replace(FIXED, inverse_data=2e-3).inverse == 2e-3
    assert replace(FIXED, inverse_data=None).inverse is None


def test_the_coarsest_is_that_from_which_on_all_finer_ones_are_below_the_bound() -> None:
    """Neither one step, which is below it by accident, nor four, which only meet it."""
    coarsest, every = Invertibility().tables(results(*STEPS, *TOLERANCES))
    assert coarsest.rows == [
        ["disc-opt", "rk4", "8 steps", "T / 8", "8.00e-04", "2.25", "32"],
        ["disc-opt", "dopri5", "rtol 1e-04", "–", "5.00e-04", "2", "0"],
    ]
    assert [row[2] for row in every.rows] == [
        "1 step",
        *(f"{n} steps" for n in (2, 4, 8, 16)),
        "rtol 1e-02",
        "rtol 1e-04",
    ]
    assert every.rows[3][-1] == "0.25"
    assert "below 0.001" in coarsest.notes[0]
    assert "40 test samples" in coarsest.notes[0]
    (none, _) = Invertibility().tables(results(made(8, 2e-3, 2.0)))
    assert none.rows == [["disc-opt", "rk4", "none", "–", "–", "–", "–"]]
    assert Invertibility().tables(results()) == []


def test_the_finding_names_fewest_steps() -> None:
    assert Invertibility().finding(results(*STEPS)) == (
        "Fewest steps with an inverse error below 0.001: disc-opt: 8 of rk4."
    )
    assert Invertibility().finding(results(*TOLERANCES)) is None
    assert Invertibility().finding(results(made(8, 2e-3, 2.0))) is None


def test_curves_are_medians_over_seeds() -> None:
    """The likelihood is shown beyond that of the tightest tolerance of its own seed, or of the most steps."""
    figure = draw_rediscretisation(results(*STEPS, *TOLERANCES))
    assert figure is not None
    errors, tolerances, excess, adaptive_excess = (points(axes) for axes in figure.axes[:4])
    assert errors[0][0] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert errors[0][1] == pytest.approx([5e-4, 2e-3, 1e-3, 8e-4, 1e-5])
    assert errors[-1][1] == [1e-3, 1e-3], "the bound"
    assert tolerances[0] == ([1e-4, 1e-2], [5e-4, 2e-3])
    # seed 0 has 2.0 at the tightest tolerance, seed 1 has its only record
    assert excess[0] == ([1.0, 2.0, 4.0, 8.0], [1.0, 0.5, 0.25, 0.125])
    assert adaptive_excess[0] == ([1e-2], [0.25])
    assert [axes.get_xscale() for axes in figure.axes[:4]] == ["log"] * 4
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1", "2", "4", "8", "16"]
    assert figure.axes[1].get_xlim()[0] > figure.axes[1].get_xlim()[1], "tight tolerances to the right"
    assert draw_rediscretisation(results()) is None


def test_runs_of_several_step_counts_are_kept_apart() -> None:
    """Flows trained with 2 and with 8 steps don't share a median."""
    grid = [made(8, error, 2.0, trained_scheme="rk4", trained_steps=steps) for steps, error in ((2, 2e-3), (8, 1e-4))]
    coarsest, every = Invertibility().tables(results(*grid))
    assert [row[:3] for row in coarsest.rows] == [
        ["disc-opt rk4 x 2", "rk4", "none"],
        ["disc-opt rk4 x 8", "rk4", "8 steps"],
    ]
    assert [row[3] for row in every.rows] == ["0.002", "1.00e-04"]
    figure = draw_rediscretisation(results(*grid))
    assert figure is not None
    lines = figure.axes[0].get_lines()[:2]
    assert [line.get_label() for line in lines] == ["disc-opt rk4 x 2, rk4", "disc-opt rk4 x 8, rk4"]
    assert lines[0].get_color() != lines[1].get_color()
