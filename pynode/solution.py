"""The result of a solve: states, its cost, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum

from pynode.memory import MemoryMeter
from pynode.types import States, Times


class Status(Enum):
    """How a solve ended; every failure comes with a sentence and a remedy."""

    SUCCESS = ("the solve reached the last output time", "nothing to do")
    STEP_UNDERFLOW = (
        "the step size fell below the resolution of the time",
        "the problem is stiff or blows up at this time: loosen rtol and atol, use float64, or a fixed-step method",
    )
    NON_FINITE = (
        "the state became NaN or infinite",
        "take more steps, tighten the tolerances, or lower the learning rate",
    )
    MAX_STEPS = (
        "the solver reached its limit of steps",
        "raise max_steps, loosen rtol and atol, or, where the problem is stiff, rescale or regularise the field, "
        "or use OptDiscJulia(solver='auto')",
    )
    DRIFT = (
        "the state solved backwards has left the trajectory",
        "use pynode.OptDisc(adjoint='interpolating'), which reads the state from the forward solve",
    )

    NO_EVENT = (
        "event_fn has not changed its sign",
        "check that the event occurs, or search longer with options['max_num_steps'] (adaptive solvers), a larger "
        "options['step_size'] (fixed steps), or options['event_time_limit']",
    )

    LINEAR_SOLVE = (
        "the linear system of the adjoint's backward Euler step is singular or GMRES did not converge",
        "take another number of steps, or float64",
    )

    @property
    def sentence(self) -> str:
        """What happened."""
        return str(self.value[0])

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return str(self.value[1])


@dataclass
class Cost:
    """Work of one direction: evaluations of the field, vector-Jacobian products with it, and steps.

    `n_f` counts calls of f(t, y) on a whole state (a batch counts once), `n_vjp` products v^T df/d(y, theta).
    """

    n_f: int = 0
    n_vjp: int = 0
    n_accepted: int = 0
    n_rejected: int = 0

    @property
    def evaluations(self) -> int:
        """Field evaluations and vector-Jacobian products together: work that no implementation detail changes."""
        return self.n_f + self.n_vjp

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.n_f + other.n_f,
            self.n_vjp + other.n_vjp,
            self.n_accepted + other.n_accepted,
            self.n_rejected + other.n_rejected,
        )


@dataclass
class SolveStats:
    """Work of a solve and of its gradient, counted apart.

    `backward` is all zero until the gradient has been taken.  The study's NFE-F and NFE-B are `nfe_forward` and
    `nfe_backward`: field evaluations only, so that Disc-Opt with stored stages has NFE-B = 0 although it needs one
    vector-Jacobian product per stage; compare `forward.evaluations` and `backward.evaluations` for the whole work.
    """

    forward: Cost = field(default_factory=Cost)
    backward: Cost = field(default_factory=Cost)
    engine: str = field(default="", compare=False)
    """What ran the solve: "eager" torch operators, "fused" kernels, "julia"; "mixed" for solves by different ones."""
    seconds_bridge: float = field(default=0.0, compare=False)
    """Wall-clock seconds of communication with another process, for solve and gradient together."""
    memory: MemoryMeter | None = field(default=None, repr=False, compare=False)
    drift: float | None = field(default=None, compare=False)
    """How far a state that was solved backwards left the stored one at an output time, in units of the tolerances: the
    largest over output times and samples.  None before the gradient, and where nothing is solved backwards."""

    @property
    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the `pynode.measure_memory` block in which the solve ran; None outside of one."""
        return None if self.memory is None else self.memory.peak_bytes

    @property
    def nfe_forward(self) -> int:
        """NFE-F of the study."""
        return self.forward.n_f

    @property
    def nfe_backward(self) -> int:
        """NFE-B of the study."""
        return self.backward.n_f

    def __add__(self, other: SolveStats) -> SolveStats:
        engines = {self.engine, other.engine} - {""}
        return SolveStats(
            self.forward + other.forward,
            self.backward + other.backward,
            engines.pop() if len(engines) == 1 else "mixed" if engines else "",
            self.seconds_bridge + other.seconds_bridge,
            self.memory or other.memory,
            max((d for d in (self.drift, other.drift) if d is not None), default=None),
        )


@dataclass
class Solution:
    """States `ys` `(time, ..., dim)` at the output times `ts` `(time,)`, its cost, and how the solve ended."""

    ts: Times
    ys: States
    stats: SolveStats
    status: Status = Status.SUCCESS


_SOLVES: ContextVar[list[SolveStats] | None] = ContextVar("solves", default=None)


@contextmanager
def collected_stats() -> Iterator[list[SolveStats]]:
    """Gives a list that receives the `SolveStats` of every solve by a gradient method inside the block."""
    stats: list[SolveStats] = []
    token = _SOLVES.set(stats)
    try:
        yield stats
    finally:
        _SOLVES.reset(token)


def begin_stats(engine: str, memory: MemoryMeter | None) -> SolveStats:
    """Statistics of a new solve, which `collected_stats` sees."""
    stats = SolveStats(engine=engine, memory=memory)
    solves = _SOLVES.get()
    if solves is not None:
        solves.append(stats)
    return stats
