"""The stages after Adam: L-BFGS an iteration at a time, with records, checkpoints and a way back from failures."""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pynode.clock import Clock, load_average
from pynode.errors import CheckpointMismatch, NonFiniteLoss, SolveError
from pynode.methods.base import GradientMethod
from pynode.records.files import finite
from pynode.records.iteration import IterationRecord
from pynode.stages import Stage
from pynode.training import checkpoint
from pynode.training.lbfgs import SMALLEST_CHANGE, SMALLEST_GRADIENT, Curvature, iterate
from pynode.training.progress import FinishingProgress
from pynode.training.signals import Stop
from pynode.training.storage import Storage
from pynode.training.work import Work
from pynode.types import Theta

RATES = (1.0, 0.3, 0.1, 0.03)
"""Lengths of steps, each after a step of the one before was too long for a solve."""

KNOWN, CURVATURE = "gradient", "curvature_"
"""Names of tensors in a checkpoint: the gradient at the present weights, and what L-BFGS knows."""


@dataclass(frozen=True)
class Tried:
    """A loss and its gradient `(n,)` at `weights` `(n,)`, in the dtype of the model."""

    weights: Tensor
    loss: float
    gradient: Tensor


@dataclass
class Finishing:
    """Trains `model` by `stages`, one after the other; the weights that it begins with are its own.

    `best` are the weights that an evaluation judges, `last` those after the last stage that has ended.  An iteration
    that fails goes back to the best of all weights that the stage has tried, and on from there by shorter steps; when
    none is short enough, the stage ends with them.
    """

    stages: Sequence[Stage]
    model: Any
    method: GradientMethod
    storage: Storage
    stop: Stop
    device: torch.device
    progress: FinishingProgress
    config: Callable[[], Mapping[str, Any]] = dict
    """Gives plain values of the run's configuration, for checkpoints."""
    validate: Callable[[Any], float] | None = None
    validate_every: int = 10
    best: Theta = field(init=False)
    last: Theta = field(init=False)
    _before: Theta | None = None
    """The weights that the present stage began with, before it changed them."""
    _kept: Theta | None = None
    """The best that it has tried."""
    _known: Tried | None = None
    """Loss and gradient at the present weights."""
    _curvature: Curvature | None = None

    def __post_init__(self) -> None:
        self.best = self.last = self.model.theta()
        self._skip_empty()

    @classmethod
    def digest(cls, theta: Theta) -> str:
        """The digest by which the weights are known that a finishing begins with."""
        return hashlib.sha256(theta.contiguous().numpy().tobytes()).hexdigest()

    @property
    def ended(self) -> bool:
        """Whether there is no iteration left to do."""
        return self.progress.stage >= len(self.stages)

    @property
    def best_so_far(self) -> Theta:
        """The weights to judge, as far as this has come."""
        return self._kept if self._kept is not None and self._stage.judged else self.best

    @property
    def last_so_far(self) -> Theta:
        """The weights to use in the end, as far as this has come."""
        return self.last if self._kept is None else self._kept

    @property
    def judged(self) -> set[str]:
        """Names of the stages whose weights are judged."""
        return {stage.name for stage in self.stages if stage.judged}

    @property
    def _stage(self) -> Stage:
        return self.stages[self.progress.stage]

    @property
    def _params(self) -> list[Any]:
        return list(self.model.parameters())

    def iterate(self) -> IterationRecord:
        """One iteration of the present stage; after it the progress stands at the next.

        Raises `Interrupted`: all is then as it was before.
        """
        stage, progress, i = self._stage, self.progress, self.progress.iteration
        validates = self.validate is not None and i % self.validate_every == 0
        if not progress.begun:
            with self.stop.interruptible():
                begun = self._begun(stage)
            self._before, self._kept, progress.begun = self.model.theta(), begun, True
            self.model.set_theta(begun)
        with self.stop.interruptible():
            validation = self.validate(self.model) if validates and self.validate is not None else None
        before, search = self.model.theta(), _Search(self, Work())
        failure, curvature = None, None
        start = time.perf_counter()
        try:
            most = stage.gradients - progress.gradients + (self._known is not None)  # the first one is known then
            curvature = iterate(self._params, self._curvature, RATES[progress.rate], most, search)
        except (SolveError, NonFiniteLoss) as error:
            failure = str(error).partition("\n")[0]
        except BaseException:
            self.model.set_theta(before)
            self.model.zero_grad()
            raise
        work = search.work
        work.optimiser = max(0.0, time.perf_counter() - start - work.forward - work.backward)
        self.model.zero_grad()
        progress.gradients += search.count
        if search.least < progress.least:
            progress.least, self._kept = search.least, search.kept
        ends = self._went_well(search, curvature, before) if failure is None else self._failed(failure)
        record = work.record(
            i,
            progress.least,
            validation_loss=finite(validation),
            peak_memory_bytes=None,
            failure=failure,
            load_average=load_average() if validates else None,
            stage=stage.name,
            gradients=search.count,
        )
        if ends or progress.gradients >= stage.gradients:
            self._end(failure)
        progress.iteration = i + 1
        return record

    def save(self) -> None:
        """Keeps the state before the present iteration."""
        self.storage.save(self._content, self.progress.iteration)

    def load(self, point: checkpoint.Checkpoint) -> None:
        """Goes on from `point`; raises `CheckpointMismatch`, without a change, where it is of another training."""
        self.check(point)
        progress, tensors, device = FinishingProgress.from_json(point.progress), point.tensors, self.device
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors[f"model.{name}"])
        self.progress, self.best, self.last = progress, point.extra("best"), point.extra("last")
        if progress.begun:
            self._before, self._kept = point.extra("before"), point.extra("kept")
        if point.has(KNOWN):
            gradient = point.extra(KNOWN).to(device).clone()
            self._known = Tried(_flat(self._params), progress.loss, gradient)
        prefix = f"extra.{CURVATURE}"
        if known := {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}:
            self._curvature = Curvature.from_tensors(known, device)

    def check(self, point: checkpoint.Checkpoint) -> None:
        """Raises `CheckpointMismatch` unless the checkpoint's tensors are those of this model and these stages."""
        progress = FinishingProgress.from_json(point.progress)
        if progress.start != self.progress.start:
            raise CheckpointMismatch(f"{checkpoint.MISFIT}: it began with other weights")
        params = self._params
        count, dtype = sum(p.numel() for p in params), params[0].dtype
        for name, p in self.model.named_parameters():
            checkpoint.check_tensor(point.tensors, f"model.{name}", tuple(p.shape), p.dtype)
        for name in ("best", "last", *(("before", "kept") if progress.begun else ())):
            checkpoint.check_tensor(point.tensors, f"extra.{name}", (count,), torch.float64)
        names = [KNOWN] if point.has(KNOWN) else []
        if any(name.startswith(f"extra.{CURVATURE}") for name in point.tensors):
            names += [f"{CURVATURE}{name}" for name in Curvature.VECTORS]
            missing = [name for name in Curvature.NAMES if not point.has(f"{CURVATURE}{name}")]
            if missing:
                raise CheckpointMismatch(f"{checkpoint.MISFIT}: extra.{CURVATURE}{missing[0]} is missing")
        for name in names:
            checkpoint.check_tensor(point.tensors, f"extra.{name}", (count,), dtype)
        if progress.stage > len(self.stages) or (progress.begun and progress.stage == len(self.stages)):
            raise CheckpointMismatch(f"{checkpoint.MISFIT}: it is at stage {progress.stage} of {len(self.stages)}")
        if progress.rate >= len(RATES):
            raise CheckpointMismatch(f"{checkpoint.MISFIT}: progress.rate = {progress.rate}")

    def _content(self) -> bytes:
        more = {"best": self.best_so_far, "last": self.last_so_far}
        if self._before is not None and self._kept is not None:
            more |= {"before": self._before, "kept": self._kept}
        if self._known is not None:
            more[KNOWN] = self._known.gradient
        if self._curvature is not None:
            more |= {f"{CURVATURE}{name}": value for name, value in self._curvature.tensors().items()}
        own = {name: value.clone() for name, value in more.items()}  # some are one tensor, which a file can't share
        return checkpoint.encode(self.model, None, self.progress.to_json(), self.config(), **own)

    def _begun(self, stage: Stage) -> Theta:
        """The weights that `stage` begins with."""
        moved = copy.deepcopy(self.model)
        stage.begin(moved)
        return torch.as_tensor(moved.theta())

    def _went_well(self, search: _Search, curvature: Curvature | None, before: Theta) -> bool:
        """Takes note of an iteration; whether it leaves nothing to gain."""
        now = _flat(self._params)
        self._known = next((tried for tried in reversed(search.tried) if torch.equal(tried.weights, now)), None)
        self._curvature = curvature
        self.progress.loss = math.inf if self._known is None else self._known.loss
        if curvature is None or self._known is None or torch.equal(self.model.theta(), before):
            return True
        flat = float(self._known.gradient.abs().max()) <= SMALLEST_GRADIENT
        change = abs(self._known.loss - curvature.earlier_loss)
        return flat or curvature.step <= SMALLEST_CHANGE or change < SMALLEST_CHANGE

    def _failed(self, failure: str) -> bool:
        """Goes back to the best weights, and on by shorter steps; whether there are none that were not tried."""
        progress = self.progress
        assert self._kept is not None
        self.model.set_theta(self._kept)
        self._known, self._curvature, progress.loss = None, None, math.inf
        over = progress.rate + 1 >= len(RATES)
        what = (
            "no shorter step is tried" if over else f"steps are {RATES[progress.rate + 1]:g} times as long from there"
        )
        self.storage.note(
            "failed iteration",
            progress.iteration,
            f"{self._stage.name}: {failure}; the best weights are restored, {what}",
        )
        progress.rate = min(progress.rate + 1, len(RATES) - 1)
        return over

    def _end(self, failure: str | None) -> None:
        """Ends the present stage with the best weights that it tried, or those before it."""
        stage, progress = self._stage, self.progress
        assert self._before is not None
        assert self._kept is not None
        taken, said = stage.takes(self.model, self._before, self._kept)
        if said:
            self.storage.note("weights of a stage", progress.iteration, f"{stage.name}: {said}")
        if failure is not None:
            self.storage.note(
                "stage ended early",
                progress.iteration,
                f"{stage.name}: {failure}; the best weights that were tried before are kept",
            )
        self.last = self._kept if taken else self._before
        if stage.judged:
            self.best = self.last
        self.model.set_theta(self.last)
        self._before = self._kept = self._known = self._curvature = None
        progress.begun, progress.gradients, progress.rate = False, 0, 0
        progress.loss = progress.least = math.inf
        progress.stage += 1
        self._skip_empty()

    def _skip_empty(self) -> None:
        while not self.ended and self._stage.gradients < 1:
            self.progress.stage += 1


