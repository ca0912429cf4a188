"""torchdiffeq's interface on pynode: a user switches by changing the import.

Same signatures, same names of methods ("rk4" is the 3/8 rule here, as there), same results.  What changes: bad input
and failed solves raise typed errors that say what to do; the plain fixed-step methods run on pynode's own stepper; and
`method` may be any of pynode's gradient methods as well.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torchdiffeq
from torch import Tensor, nn

from pynode.adaptive import ADAPTIVE_SOLVERS, AdaptiveWatch
from pynode.errors import InvalidArgument, RunFailure, SolveError, StateMismatch, UnknownName
from pynode.evaluation import CountedField, check_derivative
from pynode.gradients.base import GradientMethod
from pynode.grid import TimeGrid, check_times
from pynode.schemes.base import Scheme
from pynode.schemes.euler import EULER
from pynode.schemes.heun import HEUN
from pynode.schemes.midpoint import MIDPOINT
from pynode.schemes.rk38 import RK38
from pynode.solution import SolveStats, Status

Func: TypeAlias = Callable[[Tensor, Any], Any]
Y: TypeAlias = "Tensor | tuple[Tensor, ...]"

FIXED: dict[str, Scheme] = {"euler": EULER, "midpoint": MIDPOINT, "heun2": HEUN, "rk4": RK38}
OTHER_METHODS = ("heun3", "explicit_adams", "implicit_adams", "fixed_adams", "scipy_solver")
KNOWN_METHODS = (*ADAPTIVE_SOLVERS, *FIXED, *OTHER_METHODS)

OWN_WORDS = (AssertionError, ValueError, TypeError, RuntimeError, LookupError, ArithmeticError)
"""What torchdiffeq raises by itself, or torch where torchdiffeq calls it."""

LARGEST = sys.float_info.max
MOST_STEPS = 10**9
"""Of a fixed size; their times alone would fill the memory."""

CALLBACKS = tuple(
    f"callback_{event}{phase}" for event in ("step", "accept_step", "reject_step") for phase in ("", "_adjoint")
)


def odeint(
    func: Func,
    y0: Y,
    t: Tensor,
    *,
    rtol: float | Tensor | Sequence[float] = 1e-7,
    atol: float | Tensor | Sequence[float] = 1e-9,
    method: str | GradientMethod | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Func | None = None,
) -> Any:
    """Solves dy/dt = func(t, y), y(t[0]) = y0, differentiable by autograd through the solver, as in torchdiffeq.

    `y0` is a tensor of any shape, or a tuple of such; `t` `(time,)` is strictly monotone in either direction.  Returns
    the states `(time, *y0.shape)`, or a tuple of such; with `event_fn` the pair (event time, states).  `method` is one
    of torchdiffeq's names (default "dopri5") or a pynode `GradientMethod`, whose own tolerances and gradient then hold.

    Raises `InvalidArgument`, `UnknownName` and `StateMismatch` before work starts, `SolveError` for a failed solve.
    """
    _check(y0, t, rtol, atol, method, options)
    if isinstance(method, GradientMethod):
        _refuse(method, options=options, event_fn=event_fn)
        return _solve_by(method, func, y0, t, None)
    if method in FIXED and event_fn is None and _plain(func, options):
        return _solve_fixed(FIXED[str(method)], func, y0, t, (options or {}).get("step_size"))
    call = {"rtol": rtol, "atol": atol, "method": method, "options": _copy(options), "event_fn": event_fn}
    return _delegate(torchdiffeq.odeint, func, y0, t, method, call)


def odeint_adjoint(
    func: Func,
    y0: Y,
    t: Tensor,
    *,
    rtol: float | Tensor | Sequence[float] = 1e-7,
    atol: float | Tensor | Sequence[float] = 1e-9,
    method: str | GradientMethod | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Func | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    """As `odeint`, with the gradient by the continuous adjoint: memory does not grow with the number of steps.

    `func` must be a module, or `adjoint_params` must name the tensors that want a gradient; the `adjoint_*` arguments
    default to those of the forward solve.  See torchdiffeq's documentation for `adjoint_options`.
    """
    _check(y0, t, rtol, atol, method, options)
    _check_options("adjoint_options", adjoint_options, t)
    if adjoint_params is None and not isinstance(func, nn.Module):
        raise InvalidArgument(
            "func", type(func).__name__, "not an nn.Module", "make it one, or pass adjoint_params (may be empty: ())"
        )
    params = tuple(func.parameters()) if adjoint_params is None and isinstance(func, nn.Module) else adjoint_params
    params = tuple(params or ())
    if isinstance(method, GradientMethod):
        _refuse(
            method,
            options=options,
            event_fn=event_fn,
            adjoint_method=adjoint_method,
            adjoint_options=adjoint_options,
            adjoint_rtol=adjoint_rtol,
            adjoint_atol=adjoint_atol,
        )
        return _solve_by(method, func, y0, t, params)
    call = {
        "rtol": rtol,
        "atol": atol,
        "method": method,
        "options": _copy(options),
        "event_fn": event_fn,
        "adjoint_rtol": adjoint_rtol,
        "adjoint_atol": adjoint_atol,
        "adjoint_method": adjoint_method,
        "adjoint_options": _copy(adjoint_options),
        "adjoint_params": params,
    }
    return _delegate(torchdiffeq.odeint_adjoint, func, y0, t, method, call)


def odeint_event(
    func: Func,
    y0: Y,
    t0: Tensor,
    *,
    event_fn: Func,
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> Any:
    """Solves until `event_fn(t, y)` is zero: (event time, states), both differentiable (Chen, Amos & Nickel 2021)."""
    return torchdiffeq.odeint_event(
        func, y0, t0, event_fn=event_fn, reverse_time=reverse_time, odeint_interface=odeint_interface, **kwargs
    )


# --- the two ways below ----------------------------------------------------------------------------------------------


def _solve_by(method: GradientMethod, func: Func, y0: Y, t: Tensor, params: Sequence[Tensor] | None) -> Any:
    if isinstance(y0, Tensor):
        return method.solve(func, y0, t, params=params).ys
    shapes = [part.shape for part in y0]
    ys = method.solve(_Flat(func, shapes), _flatten(y0), t, params=params).ys
    return _unflatten(ys, shapes, (len(t),))


def _solve_fixed(scheme: Scheme, func: Func, y0: Y, t: Tensor, step_size: float | None) -> Any:
    """torchdiffeq's fixed-grid semantics: steps of `step_size` from t[0], the last one cut, outputs interpolated."""
    shapes = None if isinstance(y0, Tensor) else [part.shape for part in y0]
    flat = y0 if isinstance(y0, Tensor) else _flatten(y0)
    f = CountedField(func if shapes is None else _Flat(func, shapes), SolveStats().forward)
    t = t.to(flat.device)
    if step_size is None:
        ys = scheme.solve(f, flat, TimeGrid.between(t), t)
    else:
        grid = _stepped(t, step_size)
        ys = _interpolate(grid, scheme.solve(f, flat, TimeGrid.between(grid), grid), t)
    _check_finite(f, ys, t)
    return ys if shapes is None else _unflatten(ys, shapes, (len(t),))


