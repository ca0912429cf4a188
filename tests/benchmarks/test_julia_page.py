"""The page of the Julia backend: made from records, and whole where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks.page import julia
from pynode.records.files import write_json
from pynode.studies.results import Results
from tests.benchmarks.test_page import ENVIRONMENT, flat, rows
from tests.studies.reduction.test_study import run


def julia_runs(*runs: Any) -> Callable[[str], Results]:
    return lambda _: Results(Path("nowhere"), list(runs))


def test_julia_is_compared_where_it_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = [
        run("disc-opt", [8.0, 2.0, 1.0], seconds=1.0, nfe=4),
        run("opt-disc", [8.0, 1.0, 30.0], seconds=4.0, nfe=8),
    ]
    bridged = [
        run("disc-opt-julia", [8.0, 2.0, 1.0], seconds=1.0, nfe=4),
        run("opt-disc-julia", [8.0, 1.0, 1.5], seconds=1.0, nfe=8),
    ]
    for each in bridged:
        (each.summary or {}).update(backend="julia", seconds_bridge=0.25)
    monkeypatch.setattr(julia, "runs_of", julia_runs(*torch, *bridged))
    assert [row[:4] for row in rows(julia.footings())[2:]] == [
        ["torch operators", "1,000", "4,000", "– / –"],
        ["Julia, loss and Adam in torch", "1,000", "1,000", "250 / 250"],
    ]
    assert [row[1:] for row in rows(julia.losses())[2:]] == [["1", "1"], ["1", "30"], ["1", "1"], ["1", "1.5"]]
    said = flat(julia.finding())
    assert said.startswith("Until the matched loss Disc-Opt through Julia needs ")
    assert "of the 1,000 ms of its iteration the bridge takes 250." in said
    assert said.endswith(
        "more than ten times its best loss: torch operators (1 of 1); Julia, loss and Adam in torch (0 of 1)."
    )
    (folder / julia.FOLDER).mkdir()
    write_json(folder / julia.FOLDER / "environment.json", ENVIRONMENT)
    monkeypatch.setattr(julia, "ROOT", folder)
    assert flat(julia.set_up()) == (
        "Spiral, 3 iterations, the same weights, one seed (`bench --repeats 3`; [records](../../spiral-julia); "
        "commit `0123456` (2026-12-01); two cores (Some CPU); load average not recorded):"
    )


@pytest.mark.usefixtures("folder")
def test_without_julia_its_rows_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = [run("disc-opt", [8.0, 1.0], seconds=1.0, nfe=4), run("opt-disc", [8.0, 1.0], seconds=4.0, nfe=8)]
    monkeypatch.setattr(julia, "runs_of", julia_runs(*torch))
    assert [row[0] for row in rows(julia.footings())[2:]] == ["torch operators"]
    assert len(rows(julia.losses())[2:]) == 2
    assert (
        julia.finding()
        == "Seeds in which Opt-Disc ends at more than ten times its best loss: torch operators (0 of 1)."
    )


@pytest.mark.parametrize(
    ("time", "span", "said"),
    [
        (0.25, [0.1, 0.5], "25.0 % (10.0 to 50.0) less"),
        (-0.047, [-0.1, 0.02], "4.7 % (-2.0 to 10.0) more"),
        (-0.047, [-0.047, -0.047], "4.7 % more"),
        (None, None, "– less"),
    ],
)
def test_what_is_not_saved_is_spent_more(time: float | None, span: list[float] | None, said: str) -> None:
    assert julia._change({"time_reduction": time, "ranges": {"time_reduction": span}}, "time", "less") == said


def test_adjoints_that_are_wrong_at_every_tolerance_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"gauss": (0.1, 0.2), "quadrature": (0.5, 1e-6), "backsolve": (1e-3, 1e-6)}
    entries = [{"adjoint": name, "relative_error_theta": e} for name, every in errors.items() for e in every]
    monkeypatch.setattr(julia, "_reference", lambda _: entries)
    said = "In reversed time 1 of the 3 recorded adjoints are off by 10.0 to 20.0 %, whatever the tolerance."
    assert julia.reversed_time() == said
    monkeypatch.setattr(julia, "_reference", lambda _: entries[2:])
    assert julia.reversed_time() == "No recorded adjoint is wrong at every tolerance."
