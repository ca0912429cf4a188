"""The stages after Adam: recorded, resumable to the same numbers, and plain about failures."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.errors import Interrupted, InvalidArgument, RecordError, SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems import PROBLEMS
from pynode.problems.base import Objective
from pynode.problems.series.spiral import Spiral
from pynode.records.events import EVENTS, Event
from pynode.records.files import read_json, read_lines
from pynode.records.iteration import is_timed
from pynode.stages import Stage, Taken
from pynode.training.checkpoint import NAME, PREVIOUS, read_intact
from pynode.training.config import RunConfig
from pynode.training.finishing import RATES
from pynode.training.in_memory import TrainingInMemory
from pynode.training.progress import FinishingProgress
from pynode.training.trainer import train
from pynode.training.weights import FINISHING, best_theta, last_theta
from pynode.types import Theta
from tests.runs import untimed

GRADIENTS = 12
CONFIG = RunConfig(
    problem="spiral",
    method=DiscOpt(),
    seed=0,
    iterations=6,
    learning_rate=0.05,
    weight_decay=0.0,
    validate_every=1,
    checkpoint_every=4,
    memory_every=100,
)


class Fit(Stage):
    """The spiral's own loss, in two parts, on rows that are held out or not."""

    disturbance: Callable[[], None] | None = None
    """Called with every gradient."""
    taken = Taken(True)

    def __init__(self, problem: Spiral, name: str, *, judged: bool, gradients: int = GRADIENTS) -> None:
        self.name, self.judged, self._problem, self._gradients = name, judged, problem, gradients

    @property
    def gradients(self) -> int:
        return self._gradients

    def begin(self, model: Any) -> None:
        if not self.judged:
            model.set_theta(model.theta() + 0.01)

    def parts(self, method: GradientMethod, model: Any) -> Iterator[Objective]:
        if Fit.disturbance is not None:
            Fit.disturbance()
        for share in (0.25, 0.75):
            objective = self._problem.objective(method, model, self._problem.batch(0))
            yield Objective.of(share * objective.loss, objective.solves)

    def takes(self, model: Any, before: Theta, after: Theta) -> Taken:
        model.set_theta((before + after) / 2)  # whatever is tried here is not to stay
        return Fit.taken


class Finished(Spiral):
    """The spiral with an empty stage, a judged one, and one that is not judged."""

    def stages(self) -> Sequence[Stage]:
        return (
            Fit(self, "empty", judged=True, gradients=0),
            Fit(self, "fit", judged=True),
            Fit(self, "all rows", judged=False),
        )


@pytest.fixture(autouse=True)
def finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts it in the spiral's place."""
    load = PROBLEMS.load
    monkeypatch.setattr(PROBLEMS, "load", lambda name: Finished if name == "spiral" else load(name))
    monkeypatch.setattr(Fit, "disturbance", None)


def at_call(n: int, what: Callable[[], object]) -> Callable[[], None]:
    """Does `what` in the n-th gradient of a training."""
    calls = iter(range(10_000))

    def disturbance() -> None:
        if next(calls) == n:
            what()

    return disturbance


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def loss_at(theta: Theta) -> float:
    spiral = Spiral()
    model = spiral.model(0)
    model.set_theta(theta)
    return spiral.objective(CONFIG.method, model, spiral.batch(0)).value


def without_times(run: Path) -> dict[str, Any]:
    return {k: v for k, v in read_json(run / "summary.json").items() if not is_timed(k)}


def assert_same(one: Path, other: Path) -> None:
    """The same records, weights and summary."""
    assert untimed(one) == untimed(other)
    assert untimed(one / FINISHING) == untimed(other / FINISHING)
    for theta in (best_theta, last_theta):
        assert torch.equal(theta(one, "spiral"), theta(other, "spiral"))
    assert without_times(one) == without_times(other)


