"""Reductions in sentences, over comparisons whose numbers are known beforehand."""

from __future__ import annotations

import pytest

from experiments.study.page import reductions, sections
from experiments.study.page.reductions import most, not_faster, ratio, slower
from pynode.errors import UnknownName, UsageError
from pynode.studies.suite.study import Comparison
from tests.study.made_up import compared_in, disc_opt, opt_disc

QUICK = compared_in("spiral", opt_disc(), disc_opt(seconds=4.0))
"""Until a loss of 1: 30 s by Opt-Disc, 12 s by Disc-Opt."""

SLOW = compared_in("spiral-converged", opt_disc(), disc_opt(seconds=12.5))
"""30 s and 37.5 s."""

EVEN = compared_in("power", opt_disc(), disc_opt(seconds=10.0))
TABLE = compared_in("power-eager", opt_disc(), disc_opt(seconds=5.0), engine="eager")

UNTRAINED = compared_in("gas", opt_disc(losses=(1.0, 4.0, 4.0)), disc_opt(seconds=1.0, losses=(8.0, 2.0, 0.5)))
"""Opt-Disc is at its best before it begins."""


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """These comparisons, in place of those that are published."""
    by_problem = {"spiral": (QUICK, SLOW), "power": (EVEN, TABLE), "gas": (UNTRAINED,)}
    folders = {c.folder: c for comparisons in by_problem.values() for c in comparisons}

    def in_folder(folder: str) -> tuple[Comparison, ...]:
        return (folders[folder],) if folder in folders else ()

    monkeypatch.setattr(reductions, "without_repeats", lambda problem: by_problem.get(problem, ()))
    monkeypatch.setattr(sections, "comparisons_in", in_folder)
    monkeypatch.setattr(sections, "folders", lambda: list(folders))


def test_the_largest_reduction_of_the_problems() -> None:
    assert most("fused", "evaluation") == "60.0 %"
    assert most("fused", "time") == "60.0 %"
    with pytest.raises(UsageError, match="no problem of the study is compared on the engine julia"):
        most("julia", "time")
    with pytest.raises(UnknownName, match="unknown kind of reduction 'seconds'"):
        most("fused", "seconds")


def test_problems_that_save_no_time_are_named() -> None:
    """By their title, or by the folder of a further comparison."""
    assert not_faster("fused") == "spiral-converged and POWER"
    assert not_faster("eager") == "none"


def test_why_a_problem_is_not_cheaper() -> None:
    """30 s are 3 iterations of 200 evaluations, 37.5 s are 3 of 80; three quarters of both go to solves."""
    factors = ("iterations", "evaluations", "per_evaluation", "seconds")
    assert [ratio("spiral-converged", "fused", factor) for factor in factors] == ["1", "2.5", "0.32", "0.8"]
    with pytest.raises(UnknownName, match="unknown factor of the time 'evaluation'; did you mean 'evaluations'"):
        ratio("spiral", "fused", "evaluation")
    with pytest.raises(UsageError, match="no published comparison in spiral on eager"):
        ratio("spiral", "eager", "iterations")


def test_a_comparison_without_reduction_is_left_out() -> None:
    assert UNTRAINED.reduction["time_reduction"] is None
    kept = [c.folder for c in sections.every_comparison.__wrapped__()]
    assert kept == ["power", "power-eager", "spiral", "spiral-converged"]
    with pytest.raises(UsageError, match="in gas on fused a seed has no reduction"):
        ratio("gas", "fused", "iterations")


def test_seeds_in_which_disc_opt_is_slower_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [opt_disc(seed) for seed in range(3)] + [disc_opt(seed, seconds=9.0 + seed) for seed in range(3)]
    made = compared_in("spiral", *runs)
    monkeypatch.setattr(reductions, "comparison", lambda *_: made)
    assert slower("spiral", "fused") == "one"
