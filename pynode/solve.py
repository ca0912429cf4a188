"""One solve, described: the choices of how it is done, what is solved, and what a run of it gives."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from pynode.errors import InvalidArgument, NotCapturable, NotTwiceDifferentiable, nearest
from pynode.evaluation import CountedField, parameters_of
from pynode.fields.base import System, why_no_system
from pynode.gradients import Gradient
from pynode.grid import TimeGrid
from pynode.precision import products_as_written
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.solution import SolveStats
from pynode.steps import Adaptive, Fixed, Steps
from pynode.tapes.captured import obstacle_to_tapes, system_by_tape
from pynode.types import State, States, Times, VectorField
from pynode.world import ALONE, World

T = TypeVar("T")


@dataclass(frozen=True)
class NamedScheme:
    """A scheme whose formula an engine keeps to itself, such as SciML's `vern9`; for adaptive steps."""

    name: str


@dataclass(frozen=True)
class Recipe:
    """How a solve is done, whoever runs it: the formula of a step, where the steps are, and what is differentiated.

    Raises `InvalidArgument` for choices that exclude each other.
    """

    scheme: Scheme | NamedScheme
    steps: Steps
    gradient: Gradient

    def __post_init__(self) -> None:
        scheme: Any = self.scheme
        steps: Any = self.steps
        gradient: Any = self.gradient
        if not isinstance(gradient, Gradient):
            raise InvalidArgument("gradient", repr(gradient), "not a gradient", "use e.g. pynode.Discrete()")
        if not isinstance(steps, (Fixed, Adaptive)):
            raise InvalidArgument("steps", repr(steps), "neither Fixed nor Adaptive", "use e.g. pynode.Fixed(4)")
        if not isinstance(scheme, (Scheme, NamedScheme)):
            raise InvalidArgument("scheme", repr(scheme), "not a Scheme", _scheme_instead_of(scheme))
        self.gradient.check_steps(self.steps)
        if isinstance(self.steps, Fixed) and isinstance(self.scheme, NamedScheme):
            problem = f"its formula is known to an engine only, which takes no steps = {self.steps.label}"
            raise InvalidArgument("scheme", f"'{self.scheme.name}'", problem, "use a scheme such as rk4")
        if isinstance(self.steps, Adaptive) and isinstance(self.scheme, Scheme) and self.scheme.pair is None:
            problem = "it estimates no error, which steps = Adaptive needs"
            raise InvalidArgument(
                "scheme", f"'{self.scheme.name}'", problem, "use a pair such as dopri5, or Fixed steps"
            )

    @cached_property
    def formula(self) -> Scheme:
        """The scheme at steps of a given size."""
        assert isinstance(self.scheme, Scheme)
        return self.scheme.formula


def _scheme_instead_of(given: object) -> str:
    """The remedy for what is no `Scheme`: for a name, the scheme of that name or of the nearest one."""
    match = nearest(given, SCHEMES.names()) if isinstance(given, str) else None
    if match is None:
        return "pass one, e.g. pynode.RK4, or SCHEMES.load(name)"
    guess = "" if match == given else f"did you mean '{match}'? "
    return f"{guess}pass pynode.SCHEMES.load('{match}')"


