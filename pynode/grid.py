"""Time grids: the only place where step sizes are made.

Every output time is a grid point by construction, and the number of steps is an integer that the caller chose, so a
solve can neither miss its last point by rounding nor compare a state with data of another time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.steps import checked_steps
from pynode.types import Times

StepSize: TypeAlias = "float | Tensor"
"""A float, or a scalar tensor where the output times want a gradient."""


def check_times(ts: Times, argument: str = "ts", least: int = 2) -> tuple[float, ...]:
    """The output times as floats; raises `InvalidArgument` unless they are 1-D, finite and strictly monotone.

    At least `least` times are needed.  `argument` is the name under which the user passed them.
    """
    if not isinstance(ts, Tensor) or not ts.is_floating_point() or ts.ndim != 1:
        shown = f"{tuple(ts.shape)} {ts.dtype}" if isinstance(ts, Tensor) else type(ts).__name__
        raise InvalidArgument(argument, shown, "not a 1-D floating point tensor", "pass torch.tensor([t0, t1, ...])")
    values = _times_of(ts)
    if problem := _problem_of(values, least):
        raise InvalidArgument(argument, shown_times(ts), *problem)
    return values


def note_times(ts: Times, times: tuple[float, ...]) -> Times:
    """`ts`, made on a device from `times`, which `check_times` then need not read from there."""
    if not ts.is_cpu and not ts.is_inference():
        ts.known_times = (ts._version, times)  # type: ignore[attr-defined]
    return ts


def _times_of(ts: Times) -> tuple[float, ...]:
    if not ts.is_cpu:
        version, times = getattr(ts, "known_times", (None, ()))
        if version is not None and version == ts._version:
            return times
    return tuple(ts.tolist())


def times_beside(ts: Times, times: tuple[float, ...], y0: Tensor) -> Times:
    """`ts`, whose values are `times`, on the device of `y0`: copied there once for all solves at the same times."""
    if ts.is_cpu and y0.is_cpu:
        return ts
    if ts.is_cpu and not ts.requires_grad:
        return _times_on(times, ts.dtype, y0.device).clone()
    return ts.to(y0.device)


@lru_cache(maxsize=64)
def _problem_of(values: tuple[float, ...], least: int) -> tuple[str, str] | None:
    """What is wrong with the output times and its remedy; None where they can be used."""
    # cached: training solves at one set of times thousands of times
    if len(values) < least:
        needs = "a solve needs at least two times" if least == 2 else "a solve needs at least one time"
        return needs, "pass [t_start, ..., t_end]"
    if bad := [k for k, value in enumerate(values) if not math.isfinite(value)]:
        problem = f"not finite: {len(bad)} of {len(values)} times, the first at index {bad[0]}"
        return problem, "remove NaN and infinite times"
    gaps = [b - a for a, b in pairwise(values)]
    if not (all(g > 0 for g in gaps) or all(g < 0 for g in gaps)):
        sign = 1 if gaps[0] > 0 else -1
        k = next((k for k, g in enumerate(gaps) if g * sign <= 0), 0)
        problem = f"not strictly monotone: the order breaks between index {k} and {k + 1}"
        return problem, "sort the times, remove duplicates"
    return None


def shown_times(ts: Times) -> str:
    """The first times of `ts` `(time,)` for a message, each as the user wrote it: float32 0.1 is shown as 0.1.

    The float64 value of a float32 time (0.10000000149...) is a number that nobody gave.
    """
    shown = ", ".join(_shortest(value) for value in ts.detach()[:6])
    return f"[{shown}{', ...' if len(ts) > 6 else ''}]"


def _shortest(value: Tensor) -> str:
    """The fewest digits from which the scalar `value` can be read back in its own dtype."""
    number = float(value)
    shown = (f"{number:.{digits}g}" for digits in range(1, 18))
    exact = (text for text in shown if float(torch.tensor(float(text), dtype=value.dtype)) == number)
    return next(exact, f"{number:g}")


@dataclass(frozen=True)
class TimeGrid:
    """Output times and the number of equal steps in each interval between them, in either time direction.

    `output_times` has n entries, `steps_per_interval` n - 1.
    """

    output_times: tuple[float, ...]
    steps_per_interval: tuple[int, ...]

    @classmethod
    def between(cls, ts: Times, steps: int | Sequence[int] = 1) -> TimeGrid:
        """Grid through the times `ts` (n,) with `steps` steps in every interval, or one number for each interval."""
        return _grid(check_times(ts), checked_steps(steps))

    @classmethod
    def through(cls, times: tuple[float, ...], steps: int | Sequence[int]) -> TimeGrid:
        """The same through times and by numbers of steps that have been checked."""
        return _grid(times, steps if isinstance(steps, int) else tuple(steps))

    @property
    def n_steps(self) -> int:
        """Number of steps of the whole solve."""
        return sum(self.steps_per_interval)

    @property
    def output_indices(self) -> tuple[int, ...]:
        """For each output time the number of steps taken before it: 0, ..., n_steps."""
        return tuple(accumulate(self.steps_per_interval, initial=0))

    def step_sizes(self) -> list[float]:
        """Signed size h of every step, `(n_steps,)`."""
        sizes: list[float] = []
        for a, b, m in zip(self.output_times, self.output_times[1:], self.steps_per_interval, strict=False):
            sizes += [(b - a) / m] * m
        return sizes

    def stage_times(self, c: tuple[float, ...]) -> npt.NDArray[np.float64]:
        """The times t_k + c_i h_k, `(n_steps, len(c))`."""
        weights, left, _ = _positions(self.steps_per_interval, c)
        times = np.array(self.output_times)
        # in this form the weights 0 and 1 give the output times themselves, without rounding
        start, end = times[:-1][left, None], times[1:][left, None]
        return np.asarray(start * (1 - weights) + end * weights)

    def point_times(self) -> list[float]:
        """The times of all states of the solve, `(n_steps + 1,)`."""
        return [*self.stage_times((0.0,))[:, 0].tolist(), self.output_times[-1]]

    def points(self, like: Tensor) -> Tensor:
        """`point_times` as a tensor in the dtype and on the device of `like`."""
        return _points_like(self, _real(like.dtype), like.device).clone()

    def at_outputs(self, states: Tensor) -> Tensor:
        """Those of the states `(n_steps + 1, ...)` of all steps that are at output times, `(time, ...)`."""
        return states.index_select(0, _output_indices_on(self.steps_per_interval, states.device))

    def schedule(
        self, c: tuple[float, ...], like: Tensor, ts: Times | None = None
    ) -> Iterator[tuple[Sequence[Tensor], StepSize]]:
        """Stage times and size of each step; as functions of `ts` where that is given and requires a gradient.

        The stage times are tensors in the dtype and on the device of `like`.  They go to the user's field, which may
        change them or ask for their gradient, so every call makes its own.
        """
        if ts is None or not ts.requires_grad:
            rows = _times_like(self, c, _real(like.dtype), like.device).clone()
            yield from ((row.unbind(), h) for row, h in zip(rows.unbind(), self.step_sizes(), strict=True))
        else:
            times, sizes = self.differentiable(c, ts, like)
            yield from ((row.unbind(), h) for row, h in zip(times.unbind(), sizes.unbind(), strict=True))

    def differentiable(self, c: tuple[float, ...], ts: Times, like: Tensor) -> tuple[Tensor, Tensor]:
        """Stage times `(n_steps, len(c))` and step sizes `(n_steps,)` as functions of `ts` that autograd can follow."""
        weights, left, counts = _positions_on(self.steps_per_interval, c, ts.device)
        start, end = ts.double()[:-1][left], ts.double()[1:][left]
        times = start[:, None] * (1 - weights) + end[:, None] * weights
        dtype = _real(like.dtype)
        return times.to(like.device, dtype), ((end - start) / counts).to(like.device, dtype)


@lru_cache(maxsize=64)
def _positions(
    steps_per_interval: tuple[int, ...], c: tuple[float, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where the stages of each step lie: their share of the interval `(n_steps, len(c))`, the interval's number, and
    the number of its steps, `(n_steps,)`."""
    steps = np.array(steps_per_interval)
    left = np.repeat(np.arange(len(steps)), steps)
    counts = steps[left]
    index = np.arange(len(left)) - np.repeat(np.cumsum(steps) - steps, steps)  # of the step within its interval
    return (index[:, None] + np.array(c)) / counts[:, None], left, counts


