"""Antisymmetric: one layer with an antisymmetric weight, stable forwards and (nearly) backwards in time."""

from __future__ import annotations

import sys
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
class Antisymmetric(FieldSpec):
    """f = act((W - W^T - gamma I) y + b): the Jacobian's eigenvalues lie near the imaginary axis.

    Haber & Ruthotto 2017, Stable architectures for deep neural networks.

    `gamma` >= 0 is the damping; it costs stability of the backward solve what it gives the forward one.  Theta: W, b.
    """

    architecture: ClassVar[str] = "antisymmetric"

    dim: int
    activation: str = "tanh"
    gamma: float = 0.0

    def __post_init__(self) -> None:
        if type(self.dim) is not int or self.dim < 1:
            raise InvalidArgument("dim", self.dim, "not a positive integer", "give the dimension of the state")
        known = isinstance(self.gamma, (int, float)) and not isinstance(self.gamma, bool)
        if not known or not 0 <= self.gamma <= sys.float_info.max:
            raise InvalidArgument("gamma", self.gamma, "not a non-negative number", "use 0 for no damping")
        activation(self.activation)

    @property
    def state_dim(self) -> int:
        return self.dim

    def slots(self) -> tuple[Slot, ...]:
        return (weight("W", self.dim, self.dim), bias("b", self.dim))

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:  # noqa: ARG002 (autonomous)
        return activation(self.activation)(dense(y, self._matrix(p), p["b"]))

    def tangents(self, p: Mapping[str, Tensor], t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:  # noqa: ARG002
        A = self._matrix(p)
        value, slope = value_and_slope(self.activation, dense(y, A, p["b"]))
        return value, F.linear(v, A) * slope

    def divergence(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> tuple[State, Tensor]:  # noqa: ARG002
        # the diagonal of W - W^T - gamma I is -gamma throughout
        value, slope = value_and_slope(self.activation, dense(y, self._matrix(p), p["b"]))
        return value, -self.gamma * slope.sum(-1)

    def _matrix(self, p: Mapping[str, Tensor]) -> Tensor:
        W = p["W"]
        return W - W.T - self.gamma * torch.eye(self.dim, dtype=W.dtype, device=W.device)
