"""Theta's tensors, which are the constants of a tape, to what instructions read, and their cotangents back."""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import part
from pynode.engines.fused.program.instructions import Program
from pynode.engines.fused.simd import pointer_at, shift


@part
def pack_constants(program: Program, addresses: Any, packed: Any) -> None:
    """Fills the packed parameters, whose padding must be zero, from the tensors at `addresses`."""
    packed[program.one] = 1.0
    for k in range(program.n_constants):
        constant = program.constants[k]
        matrix = constant.matrix
        n_in, n_out, values = matrix.n_in, matrix.n_out, pointer_at(packed, addresses[k])
        forward, backward = shift(packed, matrix.forward), shift(packed, matrix.backward)
        by_out, by_in = n_in, 1
        if constant.is_transposed:
            by_out, by_in = 1, n_out
        for o in range(n_out):
            for i in range(n_in):
                x = values[o * by_out + i * by_in]
                forward[i * matrix.out_step + o] = x
                if constant.is_matrix:
                    backward[o * matrix.in_step + i] = x


@part
def unpack_constants(program: Program, grads: Any, addresses: Any) -> None:
    """Copies the cotangents `grads` to the tensors at `addresses` (0: not wanted)."""
    for k in range(program.n_constants):
        if addresses[k] != 0:
            constant = program.constants[k]
            matrix = constant.matrix
            n_in, n_out, target = matrix.n_in, matrix.n_out, pointer_at(grads, addresses[k])
            bars, from_out, from_in = shift(grads, matrix.bar), 1, matrix.out_step
            if matrix.by_input:
                from_out, from_in = matrix.in_step, 1
            by_out, by_in = n_in, 1
            if constant.is_transposed:
                by_out, by_in = 1, n_out
            for o in range(n_out):
                for i in range(n_in):
                    target[o * by_out + i * by_in] = bars[o * from_out + i * from_in]
