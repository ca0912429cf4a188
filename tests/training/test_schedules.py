"""Schedules: learning rate, early stop, levels; and that a resumed run keeps its place in them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pynode.cli import main
from pynode.errors import ConfigurationMismatch, InvalidArgument, SolveError
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.problems.base import TrainingSettings
from pynode.problems.density.public_tables import PublicTable
from pynode.problems.series.spiral import Spiral
from pynode.records import files
from pynode.records.files import read_json
from pynode.records.runs import load_run
from pynode.solution import Status
from pynode.sweeps.grid import make_cells
from pynode.sweeps.specification import specify
from pynode.training import storage
from pynode.training.config import RunConfig
from pynode.training.optimiser import LeanAdam
from pynode.training.schedules import Multilevel, Pace, decay, learning_rate
from pynode.training.trainer import train


def config(**more: Any) -> RunConfig:
    """A short run of the spiral."""
    settings: dict[str, Any] = {
        "problem": "spiral",
        "method": DiscOpt(),
        "seed": 0,
        "iterations": 12,
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "validate_every": 1,
        "checkpoint_every": 4,
    }
    return RunConfig(**{**settings, **more})


def test_learning_rate_drops_after_more_than_so_many() -> None:
    """The study's: a tenth after more than 10, a hundredth after more than 20."""
    drops = PublicTable.training.rate_drops
    rates = [learning_rate(1e-3, drops, stale) for stale in (0, 10, 11, 20, 21)]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])
    assert learning_rate(0.5, (), 99) == 0.5


def test_learning_rate_halves_in_its_half_life() -> None:
    assert [decay(i, 10) for i in (0, 5, 10, 30)] == pytest.approx([1, 0.5**0.5, 0.5, 0.125])
    assert decay(99, None) == 1
    assert decay(10**12, 1) == 0


def test_public_sets_follow_the_study() -> None:
    assert PublicTable.training == TrainingSettings(
        20_000, 1e-3, 0.0, validate_every=200, rate_drops=((10, 0.1), (20, 0.01)), patience=20, dtype="float32"
    )


def test_levels_by_iteration() -> None:
    pace, plan = Pace(), Multilevel((1, 2, 4), refine_at=(3, 7))
    seen = []
    for i in range(10):
        pace.refine(plan, i)
        seen.append(pace.level)
    assert seen == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]


