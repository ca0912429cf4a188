"""`odeint` and `odeint_adjoint` with torchdiffeq's signatures, method names and results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torchdiffeq
from torch import Tensor, nn
from torchdiffeq._impl.adjoint import find_parameters

from pynode.errors import InvalidArgument
from pynode.evaluation import checked_params
from pynode.methods.base import GradientMethod, check_field
from pynode.precision import hold_to_precision
from pynode.torchdiffeq_interface.arguments import (
    adjoint_tolerance,
    check_method,
    check_problem,
    check_tolerance,
    checked_options,
    for_solver,
    refuse,
)
from pynode.torchdiffeq_interface.drifting import MEASURED, DriftWatch, largest
from pynode.torchdiffeq_interface.failures import RAISED_BY_SOLVERS, check_states, failure
from pynode.torchdiffeq_interface.kernels import adaptive_solve, adjoint_of, names_all
from pynode.torchdiffeq_interface.rebuilt import rebuilding_for, solve
from pynode.torchdiffeq_interface.search import EventSearch, search_options
from pynode.torchdiffeq_interface.stepping import scheme_for, solve_fixed
from pynode.torchdiffeq_interface.values import Func, Y, flat_func, flattened, shapes_of, unflatten
from pynode.torchdiffeq_interface.watching import WatchedFunc, prepared

THEIR_ODEINT, THEIR_ODEINT_ADJOINT = torchdiffeq.odeint, torchdiffeq.odeint_adjoint
"""Bound when this module is imported: a program may put pynode's functions in their place."""

RTOL, ATOL = 1e-7, 1e-9

Tolerance: TypeAlias = "float | Tensor | Sequence[Any]"


def odeint(
    func: Func,
    y0: Y,
    t: Tensor,
    *,
    rtol: Tolerance = RTOL,
    atol: Tolerance = ATOL,
    method: str | GradientMethod | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Func | None = None,
) -> Any:
    """Solves dy/dt = func(t, y), y(t[0]) = y0, differentiable by autograd through the solver, as in torchdiffeq.

    `y0` is a tensor of any shape, or a tuple of tensors; `t` `(time,)` is strictly monotone in either direction.
    Returns the states `(time, *y0.shape)`, or a tuple of them; one time gives `y0` alone.  `method` is the name of a
    solver of the installed torchdiffeq (default "dopri5") or a pynode `GradientMethod`, which brings its own tolerances
    and gradient.  `rtol` and `atol` are numbers (infinite ones too), one for each part of a tuple `y0`, or one for each
    entry of a tensor.

    With `event_fn(t, y)` the solve ends where its value, or the first entry of it, changes sign; returns the pair
    (event time, states at the start and there).  An event that does not come is a `SolveError`: after 5,000 steps of an
    adaptive solver, or what `options={"max_num_steps": ...}` allows; after torchdiffeq's 20,000 steps of a fixed size;
    or, with pynode's own option `options={"event_time_limit": length}`, when no event lies within `length` of t[0].

    Fixed steps of euler, midpoint, heun2 and rk4 run on the compiled kernels where `func` is a module that can be
    captured and all tensors are on the CPU, with the same grid and numbers; so does dopri5 where no gradient is wanted,
    to its tolerance.  `func` is not called then: counters of its evaluations stay as they are.  `pynode.explain` says
    why a module is left to torch.

    As in torchdiffeq, `func` may return another dtype than that of the state (under `torch.autocast`, for instance),
    a shape that broadcasts where the solver can use it, or with fixed steps a number.  An integer `y0` is taken with
    fixed steps only, and the states are rounded towards zero.  Solves with `scipy_solver` have no gradient here; those
    of `odeint_adjoint` do.

    Raises `InvalidArgument`, `UnknownName` and `StateMismatch` before work starts, `SolveError` and `RunFailure` for a
    failed solve.  The package's docstring lists where torchdiffeq computes something wrong and pynode raises an error.
    """
    check_field(func, "func")
    check_problem(y0, t, method, event_fn)
    if isinstance(method, GradientMethod):
        _refuse_options(method, rtol, atol, options=options, event_fn=event_fn)
        return _solve_by(method, func, y0, t, None)
    for argument, value in (("rtol", rtol), ("atol", atol)):
        check_tolerance(argument, value, y0, method)
    chosen = checked_options("options", options, t, method)
    if event_fn is None:
        states, func = _without_torchdiffeq(func, y0, t, method, (rtol, atol), chosen)
        if states is not None:
            check_states(func, y0, t, states)
            return states
    call = {
        "rtol": for_solver(rtol, y0, method),
        "atol": for_solver(atol, y0, method),
        "method": method,
        "options": chosen,
    }
    return _delegate(THEIR_ODEINT, func, y0, t, event_fn, call)


