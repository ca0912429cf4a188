"""What can't be trained on or forecast is refused before training; what is taken as constant is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.checks import check_trainable, notices
from pynode.trajectories.data import Input, InputKind, Trajectory
from pynode.trajectories.evaluation import evaluated
from pynode.trajectories.parts import Parts, parts_of
from tests.trajectories.made import series, trajectory


def driven(name: str, rows: int, until: float, start: float = 0.0) -> Trajectory:
    """A trajectory of 20 rows, of which the first `rows` are kept, with an input from `start` to `until`."""
    times = np.arange(20.0)[:rows]
    known = np.arange(start, until + 1)
    return trajectory(name, times, np.cos(0.3 * times), (Input(known, np.sin(known)),))


def prepared(
    *each: Trajectory, held_out: float | None = None, kind: InputKind = "interpolated"
) -> tuple[Prepared, Parts]:
    of = series(*each, kinds=(kind,))
    parts = parts_of(of, None, held_out, None)
    return prepare(of, parts.training, augment=0), parts


def test_an_input_that_ends_before_the_held_out_rows_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"u0 of b is known to 16 only, rows that are held out go on to 19"):
        check_trainable(*prepared(driven("a", 20, 19), driven("b", 20, 16)))
    check_trainable(*prepared(driven("a", 20, 19), driven("b", 20, 16), held_out=0))
    check_trainable(*prepared(driven("a", 20, 19), driven("b", 20, 16), kind="steps"))


def test_inputs_that_are_extended_are_told() -> None:
    assert notices(prepared(driven("a", 20, 19))[0]) == []
    for each in (driven("b", 20, 16), driven("b", 20, 19, start=2)):
        (said,) = notices(prepared(driven("a", 20, 19), each, held_out=0)[0])
        assert said == "rows of b lie where no u0 is given: the nearest value is taken there"
    assert notices(prepared(driven("a", 20, 16), held_out=0, kind="steps")[0]) == []


def test_trajectories_of_one_row_with_inputs_elsewhere() -> None:
    with pytest.raises(InvalidArgument, match="no trajectory has two rows to train on"):
        check_trainable(*prepared(driven("a", 1, 19), driven("b", 1, 19)))


def test_a_trajectory_of_one_row_is_left_out_of_the_errors() -> None:
    own, parts = prepared(driven("a", 20, 19), driven("b", 1, 19))
    check_trainable(own, parts)
    assert notices(own) == ["1 trajectory of one row (b): not fitted, and left out of the errors"]
    record = evaluated(first_model(own, 0), own, parts)
    assert [each["part"][0] for each in record["trajectories"]] == ["training", "given"]
    (fit,) = [row for row in record["errors"] if row["part"] == "training"]
    assert fit["rows"] == 16
    assert np.isfinite(fit["rmse"])


def test_covariates_beyond_those_of_training_are_told() -> None:
    times = np.arange(6.0)
    each = [
        trajectory(name, times, np.cos(times + k), (), (dose, *kind))
        for k, (name, dose, kind) in enumerate(
            [("a", 1.0, (1.0, 0.0)), ("b", 2.0, (1.0, 0.0)), ("c", 1.5, (0.0, 1.0)), ("d", 9.0, (1.0, 0.0))]
        )
    ]
    of = replace(series(*each), covariates=("dose", "sex=f", "sex=m"))
    parts = parts_of(of, None, "c,d", None)
    said = notices(prepare(of, parts.training, augment=0))
    assert said == [
        "dose of d is 9, in training 1 to 2: the nearest of these is taken",
        "no trajectory of training has sex=m: forecasts of c take no account of it",
    ]
    assert notices(prepare(of, parts_of(of, None, "b", None).training, augment=0)) == []