def test_levels_by_plateau() -> None:
    """After `patience` validations without improvement at this level; what was stale before does not count."""
    pace, plan = Pace(), Multilevel((1, 2, 4), patience=2)
    seen = []
    for i, loss in enumerate([5.0, 4.0, 4.0, 4.1, 6.0, 5.9, 5.95, 5.9, 5.8]):
        pace.validated(loss, i, improved=loss < 4.0)
        pace.refine(plan, i)
        seen.append(pace.level)
    assert seen == [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert pace.best_at_level == 5.8


def test_what_a_validation_changes() -> None:
    """Equal is no improvement at a level; what is improved in all is told."""
    pace = Pace()
    assert (pace.validated_at, pace.best_at_level) == (-1, math.inf)
    pace.validated(2.0, 4, improved=True)
    assert pace == Pace(0, 0, 0, 2.0, 4)
    pace.validated(2.0, 6, improved=False)
    assert pace == Pace(0, 1, 1, 2.0, 6)
    pace.validated(1.5, 8, improved=False)
    assert pace == Pace(0, 2, 0, 1.5, 8)
    pace.validated(3.0, 9, improved=True)
    assert pace == Pace(0, 0, 1, 1.5, 9)


def test_finer_steps_start_anew() -> None:
    pace, plan = Pace(0, 5, 3, 1.0, 7), Multilevel((1, 2))
    assert plan.patience == 3
    pace.refine(plan, 100)
    assert pace == Pace(1, 0, 0, math.inf, 7)
    pace.stale_at_level = 9
    pace.refine(plan, 200)
    assert pace.level == 1, "the last level lasts to the end"
    early = Pace(0, 5, 2, 1.0, 7)
    early.refine(plan, 100)
    assert early == Pace(0, 5, 2, 1.0, 7)


def test_the_steps_of_a_level() -> None:
    plan = Multilevel((1, 5))
    assert [plan.method(DiscOpt(steps=3, memory="recompute"), level) for level in (0, 1)] == [
        DiscOpt(steps=1, memory="recompute"),
        DiscOpt(steps=5, memory="recompute"),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Multilevel((4, 4)), "two or more growing"),
        (lambda: Multilevel((1, True)), "two or more growing"),
        (lambda: Multilevel((1, 2), refine_at=(0,)), "not 1 growing iterations"),
        (lambda: Multilevel((1, 2, 3), refine_at=(5, 5)), "not 2 growing iterations"),
        (lambda: Multilevel((1, 2), refine_at=()), "not 1 growing iterations"),
        (lambda: Multilevel((4,)), "two or more growing"),
        (lambda: Multilevel((4, 2)), "two or more growing"),
        (lambda: Multilevel((0, 2)), "two or more growing"),
        (lambda: Multilevel((1, 2), refine_at=(5, 6)), "not 1 growing iterations"),
        (lambda: Multilevel((1, 2, 3), refine_at=(6, 5)), "not 2 growing iterations"),
        (lambda: Multilevel((1, 2), patience=0), "refine_patience"),
        (lambda: config(method=OptDisc(), multilevel=Multilevel((1, 2))), "opt-disc has no number of steps"),
        (lambda: config(patience=0), "patience = 0"),
    ],
)
def test_mistakes_are_named(make: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()


def test_a_multilevel_run_takes_the_steps_of_its_levels(tmp_path: Path) -> None:
    """NFE per iteration says which level it was on; the configuration comes back from disk."""
    levels = config(multilevel=Multilevel((1, 2, 4), refine_at=(3, 8)), validate_every=5)
    assert levels.label == "disc-opt-rk4-levels-1-2-4-seed0"
    train(levels, tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert [r.nfe_forward // (4 * 29) for r in run.records] == [1] * 3 + [2] * 5 + [4] * 4
    assert run.method == "disc-opt-multilevel"
    assert replace(RunConfig.from_json(read_json(tmp_path / "run/config.json")), decided_engine=None) == levels


def numbers(directory: Path) -> list[tuple[float | None, float | None, int]]:
    """What may not depend on an interruption."""
    return [(r.loss, r.validation_loss, r.nfe_forward) for r in load_run(directory).records]


@pytest.mark.parametrize("at", [5, 9])
def test_an_interrupted_schedule_goes_on_to_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Level, staleness and learning rate are part of the checkpoint."""
    plan = config(
        multilevel=Multilevel((1, 2), patience=2), rate_drops=((0, 0.5), (2, 0.1)), learning_rate=0.3, iterations=14
    )
    train(plan, tmp_path / "whole")
    append = files.append_line

    def interrupted(path: Path, record: Any) -> None:
        if path.name == "records.jsonl" and record.iteration == at:
            raise KeyboardInterrupt
        append(path, record)

    monkeypatch.setattr(storage, "append_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "broken")
    monkeypatch.setattr(storage, "append_line", append)
    train(plan, tmp_path / "broken", resume=True)
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
    nfe = [n for _, _, n in numbers(tmp_path / "whole")]
    assert nfe[0] < nfe[-1], "the run never refined: the test shows nothing"


def test_early_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After more than `patience` validations without improvement; finished, and left alone when resumed."""
    losses = iter([3.0, 2.0, 2.5, 2.5, 2.5, 2.5] + [9.0] * 50)
    monkeypatch.setattr(Spiral, "validation_loss", lambda *_: next(losses))
    stopping = config(patience=2)
    summary = train(stopping, tmp_path / "run")
    assert summary["status"] == "finished"
    assert summary["stopped_early"] is True
    assert summary["iterations"] == 5
    assert summary["best_iteration"] == 1
    assert train(stopping, tmp_path / "run", resume=True) == summary


def test_a_dropped_rate_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters move by the rate that is due: with a rate of nearly zero they stand still."""
    monkeypatch.setattr(Spiral, "validation_loss", lambda *_: 1.0)
    train(config(rate_drops=((0, 1e-12),), iterations=6), tmp_path / "run")
    losses = [r.loss for r in load_run(tmp_path / "run").records]
    assert losses[0] != losses[1]  # the first validation is an improvement
    assert losses[2] == pytest.approx(losses[5], rel=1e-9)


def test_infinite_losses_come_back_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has no infinity."""
    monkeypatch.setattr(Spiral, "validation_loss", lambda *_: math.inf)
    short = config(iterations=4, multilevel=Multilevel((1, 2), patience=1))
    train(short, tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    summary = train(replace(short, iterations=8), tmp_path / "run", resume=True)
    assert summary["best_validation_loss"] is None
    assert summary["iterations"] == 8


def test_an_early_stop_waits_for_the_finest_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plateau at coarse steps is no reason to stop: finer ones may go on."""
    monkeypatch.setattr(Spiral, "validation_loss", lambda *_: 1.0)
    train(config(patience=2, multilevel=Multilevel((1, 2), refine_at=(6,)), iterations=30), tmp_path / "run")
    steps = [r.nfe_forward // (4 * 29) for r in load_run(tmp_path / "run").records]
    assert steps[:7] == [1] * 6 + [2]
    assert len(steps) == 6 + 3 + 1


@pytest.mark.parametrize("at", [7, 8, 9])
def test_a_refinement_starts_the_learning_rate_anew_resumed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The rate belongs to the level, in the very iteration that refines."""
    plan = config(
        multilevel=Multilevel((1, 2), refine_at=(8,)),
        rate_drops=((0, 0.1),),
        validate_every=3,
        checkpoint_every=1,
        iterations=12,
    )
    monkeypatch.setattr(Spiral, "validation_loss", lambda *_: 1.0)
    train(plan, tmp_path / "whole")
    append = files.append_line

    def interrupted(path: Path, record: Any) -> None:
        if path.name == "records.jsonl" and record.iteration == at:
            raise KeyboardInterrupt
        append(path, record)

    monkeypatch.setattr(storage, "append_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "broken")
    monkeypatch.setattr(storage, "append_line", append)
    train(plan, tmp_path / "broken", resume=True)
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")


def test_a_failed_evaluation_does_not_lose_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary is there, and says what is missing."""

    def fails(*_: object) -> None:
        raise SolveError(Status.MAX_STEPS, t=0.5, dt=0.1, norm_f=1.0)

    monkeypatch.setattr(Spiral, "evaluate", fails)
    summary = train(config(), tmp_path / "run")
    assert summary["status"] == "finished"
    assert "its limit of steps" in summary["evaluation_failure"]
    assert load_run(tmp_path / "run").finished


def steps_taken(directory: Path, iterations: int, **more: Any) -> tuple[list[float], list[float]]:
    """The learning rate of each iteration, and the largest change of a weight in it."""
    rates: list[float] = []
    changes: list[float] = []
    step = LeanAdam.step

    def watched(optimiser: LeanAdam, closure: Any = None) -> Any:
        (group,) = optimiser.param_groups
        before = [p.detach().clone() for p in group["params"]]
        taken = step(optimiser, closure)
        rates.append(group["lr"])
        changes.append(max(float((p.detach() - b).abs().max()) for p, b in zip(group["params"], before, strict=True)))
        return taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LeanAdam, "step", watched)
        train(config(iterations=iterations, **more), directory)
    return rates[1:], changes[1:]  # the first step is the warm-up's


def test_a_decaying_rate_is_used(tmp_path: Path) -> None:
    """Multiplied with the drops that are due; without a half-life the rate stays."""
    rates, changes = steps_taken(tmp_path / "half", 9, rate_half_life=2)
    assert rates == pytest.approx([0.1 * 0.5 ** (i / 2) for i in range(9)], rel=1e-12)
    assert changes[0] == pytest.approx(0.1, rel=1e-3)  # Adam's first step has the size of the rate
    assert max(changes[6:]) < 0.5 * changes[0]
    assert steps_taken(tmp_path / "plain", 9)[0] == [0.1] * 9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spiral, "validation_loss", lambda *_: 1.0)
        both, _ = steps_taken(tmp_path / "both", 6, rate_half_life=2, rate_drops=((2, 0.1),))
    assert both == pytest.approx([0.1 * 0.5 ** (i / 2) * (0.1 if i > 2 else 1) for i in range(6)], rel=1e-12)


def test_a_failed_iteration_halves_a_decaying_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = Spiral.objective
    calls = iter(range(100))

    def fails_once(*arguments: Any) -> Any:
        if next(calls) == 4:  # in iteration 1: warm-up, memory probe and iteration 0 come first
            raise SolveError(Status.MAX_STEPS, t=0.5, dt=0.1, norm_f=1.0)
        return losses(*arguments)

    monkeypatch.setattr(Spiral, "objective", fails_once)
    rates, _ = steps_taken(tmp_path / "run", 6, rate_half_life=2, on_failure="restore")
    assert rates == pytest.approx([0.1 * 0.5 ** (i / 2) * (0.5 if i else 1) for i in (0, 2, 3, 4, 5)], rel=1e-12)


def test_a_resumed_run_decays_as_an_unbroken_one(tmp_path: Path) -> None:
    """Also one that was started with fewer iterations; another half-life is another run."""
    decaying = config(rate_half_life=3, iterations=14)
    train(decaying, tmp_path / "whole")
    train(replace(decaying, iterations=6), tmp_path / "longer")
    train(decaying, tmp_path / "longer", resume=True)
    assert numbers(tmp_path / "longer") == numbers(tmp_path / "whole")
    train(config(iterations=14), tmp_path / "constant")
    assert numbers(tmp_path / "constant")[2:] != numbers(tmp_path / "whole")[2:]
    with pytest.raises(ConfigurationMismatch, match="rate_half_life: 3 -> 4"):
        train(replace(decaying, rate_half_life=4), tmp_path / "whole", resume=True)


def test_configurations_from_before_the_half_life() -> None:
    """They load and resume: the rate stays."""
    written = {k: v for k, v in config().to_json().items() if k != "rate_half_life"}
    assert RunConfig.from_json(json.loads(json.dumps(written))) == config()
    assert config().check_resumes(written) == {}


def test_the_half_life_is_an_option_of_commands_and_an_axis_of_sweeps(tmp_path: Path) -> None:
    command = f"compare spiral --methods disc-opt --iterations 2 --no-checks --rate-half-life 5 --out {tmp_path}/x"
    assert main(command.split()) == 0
    (written,) = (tmp_path / "x" / "runs").glob("*/config.json")
    assert read_json(written)["rate_half_life"] == 5
    swept = specify({"problem": "spiral", "method": "disc-opt", "iterations": 2, "rate_half_life": [3, 6]})
    assert [cell.config["rate_half_life"] for cell in make_cells(swept.axes, swept.needs)] == [3, 6]
