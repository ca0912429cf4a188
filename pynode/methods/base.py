"""What all gradient methods share: options that name a recipe and an engine, and `solve`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from pynode.deferred import active_checks, require
from pynode.engines.base import Engine
from pynode.engines.choice import AUTO, candidates, choose
from pynode.engines.node import attach
from pynode.errors import InvalidArgument, SolveError, UnsupportedTransform
from pynode.evaluation import checked_params
from pynode.fields.base import FieldSpec
from pynode.finite import check_finite, is_finite
from pynode.gradients import Gradient
from pynode.grid import check_times, times_beside
from pynode.memory import active_meter
from pynode.samples import non_finite_samples
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.solution import Solution, Status, begin_stats
from pynode.solve import NamedScheme, Recipe, Run, Solve
from pynode.steps import Fixed, Steps
from pynode.transforms import has_values, is_transformed
from pynode.types import State, States, Times, VectorField
from pynode.world import World, sharing

CHECK_DATA = "check the data"
"""The remedy for an initial state with NaN or infinite entries."""


@dataclass(frozen=True)
class GradientMethod(ABC):
    """How a neural ODE is solved and differentiated: a few options that stand for a `Recipe` and an engine.

    Subclasses are frozen dataclasses of typed options.  `name` is the method's name in records and on the command line;
    `adaptive` says whether tolerances (True) or step counts (False) decide its accuracy; `backend` is the library that
    takes its steps on torch operators.  `stands_for` is the name of the method that it is, with other options, where
    it is only another way to write that down.
    """

    name: ClassVar[str]
    backend: ClassVar[str]
    adaptive: ClassVar[bool]
    stands_for: ClassVar[str | None] = None
    by_default: ClassVar[bool] = False
    """Whether the command line compares it where nobody names methods."""
    runs_on: ClassVar[str] = "eager"
    """The engine of methods that have no option `engine`."""

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """Scheme, steps and gradient; raises `InvalidArgument` for options that exclude each other."""

    @classmethod
    def of(cls, recipe: Recipe, engine: str) -> GradientMethod | None:  # noqa: ARG003 (for methods with another gradient)
        """The method of this class that is `recipe` on `engine`; None where it is none of them."""
        return None

    def __post_init__(self) -> None:
        _ = self.engines

    @cached_property
    def engines(self) -> tuple[Engine, ...]:
        """The engine of the solves, or with "auto" those that the choice is between."""
        return candidates(self.engine_name, self.recipe)

    @property
    def engine_name(self) -> str:
        """The name of the engine, or "auto"."""
        return self.runs_on

    def on_engine(self, engine: str) -> GradientMethod:
        """This method on another engine, where it has an option for that."""
        options: Any = {"engine": engine}
        return self if engine == self.engine_name else replace(self, **options)

    @property
    def ran_by(self) -> str:
        """The backend for records: "julia" where Julia takes the steps, else the library behind torch operators."""
        return self.engines[0].label or self.backend

    @property
    def own_process(self) -> bool:
        """Whether another process does the work."""
        return self.engines[0].own_process

    @property
    def needs_specification(self) -> bool:
        """Whether the field must be a `Field`, a module that can be captured, or a flow of one, since another program
        rebuilds it."""
        return self.engines[0].needs_specification

    def check_available(self) -> None:
        """Raises a `UsageError` that says what is missing where this method can't run on this machine."""
        if len(self.engines) == 1:
            self.engines[0].check_available()

    def check_ranks(self, world: World) -> None:
        """Raises `InvalidArgument` where the ranks of `world` can't share a batch and take the steps of one process."""
        if world.size == 1:
            return
        reasons = [engine.obstacle_on_ranks(self.recipe) for engine in self.engines]
        if all(reasons):
            problem = f"with {self.name} on {world.size} ranks {reasons[-1]}"
            remedy = "use disc-opt, opt-disc with engine eager and the solver dopri5, or one process"
            raise InvalidArgument("engine", f"'{self.engines[-1].name}'", problem, remedy)

    def solve(
        self,
        field: VectorField,
        y0: State,
        ts: Times,
        *,
        params: Sequence[Tensor] | None = None,
        throw: bool = True,
    ) -> Solution:
        """Solves dy/dt = field(t, y), y(ts[0]) = y0; the result's `ys` can be differentiated by torch autograd.

        `y0` `(..., dim)`, `ts` `(time,)` strictly monotone in either direction, `ys` `(time, ..., dim)`.  Gradients
        flow to `y0`, to `ts`, to the parameters of the module `field`, and to every other tensor that the field reads
        and that wants one: a context stored on the module, a layer in a plain list, a variable of a closure.  Methods
        that rebuild the graph find those by one evaluation at ts[0]; what the field reads later on only has to be
        named by `params`, or `MissingParameters` is raised.  They also evaluate the field as it was during the solve,
        whatever has been set on it since (`FieldChanged` where that can't be).

        Raises `UsageError` for bad input before work starts and `SolveError` for a failed solve; with `throw=False` a
        failed forward solve comes back with its `status` and NaN states (a failed adjoint always raises).
        """
        if torch.compiler.is_compiling() and _has_specification(field):
            return _solve_untraced(self, field, y0, ts, params, throw)  # traced, it would run without the kernels
        solve, engine, times = self._prepared(field, y0, ts, params)
        try:
            run = self.run(solve, engine)
            states = attach(run)
            if states.is_cpu:
                if not is_finite(states):
                    raise _blown_up(field, states.detach(), times)
            elif has_values(states):
                self._check_on_device(field, y0, states, times, throw=throw)
        except SolveError as error:
            if throw:
                raise
            return Solution(solve.ts, y0.new_full((len(ts), *y0.shape), math.nan), solve.stats, error.status)
        return Solution(solve.ts, states, solve.stats)

    def _check_on_device(
        self, field: VectorField, y0: State, states: States, times: tuple[float, ...], *, throw: bool
    ) -> None:
        """Raises where y0 or the states of a solve on a device are not finite.

        Both by one read, which comes after the solve, or later still with `deferred_checks`: y0 is the first state.
        """

        def fail() -> None:
            check_finite("y0", y0, CHECK_DATA)
            raise _blown_up(field, states.detach(), times)

        require(active_checks() if throw else None, torch.isfinite(states.detach()).all(), fail)

    def run_directly(self, field: VectorField, y0: State, ts: Times) -> Run:
        """Solves as `solve` does; the states hang on no graph where the run has a pullback.

        States are returned as they are, finite or not.  Raises what `solve` raises.
        """
        solve, engine, _ = self._prepared(field, y0, ts, None)
        return self.run(solve, engine)

    def run(self, solve: Solve, engine: Engine) -> Run:
        """What `solve` does once the input has been checked and the engine chosen."""
        return engine.run(solve)

    def posed(
        self, field: VectorField, y0: State, ts: Times, params: Sequence[Tensor] | None = None
    ) -> tuple[Solve, tuple[float, ...]]:
        """The solve, checked, and the output times as numbers; raises what `solve` raises for bad input."""
        times = _check_input(field, y0, ts)
        if y0.is_cpu or not isinstance(self.recipe.steps, Fixed):
            check_finite("y0", y0, CHECK_DATA)
        named = checked_params(params)
        if is_transformed() and (obstacle := self._transform_obstacle()):
            raise UnsupportedTransform(obstacle)
        stats, wants = begin_stats("", active_meter()), torch.is_grad_enabled()
        given = None if params is None else named
        return Solve(field, y0, times_beside(ts, times, y0), self.recipe, given, wants, sharing(), times, stats), times

    def _prepared(
        self, field: VectorField, y0: State, ts: Times, params: Sequence[Tensor] | None
    ) -> tuple[Solve, Engine, tuple[float, ...]]:
        """The solve, checked, who runs it, and the output times as numbers."""
        solve, times = self.posed(field, y0, ts, params)
        engine = choose(self.engines, solve)
        solve.stats.engine = engine.name
        return solve, engine, times

    def _transform_obstacle(self) -> str | None:
        """Why the active transform of torch.func can't follow this method, as a sentence; None where it can."""
        return (
            f"{type(self).__name__} can't be followed by transforms of torch.func (vmap, grad, jacrev, jacfwd, ...) or "
            'by forward-mode AD; use DiscOpt(memory="store") inside of them, or torch.autograd without them'
        )

    def to_json(self) -> dict[str, Any]:
        """The method's name and options as plain values; `method_from_json` gives the method back."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"method": self.name, **{k: v.name if isinstance(v, Scheme) else v for k, v in options.items()}}

    def __getstate__(self) -> dict[str, Any]:
        """The options for pickle and copy, without what can be made again."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def title(self) -> str:
        """The method's name, with that of an engine whose results are to be told apart: "disc-opt-julia"."""
        label = self.engines[0].label
        return self.name if not label or self.stands_for else f"{self.name}-{label}"

    @property
    def family(self) -> str:
        """What stays the same when only the accuracy changes, e.g. "disc-opt rk4", "opt-disc dopri5"."""
        return f"{self.title} {self.recipe.scheme.name}"

    @property
    def setting(self) -> float:
        """What decides the accuracy: rtol (adaptive), or the number of steps (of one interval, where all are equal)."""
        return self.recipe.steps.setting

    @property
    def label(self) -> str:
        """Family and setting as one word: "disc-opt-rk4-x1", "opt-disc-dopri5-rtol1e-07"."""
        return f"{self.family.replace(' ', '-')}-{self.recipe.steps.label}"

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Names of the method's options."""
        return tuple(f.name for f in fields(cls))


