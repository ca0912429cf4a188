"""What follows an iteration that fails: stop, skip the batch, or restore the best weights; recorded either way."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.errors import InvalidArgument, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import Objective
from pynode.problems.series.spiral import Spiral
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import IterationRecord
from pynode.records.runs import load_run
from pynode.training.config import RunConfig
from pynode.training.trainer import train
from tests.runs import untimed

STUMBLES = {3: "solve", 4: "loss", 7: "adjoint"}
"""Iterations that fail, and how."""


class Stumbling(Spiral):
    """The spiral, but some iterations really fail: a solve that gives up, a loss that is not finite, an adjoint."""

    at = 0

    def batch(self, iteration: int) -> Any:
        self.at = iteration
        return super().batch(iteration)

    def objective(self, method: GradientMethod, model: Any, batch: Any) -> Objective:
        how = STUMBLES.get(self.at)
        if how == "solve":
            return super().objective(OptDisc(max_steps=3, engine="eager"), model, batch)
        if how == "adjoint":
            return super().objective(
                OptDisc(rtol=1e-2, adjoint_rtol=1e-13, adjoint_atol=1e-14, max_steps=90), model, batch
            )
        objective = super().objective(method, model, batch)
        if how == "loss":
            return Objective(math.nan, objective.pullback, objective.tensor, objective.solves)
        return objective


@pytest.fixture(autouse=True)
def stumbling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts it in the spiral's place."""
    load = PROBLEMS.load
    monkeypatch.setattr(PROBLEMS, "load", lambda name: Stumbling if name == "spiral" else load(name))


CONFIG = RunConfig(
    problem="spiral",
    method=DiscOpt(),
    seed=0,
    iterations=12,
    learning_rate=0.1,
    weight_decay=0.0,
    validate_every=2,
    checkpoint_every=3,
    memory_every=100,
)


def test_stop_is_the_default(tmp_path: Path) -> None:
    with pytest.raises(SolveError, match=r"iteration 3: forward solve failed .* \(saved; see"):
        train(CONFIG, tmp_path / "run")
    assert len(untimed(tmp_path / "run")) == 3
    assert read_json(tmp_path / "run" / "summary.json")["status"] == "failed"
    assert [e.event for e in read_lines(tmp_path / "run" / EVENTS, Event)] == ["failed"]


@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_a_policy_goes_on_and_records_it(tmp_path: Path, policy: str, caplog: pytest.LogCaptureFixture) -> None:
    config = replace(CONFIG, on_failure=policy)  # type: ignore[arg-type]
    summary = train(config, tmp_path / "run")
    records = read_lines(tmp_path / "run" / "records.jsonl", IterationRecord)
    assert [r.iteration for r in records] == list(range(12))
    failed = {r.iteration: r.failure for r in records if r.failure is not None}
    assert set(failed) == set(STUMBLES)
    assert "forward solve failed" in failed[3]
    assert "the loss is nan" in failed[4]
    assert "backward solve failed" in failed[7]
    assert all((r.loss is None or r.iteration == 7) == (r.failure is not None) for r in records if r.iteration != 7)
    assert (summary["status"], summary["failed_iterations"]) == ("finished", 3)
    noted = [e for e in read_lines(tmp_path / "run" / EVENTS, Event) if e.event == "failed iteration"]
    assert [e.iteration for e in noted] == [3, 4, 7]
    what = {"skip": "the batch is skipped", "restore": "the learning rate is 0.125 of what it would be"}[policy]
    assert what in noted[-1].detail
    assert what in caplog.text
    load_run(tmp_path / "run")


