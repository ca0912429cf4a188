"""The protocol of all gradient methods: `solve` gives states that torch autograd can differentiate."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from pynode.engines.direct import DirectSolve
from pynode.engines.kernels import Kernels
from pynode.errors import InvalidArgument, SolveError, UnsupportedTransform, nearest
from pynode.evaluation import CountedField, checked_params, parameters_of
from pynode.fields.base import FieldSpec
from pynode.finite import check_finite, is_finite
from pynode.grid import check_times
from pynode.memory import active_meter
from pynode.samples import non_finite_samples
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.solution import Solution, SolveStats, Status, begin_stats
from pynode.transforms import has_values, is_transformed
from pynode.types import State, States, Times, VectorField
from pynode.world import World

SMALLEST_RTOL = 1e-15
"""Relative tolerances below this can't be met: steps would shrink until the time stands still."""


@dataclass(frozen=True)
class GradientMethod(ABC):
    """How a neural ODE is solved and differentiated.  Subclasses are frozen dataclasses of typed options.

    `name` is the method's name in records and on the command line, `backend` the code that runs the solve, `adaptive`
    says whether tolerances (True) or step counts (False) decide its accuracy.
    """

    name: ClassVar[str]
    backend: ClassVar[str]
    adaptive: ClassVar[bool]

    needs_specification: ClassVar[bool] = False
    """Whether the field must be a `Field` or a flow of one, since another program rebuilds it."""

    @classmethod
    def check_available(cls) -> None:
        """Raises a `UsageError` that says what is missing where this method can't run on this machine."""
        return

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
        times = _check_input(field, y0, ts)
        named = checked_params(params)
        if is_transformed() and (obstacle := self._transform_obstacle()):
            raise UnsupportedTransform(obstacle)
        ts = ts.to(y0.device)
        kernels = self._kernels
        system = None if kernels is None else kernels.system(field, y0, ts)
        ran = "fused" if system is not None else "julia" if self.backend == "julia" else "eager"
        stats = begin_stats(ran, active_meter())
        try:
            if kernels is not None and system is not None:
                ys = kernels.solve(system, field, y0, ts, stats)
            else:
                counted = CountedField(field, stats.forward)
                wanted = tuple(p for p in named if p.requires_grad) if params is not None else parameters_of(field)
                ys = self._solve(counted, y0, ts, wanted, stats)
            if not is_finite(ys):
                raise self._blown_up(field, ys.detach(), times)
        except SolveError as error:
            if throw:
                raise
            return Solution(ts, torch.full((len(ts), *y0.shape), math.nan).to(y0), stats, error.status)
        return Solution(ts, ys, stats)

    def direct(self, field: VectorField, y0: State, ts: Times) -> DirectSolve | None:
        """A solve that can be differentiated without autograd; None where no kernels can run it.

        Input as of `solve`, and the same errors for a bad one.
        """
        if torch.compiler.is_compiling():
            return None  # a gradient that autograd has no part in can't be traced
        _check_input(field, y0, ts)
        kernels = self._kernels
        system = None if kernels is None else kernels.system(field, y0, ts)
        if kernels is None or system is None:
            return None
        return kernels.solve_directly(system, y0, ts, begin_stats("fused", active_meter()))

    def among(self, world: World) -> GradientMethod:
        """This method on the ranks of `world`, each solving for its share of a batch: the steps are those that one
        process would take for the whole batch.

        Equal to this method, and written down as it is.  To be called last: `dataclasses.replace` forgets the world.
        Raises `InvalidArgument` where the method can't keep that promise.
        """
        if world.size == 1 or not (self.adaptive or self.backend == "julia"):
            return self
        raise InvalidArgument(
            "method",
            self.name,
            f"each of the {world.size} ranks would choose its steps by its own samples alone",
            "use disc-opt or opt-disc, or run it in one process",
        )

    def _transform_obstacle(self) -> str | None:
        """Why the active transform of torch.func can't follow this method, as a sentence; None where it can."""
        return (
            f"{type(self).__name__} can't be followed by transforms of torch.func (vmap, grad, jacrev, jacfwd, ...) or "
            'by forward-mode AD; use DiscOpt(memory="store") inside of them, or torch.autograd without them'
        )

    @property
    def _kernels(self) -> Kernels | None:
        """How compiled kernels run this method; None where only torch operators, or another program, do."""
        return None

    @abstractmethod
    def _solve(self, f: CountedField, y0: State, ts: Times, params: tuple[Tensor, ...], stats: SolveStats) -> States:
        """States at `ts`; counts further work into `stats`, raises `SolveError`.  The input has been checked."""

    def _blown_up(self, field: VectorField, ys: States, times: tuple[float, ...]) -> SolveError:
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

    def to_json(self) -> dict[str, Any]:
        """The method's name and options as plain values; `method_from_json` gives the method back."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"method": self.name, **{k: v.name if isinstance(v, Scheme) else v for k, v in options.items()}}

    def __getstate__(self) -> dict[str, Any]:
        """The options for pickle and copy, without cached properties: those hold functions that can't be pickled."""
        cached = {n for kind in type(self).__mro__ for n, v in vars(kind).items() if isinstance(v, cached_property)}
        return {name: value for name, value in self.__dict__.items() if name not in cached}

    @property
    def family(self) -> str:
        """What stays the same when only the accuracy changes, e.g. "disc-opt rk4", "opt-disc dopri5"."""
        scheme = getattr(self, "scheme", None)
        return f"{self.name} {scheme.name if scheme else getattr(self, 'solver', '')}".strip()

    @property
    def setting(self) -> float:
        """What decides the accuracy: rtol (adaptive), or the number of steps (of one interval, where all are equal)."""
        if self.adaptive:
            return float(getattr(self, "rtol", math.nan))
        steps = getattr(self, "steps", 1)
        return float(steps if isinstance(steps, int) else sum(steps))

    @property
    def label(self) -> str:
        """Family and setting as one word: "disc-opt-rk4-x1", "opt-disc-dopri5-rtol1e-07"."""
        setting = f"rtol{self.setting:.0e}" if self.adaptive else f"x{self.setting:.0f}"
        return f"{self.family.replace(' ', '-')}-{setting}"

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Names of the method's options."""
        return tuple(f.name for f in fields(cls))


