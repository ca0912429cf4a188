"""Failed solves as typed errors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pynode.errors import PynodeError, RunFailure, SolveError, StateMismatch
from pynode.samples import non_finite_samples
from pynode.solution import Status
from pynode.torchdiffeq_interface.values import Func, Y, flat_func, shapes_of

RAISED_BY_SOLVERS = (
    AssertionError,
    AttributeError,
    ValueError,
    TypeError,
    RuntimeError,
    LookupError,
    ArithmeticError,
)
"""What torchdiffeq and scipy raise by themselves, or torch where they call it."""


def failure(error: Exception, mismatch: str | None) -> PynodeError | None:
    """The typed error for what a solver raised; None for errors of the user's own functions and of pynode.

    `mismatch` says how the derivative differs from the state, which is then the likely cause.
    """
    if isinstance(error, (PynodeError, torch.cuda.OutOfMemoryError)) or not _raised_by_a_solver(error):
        return None
    if mismatch:
        return StateMismatch(mismatch)
    text = str(error) or type(error).__name__
    if "max_num_steps" in text:
        return RunFailure(f"the solve failed: {text}; raise options['max_num_steps'], or loosen rtol and atol")
    return RunFailure(f"the solve failed: {text}; check the options, and the types of y0, t, rtol and atol")


def _raised_by_a_solver(error: Exception) -> bool:
    modules: list[str] = []
    frame = error.__traceback__
    while frame is not None:
        modules.append(frame.tb_frame.f_globals.get("__name__", ""))
        frame = frame.tb_next
    in_func = "pynode.torchdiffeq_interface.watching" in modules
    by_scipy = modules[-1].startswith(("scipy.", "numpy.")) and not in_func
    return modules[-1].startswith("torchdiffeq.") or by_scipy


def check_states(func: Func, y0: Y, t: Tensor, states: Y) -> None:
    """Raises `SolveError` unless there is a finite state for every time of `t`; it says where the last one is."""
    parts: list[Tensor] = [states] if isinstance(states, Tensor) else list(states)
    reached = len(parts[0])
    if reached == len(t) and all(bool(torch.isfinite(part).all()) for part in parts):
        return
    flat = torch.cat([part.reshape(reached, math.prod(part.shape[1:])) for part in parts], 1)
    fine = torch.isfinite(flat).all(1).tolist()
    last = max((fine.index(False) if False in fine else reached) - 1, 0)
    status = Status.STEP_UNDERFLOW if all(fine) else Status.NON_FINITE
    samples = non_finite_samples(parts[0][last + 1]) if isinstance(states, Tensor) and last + 1 < reached else None
    dt = float((t[last + 1] - t[last]).detach()) if last + 1 < len(t) else 0.0
    state = flat[last].detach() if shapes_of(y0) is not None else parts[0][last].detach()
    norm_f = norm_of_slope(flat_func(func, y0), t[last].detach(), state)
    raise SolveError(status, t=float(t[last].detach()), dt=dt, norm_f=norm_f, samples=samples)


def norm_of_slope(func: Func, t: Tensor, y: Tensor) -> float:
    """The 2-norm of func(t, y), as number; NaN where func returns no tensor."""
    with torch.no_grad():
        slope = func(t.to(y.device, y.abs().dtype), y)
    if not isinstance(slope, Tensor):
        return math.nan
    return float(torch.linalg.vector_norm(slope if slope.is_floating_point() or slope.is_complex() else slope.double()))
