"""Reference trajectories: any Python right-hand side solved accurately by Julia, through diffeqpy in the worker.

The right-hand side is evaluated in this process, so closures and torch modules work; each evaluation crosses the pipe
twice, which is fine for a reference and too slow for training.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from pynode.arguments import check_choice
from pynode.errors import InvalidArgument
from pynode.julia.arena import Array
from pynode.julia.errors import ReferenceFailed
from pynode.julia.session import Session, default_session
from pynode.julia.worker import REFERENCE_SOLVERS

FLOAT64 = np.dtype(np.float64)


def reference_trajectory(
    f: Callable[[Any, Any], Any],
    y0: Array,
    ts: Array,
    *,
    rtol: float = 1e-10,
    atol: float = 1e-12,
    solver: str = "vern9",
    max_steps: int = 1_000_000,
    limit: float | None = None,
    session: Session | None = None,
) -> npt.NDArray[np.float64]:
    """States `(time, ...)` of dy/dt = f(t, y), y(ts[0]) = `y0` `(...)`, at the times `ts` `(time,)`, in float64.

    `f(t, y)` gets a float and a float64 array like `y0` and returns dy/dt of that shape; a torch module gets tensors of
    its own dtype and device.  `ts` is strictly monotone, in either direction.  `solver` is "vern9", "vern7" or "tsit5",
    `limit` the seconds that Julia may take, `session` the default one where it is None.

    Raises what `f` raises, `ReferenceFailed` where the solver gives up, `InvalidArgument` and `StateMismatch` for bad
    arguments, and what `Session.call` raises.
    """
    start, times = _real("y0", y0), _real("ts", ts)
    if times.ndim != 1 or len(times) < 2 or not (np.all(np.diff(times) > 0) or np.all(np.diff(times) < 0)):
        raise InvalidArgument(
            "ts", np.array2string(times, threshold=6), "not strictly monotone", "give 2 times or more"
        )
    for argument, tolerance in (("rtol", rtol), ("atol", atol)):
        if not (isinstance(tolerance, (int, float)) and 0 < tolerance < np.inf):
            raise InvalidArgument(argument, tolerance, "not a positive number", "use e.g. 1e-10")
    check_choice("solver", solver, tuple(REFERENCE_SOLVERS))
    if not callable(f):
        raise InvalidArgument("f", repr(f), "not a function of t and y", "pass any f(t, y) -> dy/dt")
    if isinstance(max_steps, bool) or not isinstance(max_steps, int) or max_steps < 1:
        raise InvalidArgument("max_steps", max_steps, "not a positive integer", "use 1 or more")
    reply = (session or default_session()).call(
        "reference",
        {"solver": solver, "rtol": float(rtol), "atol": float(atol), "max_steps": max_steps},
        {"y0": start, "ts": times},
        {"ys": ((len(times), *start.shape), FLOAT64)},
        limit=limit,
        callback=_on_arrays(f),
    )
    answer = reply.value
    if answer.get("retcode") != "Success" or answer.get("saved") != len(times):
        raise ReferenceFailed(
            f"the reference solve ended at t = {answer.get('t')} before {times[-1]:g} ({answer.get('retcode')}); "
            "loosen rtol and atol, raise max_steps, or check f near that time"
        )
    return reply.arrays["ys"]


def _real(argument: str, array: Array) -> npt.NDArray[np.float64]:
    real = np.asarray(array)
    if real.dtype.kind not in "fiu" or not np.all(np.isfinite(real)):
        raise InvalidArgument(argument, f"of dtype {real.dtype}", "not finite real numbers", "give an array of floats")
    return real.astype(np.float64)


def _on_arrays(f: Callable[[Any, Any], Any]) -> Callable[[float, Array], Array]:
    """`f` itself, or a torch module made to take and give arrays; torch is there already where one exists."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(f, torch.nn.Module):
        return f
    held = next(f.parameters(), None)
    like = {"dtype": torch.float64} if held is None else {"dtype": held.dtype, "device": held.device}

    def evaluate(t: float, y: Array) -> Array:
        with torch.no_grad():
            slope = f(torch.tensor(t, **like), torch.from_numpy(y).to(**like))
        return np.asarray(slope.double().cpu().numpy())

    return evaluate
