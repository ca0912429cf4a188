"""The command as a user meets it, and tables and figure from records alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand

from experiments.scale.check import CALIBRATION, HELD_OUT, Trial, check
from experiments.scale.command import cost_model
from experiments.scale.records import path_of, read
from experiments.scale.report import render
from pynode.errors import UsageError
from pynode.records.files import write_lines

PUBLISHED = Path(__file__).resolve().parents[2] / "experiments" / "published" / "scale"

CONTEXT = typer.Context(TyperCommand("cost-model"))
"""Of a call that has no command line."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's directory, by the command itself."""
    out = tmp_path_factory.mktemp("scale") / "out"
    cost_model(CONTEXT, gpus="8,1,8,64", seeds=2, out=out)
    return out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpus": "0"}, "--gpus = 0: not a number from 1 to 1024"),
        ({"gpus": "1,x"}, "--gpus = 1,x: not numbers"),
        ({"gpus": "1,99999"}, "--gpus = 99999: not a number from 1"),
        ({"price": -1.0}, "--price = -1.0: not a price"),
        ({"price": float("nan")}, "--price = nan: not a price"),
        ({"seeds": 0}, "--seeds = 0: not a number from 1 to 100"),
        ({"seeds": 1_000_000}, "--seeds = 1000000: not a number from 1 to 100"),
        ({"device": "a10"}, "unknown device 'a10'; did you mean 'a100'?"),
        ({"show": Path("nosuch")}, "nosuch holds no cost model"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    options: dict[str, object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=said.replace("?", r"\?")) as caught:
        cost_model(CONTEXT, **options)  # type: ignore[arg-type]
    assert caught.value.exit_status == 2
    assert not list(tmp_path.iterdir())


def test_results_are_not_overwritten(made: Path) -> None:
    with pytest.raises(UsageError, match="not empty"):
        cost_model(CONTEXT, out=made)


def test_records_are_whole_and_consistent(made: Path) -> None:
    model = read(made)
    assert len(model.cells) == 3 * 7 * 2
    assert [(p.scenario, p.gpus) for p in model.plans if p.scenario == "central"] == [
        ("central", 1),
        ("central", 8),
        ("central", 64),
    ]
    for scenario in ("low", "central", "high"):
        plans = [p for p in model.plans if p.scenario == scenario]
        alone = 2 * sum(c.seconds for c in model.cells if c.scenario == scenario) / 3600
        # on one GPU everything in turn; nothing shorter than the bound; more never longer
        assert plans[0].makespan_hours == pytest.approx(alone)
        assert plans[0].utilisation == pytest.approx(1)
        hours = [p.makespan_hours for p in plans]
        assert hours == sorted(hours, reverse=True)
        for p in plans:
            assert p.cells == 28
            assert p.lower_bound_hours <= p.makespan_hours * (1 + 1e-9)
            assert p.reserved_hours == pytest.approx(p.gpus * p.makespan_hours)
            assert p.busy_hours <= p.reserved_hours * (1 + 1e-9)
            assert p.cost == pytest.approx(3.0 * p.reserved_hours)
            assert p.makespan_hours <= p.single_hours * (1 + 1e-9)
            assert p.single_cost == pytest.approx(3.0 * p.gpus * p.single_hours)
            assert p.widest <= 8
        longest = max(c.seconds for c in model.cells if c.scenario == scenario) / 3600
        assert plans[0].single_hours == pytest.approx(alone)
        # more GPUs than cells
        assert plans[2].single_hours == pytest.approx(longest)


@pytest.mark.parametrize("measure", [True, False])
def test_measurements_record_the_load_before_them(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measure: bool
) -> None:
    """A model alone has no times that other jobs could lengthen."""
    model, trials = read(made), read(PUBLISHED).trials
    modelled = {"cells": model.cells, "plans": model.plans, "assumptions": model.assumptions}
    monkeypatch.setattr("experiments.scale.plan.model_study", lambda *_: dict(modelled))
    monkeypatch.setattr("experiments.scale.plan.references", lambda *_: model.references)
    monkeypatch.setattr("experiments.scale.check.check", lambda _: {"trials": trials})
    monkeypatch.setattr("pynode.clock.load_average", lambda: 0.25)
    out = tmp_path / "out"
    cost_model(CONTEXT, measure=measure, out=out)
    assert read(out).environment.get("load_average") == (0.25 if measure else None)
    text = (out / "tables.md").read_text(encoding="utf-8")
    assert ("Load average of the machine: 0.25 at the start." in text) is measure


def test_tables_and_figure_come_from_records_alone(made: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", *(f"{kind}.jsonl" for kind in ("cells", "plans", "assumptions", "references"))):
        shutil.copy(made / name, copy / name)
    rendered = render(copy)
    assert (copy / "tables.md").read_text() == (made / "tables.md").read_text()
    assert (copy / "figures" / "scale.png").exists()
    assert [t.title for t in rendered.tables] == [
        "One seed on one a100",
        "The whole study",
        "Beside the study",
        "Assumptions",
    ]
    # and they say what the records say
    longer = [replace(c, seconds_training=1000 * c.seconds_training) for c in read(copy).cells]
    write_lines(path_of(copy, "cells"), longer)
    render(copy)
    assert (copy / "tables.md").read_text() != (made / "tables.md").read_text()


def test_trials_differ_from_what_was_fitted() -> None:
    names = [t.name for t in (*CALIBRATION, *HELD_OUT)]
    assert len(set(names)) == len(names)
    assert {t.held_out for t in CALIBRATION} == {False}
    assert {t.held_out for t in HELD_OUT} == {True}
    assert {t.method for t in HELD_OUT} == {"disc-opt", "opt-disc"}


def test_a_small_check_of_iterations(made: Path, tmp_path: Path) -> None:
    small = {"hidden": (4, 4), "batch": 8}
    records = check(
        calibration=[
            Trial("a", "npy", "disc-opt", small, 3, held_out=False),
            Trial("b", "npy", "disc-opt", {"hidden": (32, 32), "batch": 500}, 3, held_out=False),
        ],
        held_out=[Trial("c", "npy", "opt-disc", small, 3), Trial("d", "spiral", "disc-opt", dtype="float64")],
        most_seconds=0.1,
    )
    for trial in records["trials"]:
        assert trial.repeats >= 5
        assert trial.low <= trial.measured <= trial.high
        assert trial.predicted > 0
        assert trial.evaluations == int(trial.evaluations) or trial.method == "opt-disc"
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    for kind, lines in records.items():
        write_lines(path_of(copy, kind), lines)
    rendered = render(copy)
    assert rendered.tables[-1].title == "Iterations on this machine"
    assert any("held-out" in finding for finding in rendered.findings)
    # times of a busy machine may be explained without bytes
    calibration = [replace(c, bandwidth=None) for c in records["calibration"]]
    write_lines(path_of(copy, "calibration"), calibration)
    assert any("no GB/s" in note for note in render(copy).tables[-1].notes)
