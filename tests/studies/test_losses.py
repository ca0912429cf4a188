"""Losses of runs by numbers: what is spent until one is reached, targets in between, the limit of an axis."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pynode.records.runs import Run
from pynode.studies.losses import (
    Spent,
    against_normal,
    best_quality,
    between,
    compared_loss,
    is_likelihood,
    recorded_loss,
    spent_until,
    still_falling,
    upper_limit,
)
from tests.records.test_iteration import RECORD


def run(*losses: float | None, test_nll: bool = False) -> Run:
    """A run whose every iteration costs what `RECORD` does: 15 seconds, 3 evaluations, 12 products."""
    records = [replace(RECORD, iteration=k, validation_loss=loss) for k, loss in enumerate(losses)]
    summary = {"test_nll": 1.0} if test_nll else None
    return Run({"faithful": False, "method": {"method": "x"}, "seed": 0}, summary, records, None, str(Path("x")))


def test_everything_before_a_loss_is_reached_is_its_cost() -> None:
    going = run(8.0, None, 4.0, 2.0)
    assert spent_until(going, 8.0) == Spent(0.0, 0, 0, 0, 0.0)
    assert spent_until(going, 5.0) == Spent(seconds=30.0, nfe=6, evaluations=30, iterations=2, solving=6.0)
    assert spent_until(going, 4.0) == spent_until(going, 5.0), "a loss is reached where it is met exactly"
    assert spent_until(going, 3.0) == Spent(seconds=45.0, nfe=9, evaluations=45, iterations=3, solving=9.0)
    assert spent_until(going, 1.0) is None


def test_the_best_loss_of_a_run() -> None:
    assert best_quality(run(3.0, None, 1.0, 2.0)) == 1.0
    assert best_quality(run(None)) == math.inf


def test_likelihoods_are_known_by_their_test_or_by_a_loss_that_is_not_positive() -> None:
    assert is_likelihood([run(1.0), run(1.0, test_nll=True)])
    assert is_likelihood([run(1.0, 0.0)])
    assert not is_likelihood([run(1.0, None)])
    assert not is_likelihood([])


def test_targets_between_two_losses() -> None:
    assert between(8.0, 0.0, 4, linear=True) == [6.0, 4.0, 2.0, 0.0]
    assert between(16.0, 1.0, 4, linear=False) == pytest.approx([8.0, 4.0, 2.0, 1.0])
    assert between(-1.0, -3.0, 2, linear=True) == [-2.0, -3.0]
    assert between(1.0, 1.0, 3, linear=True) == [1.0]
    assert between(1.0, 2.0, 3, linear=False) == [2.0]
    assert between(1.0, 0.0, 3, linear=False) == [0.0], "zero has no logarithm"
    assert between(1.0, -1.0, 3, linear=False) == [-1.0]


def test_an_axis_is_cut_a_quarter_above_nine_tenths() -> None:
    """Of the sorted losses 0 to 10 and 1000, the one at 0.9 is the eleventh."""
    assert upper_limit([1000.0, *map(float, range(11))]) == 12.5
    assert upper_limit([float(k) for k in range(11)]) == 10.0, "no more than the largest"
    assert upper_limit([2.0, 4.0, 6.0, 1000.0], share=0.5) == 2.0 + 1.25 * 4.0
    assert upper_limit([2.0, 4.0], share=1.0) == 4.0
    assert upper_limit([3.0]) == 3.0


def test_methods_whose_loss_was_still_falling() -> None:
    fell, ended = run(3.0, 2.0, 1.0, 0.9), run(3.0, 2.0, 1.0, 0.99)
    assert still_falling({"a": [fell], "b": [ended], "c": [ended, fell], "d": [run(1.0)], "e": []}) == ["a", "c"]


def test_likelihoods_fall_by_nats() -> None:
    """A negative log-likelihood has no zero: a share of it is no measure, below 0 least of all."""
    assert still_falling({"a": [run(-1.0, -1.005)], "b": [run(5.0, 4.98, test_nll=True)]}) == ["b"]


def of_problem(problem: str, *, faithful: bool = False) -> Run:
    known = run(1.0)
    return replace(known, config={**known.config, "problem": problem, "faithful": faithful})


def test_what_the_loss_of_records_is_called() -> None:
    """Series set no rows aside: what records call their validation loss is measured on training rows."""
    spiral, series = of_problem("spiral"), of_problem("series")
    assert recorded_loss([spiral]) == compared_loss([spiral]) == "validation loss"
    assert recorded_loss([series, series]) == compared_loss([series]) == "training loss over long windows"
    assert recorded_loss([]) == "validation loss"
    assert compared_loss([spiral, of_problem("spiral", faithful=True)]) == "training loss"


def test_flows_against_a_normal_distribution() -> None:
    """The median over seeds; no flow is called better where none is."""
    better = replace(run(1.0), summary={"test_nll_raw": 2.0, "test_nll_normal": 2.5})
    worse = replace(run(1.0), summary={"test_nll_raw": 3.0, "test_nll_normal": 2.5})
    assert against_normal({"a": [run(1.0)], "b": []}) is None
    told = against_normal({"a": [better, better, worse], "b": [worse]})
    assert told is not None
    assert "is higher by 0.5 with a and lower by 0.5 with b than that by a normal distribution" in told
    told = against_normal({"b": [worse], "a": [better], "c": [better]})
    assert told is not None
    assert "is higher by 0.5 with a and 0.5 with c and lower by 0.5 with b than that" in told
    lost = replace(run(1.0), summary={"test_nll_raw": math.nan, "test_nll_normal": 2.5})
    told = against_normal({"a": [lost, better], "b": [lost]})
    assert told is not None
    assert "is higher by 0.5 with a than that" in told
    assert against_normal({"b": [lost]}) is None
    told = against_normal({"a": [worse], "b": [worse]})
    assert told is not None
    assert told.startswith("No flow is better on the test rows than a normal distribution")
    assert "(NLL higher by 0.5 for a and 0.5 for b)" in told
