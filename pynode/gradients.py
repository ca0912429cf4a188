"""What is differentiated: the steps that were taken, or the continuous problem, and with which memory or adjoint.

Each class describes one gradient; `pynode.engines` runs it.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pynode.arguments import check_choice, check_count, check_flag, check_tolerance, memory_bytes
from pynode.errors import InvalidArgument
from pynode.steps import Adaptive, Fixed, Steps

if TYPE_CHECKING:
    from pynode.solve import Run, Solve

Memory = Literal["store", "recompute", "checkpoint"]
AdjointNorm = Literal["mixed", "seminorm", "rms"]
OnDrift = Literal["error", "warn", "ignore"]


@dataclass(frozen=True)
class Gradient(ABC):
    """One way to differentiate a solve.

    `takes` is the kind of steps that it is defined for, `instead` what to choose for the other kind.  A subclass of
    one's own defines `run`, by torch operators; the engine "eager" calls it.
    """

    takes: ClassVar[type[Fixed] | type[Adaptive]]
    instead: ClassVar[str] = ""

    def run(self, solve: Solve) -> Run:  # noqa: ARG002
        """States and gradient of `solve`, for a gradient that pynode's engines don't know."""
        raise InvalidArgument("gradient", type(self).__name__, "no engine runs it", "define its method run(solve)")

    def check_steps(self, steps: Steps) -> None:
        """Raises `InvalidArgument` for steps that this gradient is not defined for."""
        if not isinstance(steps, self.takes):
            problem = f"gradient = {type(self).__name__} is not defined for them"
            raise InvalidArgument("steps", type(steps).__name__, problem, f"use {self.takes.__name__}, {self.instead}")


@dataclass(frozen=True)
class Discrete(Gradient):
    """The exact gradient of the discretised problem, by reverse-mode AD through fixed steps.

    `memory` says what is kept for the way back: "store" every stage, "recompute" the state after each step,
    "checkpoint" at most `budget` states (None: the fewest with which no step is evaluated more than twice).
    """

    takes: ClassVar = Fixed
    instead: ClassVar[str] = "or gradient = ThroughSteps"

    memory: Memory = "store"
    budget: int | None = None

    def __post_init__(self) -> None:
        check_choice("memory", self.memory, get_args(Memory))
        if self.budget is not None:
            check_count("budget", self.budget)
            if self.memory != "checkpoint":
                problem = f"memory = '{self.memory}' stores no chosen number of states"
                raise InvalidArgument("budget", self.budget, problem, "use memory = 'checkpoint', or drop the budget")


@dataclass(frozen=True)
class Continuous(Gradient):
    """The gradient of the continuous problem: its adjoint ODE, solved backwards in time with steps of its own.

    `adjoint` says where the state comes from on the way back: "interpolating" and SciML's "gauss" and "quadrature" read
    it from the forward solution, "backsolve" solves it backwards too.  `rtol` and `atol` are the adjoint's tolerances
    (None: those of the forward solve); `norm` measures the adjoint's error: "mixed" the largest of the root mean
    squares of state, adjoint and each parameter's gradient, "seminorm" without the last, "rms" one of everything.
    `drift` says what follows where a backsolve leaves the stored states.  `vjp`, `checkpointing` and `memory_limit` are
    SciML's; the last is what a solution that is kept for the gradient may take (None: half of what is free).
    """

    takes: ClassVar = Adaptive
    instead: ClassVar[str] = "or gradient = SameGrid or Discrete"

    adjoint: Literal["interpolating", "backsolve", "gauss", "quadrature"] = "interpolating"
    rtol: float | None = None
    atol: float | None = None
    norm: AdjointNorm = "mixed"
    drift: OnDrift = "error"
    vjp: Literal["handwritten", "reversediff", "zygote", "enzyme"] = "handwritten"
    checkpointing: bool = True
    memory_limit: int | str | None = None

    def __post_init__(self) -> None:
        check_choice("adjoint", self.adjoint, ("interpolating", "backsolve", "gauss", "quadrature"))
        check_choice("adjoint_norm", self.norm, get_args(AdjointNorm))
        check_choice("drift", self.drift, get_args(OnDrift))
        check_choice("vjp", self.vjp, ("handwritten", "reversediff", "zygote", "enzyme"))
        check_flag("checkpointing", self.checkpointing)
        if self.memory_limit is not None:
            memory_bytes("memory_limit", self.memory_limit)
        for argument, value in (("adjoint_rtol", self.rtol), ("adjoint_atol", self.atol)):
            if value is not None:
                check_tolerance(argument, value)

    def check_known(self, engine: str, adjoints: tuple[str, ...]) -> None:
        """Raises `InvalidArgument` for what SciML alone has: other `adjoints`, products, and a memory limit."""
        if self.adjoint not in adjoints:
            remedy = f"use adjoint = {' or '.join(adjoints)}, or engine julia"
            raise InvalidArgument("adjoint", f"'{self.adjoint}'", f"engine = '{engine}' does not have it", remedy)
        for option, value, default in (
            ("vjp", self.vjp, "handwritten"),
            ("checkpointing", self.checkpointing, True),
            ("memory_limit", self.memory_limit, None),
        ):
            if value != default:
                problem = f"engine = '{engine}' does not have it"
                raise InvalidArgument(option, repr(value), problem, "drop it, or use engine julia")


@dataclass(frozen=True)
class SameGrid(Gradient):
    """The adjoint ODE discretised by itself on the grid of the forward solve, so that it is off by O(h).

    `adjoint="explicit"` is explicit Euler backwards in time, "backward-euler" solves a linear system each step.
    """

    takes: ClassVar = Fixed
    instead: ClassVar[str] = "or gradient = Continuous"

    adjoint: Literal["explicit", "backward-euler"] = "explicit"

    def __post_init__(self) -> None:
        check_choice("adjoint", self.adjoint, ("explicit", "backward-euler"))


@dataclass(frozen=True)
class ThroughSteps(Gradient):
    """The derivative along the steps that an adaptive solver happened to take, with their sizes held fixed."""

    takes: ClassVar = Adaptive
    instead: ClassVar[str] = "or gradient = Discrete"
