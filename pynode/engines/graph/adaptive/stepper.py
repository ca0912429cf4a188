"""Adaptive steps in static memory: an attempt is one recording, and the host reads five numbers after it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from pynode.engines.graph.adaptive.formula import Formula, Norm, Slope
from pynode.engines.graph.capture import Recorder, Recording
from pynode.types import State


class Listener(Protocol):
    """What a solve tells while it goes on."""

    def evaluated(self, times: int) -> None:
        """The right-hand side has been evaluated so many times."""

    def attempted(self, *, accepted: bool) -> None:
        """An attempt has ended."""

    def may_attempt(self) -> bool:
        """Whether the limit of steps allows one more attempt."""

    def refuse(self, *, tried: bool) -> None:
        """Raises the error of a solve whose next step can't be taken; `tried` where there has been an attempt."""


class Stepper:
    """Solves dy/ds = sign * f(sign * s, y) in increasing s = sign * t by attempts of one size of state.

    All tensors are allocated once.  To be filled before a solve: `y`, the initial state.  `keep`, if given, is called
    inside of every recorded attempt with a flag `(1,)`, one where the step is accepted, and zero else.
    """

    def __init__(
        self,
        recorder: Recorder,
        formula: Formula,
        f: Slope,
        norm: Norm,
        like: State,
        sign: float,
        keep: Callable[[Tensor], None] | None = None,
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
        """The time `()` that has been reached."""
        return self.sign * self.s

    def record(self, besides: Sequence[Tensor] = ()) -> None:
        """Makes all recordings that there are not yet; raises `NotRecordable`.

        Keeps the values of all tensors here and of those `besides` that the recorded functions write to.
        """
        for function in (self._estimate, self._resume, self._attempt, self._interpolate):
            if function.__name__ not in self._recordings:
                self._recordings[function.__name__] = self._recorder.record(function, [*self._tensors(), *besides])

    def record_again(self, besides: Sequence[Tensor] = ()) -> None:
        """The same once more, since what they read or write beside is in other memory than before."""
        while self._recordings:
            self._recordings.popitem()[1].release()
        self.record(besides)

    def solve(
        self, times: Sequence[float], listener: Listener, *, landing: bool, resume: bool = False
    ) -> Iterator[State]:
        """The states at `times` after the first, each in memory that the next one overwrites.

        With `landing` the steps end at these times.  `resume` begins with the size that was tried last.
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
        accepted = ratio <= 1  # not where it is NaN
        if self._keep is not None:
            self._keep(accepted.reshape(1))
        y.copy_(torch.where(accepted, after, y))
        self.slope.copy_(torch.where(accepted, self.slopes[-1], self.slope))
        s.copy_(torch.where(accepted, end, s))
        self.size.copy_(formula.next_size(size, ratio))
        self._report(accepted.double(), landed.double())

    def _interpolate(self) -> None:
        x = (self._wanted - self.start) / (self.s - self.start)
        self.output.copy_(self.formula.between(self.slopes, self.before, self.y, self.taken, x))

    def _report(self, accepted: Tensor, landed: Tensor) -> None:
        """Writes what the host reads: accepted, whether a next step is possible, landed, s, size."""
        time = self.time
        sound = torch.isfinite(self.y).all() & (time + self.size != time)
        self._status.copy_(torch.stack((accepted, sound.double(), landed, self.s, self.size)))

    # --- small things ------------------------------------------------------------------------------------------------

    def _derivative(self, s: Tensor, y: State) -> State:
        return self._f(s, y) if self.sign > 0 else -1.0 * self._f(-s, y)

    def _read(self) -> list[float]:
        """What `_report` has written: the host waits here, once a step."""
        numbers: list[float] = self._status.tolist()
        return numbers

    def _replay(self, function: Callable[[], None]) -> None:
        self._recordings[function.__name__].replay()

    def _tensors(self) -> list[Tensor]:
        return [x for x in vars(self).values() if isinstance(x, Tensor)]