def _check_finite(f: Func, ys: Tensor, t: Tensor) -> None:
    """Raises `SolveError` that says where the states `ys` `(time, ...)` were finite for the last time."""
    if torch.isfinite(ys).all():
        return
    last = max(int(torch.isfinite(ys.reshape(len(t), -1)).all(1).long().argmin()) - 1, 0)
    at, state = t[last].detach(), ys[last].detach()
    with torch.no_grad():
        slope = f(at.to(state.device, state.real.dtype), state)
    dt = float((t[last + 1] - t[last]).detach())
    raise SolveError(Status.NON_FINITE, t=float(at), dt=dt, norm_f=float(slope.norm()))


def _stepped(t: Tensor, step_size: float) -> Tensor:
    length = float((t[-1] - t[0]).detach())
    ratio = abs(length) / step_size
    # an integer count decided with slack: 1.0 / 0.1 must not become eleven steps by rounding
    count = round(ratio) if abs(ratio - round(ratio)) <= 1e-6 * max(ratio, 1) else math.ceil(ratio)
    inner = torch.arange(max(count, 1), dtype=t.dtype, device=t.device) * math.copysign(step_size, length) + t[0]
    return torch.cat([inner, t[-1:]])


def _interpolate(grid: Tensor, states: Tensor, t: Tensor) -> Tensor:
    sign = 1.0 if bool(t[-1] > t[0]) else -1.0
    right = torch.searchsorted((sign * grid).detach(), (sign * t).detach().contiguous()).clamp(min=1)
    left = right - 1
    share = ((t - grid[left]) / (grid[right] - grid[left])).to(states.dtype)
    share = share.reshape(-1, *[1] * (states.ndim - 1))
    return states[left] + share * (states[right] - states[left])


