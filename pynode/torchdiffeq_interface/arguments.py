"""Checks of the arguments of `odeint` and its siblings; the solvers of the installed torchdiffeq."""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchdiffeq._impl.solvers import AdaptiveStepsizeODESolver, FixedGridODESolver

from pynode.errors import InvalidArgument, UnknownName
from pynode.grid import check_times
from pynode.methods.base import GradientMethod
from pynode.torchdiffeq_interface.values import Y
from pynode.wording import counted

LARGEST = sys.float_info.max

MOST_STEPS = 10**9
"""Of a fixed size; their times alone would fill the memory."""

INTERPOLATIONS = ("linear", "cubic")

POINTS_IN_TIME = ("step_t", "jump_t")


def known_methods() -> tuple[str, ...]:
    """Names of all solvers that the installed torchdiffeq has."""
    return tuple(_table())


def reports_steps(method: str | None) -> bool:
    """Whether the solver is adaptive and calls back before every step; None stands for torchdiffeq's default."""
    solver = _solver(method)
    return issubclass(solver, AdaptiveStepsizeODESolver) and "callback_step" in solver.valid_callbacks()


def has_fixed_steps(method: str | None) -> bool:
    """Whether the solver takes the steps that its options prescribe."""
    return issubclass(_solver(method), FixedGridODESolver)


def uses_tolerances(method: str | None) -> bool:
    """Whether `rtol` and `atol` change the result: a one-step method of fixed steps ignores them."""
    constructors = [vars(part)["__init__"] for part in _solver(method).__mro__[:-1] if "__init__" in vars(part)]
    takes_rtol = any("rtol" in inspect.signature(constructor).parameters for constructor in constructors)
    return takes_rtol or not has_fixed_steps(method)


def finds_events(method: str | None) -> bool:
    """Whether the solver can integrate until an event."""
    return hasattr(_solver(method), "integrate_until_event")


def _solver(method: str | None) -> Any:
    return _table()[method or "dopri5"]


def _table() -> dict[str, Any]:
    # looked up by name: the package's attribute `odeint` is the function, not this module
    return importlib.import_module("torchdiffeq._impl.odeint").SOLVERS


def check_problem(y0: Any, t: Any, method: Any, event_fn: Any) -> None:
    """Raises a `UsageError` unless there is a state, times, and a solver that can start from them."""
    check_method("method", method)
    check_state(y0, method)
    if event_fn is None or isinstance(method, GradientMethod):
        check_times(t, "t", least=1)
        return
    check_times(t, "t")
    if len(t) != 2:
        problem = f"{counted(len(t), 'time')}, but a solve until an event takes two"
        raise InvalidArgument("t", tuple(t.shape), problem, "give its first time, and another on the side to search")
    if not finds_events(method):
        known = ", ".join(name for name in known_methods() if finds_events(name))
        raise InvalidArgument("method", repr(method), "can't solve until an event", f"use one of {known}")


def check_method(argument: str, method: Any) -> None:
    """Raises a `UsageError` unless `method` is None, the name of a solver, or a `GradientMethod` object."""
    if method is None or isinstance(method, GradientMethod):
        return
    if isinstance(method, type) and issubclass(method, GradientMethod):
        name = method.__name__
        raise InvalidArgument(argument, name, "a class, not an object of it", f"pass {name}()")
    if not isinstance(method, str):
        raise InvalidArgument(
            argument, repr(method), "not the name of a solver", f"use one of {', '.join(known_methods())}"
        )
    if method not in known_methods():
        raise UnknownName(argument, method, known_methods())


