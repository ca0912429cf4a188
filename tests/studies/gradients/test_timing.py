"""Timings by numbers: how often, what counts as scatter, when they are taken again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import pytest
import torch

from pynode.clock import Clock, load_average
from pynode.errors import InvalidArgument
from pynode.studies.gradients.timing import Repeats, Timing, scatter, timed


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that are asked for, and not made."""
    asked: list[float] = []
    monkeypatch.setattr(time, "sleep", asked.append)
    return asked


def measure(laps: Iterable[float], repeats: Repeats, monkeypatch: pytest.MonkeyPatch) -> tuple[Timing, int]:
    """The timing of work that takes these times, and how often it was done."""
    ahead, done = iter(laps), []
    monkeypatch.setattr(Clock, "lap", lambda _: next(ahead))
    result = timed(lambda: done.append(1), Clock(torch.device("cpu")), repeats)
    return result, len(done)


def test_scatter_is_the_interquartile_range_over_the_median() -> None:
    assert scatter([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2.0 / 3.0)
    assert scatter([10.0, 10.0, 10.0, 10.0, 99.0]) == 0.0, "one interruption does not show"
    assert scatter([1.0, 9.0]) is None
    assert scatter([0.0, 0.0, 0.0]) is None


def test_cheap_work_is_repeated_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure([0.5] * 99, Repeats(5), monkeypatch)[1] == 5
    assert measure([0.001] * 99, Repeats(5, seconds=0.0105), monkeypatch)[1] == 11
    assert measure([1e-9] * 99, Repeats(5, most=20, seconds=1.0), monkeypatch)[1] == 20


def test_expensive_work_is_repeated_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure([2.0] * 99, Repeats(5, enough=3.0), monkeypatch)[1] == 3
    once, done = measure([9.0] * 99, Repeats(1), monkeypatch)
    assert (once.seconds, once.scatter, once.repeats, done) == (9.0, None, 1, 1)


def test_times_that_scatter_are_taken_again(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    """After a pause, until they agree."""
    rough, fine = [1.0, 2.0, 3.0], [1.0, 1.0, 1.1]
    result, done = measure([*rough, *rough, *fine], Repeats(3, enough=99.0, again=3, pause=0.25), monkeypatch)
    assert (result.seconds, result.repeats, done) == (1.0, 3, 9)
    assert result.is_steady
    assert pauses == [0.25, 0.25]


def test_the_best_of_all_attempts_says_that_it_scatters(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    rough, better = [1.0, 2.0, 3.0], [2.0, 2.4, 3.0]
    result, done = measure([*rough, *better, *rough], Repeats(3, enough=99.0, again=2), monkeypatch)
    assert done == 9
    assert len(pauses) == 2
    assert result.seconds == 2.4
    assert result.scatter == pytest.approx(0.5 / 2.4)
    assert not result.is_steady
    once, done = measure(rough, Repeats(3, enough=99.0), monkeypatch)
    assert (once.is_steady, done) == (False, 3)


def test_the_load_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 2.0, 3.0), raising=False)
    assert load_average() == 1.5
    monkeypatch.delattr(os, "getloadavg")
    assert load_average() is None


def test_repeats_that_can_not_be() -> None:
    with pytest.raises(InvalidArgument, match="repeats"):
        Repeats(0)
