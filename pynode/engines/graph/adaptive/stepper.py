"""Adaptive steps in static memory: each attempt of a step is one recording, after which the host reads five numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from pynode.engines.graph.adaptive.formula import Formula, Norm, Slope
from pynode.engines.graph.capture import Recorder, Recording
from pynode.types import State


class Listener(Protocol):
    """Is told about the progress of a solve."""

    def evaluated(self, times: int) -> None:
        """Called when the right-hand side has been evaluated `times` times."""

    def attempted(self, *, accepted: bool) -> None:
        """Called after each attempt of a step."""

    def may_attempt(self) -> bool:
        """Whether the limit of steps allows one more attempt."""

    def refuse(self, *, tried: bool) -> None:
        """Raises the error of a solve that can't take its next step; `tried` says whether it has attempted one."""


Keep: TypeAlias = "Callable[[Stepper, Tensor], None]"


class Stepper:
    """Solves dy/ds = sign * f(sign * s, y) in increasing s = sign * t, for states of the shape of `like`.

    All tensors are allocated once; `y` has to be set to the initial state before each solve.  `keep`, if given, is
    called in every recorded attempt with this stepper and a flag `(1,)` that is 1 if the step is accepted, else 0.
    """

    def __init__(
        self,
        recorder: Recorder,
        formula: Formula,
        f: Slope,
        norm: Norm,
        like: State,
        sign: float,
        keep: Keep | None = None,
    ) -> None:
        self.formula, self.norm, self.sign = formula, norm, sign
        self._recorder, self._f, self._keep = recorder, f, keep
        self.y, self.slope, self.before, self.output = (torch.zeros_like(like) for _ in range(4))
        self.slopes = like.new_zeros(formula.stages + 1, *like.shape)
        self.s, self.size, self.start, self.tried, self.taken, self._landing, self._wanted = (
            torch.zeros((), dtype=torch.float64, device=like.device) for _ in range(7)
        )
        self._status = torch.zeros(5, dtype=torch.float64, device=like.device)
        self._recordings: dict[str, Recording] = {}

    @property
    def time(self) -> Tensor:
        """The current time `()`."""
        return self.sign * self.s

    def record(self, besides: Sequence[Tensor] = ()) -> None:
        """Makes the recordings that are missing; raises `NotRecordable`.

        The tensors of this stepper keep their values, and so do those of `besides`, to which `keep` writes.
        """
        for function in (self._estimate, self._resume, self._attempt, self._interpolate):
            if function.__name__ not in self._recordings:
                self._recordings[function.__name__] = self._recorder.record(function, [*self._tensors(), *besides])

    def record_again(self, besides: Sequence[Tensor] = ()) -> None:
        """Makes all recordings again, after tensors that they read or write have been replaced by others."""
        while self._recordings:
            self._recordings.popitem()[1].release()
        self.record(besides)

    def solve(
        self, times: Sequence[float], listener: Listener, *, landing: bool, resume: bool = False
    ) -> Iterator[State]:
        """Yields the states at all `times` but the first, each in memory that the next one overwrites.

        With `landing` steps end at these times.  With `resume` the first step has the size of the previous attempt;
        otherwise it is estimated.
        """
        points = [self.sign * t for t in times]
        self.s.fill_(points[0])
        self._landing.fill_(points[1] if landing else math.inf)
        self._replay(self._resume if resume else self._estimate)
        listener.evaluated(1 if resume else 2)
        _, sound, _, s, _ = self._read()
        index, tried = 1, False
        for point in points[1:]:
            while point > s:
                if not (sound and listener.may_attempt()):
                    listener.refuse(tried=tried)
                self._replay(self._attempt)
                tried = True
                listener.evaluated(self.formula.stages)
                accepted, sound, landed, s, _ = self._read()
                listener.attempted(accepted=bool(accepted))
                if accepted and landed and index < len(points) - 1:
                    index += 1
                    self._landing.fill_(points[index])
            self._wanted.fill_(point)
            self._replay(self._interpolate)
            yield self.output

    # --- what is recorded --------------------------------------------------------------------------------------------

    def _estimate(self) -> None:
        self.slope.copy_(self._derivative(self.s.to(self.y.dtype), self.y))
        self.size.copy_(self.formula.first_size(self._derivative, self.s, self.y, self.slope, self.norm))
        self._report(torch.zeros_like(self.s), torch.zeros_like(self.s))

    def _resume(self) -> None:
        self.slope.copy_(self._derivative(self.s.to(self.y.dtype), self.y))
        self.size.copy_(self.tried)
        self._report(torch.zeros_like(self.s), torch.zeros_like(self.s))

    def _attempt(self) -> None:
        formula, y, s = self.formula, self.y, self.s
        self.tried.copy_(self.size)
        self.before.copy_(y)
        self.start.copy_(s)
        self.slopes[0].copy_(self.slope)
        end = s + self.size
        landed = (s < self._landing) & (self._landing < end)
        end = torch.where(landed, self._landing, end)
        size = torch.where(landed, end - s, self.size)
        self.taken.copy_(size)
        after = formula.step(self._derivative, self.slopes, y, s, size, end)
        ratio = formula.error_ratio(self.slopes, y, after, size, self.norm)
        accepted = ratio <= 1  # false for NaN
        if self._keep is not None:
            self._keep(self, accepted.reshape(1))
        y.copy_(torch.where(accepted, after, y))
        self.slope.copy_(torch.where(accepted, self.slopes[-1], self.slope))
        s.copy_(torch.where(accepted, end, s))
        self.size.copy_(formula.next_size(size, ratio))
        self._report(accepted.double(), landed.double())

    def _interpolate(self) -> None:
        x = (self._wanted - self.start) / (self.s - self.start)
        self.output.copy_(self.formula.between(self.slopes, self.before, self.y, self.taken, x))

    def _report(self, accepted: Tensor, landed: Tensor) -> None:
        """Writes the numbers for the host: accepted, whether a next step is possible, landed, s, size."""
        time = self.time
        sound = torch.isfinite(self.y).all() & (time + self.size != time)
        self._status.copy_(torch.stack((accepted, sound.double(), landed, self.s, self.size)))

    # --- small things ------------------------------------------------------------------------------------------------

    def _derivative(self, s: Tensor, y: State) -> State:
        return self._f(s, y) if self.sign > 0 else -1.0 * self._f(-s, y)

    def _read(self) -> list[float]:
        """The numbers that `_report` has written; the only place where the host waits for the device, once a step."""
        numbers: list[float] = self._status.tolist()
        return numbers

    def _replay(self, function: Callable[[], None]) -> None:
        self._recordings[function.__name__].replay()

    def _tensors(self) -> list[Tensor]:
        return [x for x in vars(self).values() if isinstance(x, Tensor)]