class _Search:
    """Loss and gradient for the line search of one iteration, which counts and keeps what it has tried."""

    def __init__(self, finishing: Finishing, work: Work) -> None:
        self.finishing, self.work = finishing, work
        self.count, self.least, self.kept = 0, math.inf, finishing.model.theta()
        self.tried: list[Tried] = []

    def __call__(self) -> float:
        finishing = self.finishing
        params, known = finishing._params, finishing._known
        weights = _flat(params)
        if not self.tried and known is not None and torch.equal(weights, known.weights):
            _set_gradients(params, known.gradient)
            self._note(known)
            return known.loss
        self.count += 1
        if not bool(torch.isfinite(weights).all()):
            raise NonFiniteLoss("a step led to weights that are not finite")
        loss = self._evaluated()
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"the loss is {loss}")
        gradient = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in params])
        self._note(Tried(weights, loss, gradient))
        if loss < self.least:
            self.least, self.kept = loss, finishing.model.theta()
        return loss

    def _evaluated(self) -> float:
        """The loss at the present weights; its gradient is that of the parameters."""
        finishing, work, loss = self.finishing, self.work, 0.0
        finishing.model.zero_grad()
        clock = Clock(finishing.device)
        with finishing.stop.interruptible():
            try:
                for part in finishing._stage.parts(finishing.method, finishing.model):
                    work.solves += part.solves
                    loss += part.value
                    work.forward += clock.lap()
                    part.backward()
                    work.backward += clock.lap()
            finally:
                work.forward += clock.lap()
        return loss

    def _note(self, tried: Tried) -> None:
        if not self.tried:
            self.work.loss, self.work.norm = tried.loss, float(tried.gradient.double().square().sum()) ** 0.5
        self.tried.append(tried)


def _flat(params: list[Any]) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in params])


def _set_gradients(params: list[Any], gradient: Tensor) -> None:
    at = 0
    for p in params:
        p.grad = gradient[at : at + p.numel()].reshape(p.shape).clone()
        at += p.numel()