def _delegate(solver: Any, func: Func, y0: Y, t: Tensor, method: str | None, call: dict[str, Any]) -> Any:
    adaptive = (None, *ADAPTIVE_SOLVERS)
    watch_adjoint = (call.get("adjoint_method") or method) in adaptive
    watched = _Watch(func, y0, watch_adjoint=watch_adjoint) if method in adaptive else None
    try:
        result = solver(watched or func, y0, t, **call)
    except OWN_WORDS as error:  # what torchdiffeq says of max_num_steps, event handling, its own options
        if not _raised_in_torchdiffeq(error) or isinstance(error, torch.cuda.OutOfMemoryError):
            raise  # the user's own
        raise RunFailure(f"the solve failed: {error}; loosen the tolerances or check the options") from error
    if watched:
        watched.turn_backward()
    elif call["event_fn"] is None:
        _check_finite(*_flattened(func, y0, result), t)
    return result


def _flattened(func: Func, y0: Y, ys: Any) -> tuple[Func, Tensor]:
    """A func of one tensor, and its states as one tensor `(time, ...)`."""
    if isinstance(y0, Tensor):
        return func, ys
    return _Flat(func, [part.shape for part in y0]), torch.cat([part.reshape(len(part), -1) for part in ys], 1)


def _raised_in_torchdiffeq(error: Exception) -> bool:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__", "").startswith("torchdiffeq")


