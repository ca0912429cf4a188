"""Facts that sentences claim: each holds of some made-up records, and not of others."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.study.page import facts, texts, values
from experiments.study.page.sections import SEVEN
from experiments.study.spiral_differences.records import Differences
from experiments.study.spiral_differences.report import always_ahead
from experiments.study.spiral_differences.variants import METHODS, single_changes
from pynode.errors import UsageError
from pynode.studies.results import Results
from pynode.studies.winners.record import WinnerRecord
from tests.study.test_spiral_differences import made_up


def differences(ahead: dict[str, int]) -> Differences:
    """Four seeds of each variant: in so many of them Disc-Opt is ahead at all iterations, in the others at none."""
    records = [
        made_up(variant, method, seed, 5.0 if method == "disc-opt" and seed >= count else 1.0)
        for variant, count in ahead.items()
        for method in METHODS
        for seed in range(4)
    ]
    return Differences({"variants": list(ahead), "seeds": [0, 1, 2, 3], "iterations": 300}, records)


def test_single_changes_are_those_of_faithful() -> None:
    """Two tolerances of one solve are one thing; the variants of `as-authors` have more than one."""
    known = single_changes()
    assert {"aligned", "float32", "loose-adjoint", "authors-weights"} <= set(known)
    assert not {"faithful", "as-authors", "as-authors-aligned"} & set(known)


def test_no_single_change_gives_the_authors_order(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = dict.fromkeys(single_changes(), 1) | {"float32": 2, "as-authors": 4}
    made = differences(counts)
    assert always_ahead(made, "float32") == (2, 4)
    assert always_ahead(made, "faithful") == (0, 0)
    for module in (facts, values):
        monkeypatch.setattr(module, "differences", lambda: made)
    assert facts.no_single_change_gives_the_authors_order()
    assert not facts.no_single_change_gives_the_authors_order("0.5")
    assert values.most_ahead() == "2 of 4"
    monkeypatch.setattr(facts, "differences", lambda: differences(counts | {"float32": 3}))
    assert not facts.no_single_change_gives_the_authors_order()
    del counts["float32"]
    monkeypatch.setattr(facts, "differences", lambda: differences(counts))
    assert not facts.no_single_change_gives_the_authors_order(), "a change has no records"


def winner(value: float, method: str, error: float, seed: int = 0) -> WinnerRecord:
    """One gradient of the map."""
    adaptive = method == "opt-disc"
    return WinnerRecord(
        "stiffness", value, "made-up", seed, method, method, adaptive, 1.0, 1e-12, error, 10, 5, 5, 1.0, None
    )


def test_a_method_that_reaches_no_target_at_the_end_of_an_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [winner(1.0, m, 1e-9, seed) for m in METHODS for seed in range(2)]
    records += [winner(20.0, "disc-opt", 0.05, seed) for seed in range(2)]
    lost = [winner(20.0, "opt-disc", 0.5, seed) for seed in range(2)]

    def publish(*winners: WinnerRecord) -> None:
        monkeypatch.setattr(facts, "checks_of", lambda _: Results(Path("nowhere"), winners=list(winners)))

    publish(*records, *lost)
    assert facts.reaches_no_target("opt-disc", "stiffness")
    assert not facts.reaches_no_target("disc-opt", "stiffness")
    publish(*records, lost[0], winner(20.0, "opt-disc", 0.05, seed=1))
    assert not facts.reaches_no_target("opt-disc", "stiffness"), "one seed does"
    with pytest.raises(UsageError, match="the published map has no axis width"):
        facts.reaches_no_target("opt-disc", "width")


def test_runs_fall_to_the_end_where_the_last_validation_is_their_best(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [[3.0, None, 2.0, 1.0, None], [3.0, 2.0, 2.5, 2.2, 1.9]]
    monkeypatch.setattr(facts, "_runs", lambda _: [SimpleNamespace(quality=lambda q=q: q) for q in losses])
    assert facts.falls_to_the_end("power")
    losses.append([3.0, 2.0, 1.0, 1.1])
    assert not facts.falls_to_the_end("power")
    losses[-1] = [None]
    assert not facts.falls_to_the_end("power"), "a run that was never validated"
    losses.clear()
    assert not facts.falls_to_the_end("power"), "no run, no fall"


def test_the_same_quality_is_that_of_the_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    nll = {"disc-opt": [2.84, 2.85, 2.9], "opt-disc": [2.80, 2.845, 2.85]}

    def seeds_of(_: str, method: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(summary={"test_nll": value}) for value in nll[method]]

    monkeypatch.setattr(facts, "seeds_of", seeds_of)
    assert facts.same_quality("8gaussians")
    assert not facts.same_quality("8gaussians", "0.001")
    nll["opt-disc"] = []
    assert not facts.same_quality("8gaussians")


def test_a_reduction_grows_where_the_matched_loss_saves_more_than_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: dict[str, Any] = {"time_reduction": 0.4, "targets": [{"time_reduction": 0.1}]}
    monkeypatch.setattr(facts, "comparison", lambda *_: SimpleNamespace(reduction=saved))
    assert facts.reduction_grows("power", "miniboone")
    saved["time_reduction"] = 0.1
    assert not facts.reduction_grows("power", "miniboone")
    saved.update(time_reduction=0.4, targets=[{"time_reduction": None}])
    assert not facts.reduction_grows("power", "miniboone"), "nothing to grow from"


def test_slower_at_first_is_slower_in_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first: dict[str, Any] = {"ranges": {"time_reduction": [-0.5, -0.1]}}
    monkeypatch.setattr(facts, "comparison", lambda *_: SimpleNamespace(reduction={"targets": [first]}))
    assert facts.slower_at_first("8gaussians", "fused")
    first["ranges"]["time_reduction"] = [-0.5, 0.1]
    assert not facts.slower_at_first("8gaussians", "fused")
    first["ranges"]["time_reduction"] = None
    assert not facts.slower_at_first("8gaussians", "fused")


def made(engine: str, time: float | None = 0.5, evaluations: tuple[float, ...] = (0.5,)) -> SimpleNamespace:
    """A comparison with a reduction of time, and of evaluations for each seed."""
    seeds = [{"evaluation_reduction": e, "time_reduction": time} for e in evaluations]
    return SimpleNamespace(engine=engine, reduction={"time_reduction": time, "seeds": seeds})


def test_each_of_the_seven_problems_needs_a_comparison_with_a_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons: dict[str, tuple[SimpleNamespace, ...]] = {problem: (made("fused"),) for problem in SEVEN}
    monkeypatch.setattr(facts, "compared", lambda problem: comparisons[problem])
    assert facts.all_seven_compared("fused")
    assert not facts.all_seven_compared("julia")
    comparisons["gas"] = (made("fused", time=None), made("eager"))
    assert not facts.all_seven_compared("fused"), "gas has none on this engine"
    comparisons["gas"] = ()
    assert not facts.all_seven_compared("fused")


def test_fewer_evaluations_are_needed_for_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisons = [made("fused", evaluations=(0.5, 0.1)), made("eager", evaluations=(-0.2,))]
    monkeypatch.setattr(facts, "every_comparison", lambda: comparisons)
    assert facts.fewer_evaluations("fused")
    assert not facts.fewer_evaluations("eager")
    assert not facts.fewer_evaluations("julia"), "no comparison, no claim"
    comparisons.append(made("fused", evaluations=(0.5, -0.1)))
    assert not facts.fewer_evaluations("fused")


def test_a_run_that_was_stopped_or_failed_did_not_go_on_to_its_last_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [SimpleNamespace(finished=True, summary={"stopped_early": False})]
    monkeypatch.setattr(facts, "_runs", lambda folder: runs if folder == "power" else [])
    assert facts.none_stopped("power")
    assert not facts.none_stopped("power", "gas"), "there are no runs"
    for summary in ({"stopped_early": True}, None):
        runs[1:] = [SimpleNamespace(finished=summary is not None, summary=summary)]
        assert not facts.none_stopped("power")


def test_which_method_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    reduction: dict[str, Any] = {"time_reduction": 0.1, "seeds": [{"time_reduction": 0.1}, {"time_reduction": -0.1}]}
    monkeypatch.setattr(facts, "comparison", lambda *_: SimpleNamespace(reduction=reduction))
    assert facts.undecided("hepmass", "fused")
    assert facts.saves_time("fused", "power", "gas")
    reduction.update(time_reduction=-0.1, seeds=[{"time_reduction": -0.1}, {"time_reduction": -0.2}])
    assert not facts.undecided("hepmass", "fused")
    assert not facts.saves_time("fused", "power", "gas")
    monkeypatch.setattr(facts, "not_faster", lambda _: "none")
    assert not facts.saves_no_time("fused")


def test_every_fact_and_every_value_stands_in_a_text() -> None:
    templates = "".join((texts.TEXTS / f"{name}.md").read_text(encoding="utf-8") for name in texts.names())
    used = {match.split()[0] for match in re.findall(r"\{(?:check )?([^{}]+)\}", templates)}
    assert used == set(facts.FACTS) | set(values.VALUES)
