"""Chains of dense layers, possibly gated: their parameters, value and tangents, and the trace of their Jacobian.

A layer is x -> (W x + b) * gate + shift, with gate and shift the same for all samples; an activation stands between
layers.  That the gate knows nothing of the sample is what makes the traces below cheap.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pynode.activations import activation, value_and_slope
from pynode.errors import InvalidArgument
from pynode.types import State


@dataclass(frozen=True)
class Slot:
    """One parameter tensor in theta: its name, shape, and fan-in / fan-out for Glorot (None: starts at zero)."""

    name: str
    shape: tuple[int, ...]
    fan: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


def weight(name: str, fan_out: int, fan_in: int) -> Slot:
    """A matrix (out, in)."""
    return Slot(name, (fan_out, fan_in), (fan_in, fan_out))


def time_weight(name: str, fan_out: int) -> Slot:
    """A vector (out,) that multiplies the scalar time."""
    return Slot(name, (fan_out,), (1, fan_out))


def bias(name: str, size: int) -> Slot:
    """A vector (out,) that starts at zero."""
    return Slot(name, (size,))


class Layer(NamedTuple):
    """W (out, in), b (out,); gate and shift (out,), or neither."""

    W: Tensor
    b: Tensor
    gate: Tensor | None = None
    shift: Tensor | None = None


def dense(x: Tensor, W: Tensor, b: Tensor) -> Tensor:
    """W x + b for `x` `(..., in)`; a single state takes the matrix-vector product, half the time of F.linear."""
    return torch.addmv(b, W, x) if x.ndim == 1 else F.linear(x, W, b)


def apply(layer: Layer, x: Tensor) -> Tensor:
    """The layer's value at `x` `(..., in)`."""
    u = dense(x, layer.W, layer.b)
    if layer.gate is None or layer.shift is None:
        return u
    return torch.addcmul(layer.shift, u, layer.gate)


def chain(layers: Sequence[Layer], act: str, x: State) -> State:
    """All layers in turn, the activation after all but the last, for `x` `(..., dim)`."""
    between = activation(act)
    for layer in layers[:-1]:
        x = between(apply(layer, x))
    return apply(layers[-1], x)


def chain_tangents(layers: Sequence[Layer], act: str, x: State, v: Tensor) -> tuple[State, Tensor]:
    """The chain at `x` `(..., dim)` and its Jacobian times `v` `(k, ..., dim)`, which may broadcast over the batch."""
    for layer in layers[:-1]:
        x, slope = value_and_slope(act, apply(layer, x))
        v = _push(layer, v) * slope
    return apply(layers[-1], x), _push(layers[-1], v)


def _push(layer: Layer, v: Tensor) -> Tensor:
    u = F.linear(v, layer.W)
    return u if layer.gate is None else u * layer.gate


def has_cheap_trace(layers: Sequence[Layer]) -> bool:
    """Whether `chain_trace` knows the trace: at most two hidden layers."""
    return len(layers) <= 3


def chain_trace(layers: Sequence[Layer], act: str, x: State) -> tuple[State, Tensor]:
    """The chain at `x` `(..., dim)` and the trace of its Jacobian `(...)`, for at most two hidden layers.

    With V_k = diag(gate_k) W_k and s_k the activation's slopes after layer k, the Jacobian of two hidden layers is
    V_2 diag(s_1) V_1 diag(s_0) V_0, so its trace is s_1^T (V_1 * (V_0 V_2)^T) s_0 with an elementwise product: the
    inner matrix is the same for all samples, and a sample pays one more matrix-vector product instead of dim of them.
    Entries of `x` beyond those that the chain gives are a context, which the trace knows nothing of.
    """
    V = [layer.W if layer.gate is None else layer.gate[:, None] * layer.W for layer in layers]
    V[0] = V[0][:, : len(V[-1])]
    slopes = []
    for layer in layers[:-1]:
        x, slope = value_and_slope(act, apply(layer, x))
        slopes.append(slope)
    out = apply(layers[-1], x)
    if len(layers) == 1:
        return out, V[0].diagonal().sum().expand(out.shape[:-1])
    if len(layers) == 2:
        return out, slopes[0] @ (V[0] * V[1].T).sum(1)
    inner = V[1] * (V[0] @ V[2]).T
    return out, (slopes[1] * F.linear(slopes[0], inner)).sum(-1)


def check_widths(widths: tuple[int, ...]) -> None:
    """Raises `InvalidArgument` unless `widths` describes a net from dim back to dim."""
    listed = isinstance(widths, (tuple, list))
    if not listed or len(widths) < 2 or any(type(w) is not int or w < 1 for w in widths):
        raise InvalidArgument("widths", widths, "not two or more positive integers", "write (dim, hidden, ..., dim)")
    if widths[0] != widths[-1]:
        raise InvalidArgument("widths", widths, "first and last differ", "a vector field maps dim to the same dim")


def check_context(context: object) -> None:
    """Raises `InvalidArgument` unless `context` is a number of columns."""
    if type(context) is not int or context < 0:
        raise InvalidArgument("context", repr(context), "not a number of columns", "use 0 for no context, or 1, 2, ...")
