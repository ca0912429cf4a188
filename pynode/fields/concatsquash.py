"""ConcatSquash: dense layers gated and shifted by time, the field of the study's normalizing flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.activations import activation
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
    time_weight,
    weight,
)
from pynode.types import State


@dataclass(frozen=True)
class ConcatSquash(FieldSpec):
    """Layer: x -> (W x + b) * sigmoid(w_g t + b_g) + w_b t; the activation follows all but the last layer.

    Grathwohl et al. 2019 (FFJORD), as Onken & Ruthotto 2020 use it.  Theta, layer by layer: W, b, w_g, b_g, w_b.
    With a `context` of k columns the state is `(..., dim + k)`: the first layer sees all of them, its W being
    (width, dim + k), and the derivative of the last k is zero.
    """

    architecture: ClassVar[str] = "concatsquash"

    widths: tuple[int, ...]
    activation: str = "tanh"
    context: int = 0

    def __post_init__(self) -> None:
        check_widths(self.widths)
        object.__setattr__(self, "widths", tuple(self.widths))
        activation(self.activation)
        check_context(self.context)

    @property
    def state_dim(self) -> int:
        return self.widths[0] + self.context

    @property
    def context_dim(self) -> int:
        return self.context

    def with_context(self, columns: int) -> ConcatSquash:
        return replace(self, context=columns)

    def slots(self) -> tuple[Slot, ...]:
        slots: list[Slot] = []
        for k, (i, o) in enumerate(zip((self.state_dim, *self.widths[1:]), self.widths[1:], strict=False)):
            slots += [weight(f"W{k}", o, i), bias(f"b{k}", o)]
            slots += [time_weight(f"w_g{k}", o), bias(f"b_g{k}", o), time_weight(f"w_b{k}", o)]
        return tuple(slots)

    def evaluate(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> State:
        return self._padded(chain(self._layers(p, t), self.activation, y))

    def tangents(self, p: Mapping[str, Tensor], t: Tensor, y: State, v: Tensor) -> tuple[State, Tensor]:
        value, products = chain_tangents(self._layers(p, t), self.activation, y, v)
        return self._padded(value), self._padded(products)

    def divergence(self, p: Mapping[str, Tensor], t: Tensor, y: State) -> tuple[State, Tensor]:
        layers = self._layers(p, t)
        if not has_cheap_trace(layers):
            return super().divergence(p, t, y)
        value, trace = chain_trace(layers, self.activation, y)
        return self._padded(value), trace

    def _layers(self, p: Mapping[str, Tensor], t: Tensor) -> list[Layer]:
        return [
            Layer(p[f"W{k}"], p[f"b{k}"], torch.sigmoid(torch.addcmul(p[f"b_g{k}"], p[f"w_g{k}"], t)), p[f"w_b{k}"] * t)
            for k in range(len(self.widths) - 1)
        ]

    def _padded(self, x: Tensor) -> Tensor:
        """Zeros for the columns of the context."""
        return F.pad(x, (0, self.context)) if self.context else x
