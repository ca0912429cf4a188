"""Disc-Opt in Julia: the same fixed-step schemes with the discrete adjoint of exactly these steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pynode.grid import TimeGrid, checked_steps
from pynode.methods.base import check_scheme
from pynode.methods.julia.base import JuliaMethod
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4
from pynode.types import Times


@dataclass(frozen=True)
class DiscOptJulia(JuliaMethod):
    """Discretise, then optimise, as `DiscOpt` does, run in Julia: both methods can be compared inside one language.

    `steps` is the number of equal steps between two output times, one number or one for each interval.  All stages are
    kept for the way back.  The gradient is that of `DiscOpt` to rounding.
    """

    name: ClassVar[str] = "disc-opt-julia"
    adaptive: ClassVar[bool] = False

    scheme: Scheme = RK4
    steps: int | Sequence[int] = 1

    def __post_init__(self) -> None:
        check_scheme(self.scheme)
        object.__setattr__(self, "steps", checked_steps(self.steps))

    def to_bridge(self, ts: Times) -> dict[str, Any]:
        return {
            "kind": "disc-opt",
            "A": self.scheme.a,
            "b": self.scheme.b,
            "c": self.scheme.c,
            "substeps": TimeGrid.between(ts, self.steps).steps_per_interval,
        }
