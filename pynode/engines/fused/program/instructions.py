"""Records of a program: the operations of a tape, with the places of everything that they read and write.

A value is a block of rows, each padded to whole vectors, and padding is zero at all times.  It lies

- on the tape where it depends on the state: a row for each sample, and behind them those of the tangents;
- among the gates where it depends on time alone: one row;
- among the packed parameters where it is a constant: one row, or a matrix.

Its cotangent is a block of the same form: in working memory, or among the cotangents of the packed parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pynode.engines.fused.records import Record

TAPE, GATES, PACKED = range(3)
"""Where a value lies."""

FULL, ROW, COLUMN, NUMBER = range(4)
"""What an operand's cotangent takes of each row of the result: the row itself, its sum with those of all samples, the
sum of its columns, or both sums in one."""


UNARY, ADD, MULTIPLY, CHOOSE, MOVE, LINEAR, MATRIX, LARGEST = range(8)
"""What an instruction does, see `pynode.tapes.operations`; an affine function is `ADD` of a one."""


@dataclass(eq=False)
class Operand(Record):
    """A value as one instruction reads it."""

    space: int
    at: int
    row: int  # distance of two samples' rows, 0 where all share one
    columns: int
    is_column: bool  # a single column for all columns of the result
    has_tangents: bool
    # --- its cotangent ---
    kind: int
    wanted: bool
    adds: bool  # to what other instructions have written there
    in_grads: bool
    bar: int
    pulls_tangents: bool  # the tangents depend on what gets a gradient


@dataclass(eq=False)
class Matrix(Record):
    """A matrix as linear maps use it: W^T (in, out) from `forward` on, W (out, in) from `backward` on."""

    n_in: int
    n_out: int
    in_step: int
    out_step: int
    space: int
    forward: int
    backward: int
    spreads_forward: bool  # W x takes the first form of `products`
    spreads_back: bool
    by_input: bool  # the cotangent is (out, in), else (in, out)
    wanted: bool
    in_grads: bool
    bar: int


@dataclass(eq=False)
class Run(Record):
    """`count` columns of a source that are added to columns of the result."""

    source: int
    first: int
    step: int
    to: int
    to_step: int
    count: int


@dataclass(eq=False)
class Instruction(Record):
    """One operation."""

    code: int
    function: int  # of `UNARY`
    p: float
    q: float
    at: int
    columns: int
    step: int
    clears: bool  # padding has to be cleared
    pulls: bool  # its result has a cotangent
    bar: int
    n_operands: int
    operands: list[Operand]
    n_runs: int
    runs: list[Run]
    covers: bool  # each column of a `MOVE` is that of one run, and so are those of its tangents
    is_slice: bool  # adjoining columns of one operand
    matrix: Matrix


@dataclass(eq=False)
class Constant(Record):
    """One of theta's tensors: a row of `n_out` numbers at `forward`, or a matrix."""

    is_matrix: bool
    is_transposed: bool  # the tensor is (in, out)
    matrix: Matrix


NO_MATRIX = Matrix(*(0,) * 13)  # type: ignore[arg-type]


@dataclass(eq=False)
class Program(Record):
    """All instructions: those that depend on time alone, then those of every sample."""

    n_before: int = 0
    before: list[Instruction] = field(default_factory=list)
    n_instructions: int = 0
    instructions: list[Instruction] = field(default_factory=list)
    n_constants: int = 0
    constants: list[Constant] = field(default_factory=list)
    state: int = 0  # where the tape holds the field's argument, with its tangents
    state_step: int = 0
    state_bar: int = 0
    has_state_bar: bool = False
    value_bar: int = 0
    # among the packed parameters: zeros, as many as the widest row, and a one
    zeros: int = 0
    one: int = 0
    # in working memory: the cotangents of what depends on time, and three blocks as large as the largest value
    time_bars: int = 0
    time_bars_size: int = 0
    block: int = 0
    second_block: int = 0
    third_block: int = 0