def test_stages_follow_adam_and_are_recorded(tmp_path: Path) -> None:
    seen: list[str] = []
    summary = train(CONFIG, tmp_path / "run", listener=lambda record: seen.append(record.stage))
    records = untimed(tmp_path / "run" / FINISHING)
    assert [r["iteration"] for r in records] == list(range(len(records)))
    assert seen == [*[""] * 6, *(r["stage"] for r in records)]
    assert [r["stage"] for r in records] == sorted((r["stage"] for r in records), reverse=True)
    for name, counted in (("fit", "finishing_gradients"), ("all rows", "final_gradients")):
        own = [r for r in records if r["stage"] == name]
        assert summary[counted] == sum(r["gradients"] for r in own) >= GRADIENTS
        assert own[-1]["best_loss"] < own[0]["loss"]
        assert all(r["nfe_forward"] == 2 * 116 * r["gradients"] for r in own), "two parts, each a solve"
        assert all(a["best_loss"] >= b["best_loss"] for a, b in pairwise(own))
    assert all(r["validation_loss"] is not None for r in records)
    assert summary["iterations"] == 6, "Adam's"
    assert summary["finishing_iterations"] == len(records)
    assert summary["finishing_failures"] == 0
    assert summary["training_seconds"] > 0
    assert summary["finishing_seconds"] > 0


def test_the_judged_weights_are_evaluated_and_the_last_ones_are_kept(tmp_path: Path) -> None:
    summary = train(CONFIG, tmp_path / "run")
    records = untimed(tmp_path / "run" / FINISHING)
    judged, last = best_theta(tmp_path / "run", "spiral"), last_theta(tmp_path / "run", "spiral")
    best = {name: min(r["best_loss"] for r in records if r["stage"] == name) for name in ("fit", "all rows")}
    assert loss_at(judged) == pytest.approx(best["fit"], rel=1e-12)
    assert loss_at(last) == pytest.approx(best["all rows"], rel=1e-12)
    spiral = Spiral()
    model = spiral.model(0)
    model.set_theta(judged)
    assert summary["fit_loss"] == spiral.validation_loss(model)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("call", [0, 1, 5, 13, 14, 19])
