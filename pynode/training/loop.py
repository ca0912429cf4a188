"""One iteration of training: validation, pace, loss, gradient, update, and the record of it."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pynode.clock import Clock, load_average
from pynode.errors import NonFiniteLoss, SolveError
from pynode.julia.errors import JuliaError, WorkerError
from pynode.memory import peak_bytes
from pynode.methods.base import GradientMethod
from pynode.precision import FULL, products_in
from pynode.problems.base import Objective, Problem
from pynode.records.files import finite
from pynode.records.iteration import IterationRecord
from pynode.training import checkpoint, on_device
from pynode.training.agreement import agreed_loss, first_message
from pynode.training.config import RunConfig
from pynode.training.graphed import Graphed
from pynode.training.optimiser import LeanAdam, make_adam
from pynode.training.progress import Progress
from pynode.training.schedules import decay, learning_rate
from pynode.training.signals import Stop
from pynode.training.storage import Storage
from pynode.training.work import Work
from pynode.world import World, shared_among

MAX_FAILURES = 10
"""Failed iterations in a row after which no policy goes on."""

AFTER_FAILURE = 0.5
"""What the policy "restore" leaves of the learning rate."""


@dataclass
class Loop:
    """The state of a run and what changes it.

    `best` are the best weights so far, in one vector; `anchor` the best of those from which an iteration went well,
    since a validation may be content with weights that training can't solve for.
    """

    config: RunConfig
    problem: Problem
    model: Any
    optimiser: torch.optim.Optimizer
    progress: Progress
    best: Tensor
    anchor: Tensor
    storage: Storage
    stop: Stop
    world: World
    _methods: dict[int, GradientMethod] = field(default_factory=dict)
    """The method of each level, made once: what a method knows of its engines is kept with it."""

    @property
    def method(self) -> GradientMethod:
        """The gradient method of the present level."""
        levels, method = self.config.multilevel, self.config.running
        if levels is None:
            return method
        level = self.progress.pace.level
        if level not in self._methods:
            self._methods[level] = levels.method(method, level)
        return self._methods[level]

    @cached_property
    def graphed(self) -> Graphed | None:
        """Iterations as recordings, where the engine is `graph`."""
        return Graphed() if Graphed.obstacle(self) is None else None

    @property
    def ended(self) -> bool:
        """Whether there is no iteration left to do."""
        return self.progress.iteration >= self.config.iterations or self.progress.pace.stopped

    def warm_up(self) -> float:
        """One unrecorded iteration on a copy, so that first-call costs stay outside the records; its seconds."""
        clock = Clock(self.problem.device)
        copies = [p.detach().clone().requires_grad_() for p in self.model.parameters()]
        optimiser = make_adam(copies, self.config.learning_rate)
        for p in copies:
            p.grad = torch.zeros_like(p)
        optimiser.step()
        if self.graphed is not None and self.graphed.prepare(self):
            return clock.lap()
        with contextlib.suppress(SolveError, WorkerError, JuliaError):  # the first iteration will meet it, and save
            self.objective().backward()
        self.optimiser.zero_grad()
        return clock.lap()

    def iterate(self) -> IterationRecord:
        """One iteration; after it the progress stands at the next.

        Raises `NonFiniteLoss` and `SolveError` where the policy is to stop, and `Interrupted`; the weights are then as
        they were, and the iteration is the next one still, with its validation taken note of.
        """
        i, config, progress = self.progress.iteration, self.config, self.progress
        validates = i % config.validate_every == 0 or i == config.iterations - 1
        with self.stop.interruptible():
            with products_in(FULL):
                validation = self.problem.validation_loss(self.model) if validates else None
            memory = self._probe_memory() if i % config.memory_every == 0 else None
        if validation is not None:
            self._adapt(validation)
        is_last = self._settle()
        work, failure = Work(), None
        try:
            self._step(work)
        except (NonFiniteLoss, SolveError) as error:
            self.optimiser.zero_grad()
            if config.on_failure == "stop":
                raise
            if progress.failures + 1 >= MAX_FAILURES:
                error.args = (f"{MAX_FAILURES} iterations in a row failed, the last one: {error}",)
                raise
            failure = str(error)
        if failure is None:
            progress.best_loss, progress.failures = min(progress.best_loss, work.loss), 0
            if validation is not None and progress.best_iteration == i:
                self.anchor = self.best
        else:
            self._after_failure(failure)
        progress.iteration, progress.pace.stopped = i + 1, is_last
        return work.record(
            i,
            progress.best_loss,
            validation_loss=finite(validation),
            peak_memory_bytes=memory,
            failure=failure,
            ranks=self.world.size,
            load_average=load_average() if validates else None,
        )

    def save(self) -> None:
        """Keeps the state before the present iteration."""
        if self.world.is_writer:
            self.storage.save(self._content, self.progress.iteration)

    def _content(self) -> bytes:
        """A checkpoint of the present state."""
        kept = {"best": self.best} if self.anchor is self.best else {"best": self.best, "anchor": self.anchor}
        return checkpoint.encode(self.model, self.optimiser, self.progress.to_json(), self.config.to_json(), **kept)

    def set_rate(self) -> None:
        """Gives the optimiser the learning rate that is due."""
        config, progress = self.config, self.progress
        rate = learning_rate(config.learning_rate, config.rate_drops, progress.pace.stale)
        rate *= decay(progress.iteration, config.rate_half_life) * progress.rate_factor
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def objective(self, batch: Any = None) -> Objective:
        """The loss of `batch`, or of the iteration's own."""
        batch = self.problem.batch(self.progress.iteration) if batch is None else batch
        if self.world.size == 1:
            return self.problem.objective(self.method, self.model, batch)
        with shared_among(self.world):
            return self.problem.objective(self.method, self.model, batch)

    def _step(self, work: Work) -> None:
        """Loss, gradient and update.  Where ranks share the batch, all of them come to the same end of it."""
        batch = self.problem.batch(self.progress.iteration)  # drawing data is no part of a method's cost
        if self.graphed is not None and self.graphed.step(self, work, batch):
            return
        if self._stays_on_device:
            on_device.step(self, work, batch)
            return
        failed: SolveError | None = None
        clock = Clock(self.problem.device)
        with self.stop.interruptible():
            try:
                work.objective = self.objective(batch)
                work.forward = clock.lap()
                work.loss = work.objective.value
            except SolveError as error:
                work.forward, failed = clock.lap(), error
        clock.start()
        work.loss = agreed_loss(self.world, self.stop, work.loss)
        work.exchange = clock.lap()
        if not math.isfinite(work.loss):
            raise self.failure(failed, f"the loss is {work.loss}")

        assert work.objective is not None
        clock.start()
        with self.stop.interruptible():
            try:
                work.objective.backward()
            except SolveError as error:
                failed = error
        work.backward = clock.lap()
        self._sum_gradients(spoilt=failed is not None)
        work.exchange += clock.lap()
        work.norm = math.sqrt(
            sum(float(p.grad.double().square().sum()) for p in self.model.parameters() if p.grad is not None)
        )
        if failed is not None or not math.isfinite(work.norm):
            raise self.failure(failed, f"the gradient's norm is {work.norm}")

        clock.start()
        self.optimiser.step()
        self.optimiser.zero_grad()
        work.optimiser = clock.lap()

    @property
    def _stays_on_device(self) -> bool:
        """Whether an iteration can be queued as a whole before the host asks how it went."""
        if self.problem.device.type == "cpu" or self.world.size > 1 or self.method.own_process:
            return False
        return isinstance(self.optimiser, LeanAdam) and self.optimiser.can_skip

    def _sum_gradients(self, *, spoilt: bool) -> None:
        """Adds up the ranks' parts of the gradient; a rank that has none spoils the sum, so that all of them know."""
        if self.world.size == 1:
            return
        for p in self.model.parameters():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            if spoilt:
                p.grad.fill_(math.nan)
        self.world.sum_(*(p.grad for p in self.model.parameters() if p.grad is not None))

    def failure(self, mine: SolveError | None, otherwise: str) -> SolveError | NonFiniteLoss:
        """The error that ended an iteration; of a solve that failed on another rank, in its words."""
        said = first_message(self.world, "" if mine is None else str(mine))
        if mine is not None:
            return mine
        return NonFiniteLoss(said or f"{otherwise}; lower the learning rate or take more steps")

    def _after_failure(self, failure: str) -> None:
        """Goes on as the policy says."""
        progress = self.progress
        progress.failures += 1
        what = "the batch is skipped"
        if self.config.on_failure == "restore":
            self.model.set_theta(self.anchor)
            self.optimiser.state.clear()
            progress.rate_factor *= AFTER_FAILURE
            what = f"the best weights are restored, the learning rate is {progress.rate_factor:g} of what it would be"
        if self.world.is_writer:
            self.storage.note("failed iteration", progress.iteration, f"{failure}; {what}")

    def _adapt(self, validation: float) -> None:
        """Takes note of a validation, keeps the best parameters."""
        progress = self.progress
        if progress.pace.validated_at == progress.iteration:  # resumed where it had failed: noted already
            return
        improved = validation < progress.best_validation
        if improved:
            progress.best_validation, progress.best_iteration = validation, progress.iteration
            self.best = self.model.theta()
        progress.pace.validated(validation, progress.iteration, improved=improved)

    def _settle(self) -> bool:
        """Goes to the level that is due, then decides on the learning rate, and whether this iteration is the last."""
        config, pace = self.config, self.progress.pace
        if config.multilevel is not None:
            pace.refine(config.multilevel, self.progress.iteration)
        finest = config.multilevel is None or pace.level == len(config.multilevel.steps) - 1
        self.set_rate()
        return finest and config.patience is not None and pace.stale > config.patience

    def _probe_memory(self) -> int | None:
        """Peak memory of one gradient, run once more beside the clock; None where its solve fails."""
        if self.method.own_process:  # where the memory can't be seen
            return None
        try:
            return peak_bytes(self._gradient_work, self.problem.device)
        except SolveError:  # the iteration itself will meet it, and save
            return None

    def _gradient_work(self) -> None:
        """One loss and gradient whose result nobody needs."""
        self.objective().backward()
        self.optimiser.zero_grad()