class _Watch(AdaptiveWatch):
    """Typed failures for a user's func, whose own callbacks still run and whose state may be a tuple."""

    def __init__(self, func: Func, y0: Y, *, watch_adjoint: bool) -> None:
        stats = SolveStats()
        self._checked = False
        self.func, self.shapes = func, None if isinstance(y0, Tensor) else [part.shape for part in y0]
        super().__init__(CountedField(self._flat_func, stats.forward), stats)
        if watch_adjoint:  # a solver without callbacks would warn of them
            self.callback_step_adjoint = self._check_adjoint_step
        for name in CALLBACKS:
            if hasattr(func, name):
                mine, theirs = getattr(self, name, None), getattr(func, name)
                setattr(self, name, _both(mine, theirs) if mine else theirs)

    def __call__(self, t: Tensor, y: Any) -> Any:
        slope = self.func(t, y)
        if not self._checked:
            _check_parts(slope, y)
            self._checked = True
        return slope

    def callback_step(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        flat = y0 if isinstance(y0, Tensor) else _flatten(y0)
        self.check_step(t0, dt, flat, flat)

    def _check_adjoint_step(self, t0: Tensor, y0: tuple[Tensor, ...], dt: Tensor) -> None:
        self.check_step(t0, dt, y0[1], _flatten(y0))  # y0 is (dL/dt, y, dL/dy, dL/dparams...)

    def _flat_func(self, t: Tensor, y: Tensor) -> Tensor:
        if self.shapes is None:
            return self.func(t, y)
        return _flatten(self.func(t, _unflatten(y, self.shapes, ())))


class _Flat(nn.Module):
    """A func on tuples as a field on one vector."""

    def __init__(self, func: Func, shapes: list[torch.Size]) -> None:
        super().__init__()
        self.func, self.shapes = func, shapes
        self.wraps_callable = not isinstance(func, nn.Module)  # then its tensors are no parameters of this module
        self._checked = False

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        parts = _unflatten(y, self.shapes, ())
        slopes = self.func(t, parts)
        if not self._checked:
            _check_parts(slopes, parts)
            self._checked = True
        return _flatten(slopes)


def _check_parts(slope: Any, y: Any) -> None:
    """Raises `StateMismatch` unless the value of func fits the state, part by part."""
    if not isinstance(y, tuple):
        check_derivative(slope, y)
        return
    if not isinstance(slope, (tuple, list)) or len(slope) != len(y):
        got = f"{len(slope)} parts" if isinstance(slope, (tuple, list)) else type(slope).__name__
        raise StateMismatch(f"func(t, y) returned {got}, but y0 is a tuple of {len(y)}; return one tensor for each")
    for part, of in zip(slope, y, strict=True):
        check_derivative(part, of)


def _both(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def call(*args: Any) -> None:
        first(*args)
        second(*args)

    return call


def _flatten(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _unflatten(flat: Tensor, shapes: list[torch.Size], leading: tuple[int, ...]) -> tuple[Tensor, ...]:
    parts = flat.split([shape.numel() for shape in shapes], dim=-1)
    return tuple(part.reshape(*leading, *shape) for part, shape in zip(parts, shapes, strict=True))


# --- checks ----------------------------------------------------------------------------------------------------------


def _check(y0: Any, t: Tensor, rtol: Any, atol: Any, method: Any, options: Mapping[str, Any] | None) -> None:
    if not isinstance(y0, Tensor) and not (isinstance(y0, tuple) and y0 and all(isinstance(p, Tensor) for p in y0)):
        raise InvalidArgument("y0", type(y0).__name__, "neither a tensor nor a tuple of tensors", "convert it")
    for part in (y0,) if isinstance(y0, Tensor) else y0:
        if not (part.is_floating_point() or part.is_complex()):
            raise InvalidArgument("y0", part.dtype, "not a floating point dtype", "convert it, e.g. y0.double()")
    check_times(t)
    if method is not None and not isinstance(method, GradientMethod) and method not in KNOWN_METHODS:
        raise UnknownName("method", str(method), KNOWN_METHODS)
    for name, value in (("rtol", rtol), ("atol", atol)):
        _check_tolerance(name, value, y0)
    _check_options("options", options, t)


def _check_tolerance(name: str, value: Any, y0: Y) -> None:
    """Raises `InvalidArgument` unless `value` is a tolerance, or a tuple `y0` has as many parts as there are."""
    several = isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim > 0)
    if several and isinstance(y0, tuple) and len(value) != len(y0):
        raise InvalidArgument(name, value, f"{len(value)} entries for {len(y0)} parts of y0", "give one, or one each")
    if isinstance(value, (list, tuple)) and not isinstance(y0, tuple):
        raise InvalidArgument(name, value, "a sequence, but y0 is one tensor", "give a number or a tensor")
    for each in value if isinstance(value, (list, tuple)) else (value,):
        numbers = each.reshape(-1).tolist() if isinstance(each, Tensor) else [each]
        known = all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers)
        if not known or not all(0 <= n <= LARGEST for n in numbers):
            raise InvalidArgument(name, value, "no number, negative, NaN or infinite", "use e.g. 1e-6")


def _check_options(argument: str, options: Any, t: Tensor) -> None:
    """Raises `InvalidArgument` unless `options` is a mapping or None, whose step size can be taken."""
    if options is not None and not isinstance(options, Mapping):
        raise InvalidArgument(argument, options, "no mapping", "pass e.g. {'step_size': 0.1}")
    size = (options or {}).get("step_size")
    if size is None:
        return
    argument = f"{argument}['step_size']"
    if isinstance(size, Tensor) and size.numel() == 1:
        size = size.item()
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size <= LARGEST:
        raise InvalidArgument(argument, size, "not a positive number", "give the size, also for reversed t")
    length = abs(float((t[-1] - t[0]).detach()))
    if length / size > MOST_STEPS:
        raise InvalidArgument(
            argument, size, f"more than {MOST_STEPS:,} steps over a length of {length:g}", "enlarge it"
        )


def _refuse(method: GradientMethod, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise InvalidArgument(name, value, f"has no meaning for {method}", "set the options of the method itself")


def _plain(func: Func, options: Mapping[str, Any] | None) -> bool:
    """Whether the solve needs nothing of torchdiffeq that pynode's stepper has not."""
    callbacks = any(hasattr(func, name) for name in CALLBACKS)
    simple = {"step_size"} | ({"interp"} if (options or {}).get("interp") == "linear" else set())
    return not callbacks and set(options or ()) <= simple


def _copy(options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if options is None else dict(options)