def _blown_up(field: VectorField, ys: States, times: tuple[float, ...]) -> SolveError:
    """The error for states that are not finite: says where they last were."""
    fine = torch.isfinite(ys.reshape(len(ys), -1)).all(1)
    last = int(fine.long().argmin()) - 1  # the first output is y0, which is finite
    with torch.no_grad():
        slope = field(torch.tensor(times[last], dtype=ys.dtype, device=ys.device), ys[last])
    return SolveError(
        Status.NON_FINITE,
        t=times[last],
        dt=times[last + 1] - times[last],
        norm_f=float(slope.norm()),
        samples=non_finite_samples(ys[last + 1]),
    )


def _has_specification(field: object) -> bool:
    """Whether the kernels may run `field`: one of pynode's own, or a flow of one.  Cheap, and can be traced."""
    inner = getattr(field, "field", field)
    return all(getattr(type(part), "has_specification", False) for part in (field, inner))


@_disable_dynamo  # `torch.compiler.disable`, which imports the compiler when it is used, not now: that takes seconds
def _solve_untraced(
    method: GradientMethod,
    field: VectorField,
    y0: State,
    ts: Times,
    params: Sequence[Tensor] | None,
    throw: bool,
) -> Solution:
    """`method.solve`, as a call that `torch.compile` leaves as it is."""
    return method.solve(field, y0, ts, params=params, throw=throw)


