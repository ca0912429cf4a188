"""The training loop: spends a problem and a gradient method, leaves records.

Outside the clock: warm-up, memory probes, validation, writing.  A killed run continues from its last checkpoint to the
same numbers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from pynode.clock import Clock
from pynode.errors import NonFiniteLoss, OutputDirectoryError, RecordError, SolveError
from pynode.gradients.base import GradientMethod
from pynode.julia.errors import JuliaError, WorkerError
from pynode.memory import peak_bytes
from pynode.problems.base import Objective, Problem
from pynode.records.files import (
    append_line,
    finite,
    make_directory,
    read_json,
    read_lines,
    write_json,
    write_lines,
)
from pynode.records.iteration import IterationRecord
from pynode.training.checkpoint import load_checkpoint, save_checkpoint
from pynode.training.config import RunConfig
from pynode.training.environment import environment
from pynode.training.optimiser import make_adam
from pynode.training.schedules import Pace, learning_rate

Listener = Callable[[IterationRecord], None]


@dataclass
class _Progress:
    """What the loop carries from one iteration to the next, besides parameters and optimiser."""

    iteration: int = 0
    best_loss: float = math.inf
    best_validation: float = math.inf
    best_iteration: int = 0
    pace: Pace = field(default_factory=Pace)

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the progress back."""
        mine = {k: finite(v) for k, v in vars(self).items() if k != "pace"}
        return {**mine, "pace": {k: finite(v) for k, v in vars(self.pace).items()}}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> _Progress:
        """What a checkpoint holds."""
        pace = data.get("pace", {})
        infinite = ("best_loss", "best_validation", "best_at_level")
        values: dict[str, Any]
        levels: dict[str, Any]
        values, levels = (
            {k: math.inf if k in infinite and v is None else v for k, v in part.items() if k != "pace"}
            for part in (data, pace)
        )
        return cls(**values, pace=Pace(**levels))


def train(
    config: RunConfig, directory: Path, *, resume: bool = False, listener: Listener | None = None
) -> dict[str, Any]:
    """Runs `config` in `directory` and returns its summary; `listener` hears of every finished iteration.

    With `resume`, a finished run is left alone, an unfinished one continues from its last checkpoint, and a run that
    never began begins.  Raises `OutputDirectoryError` (the directory holds a run already), `ConfigurationMismatch`
    (resumed with another configuration), `NonFiniteLoss` and `SolveError` (after saving what there is).
    """
    problem = config.make_problem()
    model = problem.model(config.seed)
    groups = problem.parameter_groups(model)
    optimiser = make_adam(groups, config.learning_rate, config.weight_decay)
    progress, best = _Progress(), model.theta()

    if (directory / "config.json").exists():
        if not resume:
            raise OutputDirectoryError(
                f"--out {directory}: holds a run already; continue it with --resume, or choose another directory"
            )
        config.check_resumes(RunConfig.from_json(read_json(directory / "config.json")))
        if finished := _finished(directory, config):
            return finished
        progress, best = _reload(directory, model, optimiser, best)
    make_directory(directory)
    write_json(directory / "config.json", config.to_json())
    sessions = read_json(directory / "environment.json") if (directory / "environment.json").exists() else []
    write_json(directory / "environment.json", [*sessions, environment(backend=config.method.backend)])

    for stale in ("summary.json", "evaluation.json"):  # of a shorter or a failed run that goes on now
        (directory / stale).unlink(missing_ok=True)
    loop = _Loop(config, problem, model, optimiser, progress, best, directory)
    try:
        loop.set_rate()
        warmup = loop.warm_up()
        while progress.iteration < config.iterations and not progress.pace.stopped:
            record = loop.iterate()
            append_line(directory / "records.jsonl", record)
            ends = progress.iteration == config.iterations or progress.pace.stopped
            if ends or progress.iteration % config.checkpoint_every == 0:
                loop.save()
            if listener:
                listener(record)
    except (NonFiniteLoss, SolveError, WorkerError, JuliaError) as error:
        loop.save()
        summary = _summary(config, directory, progress, status="failed", error=str(error))
        write_json(directory / "summary.json", summary)
        error.args = (f"{config.label}, iteration {progress.iteration}: {error} (saved; see {directory})",)
        raise
    model.set_theta(loop.best)
    try:
        evaluation = problem.evaluate(model, loop.method)
    except (
        SolveError,
        WorkerError,
        JuliaError,
    ) as error:  # the training is whole; its summary says so
        more: dict[str, Any] = {"evaluation_failure": str(error)}
    else:
        write_json(directory / "evaluation.json", evaluation, indent=None)
        more = dict(evaluation.metrics)
    summary = _summary(config, directory, progress, status="finished", warmup_seconds=warmup, **more)
    write_json(directory / "summary.json", summary)
    return summary