def test_interrupted_in_a_stage_and_resumed_equals_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    train(CONFIG, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(Fit, "disturbance", staticmethod(at_call(call, ctrl_c)))
        with pytest.raises(Interrupted, match=r"before finishing iteration \d+; saved: --resume continues there"):
            train(CONFIG, tmp_path / "broken")
    assert not (tmp_path / "broken" / "summary.json").exists()
    so_far = best_theta(tmp_path / "broken", "spiral")
    done = untimed(tmp_path / "broken" / FINISHING) if call > 2 else []
    if done and done[-1]["stage"] == "fit":
        assert loss_at(so_far) == pytest.approx(done[-1]["best_loss"], rel=1e-12), "nothing computed so far is lost"
    train(CONFIG, tmp_path / "broken", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "unbroken")


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_interrupted_in_adam_and_resumed_equals_unbroken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(CONFIG, tmp_path / "unbroken")
    original = Spiral.batch
    with monkeypatch.context() as patch:
        disturbance = at_call(4, ctrl_c)
        patch.setattr(Spiral, "batch", lambda *given: (disturbance(), original(*given))[1])
        with pytest.raises(Interrupted, match="before iteration"):
            train(CONFIG, tmp_path / "broken")
    train(CONFIG, tmp_path / "broken", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "unbroken")


class Killed(BaseException):
    """Stands for SIGKILL: nothing is saved."""


@pytest.mark.parametrize("call", [3, 9, 17, 21])
def test_killed_in_a_stage_and_resumed_equals_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    def kill() -> None:
        raise Killed

    train(CONFIG, tmp_path / "unbroken")
    with monkeypatch.context() as patch:
        patch.setattr(Fit, "disturbance", staticmethod(at_call(call, kill)))
        with pytest.raises(Killed):
            train(CONFIG, tmp_path / "broken")
    train(CONFIG, tmp_path / "broken", resume=True)
    assert_same(tmp_path / "broken", tmp_path / "unbroken")


def test_a_longer_run_goes_on_from_adam_and_finishes_again(tmp_path: Path) -> None:
    train(replace(CONFIG, iterations=9), tmp_path / "whole")
    train(CONFIG, tmp_path / "parts")
    train(replace(CONFIG, iterations=9), tmp_path / "parts", resume=True)
    assert_same(tmp_path / "parts", tmp_path / "whole")


def test_a_finished_run_is_left_alone_and_a_damaged_one_is_mended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    summary = train(CONFIG, run)
    theta, records = last_theta(run, "spiral"), untimed(run / FINISHING)
    assert train(CONFIG, run, resume=True) == read_json(run / "summary.json")
    for damaged in ((NAME,), (NAME, PREVIOUS)):
        for name in damaged:
            (run / FINISHING / name).write_bytes(b"nothing of use")
        if len(damaged) == 2:
            with pytest.raises(RecordError, match="finishes the training again"):
                last_theta(run, "spiral")
        again = train(CONFIG, run, resume=True)
        assert torch.equal(last_theta(run, "spiral"), theta)
        assert untimed(run / FINISHING) == records
        assert again["fit_loss"] == summary["fit_loss"]
    (run / FINISHING / "records.jsonl").write_text("{}\n")
    train(CONFIG, run, resume=True)
    assert torch.equal(last_theta(run, "spiral"), theta)
    assert {"damaged", "resumed"} <= {e.event for e in read_lines(run / EVENTS, Event)}


def test_a_checkpoint_of_another_finishing_is_not_taken(tmp_path: Path) -> None:
    train(CONFIG, tmp_path / "run")
    train(replace(CONFIG, seed=1), tmp_path / "other")
    theta = last_theta(tmp_path / "run", "spiral")
    for name in (NAME, PREVIOUS):
        (tmp_path / "run" / FINISHING / name).write_bytes((tmp_path / "other" / FINISHING / name).read_bytes())
    (tmp_path / "run" / "summary.json").unlink()
    train(CONFIG, tmp_path / "run", resume=True)
    assert torch.equal(last_theta(tmp_path / "run", "spiral"), theta)
    said = [e.detail for e in read_lines(tmp_path / "run" / EVENTS, Event) if e.event == "unused"]
    assert "it began with other weights" in said[0]


def test_a_step_that_is_too_long_is_a_failed_iteration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        OptDisc(max_steps=3, engine="eager").solve(Spiral().model(0), Spiral().y0, Spiral().times)

    monkeypatch.setattr(Fit, "disturbance", staticmethod(at_call(4, fail)))
    summary = train(CONFIG, tmp_path / "run")
    records = untimed(tmp_path / "run" / FINISHING)
    (failed,) = (r for r in records if r["failure"] is not None)
    assert "solve failed" in failed["failure"]
    assert summary["finishing_failures"] == 1
    after = records[failed["iteration"] + 1]
    assert after["loss"] == failed["best_loss"], "from the best weights"
    (event,) = (e for e in read_lines(tmp_path / "run" / EVENTS, Event) if e.event == "failed iteration")
    assert event.iteration == failed["iteration"]
    assert f"steps are {RATES[1]:g} times as long from there" in event.detail
    assert records[-1]["stage"] == "all rows"


def test_a_stage_that_always_fails_ends_with_the_weights_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = replace(CONFIG, iterations=6)
    monkeypatch.setattr(Finished, "stages", lambda _: ())
    train(nothing, tmp_path / "without")

    def parts(self: Fit, method: GradientMethod, model: Any) -> Iterator[Objective]:
        (whole,) = (self._problem.objective(method, model, self._problem.batch(0)),)
        yield Objective(math.nan, whole.pullback, whole.tensor, whole.solves)

    monkeypatch.setattr(Finished, "stages", lambda self: (Fit(self, "fit", judged=True),))
    monkeypatch.setattr(Fit, "parts", parts)
    summary = train(CONFIG, tmp_path / "run")
    assert summary["status"] == "finished"
    assert torch.equal(best_theta(tmp_path / "run", "spiral"), best_theta(tmp_path / "without", "spiral"))
    records = untimed(tmp_path / "run" / FINISHING)
    assert [(r["failure"], r["loss"]) for r in records] == [("the loss is nan", None)] * len(RATES)
    last = read_lines(tmp_path / "run" / EVENTS, Event)[-1]
    assert last.event == "stage ended early"
    assert "fit: the loss is nan; the best weights that were tried before are kept" in last.detail


def test_weights_that_a_stage_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fit, "taken", Taken(False, "the error would rise"))
    train(CONFIG, tmp_path / "run")
    intact, _ = read_intact(tmp_path / "run")
    best_of_adam = intact[0][1].extra("best")
    assert torch.equal(best_theta(tmp_path / "run", "spiral"), best_of_adam)
    assert torch.equal(last_theta(tmp_path / "run", "spiral"), best_of_adam)
    said = [e.detail for e in read_lines(tmp_path / "run" / EVENTS, Event)]
    assert said == ["fit: the error would rise", "all rows: the error would rise"]