def check_state(y0: Any, method: Any) -> None:
    """Raises `InvalidArgument` unless `y0` is a tensor or a tuple of tensors that `method` can start from."""
    if not isinstance(y0, Tensor) and not (isinstance(y0, tuple) and y0 and all(isinstance(p, Tensor) for p in y0)):
        raise InvalidArgument("y0", type(y0).__name__, "neither a tensor nor a tuple of tensors", "convert it")
    parts = (y0,) if isinstance(y0, Tensor) else y0
    dtype = parts[0].dtype
    for part in parts[1:]:
        dtype = torch.promote_types(dtype, part.dtype)
    continuous = dtype.is_floating_point or dtype.is_complex
    fixed = not isinstance(method, GradientMethod) and has_fixed_steps(method)
    if not continuous and (dtype is torch.bool or not fixed):
        raise InvalidArgument("y0", dtype, "not a floating point dtype", "convert it, e.g. y0.double()")
    if not fixed and not any(part.numel() for part in parts):
        raise InvalidArgument("y0", tuple(parts[0].shape), "has no entries, so no error to control", "give a state")
    if continuous and not all(bool(torch.isfinite(part).all()) for part in parts):
        raise InvalidArgument("y0", "NaN or infinite entries", "no initial state", "check the data")


# --- tolerances ------------------------------------------------------------------------------------------------------


def check_tolerance(argument: str, value: Any, y0: Y, method: Any) -> None:
    """Raises `InvalidArgument` unless `value` can be a tolerance of a solve by `method` from `y0`.

    It may be a number or infinite, one for each part of a tuple, or one for each entry of a tensor.
    """
    if value is None and isinstance(method, str) and not uses_tolerances(method):
        return
    entries = _entries(value)
    if isinstance(y0, tuple) and _is_several(value) and len(value) != len(y0):
        problem = f"{len(value)} entries for {len(y0)} parts of y0"
        raise InvalidArgument(argument, value, problem, "give one number, or one for each part")
    if entries is None or not all(0 <= entry <= math.inf for entry in entries):
        problem = "not a number that is zero or positive"
        raise InvalidArgument(argument, value, problem, "use e.g. 1e-6; a tuple y0 may have one for each part")
    if isinstance(y0, Tensor) and _is_several(value) and not _fits(torch.as_tensor(value).shape, y0.shape):
        problem = f"its shape {tuple(torch.as_tensor(value).shape)} does not fit y0, {tuple(y0.shape)}"
        raise InvalidArgument(argument, value, problem, "give one number, or one for each entry of y0")
    if isinstance(value, Tensor) and value.requires_grad:
        raise InvalidArgument(argument, value, "requires a gradient", f"pass {argument}.detach()")


def for_solver(tolerance: Any, y0: Y, method: str | None) -> Any:
    """The tolerance in a form that the solver takes: scipy's know no tensors, and read beyond a shape of another size.

    For a tuple `y0` torchdiffeq makes a tensor of several entries, so scipy's solvers take one number there.
    """
    if tolerance is None or has_fixed_steps(method) or reports_steps(method):
        return tolerance
    if not _is_several(tolerance):
        return float(tolerance)
    if isinstance(y0, tuple):
        problem = f"several entries, which {method} does not take for a tuple y0"
        raise InvalidArgument("rtol or atol", tolerance, problem, "give one number")
    return _expanded(tolerance, y0).cpu().numpy()


def _is_several(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0)


def _entries(value: Any) -> list[float] | None:
    """All numbers of a tolerance; None where it holds anything else."""
    if isinstance(value, (list, tuple)):
        parts = [_entries(part) for part in value]
        return [n for part in parts if part is not None for n in part] if None not in parts else None
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.reshape(-1).tolist()
        return value if all(is_number(entry) for entry in value) else None
    return [float(value)] if is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python or numpy; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def adjoint_tolerance(argument: str, given: Any, forward: Any, y0: Y, n_params: int, method: Any) -> Any:
    """The tolerance of the adjoint solve, whose state is (t, y, adjoint of y, gradients of `n_params` tensors).

    `given` is the user's: a number, one entry for each of those parts (as torchdiffeq takes it), or a tolerance in the
    form of the `forward` one, which is the default.  Where the entries of y have their own, the adjoint takes the same,
    and the rest the smallest of them.
    """
    if _is_several(given) and len(given) == 3 + n_params:
        check_tolerance(argument, tuple(given), (torch.empty(0),) * len(given), method)
        return for_solver(given, (torch.empty(0),), method)
    value = forward if given is None else given
    check_tolerance(argument, value, y0, method)
    if not _is_several(value):
        return for_solver(value, y0, method)
    if isinstance(y0, tuple):
        each = torch.cat([_expanded(entry, part) for entry, part in zip(value, y0, strict=True)])
    else:
        each = _expanded(value, y0)
    least = float(each.min())
    if not (has_fixed_steps(method) or reports_steps(method)):
        return least
    return (least, each, each, *[least] * n_params)


