"""Where the steps of a solve are: at fixed places, or wherever an error estimate puts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pynode.arguments import check_count, check_flag, check_tolerance
from pynode.errors import InvalidArgument


class StepCount:
    """A dataclass field for a number of steps: an integer, or a sequence of one for each interval, kept as a tuple."""

    def __init__(self, default: int = 1) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self.default if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: int | Sequence[int]) -> None:
        instance.__dict__[self.name] = checked_steps(value)


def checked_steps(steps: int | Sequence[int]) -> int | tuple[int, ...]:
    """`steps`, a sequence as a tuple; raises `InvalidArgument` unless it holds positive integers only."""
    each = list(steps) if isinstance(steps, Sequence) else [steps]
    if not each or any(isinstance(s, bool) or not isinstance(s, int) or s < 1 for s in each):
        raise InvalidArgument("steps", steps, "not a positive integer", "use 1 or more steps per output interval")
    return steps if isinstance(steps, int) else tuple(each)


@dataclass(frozen=True)
class Fixed:
    """`n` equal steps in each output interval, or one number of steps for each interval."""

    n: int | Sequence[int] = StepCount(1)  # type: ignore[assignment]

    @property
    def setting(self) -> float:
        """The number of steps, of one interval where all are equal and else of all intervals together."""
        return float(self.n if isinstance(self.n, int) else sum(self.n))

    @property
    def label(self) -> str:
        """For the names of runs: "x4"."""
        return f"x{self.setting:.0f}"


@dataclass(frozen=True)
class Adaptive:
    """Steps whose estimated local error stays below atol + rtol |y|, at most `max_steps` of them.

    Between steps the states at output times come from the scheme's interpolant; with `landing` the solver steps onto
    the output times instead.
    """

    rtol: float = 1e-7
    atol: float = 1e-9
    max_steps: int = 10_000
    landing: bool = False

    def __post_init__(self) -> None:
        check_tolerance("rtol", self.rtol)
        check_tolerance("atol", self.atol)
        check_count("max_steps", self.max_steps)
        check_flag("landing", self.landing)

    @property
    def setting(self) -> float:
        """The relative tolerance."""
        return float(self.rtol)

    @property
    def label(self) -> str:
        """For the names of runs: "rtol1e-07"."""
        return f"rtol{self.rtol:.0e}"


Steps = Fixed | Adaptive
