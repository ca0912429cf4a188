"""Theta's tensors to the matrices that the kernels multiply by, and the cotangent of these back to theta's.

Tensors are reached by the addresses of their first entries, in the order of the specification; each is contiguous.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import part
from pynode.engines.fused.field.chain import ANTISYMMETRIC, HAMILTONIAN
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.simd import lanes, load, pointer_at, shift, store


@part
def pack(field: Field, addresses: Any, packed: Any) -> None:
    """Fills the packed parameters `packed`, whose padding must be zero, from the tensors at `addresses`."""
    kind = field.matrices
    for k in range(field.n_layers):
        layer = field.layers[k]
        n_in, n_out = layer.n_in, layer.n_out
        forward, backward = shift(packed, layer.forward), shift(packed, layer.backward)
        W = pointer_at(packed, addresses[layer.weight_slot])
        by_out, by_in = n_in, 1
        if layer.is_transposed:
            by_out, by_in = 1, n_out
        for o in range(n_out):
            for i in range(n_in):
                if kind == ANTISYMMETRIC:
                    value = W[o * n_in + i] - W[i * n_in + o]
                    if i == o:
                        value -= field.gamma
                elif kind == HAMILTONIAN and k == 1:
                    half = n_out // 2
                    value = W[i * n_out + half + o] if o < half else -W[i * n_out + o - half]
                else:
                    value = W[o * by_out + i * by_in]
                forward[i * layer.out_step + o] = value
                backward[o * layer.in_step + i] = value
        slot = layer.bias_slot
        if slot >= 0:
            _copy(pointer_at(packed, addresses[slot]), shift(packed, layer.bias), n_out)
        if field.is_gated:
            _copy(pointer_at(packed, addresses[slot + 1]), shift(packed, layer.gate_weight), n_out)
            _copy(pointer_at(packed, addresses[slot + 2]), shift(packed, layer.gate_bias), n_out)
            _copy(pointer_at(packed, addresses[slot + 3]), shift(packed, layer.shift_weight), n_out)


@part
def unpack(field: Field, grads: Any, groups: int, addresses: Any) -> None:
    """Adds up the cotangents `grads` of all groups, in their order, into the tensors at `addresses` (0: not wanted)."""
    add_groups(grads, field.grads_size, groups)
    kind = field.matrices
    for k in range(field.n_layers):
        layer = field.layers[k]
        n_in, n_out = layer.n_in, layer.n_out
        weights = shift(grads, layer.weight_bar)
        # where the cotangent of W[o, i] stands
        by_out, by_in = (layer.in_step, 1) if layer.by_input else (1, layer.out_step)
        to_out, to_in = n_in, 1
        if layer.is_transposed:
            to_out, to_in = 1, n_out
        if addresses[layer.weight_slot] != 0:
            W = pointer_at(grads, addresses[layer.weight_slot])
            if kind == HAMILTONIAN and k == 1:
                _add_rotated(W, weights, by_out, by_in, n_out, n_in)
            elif kind == ANTISYMMETRIC:
                for o in range(n_out):
                    for i in range(n_in):
                        W[o * n_in + i] = weights[o * by_out + i * by_in] - weights[i * by_out + o * by_in]
            else:
                for o in range(n_out):
                    for i in range(n_in):
                        W[o * to_out + i * to_in] = weights[o * by_out + i * by_in]
        slot = layer.bias_slot
        if slot >= 0:
            _hand_over(shift(grads, layer.bias_bar), grads, addresses[slot], n_out)
        if field.is_gated:
            _hand_over(shift(grads, layer.gate_weight_bar), grads, addresses[slot + 1], n_out)
            _hand_over(shift(grads, layer.gate_bias_bar), grads, addresses[slot + 2], n_out)
            _hand_over(shift(grads, layer.shift_weight_bar), grads, addresses[slot + 3], n_out)


@part
def add_groups(grads: Any, size: int, groups: int) -> None:
    """Adds the cotangents of all other groups to those of the first."""
    width = lanes(grads)
    for at in range(0, size, width):
        sum_of_groups = load(grads, at)
        for group in range(1, groups):
            sum_of_groups = sum_of_groups + load(grads, group * size + at)
        store(grads, at, sum_of_groups)


@part
def _copy(source: Any, target: Any, n: int) -> None:
    for j in range(n):
        target[j] = source[j]


@part
def _hand_over(source: Any, like: Any, address: int, n: int) -> None:
    """Copies to the tensor at `address`, unless that is 0."""
    if address != 0:
        target = pointer_at(like, address)
        for j in range(n):
            target[j] = source[j]


@part
def _add_rotated(W: Any, weights: Any, by_out: int, by_in: int, dim: int, width: int) -> None:
    """Adds the part of the second layer, the rotated W^T, to the cotangent of W (width, dim)."""
    half = dim // 2
    for i in range(width):
        for o in range(half):
            W[i * dim + half + o] += weights[o * by_out + i * by_in]
            W[i * dim + o] -= weights[(half + o) * by_out + i * by_in]