class _Once(Generic[T]):
    """A `cached_property` without the lock that makes it cost a microsecond before Python 3.12."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute, self._name = compute, compute.__name__
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        value = instance.__dict__[self._name] = self._compute(instance)
        return value


@dataclass(frozen=True, eq=False)
class Solve:
    """One solve dy/dt = field(t, y), y(ts[0]) = y0, checked: `y0` `(..., dim)`, `ts` `(time,)` on the device of y0.

    `named` are tensors that the user has named because they want a gradient; None for the parameters of the field.
    `wants_gradient` says whether a gradient may be asked for.  Work is counted into `stats`.  In a `world` of several
    ranks, `y0` is this rank's share of the batch, and all ranks take the same steps.
    """

    field: VectorField
    y0: State
    ts: Times
    recipe: Recipe
    named: tuple[Tensor, ...] | None = None
    wants_gradient: bool = True
    world: World = ALONE
    times: tuple[float, ...] | None = None
    stats: SolveStats = dataclasses.field(default_factory=SolveStats)

    @_Once
    def params(self) -> tuple[Tensor, ...]:
        """Tensors that get a gradient: those that the user has named, or else the parameters of the field."""
        if self.named is None:
            return parameters_of(self.field)
        return tuple(p for p in self.named if p.requires_grad)

    @_Once
    def no_system(self) -> str | None:
        """Why neither a specification nor a tape tells all of the field, as a sentence; None where one of them does."""
        if why_no_system(self.field) is None:
            return None
        if reason := obstacle_to_tapes(self.field, self.y0):
            return reason
        try:
            with products_as_written():  # the tape holds the field's operations, not how they are rounded
                self.__dict__["system"] = system_by_tape(self.field, self.y0, self.ts, self.named)
        except NotCapturable as error:
            return str(error)
        return None

    @_Once
    def system(self) -> System:
        """What the field is made of, where `no_system` is None."""
        if self.no_system is None and "system" in self.__dict__:  # a tape, which has been made there
            return self.__dict__["system"]
        system: System = self.field.system()  # type: ignore[attr-defined]
        return system

    @_Once
    def known_times(self) -> tuple[float, ...]:
        """The output times as numbers."""
        return tuple(self.ts.tolist()) if self.times is None else self.times

    @property
    def grid(self) -> TimeGrid:
        """All steps of a solve with fixed steps."""
        steps = self.recipe.steps
        assert isinstance(steps, Fixed)
        return TimeGrid.between(self.ts, steps.n) if self.times is None else TimeGrid.through(self.times, steps.n)

    def counted(self) -> CountedField:
        """The field, its evaluations counted as work of the forward solve."""
        return CountedField(self.field, self.stats.forward)


class Kept(NamedTuple):
    """What a gradient needs of its solve: tensors, and one more object."""

    tensors: Sequence[Any] = ()
    held: Any = None


class Pullback(ABC):
    """The gradient of a run: from cotangents of its states to those of `inputs`.

    `inputs` are the tensors that the states depend on: ts, y0, and what else gets a gradient.  `name` is what a user
    calls the method, for errors.  With `repeats` there is a `pull_with_graph`, for gradients of the gradient
    (`create_graph=True`); without it these are an error.
    """

    repeats: ClassVar[bool] = False

    name: str
    inputs: tuple[Tensor, ...]

    @property
    def originals(self) -> tuple[Tensor, ...]:
        """Tensors that the gradient depends on beside the cotangents."""
        return self.inputs

    def release(self) -> Kept:
        """Hands over what the gradient needs, and forgets it.

        The new owner is torch's graph, which frees it as soon as nobody can ask for the gradient any more.
        """
        return Kept()

    @abstractmethod
    def pull(self, kept: Kept, cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
        """The cotangents of `inputs`, for `cotangents` `(time, ..., dim)` and what `release` has handed over.

        None is allowed where `wanted` says so.  Raises `SolveError` and counts into the stats of the solve.
        """

    def pull_with_graph(
        self,
        kept: Kept,  # noqa: ARG002
        cotangents: States,  # noqa: ARG002
        wanted: Sequence[bool],  # noqa: ARG002
    ) -> tuple[Tensor | None, ...]:
        """The same as differentiable functions of the cotangents and of `inputs`."""
        raise NotTwiceDifferentiable(f"the gradient of {self.name} can't be differentiated again")


class Run(NamedTuple):
    """What an engine gives: the `states` `(time, ..., dim)` at the output times, how to pull cotangents of them back,
    and the work done.

    Without a `pullback` the states hang on torch's own graph, or no gradient is wanted.
    """

    states: States
    pullback: Pullback | None
    stats: SolveStats
