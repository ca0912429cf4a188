"""Figures of fits, forecasts and residuals, from made-up records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes

from pynode.studies.forecast.figures import MOST_PANELS, MOST_POINTS, draw_forecasts
from pynode.studies.forecast.recorded import Clock, broken_at_turns, clock
from pynode.studies.forecast.residuals import draw_residuals
from pynode.studies.page.vector import inline_svg
from pynode.studies.results import Results
from tests.studies.forecast.made_up import forecasting, record, results


def both(**options: Any) -> Results:
    return results(
        forecasting("disc-opt", record(off=0.1, **options)), forecasting("opt-disc", record(off=0.2, **options))
    )


def visible(axes: list[Axes]) -> list[Axes]:
    return [panel for panel in axes if panel.get_visible()]


def lines(panel: Axes, label: str) -> list[Any]:
    return [line for line in panel.get_lines() if line.get_label() == label]


def test_a_row_of_panels_a_column() -> None:
    (figure,) = (figure for figure in draw_forecasts(both()).values() if figure is not None)
    assert [panel.get_ylabel() for panel in figure.axes] == ["x", "y"]
    panel = figure.axes[0]
    assert len(lines(panel, "disc-opt")) == 2, "fit, and forecast"
    held_out = lines(panel, "data held out")[0]
    first = np.asarray(lines(panel, "disc-opt")[1].get_xdata(), float)
    assert first.min() <= np.asarray(held_out.get_xdata(), float).min()
    assert panel.get_xlabel() == ""
    assert figure.axes[1].get_xlabel() == "hours"


@pytest.mark.usefixtures("drawn_figures")
@pytest.mark.parametrize("trajectories", [2, 3])
def test_dollar_signs_of_a_file_are_no_formula(trajectories: int) -> None:
    """Columns, trajectories, times and files called `$_x_$` are drawn as they are written, also in a page."""
    name = "cost $_per_$ unit"
    time = {"column": "$_t_$", "kind": "number", "unit": "", "seconds": None, "origin": 0.0}
    made_up = record(columns=("$_x_$", name), trajectories=trajectories, points=12, time=time)
    for entry in made_up["trajectories"]:
        entry["name"] = name
    run = forecasting("disc-opt", made_up)
    run = replace(run, config=run.config | {"options": {"data": "/data/$_f_$.csv"}})
    figures = [*draw_forecasts(results(run)).values(), draw_residuals(results(run))]
    assert len(figures) == (2 if trajectories == 2 else 3)
    for figure in figures:
        assert figure is not None
        shown = inline_svg(figure, name).markup("one")
        assert "$_f_$.csv" in shown
        assert "$_t_$" in shown
        assert name in shown or "$_x_$" in shown
        assert "\\$" not in shown


def test_many_trajectories_are_small_multiples_held_out_ones_first() -> None:
    figures = draw_forecasts(both(trajectories=30, points=12, whole=3))
    assert list(figures) == ["forecast", "forecast-2"]
    figure = figures["forecast"]
    assert figure is not None
    titles = [panel.get_title() for panel in visible(figure.axes)]
    assert len(titles) == MOST_PANELS
    assert titles[:4] == ["subject 28", "subject 29", "subject 30", "subject 1"]
    assert "24 of 30 trajectories" in figure.get_suptitle()
    assert len({panel.get_ylim() for panel in figure.axes}) == 1


def test_of_a_long_trajectory_the_beginning_of_the_forecast_is_drawn() -> None:
    (figure,) = (figure for figure in draw_forecasts(both(points=5000, columns=("x",))).values() if figure is not None)
    assert f"at most {MOST_POINTS} rows before and after" in figure.get_suptitle().replace("\n", " ")
    for label in ("data", "data held out"):
        (data,) = lines(figure.axes[0], label)
        assert 0 < len(data.get_xdata()) <= MOST_POINTS


def test_dates_are_drawn_as_dates() -> None:
    dates = {"column": "when", "kind": "date", "unit": "days", "seconds": 1.0, "origin": 0.0}
    (figure,) = (f for f in draw_forecasts(both(time=dates, factor=1e7)).values() if f is not None)
    at = np.asarray(lines(figure.axes[0], "data")[0].get_xdata())
    assert np.issubdtype(at.dtype, np.datetime64)


def test_milliseconds_are_dates_and_numbers_beyond_all_calendars_are_numbers() -> None:
    axis = Clock("t", 1e-3, 0.0)
    assert str(axis.shown(np.array([1732786800000.0]))[0]) == "2024-11-28T09:40:00.000"
    assert Clock("t", 1.0, 0.0).shown(np.array([1e15]))[0] == 1e15
    assert Clock("t", 1.0, 0.0).shown(np.array([3e11]))[0] == 3e11
    assert clock({"time": {"column": "t", "kind": "number", "unit": "days"}}).label == "t (days)"
    assert clock({"time": {"column": "t", "kind": "number", "unit": "units of t"}}).label == "t"


def test_lines_of_angles_break_where_they_turn() -> None:
    broken = broken_at_turns(np.array([350.0, 358.0, 4.0, 10.0]), 360.0)
    np.testing.assert_array_equal(broken, [350.0, 358.0, np.nan, 10.0])


@pytest.mark.parametrize("options", [{}, {"ahead": None}, {"trajectories": 30, "points": 12, "whole": 3}])
def test_residuals_of_fit_and_forecast(options: dict[str, Any]) -> None:
    figure = draw_residuals(both(columns=("x",), **options))
    assert figure is not None
    left, right = figure.axes
    (fit,) = lines(left, "disc-opt, fit")
    np.testing.assert_allclose(np.asarray(fit.get_ydata(), float), 0.1)
    assert len(lines(left, "disc-opt, forecast")) == ("ahead" not in options)
    assert right.patches


def test_residuals_of_angles_are_the_shorter_way() -> None:
    figure = draw_residuals(both(columns=("heading",), periods={"heading": 360.0}))
    assert figure is not None
    (fit,) = lines(figure.axes[0], "disc-opt, fit")
    np.testing.assert_allclose(np.asarray(fit.get_ydata(), float), 0.1)


def test_a_run_on_other_rows_is_left_out() -> None:
    runs = results(forecasting("disc-opt", record()), forecasting("opt-disc", record(trajectories=2)))
    (figure,) = (figure for figure in draw_forecasts(runs).values() if figure is not None)
    assert lines(figure.axes[0], "opt-disc") == []