def _has_specification(field: object) -> bool:
    """Whether the kernels may run `field`: one of pynode's own, or a flow of one.  Cheap, and can be traced."""
    inner = getattr(field, "field", field)
    return all(getattr(type(part), "has_specification", False) for part in (field, inner))


@torch.compiler.disable  # type: ignore[untyped-decorator]
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
    check_finite("y0", y0, "check the data")
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


def check_scheme(scheme: Scheme) -> None:
    """Raises `InvalidArgument` unless `scheme` is a `Scheme` object."""
    if not isinstance(scheme, Scheme):
        raise InvalidArgument(
            "scheme", repr(scheme), "not a Scheme", "pass one, e.g. pynode.RK4, or SCHEMES.load(name)"
        )


def check_choice(argument: str, value: str, known: tuple[str, ...]) -> None:
    """Raises `InvalidArgument` unless `value` is one of `known`."""
    if value not in known:
        match = nearest(value, known) if isinstance(value, str) else None
        guess = f"did you mean '{match}'? " if match else ""
        raise InvalidArgument(argument, repr(value), "unknown", f"{guess}use one of {', '.join(known)}")


def check_tolerance(argument: str, value: float) -> None:
    """Raises `InvalidArgument` unless `value` is a positive number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= sys.float_info.max:
        raise InvalidArgument(argument, value, "not a positive number", "use e.g. 1e-6")
    if "rtol" in argument and value < SMALLEST_RTOL:
        raise InvalidArgument(
            argument, value, "below the rounding error of float64", f"use {SMALLEST_RTOL:.0e} or more"
        )


def check_count(argument: str, value: int, most: int = 2**63 - 1) -> None:
    """Raises `InvalidArgument` unless `value` is a positive integer, at most `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidArgument(argument, value, "not a positive integer", "use 1 or more")
    if value > most:
        raise InvalidArgument(argument, f"{value:.3g}" if value < 1e300 else "huge", f"more than {most:,}", "use fewer")
