"""RQ2: how accurate is each gradient when the solver is coarse, and what does it cost?"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pynode.figures import gradient_error, sweep, taylor
from pynode.records.gradient import GradientErrorRecord
from pynode.records.results import Results
from pynode.studies.base import Study, Table, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Gradients(Study):
    """Gradient errors, Taylor tests, and training at many accuracies."""

    name: ClassVar[str] = "gradients"
    question: ClassVar[str] = "How accurate is each gradient when the solver is coarse?"

    def tables(self, results: Results) -> list[Table]:
        found = [_taylor_table(results), _error_table(results), _sweep_table(results)]
        return [table for table in found if table]

    def figures(self, results: Results) -> dict[str, Figure | None]:
        return {
            "taylor": taylor.draw(results),
            "gradient_error": gradient_error.draw(results),
            "sweep": sweep.draw(results),
        }

    def finding(self, results: Results) -> str | None:
        exact = [r.error_discrete for r in results.errors if r.method == "disc-opt" and r.error_discrete is not None]
        wrong = [r.error_discrete for r in results.errors if r.method == "opt-disc-fixed" and r.error_discrete]
        if not exact or not wrong:
            return None
        return (
            f"Disc-Opt's gradient is that of its own loss to {max(exact):.0e} at every step size, while Opt-Disc on "
            f"the same grid is off by {number(min(wrong), 2)} to {number(max(wrong), 2)}."
        )


def _taylor_table(results: Results) -> Table | None:
    if not results.taylor:
        return None
    rows = [
        [r.label, _slope(r.slope_e1), r.verdict.partition(":")[0], "–" if r.bound is None else f"{r.bound:.0e}"]
        for r in results.taylor
    ]
    notes = ["E1 falls with slope 2 if the gradient is that of the loss as computed; E1 / E0 bounds its error."]
    return Table(f"RQ2 Taylor test: {results.problem}", ["method", "slope of E1", "verdict", "E1 / E0"], rows, notes)


def _slope(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _error_table(results: Results) -> Table | None:
    if not results.errors:
        return None
    rows = [[results.family_of(r), _setting(r), *_values(r)] for r in results.errors]
    columns = ["method", "accuracy", "error", "error (own loss)", "NFE-F", "NFE-B", "VJPs", "ms"]
    notes = [
        "error: relative to the gradient of the continuous problem, known to "
        f"{number(max(r.reference_uncertainty for r in results.errors), 2)}.",
        "error (own loss): relative to finite differences of the loss as this method computes it.",
    ]
    if any(r.drift is not None for r in results.errors):  # records of earlier versions know none
        columns.append("drift")
        rows = [[*row, _drift(r)] for row, r in zip(rows, results.errors, strict=True)]
        notes.append(
            "drift: the distance of the state that the adjoint solves backwards from the stored one, in tolerances; "
            "the largest over output times and samples."
        )
    return Table(f"RQ2 Gradient error and its cost: {results.problem}", columns, rows, notes, long=True)


def _values(record: GradientErrorRecord) -> list[str]:
    if record.failure:
        return ["failed", *["–"] * 5]
    counts = [f"{n:,}" for n in (record.nfe_forward, record.nfe_backward, record.n_vjp)]
    own = "–" if record.error_discrete is None else f"{record.error_discrete:.1e}"
    error = "–" if record.error is None else f"{record.error:.1e}"
    return [error, own, *counts, number(None if record.seconds is None else 1000 * record.seconds)]


def _drift(record: GradientErrorRecord) -> str:
    return "–" if record.drift is None else f"{record.drift:.1e}"


def _setting(record: GradientErrorRecord) -> str:
    return f"rtol {record.setting:.0e}" if record.adaptive else f"{record.setting:.0f} steps"


def _sweep_table(results: Results) -> Table | None:
    points = sweep.points(results)
    if not points:
        return None
    rows = [[p.label, number(p.loss), number(p.seconds), f"{p.evaluations:,}"] for p in points]
    columns = ["run", "best validation", "training s", "evaluations"]
    return Table(f"RQ2 Training at many accuracies: {results.problem}", columns, rows)
