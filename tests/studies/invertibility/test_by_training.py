"""Tables, statement and figure by training steps, by numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pynode.studies.invertibility.by_training import spread, trainings
from pynode.studies.invertibility.record import RediscretisationRecord, Use
from pynode.studies.invertibility.study import Invertibility
from pynode.studies.invertibility.training_figure import draw_training_steps
from pynode.studies.results import Results


def record(
    use: Use, steps: int | None, error: float | None, nll: float | None = None, seed: int = 0
) -> RediscretisationRecord:
    """A flow trained with `steps` (or else by dopri5), whose base round trip is off by twice its data round trip."""
    return RediscretisationRecord(
        "csv",
        f"run-{steps}-{seed}",
        "opt-disc" if steps is None else "disc-opt",
        seed,
        "rk38" if use == "training" and steps else "dopri5",
        use == "evaluation" or steps is None,
        float(steps) if use == "training" and steps else 1e-6,
        500,
        1e-3,
        nll=nll,
        inverse_data=None if error is None else error / 2,
        inverse_data_frobenius=None if error is None else error / 20,
        inverse_base=error,
        inverse_base_frobenius=None if error is None else error / 10,
        use=use,
        atol=1e-8,
        trained_scheme="dopri5" if steps is None else "rk38",
        trained_steps=steps,
        trained_rtol=1e-6 if steps is None else None,
    )


RECORDS = [
    record("training", None, 2e-5, 1.9),
    record("evaluation", None, 2e-5, 1.9),
    record("training", 8, 1e-4, 2.0),
    record("training", 2, 5e-4, 2.25),
    record("training", 2, 3e-3, 2.75, seed=1),
    record("training", 1, 1e-4, 1.5),
    record("evaluation", 8, 1e-5, 2.0),
    record("evaluation", 2, 1e-5, 2.5),
    record("evaluation", 2, 3e-5, 2.5, seed=1),
    record("evaluation", 1, 1e-3, 2.5),
    record("mixed", 8, 2e-4),
    record("mixed", 2, 0.25),
    record("mixed", 2, 0.5, seed=1),
]


def results(*records: RediscretisationRecord) -> Results:
    """Records in a directory that is not there."""
    return Results(Path("nowhere"), runs=[], rediscretised=list(records))


def test_trainings_are_in_the_order_of_steps_and_the_reference_comes_last() -> None:
    assert [t.name for t in trainings(RECORDS)] == [
        "disc-opt rk38 x 1",
        "disc-opt rk38 x 2",
        "disc-opt rk38 x 8",
        "opt-disc dopri5 rtol 1e-06",
    ]


def test_the_table_shows_where_training_used_the_error_of_its_discretisation() -> None:
    """One step: 1.5 as trained, 2.5 in truth.  Medians with range over seeds, gaps seed by seed."""
    summary, norms = Invertibility().tables(results(*RECORDS))
    assert summary.rows == [
        ["disc-opt rk38 x 1", "T / 1", "1.5", "2.5", "-1", "1.00e-04", "0.001", "–"],
        [
            "disc-opt rk38 x 2",
            "T / 2",
            "2.5 (2.25 to 2.75)",
            "2.5",
            "0 (-0.25 to 0.25)",
            "0.00175 (5.00e-04 to 0.003)",
            "2.00e-05 (1.00e-05 to 3.00e-05)",
            "0.375 (0.25 to 0.5)",
        ],
        ["disc-opt rk38 x 8", "T / 8", "2", "2", "0", "1.00e-04", "1.00e-05", "2.00e-04"],
        ["opt-disc dopri5 rtol 1e-06", "–", "1.9", "1.9", "0", "2.00e-05", "2.00e-05", "–"],
    ]
    assert "500 test samples; 2 seeds" in summary.notes[0]
    assert "rtol 1e-06, atol 1e-08" in summary.notes[0]
    assert norms.rows[:2] == [
        ["disc-opt rk38 x 1", "as trained", "from data", "5.00e-05", "5.00e-06"],
        ["disc-opt rk38 x 1", "as trained", "from base", "1.00e-04", "1.00e-05"],
    ]
    assert len(norms.rows) == 2 * (2 + 3 + 3 + 2)


def test_the_statement_names_the_coarsest_training_from_which_on_every_seed_has_an_inverse() -> None:
    """As trained not one step, which is below the bound by accident, nor two, where one seed is above it."""
    said = Invertibility().finding(results(*RECORDS))
    assert said == (
        "Training steps from which on every seed's flow keeps an inverse error below 0.001 (500 test samples): "
        "disc-opt rk38: 8 (of 1, 2, 8) used as trained, 2 (of 1, 2, 8) by dopri5. Trained with 1 of rk38, "
        "the NLL as trained is 1 nats below that of the same weights by dopri5."
    )
    assert said in Invertibility().tables(results(*RECORDS))[0].notes
    bad = [replace(r, inverse_base=1.0) if r.trained_steps == 8 else r for r in RECORDS]
    assert "none of 1, 2, 8 used as trained" in str(Invertibility().finding(results(*bad)))


def test_runs_that_were_evaluated_otherwise_are_told() -> None:
    """The bound and the samples of one run are not those of all."""
    other = [replace(r, bound=1e-4, samples=2000) if r.trained_steps == 8 else r for r in RECORDS]
    said = str(Invertibility().finding(results(*other)))
    assert "below 0.0001 or 0.001 (500 or 2,000 test samples)" in said
    assert "500 or 2,000 test samples; 2 seeds" in Invertibility().tables(results(*other))[0].notes[0]
    figure = draw_training_steps(results(*other))
    assert figure is not None
    assert {"bound 0.0001", "bound 0.001"} <= {str(line.get_label()) for line in figure.axes[0].get_lines()}
    grid = [replace(r, use="other") for r in other]
    assert "below 0.0001 or 0.001 (" in Invertibility().tables(results(*grid))[0].notes[0]


def test_a_seed_whose_solve_failed_leaves_no_median() -> None:
    failed = [*RECORDS, record("training", 8, None, None, seed=1), record("evaluation", 8, 1e-5, 2.0, seed=1)]
    row = Invertibility().tables(results(*failed))[0].rows[2]
    assert row[2:7] == ["–", "2", "–", "–", "1.00e-05"]


def test_spread_has_a_range_only_where_values_differ() -> None:
    assert spread([1.0, 1.0]) == "1"
    assert spread([1.0, 2.0, 4.0]) == "2 (1 to 4)"
    assert spread(None) == "–"


def test_curves_over_training_steps() -> None:
    figure = draw_training_steps(results(*RECORDS))
    assert figure is not None
    errors, likelihood = figure.axes[:2]
    drawn = {str(line.get_label()): line for line in errors.get_lines()}
    own = drawn["as trained (from base)"]
    assert np.asarray(own.get_xdata()).tolist() == [1, 2, 8]
    assert np.asarray(own.get_ydata()).tolist() == pytest.approx([1e-4, 1.75e-3, 1e-4])
    assert np.asarray(drawn["as trained, back by dopri5 (from data)"].get_xdata()).tolist() == [2, 8]
    assert np.asarray(drawn["bound 0.001"].get_ydata()).tolist() == [1e-3, 1e-3]
    assert np.asarray(drawn["opt-disc dopri5 rtol 1e-06, by dopri5"].get_ydata()).tolist() == [2e-5, 2e-5]
    fine = next(line for line in likelihood.get_lines() if line.get_label() == "by dopri5")
    assert np.asarray(fine.get_ydata()).tolist() == [2.5, 2.5, 2.0]
    assert [tick.get_text() for tick in errors.get_xticklabels()] == ["1", "2", "8"]
    assert draw_training_steps(results(*(r for r in RECORDS if r.trained_steps in (None, 8)))) is None
    assert draw_training_steps(results()) is None
