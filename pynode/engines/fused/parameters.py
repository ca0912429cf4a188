"""Theta's tensors to the matrices that the kernels multiply by, and the cotangent of these back to theta's.

Tensors are reached by the addresses of their first entries, in the order of the specification; each is contiguous.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import (
    ANTISYMMETRIC,
    BACKWARD,
    BIAS,
    BY_INPUT,
    FORWARD,
    G_BIAS,
    G_GATE_BIAS,
    G_GATE_WEIGHT,
    G_SHIFT_WEIGHT,
    G_WEIGHT,
    GATE_BIAS,
    GATE_WEIGHT,
    GATED,
    GRADS,
    HAMILTONIAN,
    HEAD,
    IN,
    IN_STEP,
    KIND,
    LAYER,
    LAYERS,
    OUT,
    OUT_STEP,
    SHIFT_WEIGHT,
)
from pynode.engines.fused.jit import part
from pynode.engines.fused.simd import lanes, load, pointer_at, shift, store


@part
def pack(d: Any, gamma: float, addresses: Any, p: Any) -> None:
    """Fills the packed parameters `p`, whose padding must be zero, from the tensors at `addresses`."""
    kind, slot = d[KIND], 0
    for k in range(d[LAYERS]):
        layer = shift(d, HEAD + LAYER * k)
        n_in, n_out = layer[IN], layer[OUT]
        forward, backward = shift(p, layer[FORWARD]), shift(p, layer[BACKWARD])
        W = pointer_at(p, addresses[slot])
        for o in range(n_out):
            for i in range(n_in):
                if kind == ANTISYMMETRIC:
                    value = W[o * n_in + i] - W[i * n_in + o]
                    if i == o:
                        value -= gamma
                elif kind == HAMILTONIAN and k == 1:
                    half = n_out // 2
                    value = W[i * n_out + half + o] if o < half else -W[i * n_out + o - half]
                else:
                    value = W[o * n_in + i]
                forward[i * layer[OUT_STEP] + o] = value
                backward[o * layer[IN_STEP] + i] = value
        if kind == HAMILTONIAN and k == 1:
            break
        _copy(pointer_at(p, addresses[slot + 1]), shift(p, layer[BIAS]), n_out)
        if d[GATED] == 1:
            _copy(pointer_at(p, addresses[slot + 2]), shift(p, layer[GATE_WEIGHT]), n_out)
            _copy(pointer_at(p, addresses[slot + 3]), shift(p, layer[GATE_BIAS]), n_out)
            _copy(pointer_at(p, addresses[slot + 4]), shift(p, layer[SHIFT_WEIGHT]), n_out)
        # both layers of Hamiltonian are made from the same tensors
        slot += 5 if d[GATED] == 1 else 0 if kind == HAMILTONIAN else 2


@part
def unpack(d: Any, g: Any, groups: int, addresses: Any) -> None:
    """Adds up the cotangents `g` of all groups, in their order, into the tensors at `addresses` (0: not wanted)."""
    _add_groups(g, d[GRADS], groups)
    kind, slot = d[KIND], 0
    for k in range(d[LAYERS]):
        layer = shift(d, HEAD + LAYER * k)
        n_in, n_out = layer[IN], layer[OUT]
        weights = shift(g, layer[G_WEIGHT])
        # where the cotangent of W[o, i] stands
        by_out, by_in = (layer[IN_STEP], 1) if layer[BY_INPUT] == 1 else (1, layer[OUT_STEP])
        if addresses[slot] != 0:
            W = pointer_at(g, addresses[slot])
            if kind == HAMILTONIAN and k == 1:
                _add_rotated(W, weights, by_out, by_in, n_out, n_in)
            elif kind == ANTISYMMETRIC:
                for o in range(n_out):
                    for i in range(n_in):
                        W[o * n_in + i] = weights[o * by_out + i * by_in] - weights[i * by_out + o * by_in]
            else:
                for o in range(n_out):
                    for i in range(n_in):
                        W[o * n_in + i] = weights[o * by_out + i * by_in]
        if kind == HAMILTONIAN and k == 1:
            break
        _hand_over(shift(g, layer[G_BIAS]), g, addresses[slot + 1], n_out)
        if d[GATED] == 1:
            _hand_over(shift(g, layer[G_GATE_WEIGHT]), g, addresses[slot + 2], n_out)
            _hand_over(shift(g, layer[G_GATE_BIAS]), g, addresses[slot + 3], n_out)
            _hand_over(shift(g, layer[G_SHIFT_WEIGHT]), g, addresses[slot + 4], n_out)
        slot += 5 if d[GATED] == 1 else 0 if kind == HAMILTONIAN else 2


@part
def _add_groups(g: Any, size: int, groups: int) -> None:
    """Adds the cotangents of all other groups to those of the first."""
    width = lanes(g)
    for at in range(0, size, width):
        found = load(g, at)
        for group in range(1, groups):
            found = found + load(g, group * size + at)
        store(g, at, found)


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
