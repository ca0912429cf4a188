"""The study of who wins: counts of cells, methods that are alone, and medians that hide no failure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pynode.studies.results import Results
from pynode.studies.winners.record import NO_METHOD, StabilityRecord, WinnerRecord
from pynode.studies.winners.study import Winners


def record(value: float, method: str, error: float, evaluations: int, uncertainty: float = 1e-9) -> WinnerRecord:
    """One gradient at one stiffness; an evaluation takes a millisecond, two in Opt-Disc."""
    adaptive = method == "opt-disc"
    seconds = evaluations / (500 if adaptive else 1000)
    return WinnerRecord(
        "stiffness",
        value,
        "van-der-pol",
        0,
        method,
        method,
        adaptive,
        1e-3 if adaptive else 4.0,
        uncertainty,
        error,
        evaluations,
        0,
        0,
        seconds,
        None,
    )


def solve(horizon: float, seed: int, error: float | None, failure: str | None = None) -> StabilityRecord:
    """One backward solve of an MLP."""
    return StabilityRecord("stability", "mlp", horizon, seed, 1e-5, error, error, 10, 30, failure)


TWO_CELLS = [
    record(2.0, "disc-opt", 5e-3, 100),
    record(2.0, "opt-disc", 5e-3, 300),  # three times as dear at 1e-1 and 1e-2
    record(5.0, "disc-opt", 5e-3, 400),
    record(5.0, "opt-disc", 5e-2, 200),  # half as dear at 1e-1, never good to 1e-2
]


def test_finding_counts_cells_by_target(tmp_path: Path) -> None:
    finding = Winners().finding(Results(tmp_path, winners=TWO_CELLS))
    assert finding is not None
    assert "1 of 2 cells at 1e-01 (median ratio 1.8, less time in 1 of 2)" in finding
    assert "1 of 1 cell at 1e-02 (median ratio 3, less time in 1 of 1, 1 by disc-opt alone)" in finding
    assert "1e-04" not in finding
    assert Winners().finding(Results(tmp_path)) is None


def test_tables_give_ratios_and_settings(tmp_path: Path) -> None:
    evaluations, time, settings = Winners().tables(Results(tmp_path, winners=TWO_CELLS))
    assert evaluations.rows == [
        ["van-der-pol, stiffness 2", "3", "3", "neither", "neither"],
        ["van-der-pol, stiffness 5", "0.5", "no opt-disc", "neither", "neither"],
    ]
    assert [row[1] for row in time.rows] == ["6", "1"]
    assert settings.long
    disc = ["4 steps", "100", "4 steps", "100"]
    assert settings.rows[0][1:] == ["1e-01", "0", *disc, "rtol 1e-03", "300", "rtol 1e-03", "600"]


def test_a_cell_without_a_reference_says_why(tmp_path: Path) -> None:
    lacking = replace(
        TWO_CELLS[0], method=NO_METHOD, value=9.0, error=None, failure="no reference gradient: it blew up"
    )
    evaluations, time, _ = Winners().tables(Results(tmp_path, winners=[*TWO_CELLS, lacking]))
    for table in (evaluations, time):
        assert table.rows[2] == ["van-der-pol, stiffness 9", *["neither"] * 4]
        assert "van-der-pol, stiffness 9: no reference gradient: it blew up" in table.notes


def over_seeds(value: float, ratios: list[float], **more: Any) -> list[WinnerRecord]:
    """A cell of as many seeds; `more` are other fields of Opt-Disc's records."""
    return [
        replace(r, seed=seed, **(more if r.method == "opt-disc" else {}))
        for seed, ratio in enumerate(ratios)
        for r in (record(value, "disc-opt", 5e-3, 100), record(value, "opt-disc", 5e-3, round(100 * ratio)))
    ]


def test_tables_show_range_and_agreement_of_seeds(tmp_path: Path) -> None:
    several = [
        *over_seeds(2.0, [3.0, 2.0, 0.5]),
        *over_seeds(5.0, [2.0, 2.0, 4.0])[:-1],  # Opt-Disc has no record in the last seed
    ]
    evaluations, time, settings = Winners().tables(Results(tmp_path, winners=several))
    assert [row[1] for row in evaluations.rows] == ["2 (0.5 to 3; 2 of 3)", "no opt-disc (1 of 3)"]
    assert time.rows[0][2] == "4 (1 to 6; 2 of 3)"
    assert evaluations.rows[0][3] == "neither"
    assert len(settings.rows) == 2 * 4 * 3
    finding = Winners().finding(Results(tmp_path, winners=several))
    assert finding is not None
    assert "1 of 1 cell at 1e-02 (median ratio 2, less time in 1 of 1, all seeds agree in 0)" in finding


def test_times_that_scatter_are_marked_and_left_out(tmp_path: Path) -> None:
    several = over_seeds(2.0, [3.0, 3.0], scatter=0.5, load=1.25, engine="fused")
    evaluations, time, settings = Winners().tables(Results(tmp_path, winners=several))
    assert evaluations.rows[0][1] == "3 (3 to 3; 2 of 2)"
    assert time.rows[0][1] == "times scatter"
    assert "2 of 2 gradients have times that scatter by more than 20 %" in time.notes[-1]
    assert "Engine: fused. Load average of the machine: 1.2 to 1.2." in time.notes[-1]
    assert settings.rows[0][-1] == "600 *"


def test_an_uncertain_reference_decides_nothing(tmp_path: Path) -> None:
    """Known to 1e-3 it can tell who is good to 1e-2, and no more."""
    records = [record(2.0, m, 5e-5, 100, uncertainty=1e-3) for m in ("disc-opt", "opt-disc")]
    (row,) = Winners().tables(Results(tmp_path, winners=records))[0].rows
    assert row[1:5] == ["1", "1", "neither", "neither"]


def test_stability_medians_hide_no_failure(tmp_path: Path) -> None:
    """A seed that failed is no reason to report the others' median as that of all."""
    solves = [solve(1.0, 0, 1e-4), solve(1.0, 1, 3e-4), solve(1.0, 2, 2e-4)]
    solves += [solve(10.0, 0, 1e-4), solve(10.0, 1, None, "gradient: it blew up"), solve(10.0, 2, 1e-4)]
    (table,) = Winners().tables(Results(tmp_path, stability=solves))
    assert table.rows == [
        ["mlp", "1", "2.0e-04", "2.0e-04", "3", "0"],
        ["mlp", "10", "–", "–", "–", "1 of 3"],
    ]