def test_a_mistake_of_the_user_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise InvalidArgument("field", "mine", "it returns words", "return numbers")

    monkeypatch.setattr(Fit, "disturbance", staticmethod(at_call(2, refuse)))
    with pytest.raises(InvalidArgument, match="it returns words"):
        train(CONFIG, tmp_path / "run")


def test_in_memory_is_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(CONFIG, tmp_path / "run")
    training = TrainingInMemory(CONFIG)
    monkeypatch.chdir(tmp_path)
    summary = training.train()
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing is written"
    assert torch.equal(training.best, best_theta(tmp_path / "run", "spiral"))
    assert torch.equal(training.last, last_theta(tmp_path / "run", "spiral"))
    of_adam, of_stages = training.records
    assert [r.loss for r in of_adam] == [r["loss"] for r in untimed(tmp_path / "run")]
    assert [r.loss for r in of_stages] == [r["loss"] for r in untimed(tmp_path / "run" / FINISHING)]
    on_disk = without_times(tmp_path / "run")
    assert {k: v for k, v in summary.items() if not is_timed(k)}.items() <= on_disk.items()


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("call", [5, 16])
def test_interrupted_in_memory_keeps_the_weights_so_far(monkeypatch: pytest.MonkeyPatch, call: int) -> None:
    monkeypatch.setattr(Fit, "disturbance", staticmethod(at_call(call, ctrl_c)))
    training = TrainingInMemory(CONFIG)
    with pytest.raises(Interrupted, match="the weights so far are kept"):
        training.train()
    _, of_stages = training.records
    best = min(r.best_loss for r in of_stages if r.stage == "fit" and r.best_loss is not None)
    assert loss_at(training.best) == pytest.approx(best, rel=1e-12)


def test_failures_in_memory_follow_the_policy() -> None:
    config = replace(CONFIG, method=OptDisc(max_steps=3, engine="eager"), on_failure="skip", iterations=3)
    training = TrainingInMemory(config)
    training.train()
    of_adam, of_stages = training.records
    assert all(r.failure is not None for r in (*of_adam, *of_stages))
    assert any("the batch is skipped" in line for line in training.events)
    with pytest.raises(SolveError):
        TrainingInMemory(replace(config, on_failure="stop")).train()


@pytest.mark.parametrize("progress", [{"stage": -1}, {"start": 3}, {"other": 1}, {"least": "x"}])
def test_progress_of_stages_that_is_none(progress: dict[str, Any]) -> None:
    plain = {**FinishingProgress("0").to_json(), **progress}
    with pytest.raises(RecordError, match="progress in the checkpoint"):
        FinishingProgress.from_json(plain)
