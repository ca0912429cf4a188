"""Tapes written by hand: every operation, with every kind of operand, in widths that are whole vectors or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pynode.fields.base import System
from pynode.layers import Slot
from pynode.tapes.operations import Operation
from pynode.tapes.tape import Constant, Tape


class Writer:
    """A tape that is being written: `op` gives a register, `row` and `matrix` the number of a constant."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.constants: list[Constant] = []
        self.slots: list[Slot] = []
        self.operations: list[Operation] = []

    def op(self, name: str, inputs: Sequence[int], columns: int, *numbers: float, runs: Sequence[Any] = ()) -> int:
        layer: Any = "time" if all(i <= 0 for i in inputs) else "state"
        self.operations.append(Operation(name, tuple(inputs), columns, layer, numbers, tuple(runs)))
        return 1 + len(self.operations)

    def row(self, *shape: int) -> int:
        return self._constant(Constant(len(self.slots), (math.prod(shape),)), shape)

    def matrix(self, n_out: int, n_in: int, transposed: bool = False) -> int:
        constant = Constant(len(self.slots), (n_out, n_in), transposed)
        return self._constant(constant, (n_in, n_out) if transposed else (n_out, n_in))

    def _constant(self, constant: Constant, shape: tuple[int, ...]) -> int:
        self.slots.append(Slot(f"p{len(self.slots)}", shape))
        self.constants.append(constant)
        return ~(len(self.slots) - 1)

    def sum(self, register: int, columns: int) -> int:
        return self.op("move", (register,), 1, runs=[(0, 0, 1, 0, 0, columns)])

    def linear(self, x: int, n_in: int, n_out: int, transposed: bool = False) -> int:
        return self.op("linear", (x, self.matrix(n_out, n_in, transposed), self.row(n_out)), n_out)

    def tape(self, output: int | None = None) -> Tape:
        output = 1 + len(self.operations) if output is None else output
        constants, operations = tuple(self.constants), tuple(self.operations)
        return Tape(self.dim, tuple(self.slots), (), (), constants, operations, output)