@lru_cache(maxsize=64)
def _grid(times: tuple[float, ...], steps: int | tuple[int, ...]) -> TimeGrid:
    each = (steps,) * (len(times) - 1) if isinstance(steps, int) else steps
    if len(each) != len(times) - 1:
        raise InvalidArgument(
            "steps",
            list(each),
            f"{len(each)} entries for {len(times) - 1} intervals",
            "give one number, or one each",
        )
    return TimeGrid(times, each)


@lru_cache(maxsize=64)
def _times_like(grid: TimeGrid, c: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    # cached, and never handed out: on a GPU each would be a copy from the host
    with torch.inference_mode(False):  # the next one to need them may be training
        return torch.tensor(grid.stage_times(c)).to(device, dtype)


@lru_cache(maxsize=64)
def _points_like(grid: TimeGrid, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(grid.point_times(), dtype=torch.float64).to(device, dtype)


@lru_cache(maxsize=64)
def _positions_on(
    steps_per_interval: tuple[int, ...], c: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """`_positions` as tensors, which are never handed out."""
    weights, left, counts = _positions(steps_per_interval, c)
    with torch.inference_mode(False):
        return (
            torch.from_numpy(weights).to(device),
            torch.from_numpy(left).to(device),
            torch.from_numpy(counts).to(device),
        )


@lru_cache(maxsize=64)
def _output_indices_on(steps_per_interval: tuple[int, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor([*accumulate(steps_per_interval, initial=0)]).to(device)


@lru_cache(maxsize=64)
def _times_on(times: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(times, dtype=dtype).to(device)


def _real(dtype: torch.dtype) -> torch.dtype:
    return dtype.to_real() if dtype.is_floating_point or dtype.is_complex else torch.float64
