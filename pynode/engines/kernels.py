"""How compiled kernels run a gradient method, as the method describes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from pynode.engines.choice import Engine, fused_system
from pynode.engines.direct import DirectSolve
from pynode.fields.base import System
from pynode.solution import SolveStats
from pynode.types import State, States, Times, VectorField


@dataclass(frozen=True, eq=False)
class Kernels:
    """What a method with several engines hands over; nothing of it imports Numba before it is called.

    `engine` is what was asked for, `failure` says why the kernels can't be compiled for a dtype (None: they can), and
    `remedy` what else a user may choose.  `solve` gives states for autograd, `solve_directly` states without it.
    """

    engine: Engine
    failure: Callable[[torch.dtype], str | None]
    solve: Callable[[System, VectorField, State, Times, SolveStats], States]
    solve_directly: Callable[[System, State, Times, SolveStats], DirectSolve]
    remedy: str

    def system(self, field: VectorField, y0: State, ts: Times) -> System | None:
        """What they are to solve; None where torch operators do it (see `fused_system`)."""
        return fused_system(self.engine, field, y0, ts, self.failure, self.remedy)