class Prepared(nn.Module):
    """A tape with constants for parameters, as a field that torch operators can evaluate."""

    has_specification: ClassVar[bool] = True

    def __init__(self, tape: Tape, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.tape = tape
        self.constants = nn.ParameterList(
            [(0.5 * torch.randn(s.shape, generator=generator, dtype=torch.float64)).to(dtype) for s in tape.slots()]
        )

    def why_unspecified(self) -> None:
        return None

    def system(self) -> System:
        return System(self.tape, tuple(self.constants), self.tape.dim)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.tape.evaluate_prepared(list(self.constants), t, y)


def mlp(widths: Sequence[int], activation: str = "tanh", *numbers: float) -> Tape:
    w, x = Writer(widths[0]), 1
    for k in range(len(widths) - 1):
        x = w.linear(x, widths[k], widths[k + 1])
        if k < len(widths) - 2:
            x = w.op(activation, (x,), widths[k + 1], *numbers)
    return w.tape()


def chain(widths: Sequence[int], power: float, biases: Sequence[bool], activates_end: bool = False) -> Tape:
    """What a chain of dense layers can be: a power of the state, matrices kept (in, out), layers without bias."""
    w, x = Writer(widths[0]), 1
    if power != 1:
        x = w.op("square", (x,), widths[0]) if power == 2 else w.op("power", (x,), widths[0], power)
    for k, bias in enumerate(biases):
        n_in, n_out = widths[k], widths[k + 1]
        rows = [w.row(n_out)] if bias else []
        x = w.op("linear", (x, w.matrix(n_out, n_in, k % 2 == 0), *rows), n_out)
        if k < len(biases) - 1 or activates_end:
            x = w.op("tanh", (x,), n_out)
    return w.tape()


def layer_norm(dim: int, width: int) -> Tape:
    w = Writer(dim)
    x = w.linear(1, dim, width)
    mean = w.op("affine", (w.sum(x, width),), 1, 1 / width, 0.0)
    centred = w.op("add", (x, mean), width, 1.0, -1.0)
    squares = w.sum(w.op("square", (centred,), width), width)
    deviation = w.op("sqrt", (w.op("affine", (squares,), 1, 1 / width, 1e-5),), 1)
    x = w.op("multiply", (centred, w.op("reciprocal", (deviation,), 1)), width)
    x = w.op("add", (w.op("multiply", (x, w.row(width)), width), w.row(width)), width, 1.0, 1.0)
    w.op("linear", (w.op("silu", (x,), width), w.matrix(dim, width)), dim)
    return w.tape()


def softmax_gates(dim: int, width: int) -> Tape:
    w = Writer(dim)
    x = w.linear(1, dim, width)
    shifted = w.op("add", (x, w.op("largest", (x,), 1, 1)), width, 1.0, -1.0)
    e = w.op("exp", (shifted,), width)
    weights = w.op("multiply", (e, w.op("reciprocal", (w.sum(e, width),), 1)), width)
    w.linear(w.op("multiply", (weights, x), width), width, dim)
    return w.tape()


def time_matrices(dim: int, width: int) -> Tape:
    """A matrix and a bias that depend on time; time as a factor, beside the state, and squeezed between its columns."""
    w = Writer(dim)
    row = w.op("tanh", (w.linear(0, 1, width),), width)
    flat = w.op("linear", (row, w.matrix(width * dim, width)), width * dim)
    matrix = w.op("matrix", (flat,), width * dim, width, dim)
    x = w.op("sigmoid", (w.op("linear", (1, matrix, row), width),), width)
    x = w.op("multiply", (w.op("multiply", (x, row), width), 0), width)
    x = w.op(
        "multiply",
        (
            w.op(
                "add",
                (
                    x,
                    w.row(),
                ),
                width,
                2.0,
                -0.5,
            ),
            w.row(1),
        ),
        width,
    )
    x = w.linear(x, width, dim)
    runs = [(0, 0, 1, 1, 1, dim), (1, 0, 0, 0, 0, 1), (2, 0, 1, 2, 1, dim), (3, 0, 1, 0, 1, 2)]
    w.op("linear", (w.op("move", (x, 0, 1, w.row(2)), dim + 2, runs=runs), w.matrix(dim, dim + 2, True)), dim)
    return w.tape()


def shared(dim: int) -> Tape:
    """Every constant several times, one matrix in both directions; biases that are no rows of constants."""
    w = Writer(dim)
    matrix, bias, other = w.matrix(dim, dim), w.row(dim), w.matrix(dim, dim, True)
    a = w.op("tanh", (w.op("linear", (1, matrix, bias), dim),), dim)
    b = w.op("softplus", (w.op("linear", (a, matrix, bias), dim),), dim, 1.0, 20.0)
    x = w.op("add", (w.op("linear", (b, other, a), dim), 1), dim, 1.0, 0.3)
    x = w.op("add", (w.op("multiply", (x, bias), dim), a), dim, 1.0, 1.0)
    x = w.op("choose", (w.op("greater", (x,), dim, 0.0), a, b), dim)
    x = w.op("choose", (w.op("greater", (w.sum(x, dim),), 1, 0.0), x, bias), dim)
    w.op("linear", (w.op("linear", (x, other, 0), dim), matrix), dim)
    return w.tape()


def lotka_volterra() -> Tape:
    w = Writer(2)
    u, v = (w.op("move", (1,), 1, runs=[(0, k, 1, 0, 1, 1)]) for k in (0, 1))
    both = w.op("multiply", (u, v), 1)
    a, b = w.op("multiply", (u, w.row()), 1), w.op("multiply", (both, w.row(1)), 1)
    c, d = w.op("multiply", (v, w.row()), 1), w.op("multiply", (both, w.row(1, 1, 1)), 1)
    du, dv = w.op("add", (a, b), 1, 1.0, -1.0), w.op("add", (d, c), 1, 1.0, -1.0)
    w.op("move", (du, dv), 2, runs=[(0, 0, 1, 0, 1, 1), (1, 0, 1, 1, 1, 1)])
    return w.tape()


def strided(dim: int) -> Tape:
    """Flipped, interleaved and repeated columns, and a column for all columns in every place."""
    w = Writer(dim)
    x = w.op("tanh", (w.op("move", (1,), dim, runs=[(0, dim - 1, -1, 0, 1, dim)]),), dim)
    both = w.op("move", (x, 1), 2 * dim, runs=[(0, 0, 1, 0, 2, dim), (1, 0, 1, 1, 2, dim)])
    y = w.op("add", (w.linear(both, 2 * dim, dim), w.row(1)), dim, 1.0, 1.0)
    first = w.op("move", (y,), dim, runs=[(0, 0, 0, 0, 1, dim)])
    z = w.op("sigmoid", (w.op("multiply", (first, x), dim),), dim)
    column = w.op("move", (z,), 1, runs=[(0, dim - 1, 1, 0, 1, 1)])
    z = w.op("add", (column, w.op("multiply", (column, z), dim)), dim, 0.3, 1.0)
    z = w.op("choose", (column, w.op("add", (z, w.row()), dim, -1.0, 1.0), column), dim)
    w.op("multiply", (z, w.op("multiply", (0, w.row(1)), 1)), dim)
    return w.tape()


BOUNDS = {"clamp": (0.0, 2.9), "greater": (2.5,), "at_least": (2.4,), "equal": (2.4,)}
NUMBERS = {"power": (2.5,), "softplus": (1.5, 20.0), "leaky_relu": (0.1,), "elu": (1.3, 0.7), "affine": (1.5, 0.3)}


def function(name: str, dim: int) -> Tape:
    """A function of state and of time at positive arguments; sums and products show what it does to padding."""
    w, numbers = Writer(dim), {**BOUNDS, **NUMBERS}.get(name, ())
    x = w.op("affine", (w.op("tanh", (w.linear(1, dim, dim),), dim),), dim, 1.0, 2.5)
    x = w.op(name, (x,), dim, *numbers)
    x = w.op("linear", (w.op("add", (w.sum(x, dim), x), dim, 0.1, 0.2), w.matrix(dim, dim)), dim)
    t = w.op(name, (w.op("affine", (0,), 1, 1.0, 2.5),), 1, *numbers)
    w.op("add", (w.op("add", (x, w.op("multiply", (t, w.row(dim)), dim)), dim, 1.0, 1.0), 1), dim, 1.0, 0.5)
    return w.tape()


def unused(dim: int) -> Tape:
    """Operations that lead nowhere, and a constant that nobody reads."""
    w = Writer(dim)
    w.op("log", (w.op("multiply", (1, w.row(dim)), dim),), dim)
    x = w.op("multiply", (1, w.row(dim)), dim)
    w.op("log", (1,), dim)
    return w.tape(x)


def _single(dim: int, name: str, inputs: Callable[[Writer], Sequence[int]], columns: int) -> Tape:
    w = Writer(dim)
    w.op(name, inputs(w), columns)
    return w.tape()


CHAINS = {
    "gelu_chain": mlp((5, 8, 9, 8, 5), "gelu_tanh"),
    "softplus_chain": mlp((3, 20, 3), "softplus", 1.0, 20.0),
    "cubic_chain": chain((2, 11, 7, 2), 3, (True, False, True)),
    "square_chain": chain((9, 3, 9), 2, (False, True)),
    "one_layer": chain((6, 6), 1, (True,), activates_end=True),
    "linear_chain": chain((3, 3), 1, (False,)),
}
TAPES = {
    **{f"mlp{n}": mlp((n, n + 14, n, n), "sin") for n in (1, 2, 7, 8, 9, 16, 17)},
    **CHAINS,
    "mixed": mlp((5, 8, 8, 8, 5), "leaky_relu", 0.2),
    "layer_norm": layer_norm(3, 20),
    "layer_norm8": layer_norm(2, 8),
    "softmax": softmax_gates(4, 11),
    "time_matrices": time_matrices(3, 7),
    "time_matrices8": time_matrices(8, 8),
    "shared": shared(5),
    "shared16": shared(16),
    "lotka_volterra": lotka_volterra(),
    "strided": strided(3),
    "strided17": strided(17),
    "one_column": _single(4, "linear", lambda w: (1, w.matrix(1, 4)), 1),
    "time_alone": _single(3, "multiply", lambda w: (0, w.row(3)), 3),
    "time_column": _single(3, "multiply", lambda w: (0, w.row()), 1),
    "identity": Writer(3).tape(1),
    "unused": unused(3),
}
