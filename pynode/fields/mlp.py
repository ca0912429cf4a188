"""MLP: dense layers, the last one linear; the input may be raised to a power elementwise first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.activations import activation
from pynode.errors import InvalidArgument
from pynode.fields.base import FieldSpec
from pynode.layers import (
    Layer,
    Slot,
    bias,
    chain,
    chain_tangents,
    chain_trace,
    check_context,
    check_widths,
    has_cheap_trace,
    weight,
)
from pynode.types import State


@dataclass(frozen=True)
class MLP(FieldSpec):
    """x_0 = y^input_power (elementwise); x_{k+1} = act(W_k x_k + b_k), without act in the last layer; autonomous.

    `MLP((2, 50, 2), "tanh", input_power=3)` is the study's field for the spiral.  Theta: W_0, b_0, W_1, b_1, ...
    With a `context` of k columns the state is `(..., dim + k)`: the first layer sees all of them, W_0 being
    (width, dim + k), and the derivative of the last k is zero.
    """

    architecture: ClassVar[str] = "mlp"

    widths: tuple[int, ...]
    activation: str = "tanh"
    input_power: int = 1
    context: int = 0

    def __post_init__(self) -> None:
        check_widths(self.widths)
        object.__setattr__(self, "widths", tuple(self.widths))
        activation(self.activation)
        if type(self.input_power) is not int or self.input_power < 1:
            raise InvalidArgument("input_power", self.input_power, "not a positive integer", "use 1 for y itself")
        check_context(self.context)

    @property
    def state_dim(self) -> int:
        return self.widths[0] + self.context

    @property
    def context_dim(self) -> int:
        return self.context

    def with_context(self, columns: int) -> MLP:
        return replace(self, context=columns)

    def slots(self) -> tuple[Slot, ...]:
        layers = enumerate(zip((self.state_dim, *self.widths[1:]), self.widths[1:], strict=False))
        return tuple(s for k, (i, o) in layers for s in (weight(f"W{k}", o, i), bias(f"b{k}", o)))

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:  # noqa: ARG002 (autonomous)
        return self._padded(chain(self._layers(p), self.activation, self._powered(y)))

    def tangents(self, p: Mapping[str, Tensor], t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:  # noqa: ARG002
        n = self.input_power
        if n > 1:
            z, context = y.split((self.widths[0], self.context), dim=-1)
            v = torch.cat((n * z ** (n - 1), torch.ones_like(context)), dim=-1) * v
        value, products = chain_tangents(self._layers(p), self.activation, self._powered(y), v)
        return self._padded(value), self._padded(products)

    def divergence(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> tuple[State, Tensor]:
        layers = self._layers(p)
        if self.input_power == 1 and has_cheap_trace(layers):
            value, trace = chain_trace(layers, self.activation, y)
            return self._padded(value), trace
        return super().divergence(p, t, y)

    def _layers(self, p: Mapping[str, Tensor]) -> list[Layer]:
        return [Layer(p[f"W{k}"], p[f"b{k}"]) for k in range(len(self.widths) - 1)]

    def _powered(self, y: State) -> State:
        if self.input_power == 1:
            return y
        if not self.context:
            return y**self.input_power
        dim = self.widths[0]
        return torch.cat((y[..., :dim] ** self.input_power, y[..., dim:]), dim=-1)

    def _padded(self, x: Tensor) -> Tensor:
        """Zeros for the columns of the context."""
        return F.pad(x, (0, self.context)) if self.context else x