def test_skip_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    """So the next loss is the one that the failed iteration would have had."""
    train(replace(CONFIG, on_failure="skip"), tmp_path / "run")
    at_5 = untimed(tmp_path / "run")[5]["loss"]
    model = Spiral().model(0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        Spiral().objective(DiscOpt(), model, Spiral().y0).loss.backward()
        optimiser.step()
    assert at_5 == pytest.approx(float(Spiral().objective(DiscOpt(), model, Spiral().y0).loss.detach()), rel=1e-12)


def test_restore_goes_back_to_the_best_weights(tmp_path: Path) -> None:
    train(replace(CONFIG, on_failure="restore"), tmp_path / "run")
    records = untimed(tmp_path / "run")
    validations = {r["iteration"]: r["validation_loss"] for r in records if r["validation_loss"] is not None}
    best = min((i for i in validations if i <= 4), key=lambda i: validations[i])
    assert records[5]["loss"] == records[best]["loss"], "iteration 5 starts from the weights of the best validation"


@pytest.mark.parametrize("policy", ["skip", "restore"])
@pytest.mark.parametrize("stop_at", [4, 5, 8])
def test_resumed_after_failures_equals_unbroken(tmp_path: Path, policy: str, stop_at: int) -> None:
    config = replace(CONFIG, on_failure=policy)  # type: ignore[arg-type]
    train(config, tmp_path / "unbroken")

    def stop(record: IterationRecord) -> None:
        if record.iteration == stop_at:
            raise ConnectionError("the machine goes down")

    with pytest.raises(ConnectionError):
        train(config, tmp_path / "broken", listener=stop)
    train(config, tmp_path / "broken", resume=True)
    assert untimed(tmp_path / "broken") == untimed(tmp_path / "unbroken")


def test_a_run_that_only_fails_is_stopped(tmp_path: Path) -> None:
    config = replace(CONFIG, method=OptDisc(max_steps=3), on_failure="restore", iterations=40)
    with pytest.raises(SolveError, match="10 iterations in a row failed, the last one: forward solve failed"):
        train(config, tmp_path / "run")
    assert len(untimed(tmp_path / "run")) == 9


def test_a_stopped_run_goes_on_with_a_policy(tmp_path: Path) -> None:
    with pytest.raises(SolveError):
        train(CONFIG, tmp_path / "run")
    summary = train(replace(CONFIG, on_failure="skip"), tmp_path / "run", resume=True)
    assert summary["status"] == "finished"
    train(replace(CONFIG, on_failure="skip"), tmp_path / "unbroken")
    assert untimed(tmp_path / "run") == untimed(tmp_path / "unbroken")


def test_a_diverging_run_is_brought_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A learning rate that makes the field too stiff for the steps allowed, and nothing else wrong."""
    monkeypatch.setattr(Stumbling, "objective", Spiral.objective)
    method = OptDisc(rtol=1e-4, atol=1e-5, max_steps=60)
    config = replace(CONFIG, method=method, learning_rate=30.0, iterations=60, validate_every=1)
    with pytest.raises(SolveError, match="its limit of steps"):
        train(config, tmp_path / "stop")
    summary = train(replace(config, on_failure="restore"), tmp_path / "restore")
    assert summary["failed_iterations"] > 3
    losses = [r["loss"] for r in untimed(tmp_path / "restore") if r["loss"] is not None]
    assert summary["best_loss"] < 0.5 * losses[0]


def test_an_unknown_policy_is_named() -> None:
    with pytest.raises(InvalidArgument, match="on_failure = 'hope': unknown; use one of stop, skip, restore"):
        replace(CONFIG, on_failure="hope")  # type: ignore[arg-type]


def test_drift_stands_in_every_record(tmp_path: Path) -> None:
    """A backsolve has one in each iteration; an adjoint that solves no state backwards has none."""
    for adjoint in ("backsolve", "interpolating"):
        method = OptDisc(rtol=1e-4, atol=1e-6, adjoint=adjoint)
        train(replace(CONFIG, method=method, iterations=3), tmp_path / adjoint)
        drifts = [record.drift for record in read_lines(tmp_path / adjoint / "records.jsonl", IterationRecord)]
        assert len(drifts) == 3
        assert all((drift is not None) == (adjoint == "backsolve") for drift in drifts)