@dataclass
class _Loop:
    config: RunConfig
    problem: Problem
    model: Any
    optimiser: torch.optim.Optimizer
    progress: _Progress
    best: Tensor
    directory: Path

    @property
    def method(self) -> GradientMethod:
        """The gradient method of the present level."""
        levels = self.config.multilevel
        return self.config.method if levels is None else levels.method(self.config.method, self.progress.pace.level)

    def objective(self, batch: Any) -> Objective:
        return self.problem.objective(self.method, self.model, batch)

    def gradient_work(self) -> None:
        """One loss and gradient whose result nobody needs."""
        batch = self.problem.batch(self.progress.iteration)
        torch.autograd.grad(self.objective(batch).loss, list(self.model.parameters()), allow_unused=True)

    def warm_up(self) -> float:
        """One unrecorded iteration on a copy, so that first-call costs stay outside the records; its seconds."""
        clock = Clock(self.problem.device)
        copies = [p.detach().clone().requires_grad_() for p in self.model.parameters()]
        optimiser = make_adam(copies, self.config.learning_rate)
        for p in copies:
            p.grad = torch.zeros_like(p)
        optimiser.step()
        with contextlib.suppress(SolveError, WorkerError, JuliaError):  # the first iteration will meet it, and save
            self.problem.training_objective(
                self.method, self.model, self.problem.batch(self.progress.iteration)
            ).backward()
        self.optimiser.zero_grad()
        return clock.lap()

    def iterate(self) -> IterationRecord:
        """One iteration of training."""
        i, config, progress = self.progress.iteration, self.config, self.progress
        validates = i % config.validate_every == 0 or i == config.iterations - 1
        validation = self.problem.validation_loss(self.model) if validates else None
        if validation is not None:
            self.adapt(validation)
        self.settle()
        memory = self.probe_memory() if i % config.memory_every == 0 else None
        batch = self.problem.batch(i)  # loading and drawing data is no part of a method's cost

        clock = Clock(self.problem.device)
        objective = self.problem.training_objective(self.method, self.model, batch)
        forward = clock.lap()
        loss = float(objective.loss.detach())
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss is {loss}; lower the learning rate or take more steps")
        clock.start()
        objective.backward()
        backward = clock.lap()
        norm = math.sqrt(
            sum(float(p.grad.double().square().sum()) for p in self.model.parameters() if p.grad is not None)
        )
        if not math.isfinite(norm):
            raise NonFiniteLoss(f"the gradient's norm is {norm}; lower the learning rate or take more steps")

        progress.best_loss = min(progress.best_loss, loss)
        clock.start()
        self.optimiser.step()
        self.optimiser.zero_grad()
        optimiser = clock.lap()
        progress.iteration = i + 1
        stats = objective.stats
        return IterationRecord(
            iteration=i,
            loss=loss,
            best_loss=progress.best_loss,
            validation_loss=finite(validation),
            gradient_norm=norm,
            seconds_forward=forward,
            seconds_backward=backward,
            seconds_optimiser=optimiser,
            nfe_forward=stats.nfe_forward,
            nfe_backward=stats.nfe_backward,
            n_vjp_forward=stats.forward.n_vjp,
            n_vjp_backward=stats.backward.n_vjp,
            n_accepted=stats.forward.n_accepted,
            n_rejected=stats.forward.n_rejected,
            n_accepted_backward=stats.backward.n_accepted,
            n_rejected_backward=stats.backward.n_rejected,
            peak_memory_bytes=memory,
            seconds_bridge=stats.seconds_bridge,
            engine=stats.engine,
        )

    def adapt(self, validation: float) -> None:
        """Takes note of a validation, keeps the best parameters."""
        progress = self.progress
        if progress.pace.validated_at == progress.iteration:  # resumed where it had failed: noted already
            return
        improved = validation < progress.best_validation
        if improved:
            progress.best_validation, progress.best_iteration = validation, progress.iteration
            self.best = self.model.theta()
        progress.pace.validated(validation, progress.iteration, improved=improved)

    def settle(self) -> None:
        """Goes to the level that is due, then decides on learning rate and early stop, which belong to it."""
        config, pace = self.config, self.progress.pace
        if config.multilevel is not None:
            pace.refine(config.multilevel, self.progress.iteration)
        finest = config.multilevel is None or pace.level == len(config.multilevel.steps) - 1
        pace.stopped = finest and config.patience is not None and pace.stale > config.patience
        self.set_rate()

    def set_rate(self) -> None:
        """Gives the optimiser the learning rate that is due."""
        rate = learning_rate(self.config.learning_rate, self.config.rate_drops, self.progress.pace.stale)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def probe_memory(self) -> int | None:
        """Peak memory of one gradient, run once more beside the clock; None where its solve fails."""
        if self.method.backend == "julia":  # another process holds the memory
            return None
        try:
            return peak_bytes(self.gradient_work, self.problem.device)
        except SolveError:  # the iteration itself will meet it, and save
            return None

    def save(self) -> None:
        """Writes the checkpoint of the present iteration."""
        save_checkpoint(self.directory, self.model, self.optimiser, self.progress.to_json(), best=self.best)