def method(scheme: Scheme | NamedScheme, steps: Steps, gradient: Gradient, engine: str = AUTO) -> GradientMethod:
    """The gradient method with this choice of the formula of a step, of the steps, of what is differentiated, and by
    whom: one of the classes that people type, such as `DiscOpt` or `OptDisc`.

        pynode.method(pynode.DOPRI5, pynode.Fixed(4), pynode.Discrete(memory="recompute"))  # DiscOpt(DOPRI5, 4, ...)
        pynode.method(pynode.TSIT5, pynode.Adaptive(rtol=1e-6, atol=1e-8), pynode.Continuous("backsolve"))

    Raises `InvalidArgument`, which names the two options that clash, for choices that exclude each other.
    """
    from pynode.methods import METHODS  # the registry imports the members, which import this module

    recipe = Recipe(scheme, steps, gradient)
    for kind in METHODS.load_all().values():
        if (fitting := kind.of(recipe, engine)) is not None:
            return fitting
    remedy = f"use one of {', '.join(kind.__name__ for kind in Gradient.__subclasses__())}"
    raise InvalidArgument("gradient", type(gradient).__name__, "no method has it", remedy)


def method_from_json(data: Mapping[str, Any]) -> GradientMethod:
    """The method described by plain values, e.g. `{"method": "disc-opt", "scheme": "rk4", "steps": 2}`."""
    from pynode.methods import METHODS  # the registry imports the members, which import this module

    if not isinstance(data, Mapping):
        raise InvalidArgument("method", data, "no description of a method", 'write {"method": "disc-opt", ...}')
    method = METHODS.load(str(data.get("method")))
    options = {k: v for k, v in data.items() if k != "method"}
    if unknown := sorted(set(options) - set(method.option_names())):
        raise InvalidArgument("method", unknown, f"no option of {method.name}", f"use {list(method.option_names())}")
    if isinstance(options.get("scheme"), str):
        options["scheme"] = SCHEMES.load(options["scheme"])
    return method(**options)


