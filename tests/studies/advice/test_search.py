"""The search for the coarsest settings that are good enough."""

from __future__ import annotations

import pytest

from pynode.studies.advice.search import STEPS, TOLERANCES, Ladder, Outcome, bias_below, error_below


def ladder(order: int, seen: list[int], fails_below: int = 0) -> Ladder[int]:
    """Step counts of a scheme of this order, whose error at one step is 1; notes what is measured."""

    def measure(steps: int) -> Outcome:
        seen.append(steps)
        return Outcome(None if steps < fails_below else float(steps) ** -order, None, float(steps))

    return Ladder(STEPS, measure)


@pytest.mark.parametrize("order", [1, 2, 4])
def test_finds_the_coarsest_that_meet_each_target(order: int) -> None:
    seen: list[int] = []
    found_by = ladder(order, seen)
    targets = (0.3, 1e-2)
    found_by.search([error_below(t) for t in targets])
    for target in targets:
        place = found_by.coarsest(error_below(target))
        wanted = next((k for k, n in enumerate(STEPS) if float(n) ** -order <= target), None)
        assert place == wanted
    assert len(seen) == len(set(seen)), "nothing is measured twice"
    assert len(seen) < len(STEPS), "not all are measured"


def test_ends_where_it_costs_too_much() -> None:
    seen: list[int] = []
    ladder(1, seen).search([error_below(1e-6)], most=20.0)
    assert max(seen) < 64


def test_goes_on_over_failures() -> None:
    seen: list[int] = []
    rungs = ladder(4, seen, fails_below=6)
    rungs.search([error_below(1e-2)])
    place = rungs.coarsest(error_below(1e-2))
    assert place is not None
    assert STEPS[place] == 6


def test_the_bias_counts_where_it_is_known() -> None:
    aim = bias_below(0.05, 0.3)
    assert aim(Outcome(3.0, 0.01, 1.0)), "a large gradient error near an optimum says nothing"
    assert not aim(Outcome(1e-3, 0.1, 1.0))
    assert aim(Outcome(0.2, None, 1.0))
    assert not aim(Outcome(None, 0.0, 1.0))


def test_tolerances_are_what_they_are_written_as() -> None:
    assert all(float(f"{tol:.0e}") == tol for tol in TOLERANCES)
    assert list(TOLERANCES) == sorted(TOLERANCES, reverse=True)
