"""torchdiffeq's solves on the compiled kernels, where a scheme of pynode has the same tableau and func is a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from pynode.engines.choice import engine_called, obstacle
from pynode.engines.node import attach
from pynode.errors import InvalidArgument
from pynode.gradients import Continuous, Discrete, Gradient
from pynode.schemes.base import Scheme
from pynode.schemes.dopri5 import DOPRI5
from pynode.solve import Recipe, Solve
from pynode.steps import Adaptive, Fixed, Steps
from pynode.torchdiffeq_interface.arguments import is_number
from pynode.torchdiffeq_interface.values import Func, Y
from pynode.torchdiffeq_interface.watching import CALLBACKS

KERNELS = "fused"
DEFAULT = "dopri5"
"""torchdiffeq's method where none is named."""

MOST_STEPS = 2**31 - 1
"""What torchdiffeq allows where nobody says otherwise."""


def fixed_solve(scheme: Scheme, func: Func, y0: Y, grid: Tensor) -> Tensor | None:
    """States at all points of `grid`, one step of `scheme` between two of them, with the gradient of these steps.

    None where the kernels can't run it.
    """
    return _solved(func, y0, grid, _recipe(scheme, Fixed(1), Discrete()))


def adaptive_solve(
    func: Func,
    y0: Y,
    t: Tensor,
    method: Any,
    tolerances: Sequence[Any],
    options: Mapping[str, Any] | None,
    adjoint: Continuous | None = None,
) -> Tensor | None:
    """States at `t` by dopri5, with the gradient `adjoint`, or where that is None without any.

    None where the kernels can't run it, do not know the options, or where a gradient is wanted that they do not have:
    torchdiffeq's `odeint` differentiates the steps that the solver happened to take.
    """
    if method not in (None, DEFAULT) or not set(options or ()) <= {"max_num_steps"}:
        return None
    if not all(map(is_number, tolerances)):
        return None
    rtol, atol = map(float, tolerances)
    try:
        steps = Adaptive(rtol, atol, max_steps=int((options or {}).get("max_num_steps", MOST_STEPS)))
    except InvalidArgument:  # what torchdiffeq takes nevertheless, such as an infinite tolerance
        return None
    return _solved(func, y0, t, _recipe(DOPRI5, steps, adjoint or Continuous()), differentiable=adjoint is not None)


def adjoint_of(method: Any, tolerances: Sequence[Any], options: Mapping[str, Any] | None) -> Continuous | None:
    """The kernels' gradient with these arguments of the adjoint solve; None where they don't have it."""
    options = dict(options or {})
    norm = options.pop("norm", None)
    if method not in (None, DEFAULT) or options != {} or norm not in (None, "seminorm"):
        return None
    if not all(value is None or is_number(value) for value in tolerances):
        return None
    rtol, atol = (None if value is None else float(value) for value in tolerances)
    try:
        return Continuous("backsolve", rtol, atol, norm="mixed" if norm is None else "seminorm", drift="warn")
    except InvalidArgument:
        return None


def names_all(params: Sequence[Tensor], func: Func) -> bool:
    """Whether `params` are all the parameters of the module `func` that want a gradient, so that none is left out."""
    wanted = {id(p) for p in func.parameters() if p.requires_grad} if isinstance(func, nn.Module) else None
    return {id(p) for p in params if p.requires_grad} == wanted


@lru_cache(maxsize=64)
def _recipe(scheme: Scheme, steps: Steps, gradient: Gradient) -> Recipe:
    return Recipe(scheme, steps, gradient)


def _solved(func: Func, y0: Y, t: Tensor, recipe: Recipe, *, differentiable: bool = True) -> Tensor | None:
    kernels = engine_called(KERNELS)
    if not isinstance(func, nn.Module) or not isinstance(y0, Tensor) or kernels.unavailable() is not None:
        return None
    if t.device.type != "cpu" or len(t) < 2 or any(hasattr(func, name) for name in CALLBACKS):
        return None
    solve = Solve(func, y0, t, recipe, wants_gradient=torch.is_grad_enabled())
    if not kernels.pays(solve) or obstacle(kernels, solve) is not None:
        return None
    if not differentiable and solve.wants_gradient and any(x.requires_grad for x in (y0, *solve.system.theta)):
        return None
    return attach(kernels.run(solve))