def _check_input(field: VectorField, y0: State, ts: Times) -> tuple[float, ...]:
    """The output times as floats; raises `InvalidArgument` for a field, an initial state or times that are none."""
    check_field(field)
    if isinstance(ts, Tensor) and not has_values(ts):
        remedy = "solve once for each set of times, or scale the field by the length of the interval"
        raise InvalidArgument("ts", "a batch of times", "vmap over output times is not possible", remedy)
    times = check_times(ts)
    if not isinstance(y0, Tensor) or not y0.is_floating_point():
        shown = y0.dtype if isinstance(y0, Tensor) else type(y0).__name__
        raise InvalidArgument("y0", shown, "not a real floating point tensor", "pass torch.tensor([...])")
    if y0.dtype is torch.float16:
        remedy = "use float64 or float32, for speed with torch.autocast"
        raise InvalidArgument("y0", y0.dtype, "too few digits and too small a range for the sums of a solver", remedy)
    if y0.layout is not torch.strided or y0.is_meta:
        kind = "meta" if y0.is_meta else str(y0.layout)
        raise InvalidArgument("y0", kind, "not a dense tensor with values", "pass y0.to_dense(), or a real tensor")
    if y0.numel() == 0:
        raise InvalidArgument("y0", f"shape {tuple(y0.shape)}", "an empty state", "pass one sample or more")
    return times


def check_field(field: object, argument: str = "field") -> None:
    """Raises `InvalidArgument` unless `field` is something that can be called as f(t, y)."""
    if isinstance(field, FieldSpec):
        remedy = f"add .build(): {type(field).__name__}(...).build()"
        raise InvalidArgument(argument, field, "a specification, which has no parameters yet", remedy)
    if isinstance(field, type):
        raise InvalidArgument(
            argument, f"class {field.__name__}", "a class, not an object", f"write {field.__name__}()"
        )
    if not callable(field):
        problem, remedy = "not a function of t and y", "pass a torch module or any f(t, y) -> dy/dt"
        raise InvalidArgument(argument, repr(field), problem, remedy)


def check_method(method: object, argument: str = "method") -> None:
    """Raises `InvalidArgument` unless `method` is a gradient method, and no class of them."""
    if isinstance(method, type) and issubclass(method, GradientMethod):
        remedy = f"write {method.__name__}(), with its options"
        raise InvalidArgument(argument, f"class {method.__name__}", "a class, not an object", remedy)
    if not isinstance(method, GradientMethod):
        raise InvalidArgument(argument, repr(method), "not a gradient method", "pass e.g. pynode.DiscOpt(steps=8)")