def odeint_adjoint(
    func: Func,
    y0: Y,
    t: Tensor,
    *,
    rtol: Tolerance = RTOL,
    atol: Tolerance = ATOL,
    method: str | GradientMethod | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Func | None = None,
    adjoint_rtol: Tolerance | None = None,
    adjoint_atol: Tolerance | None = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
) -> Any:
    """As `odeint`, with the gradient by the continuous adjoint: memory does not grow with the number of steps.

    `func` must be a module, or `adjoint_params` must name the tensors that need a gradient (may be empty).  Whatever
    else `func` reads at t[0] and that wants a gradient gets it too, as torchdiffeq's does not, but for parameters of a
    module that `adjoint_params` leaves out; what it reads later only has to be named (else `MissingParameters`).  The
    gradient is that of `func` as it was during the solve, or `FieldChanged`; a func that draws random numbers is a
    `RandomField`; second derivatives raise `NotTwiceDifferentiable`.

    dopri5 and its adjoint run on the compiled kernels where `odeint` could, with or without a gradient; step sizes are
    chosen in another way, so that states and gradients agree with torchdiffeq's to the tolerances.

    The other `adjoint_*` arguments default to those of the forward solve.  Where `rtol` or `atol` has one entry for
    each part (or entry) of `y0`, the adjoint solve uses the same for the state and its adjoint, and the smallest for
    the parameters' gradients; torchdiffeq fails in `backward()` there.  `adjoint_rtol` and `adjoint_atol` take that
    form as well, or one entry for each part of the adjoint solve (time, state, adjoint, parameters), as in torchdiffeq.
    See torchdiffeq's documentation for `adjoint_options`.

    The state is solved backwards along with the adjoint, which goes astray where the field contracts: a `DriftWarning`
    says so when the reconstructed state is more than `pynode.drift.DRIFT_BOUND` tolerances away from the stored one at
    an output time (with dopri5, bosh3, fehlberg2 and adaptive_heun).  `method=pynode.OptDisc()` avoids it.
    """
    check_field(func, "func")
    check_problem(y0, t, method, event_fn)
    if adjoint_params is None and not isinstance(func, nn.Module):
        remedy = "make it one, or pass adjoint_params (may be empty: ())"
        raise InvalidArgument("func", _place_of(func), "not an nn.Module", remedy)
    given = find_parameters(func) if adjoint_params is None else adjoint_params
    params = checked_params(given, "adjoint_params")
    if isinstance(method, GradientMethod):
        _refuse_options(
            method,
            rtol,
            atol,
            options=options,
            event_fn=event_fn,
            adjoint_method=adjoint_method,
            adjoint_options=adjoint_options,
            adjoint_rtol=adjoint_rtol,
            adjoint_atol=adjoint_atol,
        )
        return _solve_by(method, func, y0, t, params)
    check_method("adjoint_method", adjoint_method)
    if isinstance(adjoint_method, GradientMethod):
        raise InvalidArgument("adjoint_method", adjoint_method, "not the name of a solver", "pass it as method")
    for argument, value in (("rtol", rtol), ("atol", atol)):
        check_tolerance(argument, value, y0, method)
    chosen = checked_options("options", options, t, method)
    if adjoint_options is None and chosen is not None:
        if (adjoint_method or method) != method:
            problem = f"options of {method} are given, but none of the adjoint's {adjoint_method}"
            raise InvalidArgument("adjoint_options", None, problem, "pass them too; they may be empty: {}")
        # torchdiffeq's default; made here, since a search for an event changes the options of the forward solve
        adjoint_options = {k: v for k, v in chosen.items() if k not in ("norm", "event_time_limit")}
    if event_fn is None and (adjoint_params is None or names_all(params, func)):
        adjoint = adjoint_of(adjoint_method or method, (adjoint_rtol, adjoint_atol), adjoint_options)
        states = None
        if adjoint is not None:
            states = adaptive_solve(func, y0, t, method, (rtol, atol), chosen, adjoint)
        if states is not None:
            check_states(func, y0, t, states)
            return states
    rebuilding = rebuilding_for(func, y0, t, params) if len(t) > 1 or event_fn is not None else None
    if rebuilding is not None:
        params = rebuilding.leaves
    n_params = sum(param.requires_grad for param in params)
    backward_method = adjoint_method or method
    call = {
        "rtol": for_solver(rtol, y0, method),
        "atol": for_solver(atol, y0, method),
        "method": method,
        "options": chosen,
        "adjoint_rtol": adjoint_tolerance("adjoint_rtol", adjoint_rtol, rtol, y0, n_params, backward_method),
        "adjoint_atol": adjoint_tolerance("adjoint_atol", adjoint_atol, atol, y0, n_params, backward_method),
        "adjoint_method": adjoint_method,
        "adjoint_options": checked_options("adjoint_options", adjoint_options, t, backward_method),
    }

    def run(func: Func, y0: Y, t: Tensor, params: Sequence[Tensor]) -> Any:
        return _delegate(THEIR_ODEINT_ADJOINT, func, y0, t, event_fn, {**call, "adjoint_params": tuple(params)})

    result = run(func, y0, t, params) if rebuilding is None else solve(run, rebuilding, func, y0, t)
    _guard_complex(result if event_fn is None else result[1], (t, *params))
    return result


