"""A user's own series: how well each method fits and forecasts it, at what cost, beside forecasts without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from pynode.records.runs import Run
from pynode.studies.base import Study, Table, number, over_seeds
from pynode.studies.forecast.figures import draw_forecasts
from pynode.studies.forecast.recorded import BASELINES, HELD_OUT, file_name, record_of
from pynode.studies.forecast.residuals import draw_residuals
from pynode.studies.forecast.verdict import accuracy, cost, saved_by, whole_seconds
from pynode.studies.load import load_and_threads, load_note
from pynode.studies.losses import OVER_WINDOWS
from pynode.studies.results import Results
from pynode.trajectories.judgement import MODEL, TRAINING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = (
    ("RMSE of the fit", TRAINING, "rmse"),
    ("RMSE of the forecast", HELD_OUT, "rmse"),
    ("  over its deviation", HELD_OUT, "relative"),
    ("MAE of the forecast", HELD_OUT, "mae"),
    ("MASE of the forecast", HELD_OUT, "mase"),
)

WHOLE = "whole"
"""Adam and the L-BFGS after it."""

SHORT = 6
"""Columns of which the terminal shows the errors; of more, tables.md does."""


class Forecast(Study):
    """Fits and forecasts of a user's own series."""

    name: ClassVar[str] = "forecast"
    question: ClassVar[str] = "How well do both methods forecast your own series, and at what cost?"

    def tables(self, results: Results) -> list[Table]:
        groups = groups_of(results)
        return [_errors(results, groups), _costs(results, groups)] if groups else []

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {**draw_forecasts(results), "residuals": draw_residuals(results)}

    def finding(self, results: Results) -> str | None:
        groups = groups_of(results)
        if not groups:
            return None
        said = [accuracy(groups), cost(results, groups)]
        return " ".join(sentence for sentence in said if sentence)


def groups_of(results: Results) -> dict[str, list[Run]]:
    """The finished runs with forecasts by method."""
    groups = {
        name: [run for run in runs if run.evaluation and "forecast" in run.evaluation["series"]]
        for name, runs in results.groups().items()
    }
    return {name: runs for name, runs in groups.items() if runs}


def _errors(results: Results, groups: Mapping[str, Sequence[Run]]) -> Table:
    first_runs = next(iter(groups.values()))
    first = record_of(first_runs[0])
    told = [row["forecaster"] for row in first["errors"]]
    baselines = [name for name in BASELINES if name in told]
    rows = []
    for column in first["columns"]:
        for title, part, key in MEASURES:
            cells = [_over_seeds(own, MODEL, column, part, key) for own in groups.values()]
            cells += [_over_seeds(first_runs[:1], name, column, part, key) for name in baselines]
            if any(cell is not None for cell in cells):
                rows.append(
                    [title if title.startswith(" ") else f"{column}: {title}", *(cell or "–" for cell in cells)]
                )
    seeds = len({run.seed for own in groups.values() for run in own})
    notes = [
        f"In the units of {file_name(results)}{f'; medians over {seeds} seeds' if seeds > 1 else '; one seed'}. "
        f"{_split(first)} Deviation: the standard deviation of the training observations. MASE: MAE over the mean "
        "change from one of these to the next."
    ]
    if first.get("constants"):
        kept = ", ".join(f"{name} = {value:g}" for name, value in first["constants"])
        notes.append(f"Carried on as they are: {kept}.")
    title = f"Errors of fit and forecast: {file_name(results)}"
    names = [*groups, *(BASELINES[name] for name in baselines)]
    return Table(title, ["", *names], rows, notes, long=len(first["columns"]) > SHORT)


def _over_seeds(runs: Sequence[Run], forecaster: str, column: str, part: str, key: str) -> str | None:
    """A cell of the table: the median over runs; None where the row is not there."""
    values = []
    for run in runs:
        for row in record_of(run)["errors"]:
            if (row["forecaster"], row["column"], row["part"]) == (forecaster, column, part) and row["rows"]:
                if row[key] is None and row["rmse"] is None:
                    return "not finite"
                values.append(row[key])
    known = [value for value in values if value is not None]
    return number(median(known)) if known else None


def _split(record: Mapping[str, Any]) -> str:
    kind, *sentence = record.get("split") or ["none"]
    if not any(row["part"] == HELD_OUT for row in record["errors"]):
        return "Nothing was held out, so there are no errors of forecasts."
    what = sentence[0] if sentence else {"time": "the end of each trajectory"}.get(kind, "some trajectories")
    return f"Held out: {what.removesuffix(' held out')}."


def _costs(results: Results, groups: Mapping[str, Sequence[Run]]) -> Table:
    quantities = (
        (f"best {OVER_WINDOWS}", "best_validation_loss", 1.0),
        ("iterations of Adam", "iterations", 1.0),
        ("ms per iteration", "seconds_per_iteration", 1e3),
        ("evaluations per iteration", "evaluations", 1.0),
        ("training by Adam (s)", "training_seconds", 1.0),
        ("finishing by L-BFGS (s)", "finishing_seconds", 1.0),
        ("  gradients", "finishing_gradients", 1.0),
        ("  evaluations", "finishing_evaluations", 1.0),
        ("whole training (s)", WHOLE, 1.0),
        ("trained on all rows for predict (s)", "final_seconds", 1.0),
    )
    rows = []
    for title, key, scale in quantities:
        values = [over_seeds(list(own), lambda run, k=key, s=scale: _scaled(run, k, s)) for own in groups.values()]  # type: ignore[misc]
        if any(value is not None for value in values):
            rows.append([title, *map(number, values)])
    saved = saved_by(results)
    if saved and set(groups) == {saved["baseline"], saved["method"]}:
        for title, key in (("seconds", "seconds"), ("evaluations", "evaluations")):
            if all(saved[key][name] is not None for name in groups):
                rows.append([f"{title} to the matched loss", *(number(saved[key][name]) for name in groups)])
    notes = [
        "Evaluations: of the field and vector-Jacobian products, forward and backward. The matched loss is the worse "
        f"of the two best values of the {OVER_WINDOWS} that Adam came to; the errors above are those after L-BFGS."
    ]
    if note := load_note(*load_and_threads(run for own in groups.values() for run in own)):
        notes.append(note)
    return Table(f"Cost of the training: {file_name(results)}", ["", *groups], rows, notes)


def _scaled(run: Run, key: str, scale: float) -> float | None:
    value = whole_seconds(run) if key == WHOLE else (run.summary or {}).get(key)
    return None if value is None else scale * value
