"""Tables and verdict of forecasts, from made-up records."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pynode.records.run_files import EvaluationKeys
from pynode.records.schema import convert
from pynode.studies.base import Table
from pynode.studies.forecast.study import Forecast
from pynode.studies.page.configurations import run_tables
from pynode.studies.quality.study import Quality, draw_loss
from pynode.studies.reduction.study import Reduction
from tests.studies.forecast.made_up import forecasting, record, results


def both(disc: float = 0.1, opt: float = 0.2, *, seed: int = 0, **options: Any) -> list[Any]:
    """Runs by both methods, off by so much."""
    quick = forecasting("disc-opt", record(off=disc, **options), seconds=0.5, nfe=8, seed=seed)
    return [quick, forecasting("opt-disc", record(off=opt, **options), seed=seed)]


def row(table: Table, name: str) -> dict[str, str]:
    (cells,) = (row for row in table.rows if row[0] == name)
    return dict(zip(table.columns, cells, strict=True))


def test_the_made_up_evaluation_is_one_that_can_be_read() -> None:
    convert({"metrics": {}, "series": {"forecast": record()}}, EvaluationKeys)


def test_errors_by_column_beside_baselines() -> None:
    errors, costs = Forecast().tables(results(*both()))
    assert errors.columns == ["", "disc-opt", "opt-disc", "last value", "straight line"]
    assert row(errors, "x: RMSE of the fit") == dict(
        zip(errors.columns, ["x: RMSE of the fit", "0.1", "0.2", "–", "–"], strict=True)
    )
    ahead = row(errors, "y: RMSE of the forecast")
    assert (ahead["disc-opt"], ahead["opt-disc"]) == ("0.3", "0.6")
    assert float(ahead["last value"]) > 0.6
    assert "Held out: the last 25 % of each trajectory." in errors.notes[0]
    assert "setpoint = 37" in errors.notes[1]
    assert row(costs, "evaluations to the matched loss")["disc-opt"] == "48"


def test_the_mean_curve_stands_beside_held_out_trajectories() -> None:
    errors, _ = Forecast().tables(results(*both(trajectories=5, whole=2)))
    assert errors.columns[-1] == "mean curve"


def test_verdict_of_one_seed_is_careful() -> None:
    said = Forecast().finding(results(*both()))
    assert said is not None
    assert "both better than the best forecast without a model" in said
    assert "Cheaper here is disc-opt" in said
    assert "50.0 % less time (1.5 s against 3 s, on a machine that did other work as well)" in said
    assert "20.0 % fewer evaluations" in said
    assert "The forecasts of disc-opt are better (from 1 seed, so this may be chance)." in said
    assert said.endswith("The loss of disc-opt and opt-disc was still falling when the training ended."), "by half"


def test_the_end_of_the_training_counts() -> None:
    runs = both()
    more = {"finishing_seconds": 4.0, "finishing_gradients": 90.0, "finishing_evaluations": 7200.0}
    runs = [replace(run, summary=(run.summary or {}) | more) for run in runs]
    _, costs = Forecast().tables(results(*runs))
    assert row(costs, "training by Adam (s)")["disc-opt"] == "2"
    assert row(costs, "finishing by L-BFGS (s)")["disc-opt"] == "4"
    assert row(costs, "  evaluations")["opt-disc"] == "7,200"
    assert row(costs, "whole training (s)")["opt-disc"] == "8"
    assert "best training loss over long windows" in [cells[0] for cells in costs.rows]
    said = Forecast().finding(results(*runs))
    assert said is not None
    assert "to the training loss over long windows that both reach by Adam, it took 50.0 % less time" in said
    assert "which L-BFGS finishes after that, took 6 s with disc-opt and 8 s with opt-disc." in said
    assert "validation" not in said


def test_few_held_out_values_say_little() -> None:
    few = Forecast().finding(results(*both(points=8, columns=("x",))))
    many = Forecast().finding(results(*both()))
    assert few is not None
    assert many is not None
    assert re.match(r"On \d held-out values? only, too few to tell, the forecast is off by", few)
    assert re.match(r"On \d\d held-out values the forecast is off by", many)


def test_verdict_of_three_seeds_and_of_equal_errors() -> None:
    said = Forecast().finding(results(*(run for seed in range(3) for run in both(seed=seed))))
    assert said is not None
    assert "better (from 3 seeds)." in said
    said = Forecast().finding(results(*both(0.1, 0.101)))
    assert said is not None
    assert "alike (within 10.0 %, from 1 seed)" in said


def test_a_baseline_that_is_better_is_named() -> None:
    said = Forecast().finding(results(*both(3.0, 4.0)))
    assert said is not None
    assert "A forecast without a model is better here (straight line:" in said
    said = Forecast().finding(results(*both(0.1, 4.0)))
    assert said is not None
    assert "Only disc-opt is better than the best forecast without a model" in said


@pytest.mark.parametrize("of", [("disc-opt",), ("disc-opt", "opt-disc")])
def test_forecasts_that_do_not_use_the_field_say_so(of: tuple[str, ...]) -> None:
    runs = [
        forecasting(name, record(trajectories=4, whole=1) | {"without_field": name in of})
        for name in ("disc-opt", "opt-disc")
    ]
    said = Forecast().finding(results(*runs))
    assert said is not None
    assert f"In {' and '.join(f'1 of 1 run with {name}' for name in of)} the forecast is that of curves" in said
    assert "without a model" not in said, "it is one"
    assert "alike" not in said


def test_nothing_held_out() -> None:
    runs = results(*both(ahead=None))
    errors, _ = Forecast().tables(runs)
    assert errors.columns == ["", "disc-opt", "opt-disc"]
    assert "Nothing was held out" in errors.notes[0]
    said = Forecast().finding(runs)
    assert said is not None
    assert said.startswith("Nothing was held out; the fit is off by")


def test_a_forecast_that_is_not_finite_is_called_so() -> None:
    blown = record()
    for entry in blown["errors"]:
        if entry["forecaster"] == "model" and entry["part"] == "held out":
            entry |= {"rmse": None, "mae": None, "mase": None, "relative": None}
    runs = results(forecasting("disc-opt", blown), forecasting("opt-disc", record()))
    errors, _ = Forecast().tables(runs)
    assert row(errors, "x: RMSE of the forecast")["disc-opt"] == "not finite"
    said = Forecast().finding(runs)
    assert said is not None
    assert "Only opt-disc is better" in said


def test_one_method_alone_has_a_table_and_no_comparison() -> None:
    runs = results(forecasting("disc-opt", record()))
    errors, costs = Forecast().tables(runs)
    assert errors.columns[1] == "disc-opt"
    assert [r[0] for r in costs.rows if "matched" in r[0]] == []
    said = Forecast().finding(runs)
    assert said is not None
    assert "which is better than" in said
    assert "Cheaper" not in said


def test_other_runs_have_nothing_to_show() -> None:
    from tests.studies.reduction.test_study import QUICK, SLOW

    study, runs = Forecast(), results(SLOW, QUICK)
    assert study.tables(runs) == []
    assert study.finding(runs) is None
    assert [f for f in study.figures(runs).values() if f is not None] == []


@pytest.mark.parametrize("columns", [("a",) * 1, tuple("abcdefgh")])
def test_many_columns_go_to_the_file(columns: tuple[str, ...]) -> None:
    errors, _ = Forecast().tables(results(*both(columns=columns)))
    assert errors.long is (len(columns) > 6)


def test_no_study_speaks_of_a_validation() -> None:
    """No rows are set aside for one: tables, findings and axes of a page call the loss what it is."""
    trained = results(*both())
    told = [*Quality().tables(trained), *Reduction().tables(trained), *run_tables(trained.runs)]
    quality, page = told[0], told[-3:]
    assert row(quality, "best training loss over long windows")["disc-opt"] == "0.5"
    assert row(quality, "last training loss over long windows")["disc-opt"] == "0.5"
    assert "best training loss over long windows" in page[0].columns
    finding = Quality().finding(trained)
    assert finding is not None
    assert "the best training loss over long windows of Disc-Opt is 0.5" in finding
    assert "The training by Adam, which L-BFGS finishes, took" in finding
    assert "training by Adam (s)" in [cells[0] for cells in quality.rows]
    text = " ".join([finding, *(table.markdown() for table in told if "Settings" not in table.title)])
    assert "validation" not in text
    drawn = draw_loss(trained)
    assert drawn is not None
    assert drawn.axes[0].get_ylabel() == "training loss over long windows"