def _reload(
    directory: Path, model: Any, optimiser: torch.optim.Optimizer, untrained: Tensor
) -> tuple[_Progress, Tensor]:
    """State of the last checkpoint; records beyond it are cut off, for they will be made again."""
    path = directory / "records.jsonl"
    loaded = load_checkpoint(directory, model, optimiser)
    if loaded is None:
        path.unlink(missing_ok=True)
        return _Progress(), untrained
    state, extra = loaded
    progress = _Progress.from_json(state)
    records = read_lines(path, IterationRecord) if path.exists() else []
    kept = records[: progress.iteration]
    if [r.iteration for r in kept] != list(range(progress.iteration)):
        raise RecordError(f"{path} lacks records before iteration {progress.iteration}; remove the run to start again")
    write_lines(path, kept)
    return progress, extra["best"]


def _finished(directory: Path, config: RunConfig) -> dict[str, Any] | None:
    """The summary of a run that needs no more work."""
    if not (directory / "summary.json").exists():
        return None
    summary: dict[str, Any] = read_json(directory / "summary.json")
    enough = summary["iterations"] >= config.iterations or summary.get("stopped_early", False)
    done = summary["status"] == "finished" and enough
    return summary if done else None


def _summary(config: RunConfig, directory: Path, progress: _Progress, **more: Any) -> dict[str, Any]:
    """What a run comes down to; per-iteration figures are medians (seconds) and means (evaluations)."""
    path = directory / "records.jsonl"
    records = read_lines(path, IterationRecord) if path.exists() else []
    memory = [r.peak_memory_bytes for r in records if r.peak_memory_bytes is not None]

    def over(pick: Callable[[list[float]], float], name: str) -> float | None:
        return pick([float(getattr(r, name)) for r in records]) if records else None

    return {
        "method": config.method.name,
        "backend": config.method.backend,
        "engine": ", ".join(sorted({r.engine for r in records})),
        "label": config.label,
        "seed": config.seed,
        "iterations": len(records),
        "best_loss": finite(progress.best_loss),
        "best_validation_loss": finite(progress.best_validation),
        "best_iteration": progress.best_iteration,
        "seconds_per_iteration": over(median, "seconds"),
        "seconds_forward": over(median, "seconds_forward"),
        "seconds_backward": over(median, "seconds_backward"),
        "seconds_optimiser": over(median, "seconds_optimiser"),
        "seconds_bridge": over(median, "seconds_bridge") or None,
        "nfe_forward": over(fmean, "nfe_forward"),
        "nfe_backward": over(fmean, "nfe_backward"),
        "evaluations": over(fmean, "evaluations"),
        "peak_memory_bytes": max(memory, default=None),
        "stopped_early": progress.pace.stopped,
        "training_seconds": sum(r.seconds for r in records),
        **more,
    }
