"""The recorded adaptive solves of this process, and which solves they can do."""

from __future__ import annotations

import torch

from pynode.engines.graph.adaptive.solves import AdaptiveSolves
from pynode.engines.graph.capture import RECORDERS, NotRecordable
from pynode.engines.graph.fields import obstacle_to_recording
from pynode.engines.solvers import solver_of
from pynode.errors import EngineUnavailable, InvalidArgument
from pynode.gradients import Continuous
from pynode.schemes.base import Scheme
from pynode.solve import Recipe, Run, Solve
from pynode.transforms import is_transformed

SOLVERS = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
"""Those of torchdiffeq, whose steps the recordings take."""

ADJOINTS = ("interpolating", "backsolve")
"""Of those that `Continuous` knows, what the recordings can do."""

_SOLVES = AdaptiveSolves(lambda device: RECORDERS[device.type](device))


def check(recipe: Recipe, engine: str) -> None:
    """Raises `InvalidArgument` for a recipe with adaptive steps that is never recorded."""
    gradient, scheme = recipe.gradient, recipe.scheme
    if type(gradient) is not Continuous:
        problem = f"CUDA graphs do not have gradient = {type(gradient).__name__}"
        raise InvalidArgument("engine", repr(engine), problem, "use engine eager")
    if not isinstance(scheme, Scheme) or solver_of(scheme) not in SOLVERS:
        problem = f"CUDA graphs do not have solver = {solver_of(scheme)}"
        raise InvalidArgument("engine", repr(engine), problem, f"use one of {', '.join(SOLVERS)}")
    gradient.check_known(engine, ADJOINTS)
    if gradient.adjoint == "interpolating" and solver_of(scheme) == "dopri8":
        problem = "its interpolant solves again inside of steps, which CUDA graphs can't"
        raise InvalidArgument("solver", "'dopri8'", problem, "use adjoint = 'backsolve', dopri5, or engine eager")


def obstacle(solve: Solve) -> str | None:
    """Why `solve` can't be a recording, as a sentence; None where there is one, which is made here if need be."""
    y0 = solve.y0
    if y0.device.type not in RECORDERS:
        return f"its state is on {y0.device}, not on a GPU; move field and state there, e.g. by .to('cuda')"
    if torch.compiler.is_compiling() or is_transformed() or torch.is_inference_mode_enabled():
        return "transforms of torch.func, torch.compile and torch.inference_mode() can't follow a recording"
    if torch.is_autocast_enabled(y0.device.type):
        return "autocast keeps copies of parameters, which a recording would not renew"
    if y0.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
        return "a capture of the user's is under way, which can't hold another one"
    return obstacle_to_recording(solve.field, solve.ts[0], y0) or _SOLVES.obstacle(solve)


def run(solve: Solve) -> Run:
    """Solves by recordings; there must be no `obstacle`."""
    try:
        return _SOLVES.run(solve)
    except NotRecordable as error:
        raise EngineUnavailable(f"CUDA graphs can't solve this: {error}; use engine eager") from error


def recordings() -> int:
    """Kinds of adaptive solves whose recordings are kept."""
    return len(_SOLVES)


def forget_recordings() -> None:
    """Forgets all recordings; solves whose gradient is still to come keep theirs."""
    _SOLVES.forget()