def _fits(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a tensor of `shape` broadcasts to the shape `to`."""
    try:
        return torch.broadcast_shapes(shape, to) == to
    except RuntimeError:
        return False


def _expanded(value: Any, part: Tensor) -> Tensor:
    tolerance = torch.as_tensor(value, dtype=torch.float64, device=part.device)
    flat = tolerance.ndim == 1 and len(tolerance) == part.numel()  # one for each entry of a tuple's part
    return tolerance if flat else tolerance.expand(part.shape).reshape(-1)


# --- options ---------------------------------------------------------------------------------------------------------


def checked_options(argument: str, options: Any, t: Tensor, method: str | None) -> dict[str, Any] | None:
    """The options as a dictionary of their own, in the types that torchdiffeq expects."""
    if options is None:
        return None
    if not isinstance(options, Mapping):
        raise InvalidArgument(argument, options, "not a dictionary", "pass e.g. {'step_size': 0.1}")
    checked = dict(options)
    for name in POINTS_IN_TIME:
        # torchdiffeq mirrors tensors alone where time runs backwards
        if checked.get(name) is not None and not isinstance(checked[name], Tensor):
            checked[name] = torch.as_tensor(checked[name], dtype=torch.float64)
    if has_fixed_steps(method):
        _check_fixed_steps(argument, checked, t)
    norm = checked.get("norm")
    if "norm" in checked and not callable(norm) and not (argument == "adjoint_options" and norm == "seminorm"):
        allowed = "a function of the state" + (", or 'seminorm'" if argument == "adjoint_options" else "")
        raise InvalidArgument(f"{argument}['norm']", repr(norm), "not a norm", f"pass {allowed}")
    return checked


def _check_fixed_steps(argument: str, options: dict[str, Any], t: Tensor) -> None:
    size = options.get("step_size")
    if options.get("interp", "linear") not in INTERPOLATIONS:
        problem, remedy = "no way to interpolate", f"use {' or '.join(INTERPOLATIONS)}"
        raise InvalidArgument(f"{argument}['interp']", repr(options["interp"]), problem, remedy)
    if size is None:
        return
    argument = f"{argument}['step_size']"
    if options.get("grid_constructor") is not None:
        raise InvalidArgument(argument, size, "given together with grid_constructor", "leave one of them out")
    one_entry = isinstance(size, (Tensor, np.ndarray)) and math.prod(size.shape) == 1
    number = size.item() if one_entry else size
    number = float(number) if is_number(number) else None
    if number is None or not is_number(number) or not 0 < number <= LARGEST:
        raise InvalidArgument(argument, size, "not a positive number", "give the size, also for reversed t")
    if not isinstance(size, Tensor):
        options["step_size"] = number
    length = abs(float((t[-1] - t[0]).detach()))
    if length / number > MOST_STEPS:
        problem = f"more than {MOST_STEPS:,} steps over a length of {length:g}"
        raise InvalidArgument(argument, number, problem, "enlarge it")


def refuse(method: GradientMethod, **given: Any) -> None:
    """Raises `InvalidArgument` for arguments that a method object would not read."""
    for name, value in given.items():
        if value is not None:
            raise InvalidArgument(
                name, value, f"has no meaning for the method {method.label}", "set the options of the method itself"
            )