# --- the ways below ----------------------------------------------------------------------------------------------


def _place_of(func: object) -> str:
    """The name of a function, with file and line where it has any: a lambda has no other name."""
    name, code = getattr(func, "__name__", type(func).__name__), getattr(func, "__code__", None)
    return f"{name} ({Path(code.co_filename).name}, line {code.co_firstlineno})" if code is not None else name


def _without_torchdiffeq(
    func: Func, y0: Y, t: Tensor, method: str | None, tolerances: Sequence[Any], options: Mapping[str, Any] | None
) -> tuple[Y | None, Func]:
    """States by the kernels, or by pynode's steppers; None where it takes torchdiffeq.  `func` comes back too."""
    scheme = scheme_for(method, func, y0, t, options)
    if scheme is not None:
        return solve_fixed(scheme, func, y0, t, (options or {}).get("step_size"))
    return adaptive_solve(func, y0, t, method, tolerances, options), func


def _solve_by(method: GradientMethod, func: Func, y0: Y, t: Tensor, params: Sequence[Tensor] | None) -> Any:
    shapes, flat = shapes_of(y0), flattened(y0)
    ys = flat[None] if len(t) == 1 else method.solve(flat_func(func, y0), flat, t, params=params).ys
    return ys if shapes is None else unflatten(ys, shapes, (len(t),))


def _guard_complex(states: Y, sources: Sequence[Tensor]) -> None:
    """Lets `backward()` raise `InvalidArgument` where complex states would have to give real tensors a gradient."""
    real = any(source.requires_grad and not source.is_complex() for source in sources)

    def refuse_gradient(_: Tensor) -> None:
        problem = "the adjoint solve gives real parameters and times no gradient from complex states"
        raise InvalidArgument("y0", "a complex tensor", problem, "use odeint, or solve for torch.view_as_real(y0)")

    for part in (states,) if isinstance(states, Tensor) else states:
        if real and part.is_complex() and part.requires_grad:
            part.register_hook(refuse_gradient)


def _refuse_options(method: GradientMethod, rtol: Tolerance, atol: Tolerance, **given: Any) -> None:
    """Raises `InvalidArgument` for arguments that a method object would not read."""
    tolerances = {"rtol": (rtol, RTOL), "atol": (atol, ATOL)}
    changed = {
        name: value for name, (value, default) in tolerances.items() if value is not default and value != default
    }
    refuse(method, **changed, **given)


def _delegate(
    solver: Callable[..., Any], func: Func, y0: Y, t: Tensor, event_fn: Func | None, call: dict[str, Any]
) -> Any:
    """Solves by torchdiffeq, with typed failures."""
    method = call["method"]
    search = None
    if event_fn is not None:
        call["options"], limit = search_options(call["options"], method, call["atol"])
        search = EventSearch(func, y0, t, event_fn, limit)
    watched = prepared(func, y0, method, call.get("adjoint_method"))
    try:
        result = solver(watched, y0, t, event_fn=search, **call)
    except RAISED_BY_SOLVERS as error:
        typed = (search and search.failure(error)) or failure(error, watched.values.mismatch)
        if typed is None:
            raise
        raise typed from error
    if search is not None:
        search.check(result[0])
    else:
        check_states(func, y0, t, result)
    states = result if search is None else result[1]
    hold_to_precision(*((states,) if isinstance(states, Tensor) else states))
    watched.values.in_adjoint = solver is THEIR_ODEINT_ADJOINT
    if isinstance(watched, WatchedFunc):
        watched.turn_backward()
        if solver is THEIR_ODEINT_ADJOINT:
            watched.sign = -1.0 if len(t) > 1 and bool(t[0] > t[-1]) else 1.0
            watched.drift = _drift_watch(t, result, call, event=search is not None)
    return result


def _drift_watch(t: Tensor, result: Any, call: Mapping[str, Any], *, event: bool) -> DriftWatch | None:
    """What compares the states of the backward solve with those of the forward solve; None where it can't."""
    solver = call["adjoint_method"] or call["method"] or "dopri5"
    rtol, atol = (largest(call[name], call[f"adjoint_{name}"]) for name in ("rtol", "atol"))
    ys = result[1] if event else result
    parts = ys if isinstance(ys, tuple) else (ys,)
    if solver not in MEASURED or rtol is None or atol is None or not parts[0].requires_grad or len(parts[0]) < 2:
        return None
    ts = [float(t[0].detach()), float(result[0].detach())] if event else t.detach().tolist()
    return DriftWatch(solver, ts, [part.detach() for part in parts], rtol, atol)
