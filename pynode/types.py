"""Shape aliases: the meaning of a tensor's axes, for signatures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

State: TypeAlias = Tensor
"""`(..., dim)`: one state, usually `(batch, dim)`."""

States: TypeAlias = Tensor
"""`(time, ..., dim)`: the state at each output time."""

Times: TypeAlias = Tensor
"""`(time,)`: output times, strictly monotone, the first one being that of the initial state."""

Theta: TypeAlias = Tensor
"""`(n_params,)`: all parameters of a field in one vector, in the order of its specification's layout."""

VectorField: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""`f(t, y) -> dy/dt`, with `t` a scalar tensor and `y`, `dy/dt` of one shape, dtype and device."""
