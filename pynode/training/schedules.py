"""What changes while a run trains: the learning rate, the fineness of the steps, and when to stop.

Validations and the number of the iteration alone decide them, so a resumed run decides as an unbroken one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Annotated, Any

import msgspec

from pynode.arguments import check_count
from pynode.errors import InvalidArgument
from pynode.methods.base import GradientMethod
from pynode.records.schema import Count


@dataclass(frozen=True)
class Multilevel:
    """Coarse steps first, refined later: `steps` per output interval of each level, growing.

    Level k ends at iteration `refine_at[k]`; without `refine_at`, after `patience` validations without improvement.
    The last level lasts to the end.  Onken & Ruthotto 2020, sec. 5, after Haber, Ruthotto, Holtham & Jun 2018.
    """

    steps: tuple[int, ...]
    refine_at: tuple[int, ...] | None = None
    patience: int = 3

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.steps))
        if len(self.steps) < 2 or not rising or any(type(s) is not int or s < 1 for s in self.steps):
            raise InvalidArgument("multilevel", self.steps, "not two or more growing step counts", "write e.g. 2,5,10")
        at = self.refine_at
        if at is not None and (len(at) != len(self.steps) - 1 or not all(a < b for a, b in pairwise((0, *at)))):
            raise InvalidArgument(
                "refine_at", at, f"not {len(self.steps) - 1} growing iterations", "give one for each level but the last"
            )
        check_count("refine_patience", self.patience)

    def method(self, base: GradientMethod, level: int) -> GradientMethod:
        """`base` with the steps of `level`."""
        return replace(base, steps=self.steps[level])  # type: ignore[call-arg]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class Pace:
    """Where a run stands: its level, and validations without improvement, in all and at this level."""

    level: Count = 0
    stale: Count = 0
    stale_at_level: Count = 0
    best_at_level: float = math.inf
    validated_at: Annotated[int, msgspec.Meta(ge=-1)] = -1
    stopped: bool = False

    def validated(self, loss: float, iteration: int, *, improved: bool) -> None:
        """Takes note of a validation."""
        self.validated_at = iteration
        self.stale = 0 if improved else self.stale + 1
        if loss < self.best_at_level:
            self.best_at_level, self.stale_at_level = loss, 0
        else:
            self.stale_at_level += 1

    def refine(self, plan: Multilevel, iteration: int) -> None:
        """Goes to the next level where `plan` says so; patience starts again at the finer steps."""
        if self.level == len(plan.steps) - 1:
            return
        if plan.refine_at is None:
            due = self.stale_at_level >= plan.patience
        else:
            due = iteration >= plan.refine_at[self.level]
        if due:
            self.level += 1
            self.stale = self.stale_at_level = 0
            self.best_at_level = math.inf


def decay(iteration: int, half_life: int | None) -> float:
    """The factor of the learning rate at `iteration`: 1 at the first, half of it `half_life` iterations later.

    It is 1 throughout where `half_life` is None.
    """
    return 1.0 if half_life is None else 0.5 ** (iteration / half_life)


def learning_rate(initial: float, drops: Sequence[tuple[int, float]], stale: int) -> float:
    """The learning rate after `stale` validations without improvement: the factor of the last drop that is due."""
    due = [factor for after, factor in drops if stale > after]
    return initial * (due[-1] if due else 1.0)
