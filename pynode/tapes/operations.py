"""The operations of a tape, each with its formula on torch tensors.

A register holds one row of columns for every sample (layer `STATE`), or a single row for all of them (layer `TIME`:
functions of time and parameters alone).  Operands of elementwise operations broadcast: a single row over samples, a
single column over columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Layer: TypeAlias = Literal["time", "state"]
TIME: Layer = "time"
STATE: Layer = "state"

Run: TypeAlias = tuple[int, int, int, int, int, int]
"""`count` columns of one source: (source, first column, its step, first target column, its step, count)."""

Elementwise: TypeAlias = Callable[..., Tensor]

UNARY: dict[str, tuple[int, Elementwise]] = {
    "tanh": (0, torch.tanh),
    "sigmoid": (0, torch.sigmoid),
    "softplus": (2, lambda x, beta, threshold: functional.softplus(x, beta, threshold)),
    "silu": (0, functional.silu),
    "gelu": (0, functional.gelu),
    "gelu_tanh": (0, lambda x: functional.gelu(x, approximate="tanh")),
    "relu": (0, torch.relu),
    "leaky_relu": (1, functional.leaky_relu),
    "elu": (2, lambda x, alpha, scale: scale * functional.elu(x, alpha)),
    "mish": (0, functional.mish),
    "clamp": (2, torch.clamp),
    "sin": (0, torch.sin),
    "cos": (0, torch.cos),
    "exp": (0, torch.exp),
    "log": (0, torch.log),
    "sqrt": (0, torch.sqrt),
    "abs": (0, torch.abs),
    "square": (0, torch.square),
    "power": (1, torch.pow),
    "reciprocal": (0, torch.reciprocal),
    "affine": (2, lambda x, scale, offset: scale * x + offset),
    "erf": (0, torch.erf),
    "expm1": (0, torch.expm1),
    "log1p": (0, torch.log1p),
    "atan": (0, torch.atan),
    "sign": (0, torch.sign),
    "greater": (1, lambda x, bound: (x > bound).to(x.dtype)),
    "at_least": (1, lambda x, bound: (x >= bound).to(x.dtype)),
    "equal": (1, lambda x, bound: (x == bound).to(x.dtype)),
}
"""Functions of one number: how many `numbers` they take beside it, and the formula.

`greater`, `at_least` and `equal` give 1 or 0 and have the derivative 0, as `sign` has.
"""

OTHERS = ("add", "multiply", "choose", "move", "linear", "matrix", "largest")
"""Operations that are no function of one number, see `Operation`."""


@dataclass(frozen=True)
class Operation:
    """One operation, which writes a register of its own.

    An input is the number of a register, or `~i` (negative) for constant i of the tape.  `name` is one of `UNARY`
    (`numbers` are its parameters), or

    - `add`: numbers (alpha, beta), alpha a + beta b;
    - `multiply`: a b;
    - `choose`: inputs (mask, a, b), a where the mask is not 0, else b;
    - `move`: every run of `runs` adds columns of a source to columns of the result, which is 0 elsewhere;
    - `linear`: inputs (x, matrix) or (x, matrix, bias), x W^T + bias with a matrix (out, in), which is a constant or
      the result of `matrix`;
    - `matrix`: numbers (out, in), a matrix of those sizes from a row of time, which it fills row by row;
    - `largest`: numbers (groups,), the largest of each group of adjoining columns, with the derivative 0.
    """

    name: str
    inputs: tuple[int, ...]
    columns: int
    layer: Layer
    numbers: tuple[float, ...] = ()
    runs: tuple[Run, ...] = ()


def evaluate(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    """The value of `operation` `(..., columns)`, or `(out, in)` of a matrix, for these values of its inputs."""
    name, numbers = operation.name, operation.numbers
    if name in UNARY:
        return UNARY[name][1](inputs[0], *numbers)
    if name == "add":
        alpha, beta = numbers
        return alpha * inputs[0] + beta * inputs[1]
    if name == "multiply":
        return inputs[0] * inputs[1]
    if name == "choose":
        return torch.where(inputs[0] != 0, inputs[1], inputs[2])
    if name == "move":
        return _moved(operation, inputs)
    if name == "linear":
        return functional.linear(*inputs)
    if name == "matrix":
        return inputs[0].reshape(int(numbers[0]), int(numbers[1]))
    groups = int(numbers[0])
    x = inputs[0].detach()
    return x.reshape(*x.shape[:-1], groups, -1).amax(-1)


def _moved(operation: Operation, inputs: Sequence[Tensor]) -> Tensor:
    lead = max((x.shape[:-1] for x in inputs), key=len)  # rows of time and constants have no more than columns
    columns = torch.zeros((*lead, operation.columns), dtype=inputs[0].dtype, device=inputs[0].device)
    for source, first, step, to, to_step, count in operation.runs:
        places = torch.arange(count, device=columns.device)
        moved = inputs[source].expand(*lead, -1)[..., first + step * places]
        columns = columns.index_add(-1, to + to_step * places, moved)
    return columns
