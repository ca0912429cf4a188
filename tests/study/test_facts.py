"""Facts that sentences claim: each holds of some made-up records, and not of others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.study.page import facts, values
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

    def publish(*found: WinnerRecord) -> None:
        monkeypatch.setattr(facts, "checks_of", lambda _: Results(Path("nowhere"), winners=list(found)))

    publish(*records, *lost)
    assert facts.reaches_no_target("opt-disc", "stiffness")
    assert not facts.reaches_no_target("disc-opt", "stiffness")
    publish(*records, lost[0], winner(20.0, "opt-disc", 0.05, seed=1))
    assert not facts.reaches_no_target("opt-disc", "stiffness"), "one seed does"
    with pytest.raises(UsageError, match="the published map has no axis width"):
        facts.reaches_no_target("opt-disc", "width")


def test_runs_fall_to_the_end_where_a_late_validation_is_their_best(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = [[3.0, None, 2.0, 1.0, 1.1], [3.0, 2.0, 2.5, 2.2, 1.9]]
    monkeypatch.setattr(facts, "_runs", lambda _: [SimpleNamespace(quality=lambda q=q: q) for q in losses])
    assert facts.falls_to_the_end("power")
    losses.append([3.0, 1.0, 1.1, 1.2, 1.3])
    assert not facts.falls_to_the_end("power")
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


def test_slower_at_first_is_slower_in_every_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first: dict[str, Any] = {"ranges": {"time_reduction": [-0.5, -0.1]}}
    monkeypatch.setattr(facts, "comparison", lambda *_: SimpleNamespace(reduction={"targets": [first]}))
    assert facts.slower_at_first("8gaussians", "fused")
    first["ranges"]["time_reduction"] = [-0.5, 0.1]
    assert not facts.slower_at_first("8gaussians", "fused")
    first["ranges"]["time_reduction"] = None
    assert not facts.slower_at_first("8gaussians", "fused")


def test_a_problem_without_comparison_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "compared", lambda _: (SimpleNamespace(engine="fused"),))
    assert facts.all_seven_compared("fused")
    assert not facts.all_seven_compared("julia")
