"""Hamiltonian: a symplectic pair from one layer; conserves its energy, so it is stable in both time directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.activations import activation, value_and_slope
from pynode.errors import InvalidArgument
from pynode.fields.base import FieldSpec
from pynode.layers import Slot, bias, dense, weight
from pynode.types import State


@dataclass(frozen=True)
class Hamiltonian(FieldSpec):
    """dq/dt = dH/dp, dp/dt = -dH/dq with H(q, p) = sum_i Act((W y + b)_i), y = (q, p), Act' = act.

    Written out: with g = W^T act(W y + b) `(dim,)` split in halves g = (g_q, g_p), f = (g_p, -g_q).  W is (width, dim),
    dim even.  H is constant along trajectories and the divergence is zero.  Theta: W, b.
    After the Hamiltonian-inspired networks of Haber & Ruthotto 2017, here with the exact gradient of an energy.
    """

    architecture: ClassVar[str] = "hamiltonian"

    dim: int
    width: int
    activation: str = "tanh"

    def __post_init__(self) -> None:
        if type(self.dim) is not int or self.dim < 2 or self.dim % 2:
            raise InvalidArgument(
                "dim", self.dim, "not a positive even integer", "a state is a pair (q, p) of equal size"
            )
        if type(self.width) is not int or self.width < 1:
            raise InvalidArgument("width", self.width, "not a positive integer", "give the number of hidden units")
        activation(self.activation)

    @property
    def state_dim(self) -> int:
        return self.dim

    def slots(self) -> tuple[Slot, ...]:
        return (weight("W", self.width, self.dim), bias("b", self.width))

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:  # noqa: ARG002 (autonomous)
        return _rotated(activation(self.activation)(dense(y, p["W"], p["b"])) @ p["W"])

    def tangents(self, p: Mapping[str, Tensor], t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:  # noqa: ARG002
        value, slope = value_and_slope(self.activation, dense(y, p["W"], p["b"]))
        return _rotated(value @ p["W"]), _rotated((F.linear(v, p["W"]) * slope) @ p["W"])

    def divergence(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> tuple[State, Tensor]:
        # the Jacobian is a rotation by 90 degrees times a symmetric matrix
        return self.evaluate(p, t, y), y.new_zeros(y.shape[:-1])


def _rotated(gradient: Tensor) -> Tensor:
    """(g_p, -g_q) for g = (g_q, g_p) `(..., dim)`."""
    g_q, g_p = gradient.chunk(2, dim=-1)
    return torch.cat((g_p, -g_q), dim=-1)
