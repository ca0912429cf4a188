"""Products of a Jacobian with tangents, for any function of the state that torch can follow."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pynode.types import State


def jacobian_vector_products(f: Callable[[State], State], y: State, v: Tensor) -> tuple[State, Tensor]:
    """f(y) and its Jacobian times each of `v` `(k, ..., dim)`, by forward-mode AD, for any f that torch can follow."""
    pushed = torch.func.vmap(lambda u: torch.func.jvp(f, (y,), (u,)))(v.expand(-1, *y.shape))
    return pushed[0][0], pushed[1]


def unit_tangents(y: State) -> Tensor:
    """The unit vectors `(dim, 1, ..., 1, dim)` of the state space of `y` `(..., dim)`."""
    eye = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
    return eye.reshape(y.shape[-1], *(1,) * (y.ndim - 1), y.shape[-1])


def trace_of(products: Tensor, y: State) -> Tensor:
    """tr J `(...)` from the products `(dim, ..., dim)` of J with the unit vectors."""
    return products.diagonal(dim1=0, dim2=-1).sum(-1).expand(y.shape[:-1])
