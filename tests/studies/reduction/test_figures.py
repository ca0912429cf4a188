"""The figure and the words of matched loss: what is drawn at which loss, which losses are named, how many digits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes

from pynode.studies.reduction.study import (
    N_LOSSES,
    N_TARGETS,
    Reduction,
    _change,
    draw_reduction,
    engine_of,
    reductions,
)
from tests.studies.reduction.test_study import QUICK, SLOW, results, run


def line_of(axes: Axes, label: str) -> tuple[list[float], list[float]]:
    """Abscissae and ordinates of a line."""
    (line,) = (line for line in axes.get_lines() if line.get_label() == label)
    return np.asarray(line.get_xdata(), float).tolist(), np.asarray(line.get_ydata(), float).tolist()


def test_costs_are_drawn_down_to_the_best_loss() -> None:
    """From below the first loss, which costs nothing, to the best one: seconds left, evaluations right."""
    figure = draw_reduction(results(SLOW, QUICK), 1.0)
    assert figure is not None
    left, right = figure.axes
    losses, seconds = line_of(left, "opt-disc")
    assert len(losses) == N_LOSSES == 80
    assert (losses[0], losses[-1]) == pytest.approx((8.0 * (0.5 / 8) ** (1 / 80), 0.5))
    assert (seconds[0], seconds[-1]) == (10.0, 40.0)
    assert line_of(right, "opt-disc")[1][-1] == 4 * 200
    assert line_of(left, "disc-opt")[1][-1] == 4.0
    assert line_of(left, "matched loss")[0] == [1.0, 1.0]
    assert (left.get_xscale(), left.get_yscale()) == ("log", "log")
    assert left.get_xlim()[0] > left.get_xlim()[1], "better to the right"
    unmatched = draw_reduction(results(SLOW, QUICK), None)
    assert unmatched is not None
    assert len(unmatched.axes[0].get_lines()) == 2


def test_likelihoods_are_drawn_on_linear_axes_below_their_first_huge_values() -> None:
    huge = [1e6, *(5.0 - 0.5 * k for k in range(20))]
    likely = [run(name, list(huge), seconds=1.0, nfe=1) for name in ("opt-disc", "disc-opt")]
    figure = draw_reduction(results(*likely), -1.0)
    assert figure is not None
    left, right = figure.axes
    assert (left.get_xscale(), left.get_yscale(), right.get_ylim()[0]) == ("linear", "linear", 0.0)
    assert max(line_of(left, "opt-disc")[0]) < 12.0


def test_there_is_no_figure_of_one_method_or_of_runs_that_go_on() -> None:
    assert draw_reduction(results(SLOW), 1.0) is None
    assert draw_reduction(results(SLOW, replace(QUICK, summary=None)), 1.0) is None
    assert draw_reduction(results(SLOW, run("disc-opt", [None], seconds=1.0, nfe=1)), 1.0) is None


def test_one_faithful_run_is_enough_to_say_so() -> None:
    faithful = replace(SLOW, config={**SLOW.config, "faithful": True})
    (notes,) = (table.notes for table in Reduction().tables(results(faithful, QUICK))[:1])
    assert "training loss, each method's own, as in the study" in notes[0]
    (notes,) = (table.notes for table in Reduction().tables(results(SLOW, QUICK))[:1])
    assert "validation loss" in notes[0]


def test_rows_are_targets_and_the_matched_loss() -> None:
    """Six losses from the smaller of both beginnings to the matched one, and what they cost."""
    table = Reduction().tables(results(SLOW, QUICK))[0]
    assert len(table.rows) == N_TARGETS == 6
    assert [row[0] for row in table.rows] == ["5.66", "4", "2.83", "2", "1.41", "1"]
    assert table.rows[-1][1:] == ["30", "4", "86.7 %", "300", "160", "46.7 %"]
    assert table.rows[0][1:] == ["10", "2", "80.0 %", "100", "80", "20.0 %"]
    saved = reductions(results(SLOW, QUICK))
    assert saved["per_iteration_time_ratio"] == 10.0
    assert saved["forward_only_ratio"] == 10.0


def test_factors_and_engines_of_the_time() -> None:
    table = Reduction().tables(results(SLOW, QUICK))[1]
    values = {row[0]: row[1:] for row in table.rows}
    assert values["seconds"] == ["30", "4", "7.5"]
    assert values["iterations"] == ["3", "4", "0.75"]
    assert values["evaluations per iteration"] == ["200", "80", "2.5"]
    # 7.5 s of 10 in 200 evaluations, 0.75 of 1 in 80
    assert values["microseconds per evaluation"] == ["37,500", "9,375", "4"]
    assert "(eager for opt-disc; eager for disc-opt)" in table.notes[0]


def test_an_engine_that_was_not_recorded() -> None:
    assert engine_of({"engine": "fused", "backend": "julia"}) == "fused"
    assert engine_of({"engine": "", "backend": "julia"}) == "julia"
    assert engine_of({"backend": "torch"}) == "eager"
    assert engine_of({}) == "eager"


def test_reductions_in_words() -> None:
    assert _change(0.25) == "25.0 % less"
    assert _change(0.0) == "0.0 % less"
    assert _change(-1.5) == "150.0 % more"
    assert _change(0.25, "fewer") == "25.0 % fewer"
    assert _change(None) == "an unknown amount of"
    told = Reduction().finding(results(SLOW, QUICK))
    assert told is not None
    assert "To reach a loss of 1, disc-opt needs 86.7 % less time and 46.7 % fewer field evaluations" in told
