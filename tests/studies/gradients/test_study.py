"""Tables and figures of the gradient study: every number of them is one of the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.axes import Axes

from pynode.records.runs import Run
from pynode.studies.gradients.accuracy import draw_accuracy
from pynode.studies.gradients.record import GradientErrorRecord, TaylorRecord
from pynode.studies.gradients.study import Gradients, draw_errors, draw_sweep, draw_taylor, sweep_points
from pynode.studies.results import Results
from tests.records.test_iteration import RECORD

TAYLOR = TaylorRecord(
    "spiral",
    "disc-opt",
    "disc-opt-rk4",
    h=[1.0, 0.5, 0.25, 0.125],
    e0=[8.0, 4.0, 2.0, None],
    e1=[4.0, 1.0, 0.0, 0.0625],
    slope_e0=1.0,
    slope_e1=1.994,
    fitted=[1, 3],
    passes=True,
    bound=2.34e-9,
    verdict="passes: E1 falls",
)
ERROR = GradientErrorRecord(
    "spiral",
    "disc-opt",
    "x4",
    "disc-opt rk4",
    False,
    4.0,
    1.5e-9,
    2.5e-3,
    1e-10,
    nfe_forward=1200,
    nfe_backward=34,
    n_vjp=5600,
    seconds=0.0125,
)
OTHER = replace(
    ERROR,
    method="opt-disc",
    family="opt-disc dopri5",
    adaptive=True,
    setting=1e-4,
    reference_uncertainty=2.5e-9,
    error=5e-5,
    error_discrete=None,
    seconds=None,
    drift=12.5,
)
FAILED = replace(OTHER, failure="it failed", drift=None, setting=1e-2, reference_uncertainty=0.0)


def results(**more: Any) -> Results:
    """Records in a directory that is not there."""
    return Results(Path("nowhere"), **{"runs": [], "taylor": [TAYLOR], "errors": [ERROR, OTHER, FAILED], **more})


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    """Abscissae and ordinates of the lines of a panel, by label."""

    def numbers(values: Any) -> list[float]:
        return [float(value) for value in np.asarray(values)]

    return {str(line.get_label()): (numbers(line.get_xdata()), numbers(line.get_ydata())) for line in axes.get_lines()}


def test_the_tables_say_what_the_records_say() -> None:
    taylor, errors = Gradients().tables(results())
    assert taylor.rows == [["disc-opt-rk4", "1.99", "passes", "2e-09"]]
    assert [row[2:] for row in errors.rows] == [
        ["2.5e-03", "1.0e-10", "1,200", "34", "5,600", "12.5", "–"],
        ["5.0e-05", "–", "1,200", "34", "5,600", "–", "1.2e+01"],
        ["failed", *["–"] * 5, "–"],
    ]
    assert errors.columns[-1] == "drift"
    assert "known to 2.5e-09" in errors.notes[0]
    (short,) = Gradients().tables(results(taylor=[], errors=[ERROR]))
    assert short.columns[-1] == "ms"
    assert len(short.notes) == 2
    (unknown,) = Gradients().tables(results(errors=[], taylor=[replace(TAYLOR, slope_e1=None, bound=None)]))
    assert unknown.rows == [["disc-opt-rk4", "–", "passes", "–"]]
    assert Gradients().tables(results(errors=[], taylor=[])) == []


def test_the_finding_compares_the_worst_exact_gradient_with_the_others() -> None:
    fixed = replace(ERROR, method="opt-disc-fixed", error_discrete=0.25)
    told = Gradients().finding(
        results(errors=[ERROR, replace(ERROR, error_discrete=3e-8), fixed, replace(fixed, error_discrete=0.5)])
    )
    assert told is not None
    assert "to 3e-08 at every step size" in told
    assert "is off by 0.25 to 0.5." in told
    assert Gradients().finding(results()) is None
    assert Gradients().finding(results(errors=[fixed])) is None


def test_remainders_are_drawn_with_lines_of_their_slopes() -> None:
    figure = draw_taylor(results())
    assert figure is not None
    (axes,) = figure.axes
    drawn = lines(axes)
    assert drawn["$E_0$"] == ([1.0, 0.5, 0.25], [8.0, 4.0, 2.0])
    assert drawn["$E_1$"] == ([1.0, 0.5, 0.125], [4.0, 1.0, 0.0625])
    # 0.4 of the third remainder, or of the next one that is known
    h = np.array(TAYLOR.h)
    assert drawn["slope 1"][1] == pytest.approx(0.4 * 2.0 * h / 0.25)
    assert drawn["slope 2"][1] == pytest.approx(0.4 * 0.0625 * (h / 0.125) ** 2)
    assert axes.get_ylim()[0] == pytest.approx(0.0625 / 5)
    (span,) = axes.patches
    assert sorted(span.get_extents().transformed(axes.transData.inverted()).intervalx) == pytest.approx(
        [0.25 / 1.3, 0.5 * 1.3]
    )
    assert axes.get_title() == "disc-opt\nslope of $E_1$: 1.99"
    assert draw_taylor(results(taylor=[])) is None
    unfitted = draw_taylor(results(taylor=[replace(TAYLOR, fitted=[0, 0]), TAYLOR]))
    assert unfitted is not None
    assert [len(axes.patches) for axes in unfitted.axes] == [0, 1]
    assert unfitted.get_size_inches().tolist() == pytest.approx([4.8, 3.2])


def test_errors_are_drawn_against_evaluations_and_milliseconds() -> None:
    finer = replace(ERROR, setting=8.0, error=2.5e-4, nfe_forward=2400, seconds=0.025)
    figure = draw_errors(results(errors=[ERROR, finer, OTHER, replace(FAILED, error=None)]))
    assert figure is not None
    left, right = (lines(axes) for axes in figure.axes)
    evaluations = [1200.0 + 34 + 5600, 2400.0 + 34 + 5600]
    family = next(name for name in left if name.startswith("disc-opt"))
    assert left[family] == (evaluations, [2.5e-3, 2.5e-4])
    assert right[family] == ([12.5, 25.0], [2.5e-3, 2.5e-4])
    assert left["reference uncertainty"][1] == [2.5e-9, 2.5e-9]
    assert [text.get_text() for text in figure.axes[0].texts] == ["4", "8", "1e-04", "1e-04"]
    assert draw_errors(results(errors=[replace(FAILED, error=None)])) is None
    assert draw_errors(results(errors=[replace(ERROR, error=0.0)])) is None


def test_each_set_of_weights_has_its_row() -> None:
    """In both figures and in the table; fixed steps left, tolerances right, the own loss in open marks."""
    at = replace(ERROR, weights="opt-disc-seed0", error=1e-3, samples=32, n_params=1234, scatter=0.3, load=0.5)
    records = [replace(ERROR, weights="untrained"), replace(OTHER, weights="untrained", seconds=0.5)]
    records += [at, replace(at, method="opt-disc", family="opt-disc dopri5", adaptive=True, setting=1e-4)]
    shown = results(errors=records)
    for draw in (draw_errors, draw_accuracy):
        figure = draw(shown)
        assert figure is not None
        assert len(figure.axes) == 4
        assert "untrained weights" in figure.axes[0].get_title()
        assert "trained by opt-disc-seed0" in figure.axes[2].get_title()
    accuracy = draw_accuracy(shown)
    assert accuracy is not None
    left, right = accuracy.axes[:2]
    own = left.get_lines()[1]
    assert lines(left)["disc-opt rk4"] == ([4.0], [2.5e-3])
    assert (np.asarray(own.get_ydata()).tolist(), own.get_markerfacecolor()) == ([1e-10], "white")
    assert lines(right)["opt-disc dopri5"] == ([1e-4], [5e-5])
    assert right.xaxis_inverted()
    costs = draw_errors(shown)
    assert costs is not None
    assert lines(costs.axes[3])["disc-opt rk4"] == ([], []), "times that scatter are not drawn"
    assert costs.axes[3].get_xlabel() == "loss and gradient (ms)\nleft out, since times scatter: 2"
    assert costs.axes[1].get_xlabel() == "loss and gradient (ms)"
    table = Gradients().tables(shown)[1]
    assert table.columns[0] == "weights"
    assert [row[0] for row in table.rows] == ["untrained", "untrained", "opt-disc-seed0", "opt-disc-seed0"]
    assert [row[8] for row in table.rows] == ["12.5", "500", "12.5 *", "12.5 *"]
    assert "load average of the machine 0.5 to 0.5" in table.notes[2]
    assert "A batch of 32 samples" in table.notes[3]
    assert draw_accuracy(results(errors=[ERROR])) is None
    (alone,) = Gradients().tables(results(taylor=[], errors=[at]))
    assert alone.columns[0] == "method"
    assert "At weights trained by opt-disc-seed0." in alone.notes


def trained(setting: dict[str, Any], seed: int, losses: list[float], label: str) -> Run:
    """A finished run of iterations of 15 seconds and 15 evaluations."""
    records = [replace(RECORD, iteration=k, validation_loss=loss) for k, loss in enumerate(losses)]
    config = {"method": {"method": "disc-opt", **setting}, "seed": seed, "faithful": False, "problem": "spiral"}
    summary = {"status": "finished", "iterations": len(losses), "best_validation_loss": min(losses)}
    return Run(config, summary, records, None, f"{label}-seed{seed}")


def test_a_point_of_a_sweep_is_the_median_over_its_seeds() -> None:
    runs = [
        *(trained({"steps": 4}, k, [9.0] * (3 + k) + [2.0 + k], "disc-opt-x4") for k in range(3)),
        trained({"rtol": 1e-3}, 0, [5.0, 4.0], "disc-opt-rtol"),
    ]
    swept = results(runs=runs)
    assert swept.is_sweep
    first, second = sweep_points(swept)
    assert (first.setting, first.loss, first.seconds, first.evaluations) == ("1e-03", 4.0, 30.0, 30)
    assert (second.setting, second.loss, second.seconds, second.evaluations) == ("x4", 3.0, 75.0, 75)
    assert sweep_points(results(runs=runs[:1])) == []
    figure = draw_sweep(swept)
    assert figure is not None
    for axes, x in zip(figure.axes, ([30.0, 75.0], [30.0, 75.0]), strict=True):
        assert lines(axes)["disc-opt"] == (x, [4.0, 3.0])
        assert [text.get_text() for text in axes.texts] == ["1e-03", "x4"]
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert draw_sweep(results(runs=runs[:1])) is None
    table = Gradients().tables(replace(swept, taylor=[], errors=[]))[0]
    assert [row[1:] for row in table.rows] == [["4", "30", "30"], ["3", "75", "75"]]


def test_open_and_filled_marks_tell_the_two_remainders_apart() -> None:
    figure = draw_taylor(results())
    assert figure is not None
    marks = {line.get_label(): line for line in figure.axes[0].get_lines()}
    assert marks["$E_0$"].get_markerfacecolor() == "white"
    assert matplotlib.colors.same_color(marks["$E_1$"].get_markerfacecolor(), marks["$E_1$"].get_color())
