"""From a tape to a program: which memory holds each value and its cotangent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pynode.engines.fused.field.functions import UNARY_CODES
from pynode.engines.fused.places import Places, padded, spreads
from pynode.engines.fused.program.instructions import (
    ADD,
    CHOOSE,
    COLUMN,
    FULL,
    GATES,
    LARGEST,
    LINEAR,
    MATRIX,
    MOVE,
    MULTIPLY,
    NO_MATRIX,
    NUMBER,
    PACKED,
    ROW,
    TAPE,
    UNARY,
    Constant,
    Instruction,
    Matrix,
    Operand,
    Program,
    Run,
)
from pynode.tapes.operations import UNARY as UNARY_NAMES
from pynode.tapes.operations import Operation
from pynode.tapes.tape import Tape

NO_SLOPE = frozenset({"sign", "greater", "at_least", "equal"})
"""Functions with the derivative 0."""

CALM = frozenset(
    {"tanh", "silu", "gelu", "gelu_tanh", "relu", "leaky_relu", "elu", "mish", "sin", "abs", "square"}
    | {"erf", "expm1", "log1p", "atan", "sign"}
)
"""Functions that are 0 at 0, with finite derivatives: padding stays zero."""

WORK = {UNARY: 8}
"""What a column of an instruction's result costs, in multiply-adds; else 1."""

ELEMENTWISE = (ADD, MULTIPLY, CHOOSE)


@dataclass(eq=False)
class _Value:
    """A value of the tape."""

    columns: int
    space: int
    step: int = 0
    at: int = 0
    wanted: bool = True  # depends on what gets a gradient
    pulls_tangents: bool = False  # so do its tangents
    matrix: Matrix | None = None
    bar: int = -1  # where its cotangent lies
    is_pulled: bool = False  # something has been added to it

    @property
    def is_state(self) -> bool:
        """Whether there is a row for each sample."""
        return self.space == TAPE


@dataclass(eq=False)
class _Node:
    """An operation between values."""

    code: int
    out: _Value
    inputs: list[_Value]
    numbers: tuple[float, ...] = ()
    function: int = 0
    runs: Sequence[tuple[int, ...]] = ()
    clears: bool = False
    has_slope: bool = True
    matrix: Matrix = field(default_factory=lambda: NO_MATRIX)
    matrix_value: _Value | None = None


class Sizes(NamedTuple):
    """What a field has to know of its program."""

    packed: int
    gates: int
    grads: int
    out: int  # where the tape holds the field's value, and the distance of its rows
    out_step: int
    work: int  # multiply-adds of one row


def program_of(
    tape: Tape, capacity: int, tangents: int, itemsize: int, state: int, places: Places, scratch: Places
) -> tuple[Program, Sizes]:
    """The program of `tape` for tiles of `capacity` samples, which takes places on a tape and in working memory.

    Without tangents the argument of the field is the state, which lies at `state` already.
    """
    return _Builder(tape, capacity, tangents, itemsize, state, places, scratch).build()


class _Builder:
    def __init__(
        self, tape: Tape, capacity: int, tangents: int, itemsize: int, state: int, places: Places, scratch: Places
    ) -> None:
        self.tape, self.capacity, self.rows, self.itemsize = tape, capacity, capacity * (1 + tangents), itemsize
        self.places, self.scratch = places, scratch
        self.packed, self.gates, self.grads = Places(), Places(), Places()
        self.one = self.packed.take(padded(1, itemsize))
        self.before: list[_Node] = []
        self.nodes: list[_Node] = []
        self.constants = [self._constant(i) for i in range(len(tape.constants))]
        self.number = self._row(_Value(1, PACKED, at=self.one, wanted=False))
        self.time = self._row(_Value(1, GATES, wanted=False))
        self.time.at = self.gates.take(self.time.step)
        self.argument = self._row(_Value(tape.dim, TAPE))
        self.argument.at = places.take(self.rows * self.argument.step) if tangents else state
        self.registers = [self.time, self.argument]
        self._free: dict[int, list[int]] = {}

    def build(self) -> tuple[Program, Sizes]:
        """The program and its sizes."""
        for operation in self.tape.operations:
            self.registers.append(self._lower(operation))
        out = self.registers[self.tape.output]
        if not out.is_state or out.columns != self.tape.dim:
            run = (0, 0, 0 if out.columns == 1 else 1, 0, 1, self.tape.dim)
            out = self._add(_Node(MOVE, _Value(self.tape.dim, TAPE), [out], runs=(run,)))
        self._drop_unused(out)
        self._place()
        steps = [v.step for node in self.before + self.nodes for v in (node.out, *node.inputs)]
        widest = max([self.argument.step, *steps])
        blocks = [self.scratch.take(size * widest) for size in (self.rows, self.capacity, self.capacity)]
        value_bar = out.bar = self._take(out.step)
        instructions = [self._instruction(node) for node in reversed(self.nodes)][::-1]
        before = [self._instruction(node) for node in reversed(self.before)][::-1]
        program = Program(
            n_before=len(before),
            before=before,
            n_instructions=len(instructions),
            instructions=instructions,
            n_constants=len(self.constants),
            constants=[
                Constant(given.is_matrix, given.transposed, self._stored(value))
                for given, value in zip(self.tape.constants, self.constants, strict=True)
            ],
            state=self.argument.at,
            state_step=self.argument.step,
            state_bar=max(0, self.argument.bar),
            has_state_bar=self.argument.bar >= 0,
            value_bar=value_bar,
            zeros=self.packed.take(widest),
            one=self.one,
            time_bars=self.time_bars,
            time_bars_size=self.time_bars_size,
            block=blocks[0],
            second_block=blocks[1],
            third_block=blocks[2],
        )
        work = sum(self._work(node) for node in self.nodes)
        return program, Sizes(self.packed.total, self.gates.total, self.grads.total, out.at, out.step, work)

    # --- from operations to nodes ---

    def _lower(self, operation: Operation) -> _Value:
        """The nodes of an operation; its result."""
        inputs = [self.constants[~i] if i < 0 else self.registers[i] for i in operation.inputs]
        name, numbers = operation.name, operation.numbers
        out = _Value(operation.columns, TAPE if any(v.is_state for v in inputs) else GATES)
        if name == "affine":
            return self._add(_Node(ADD, out, [*inputs, self.number], numbers))
        if name in UNARY_NAMES:
            node = _Node(UNARY, out, inputs, numbers, function=UNARY_CODES[name])
            node.clears, node.has_slope = name not in CALM, name not in NO_SLOPE
            return self._add(node)
        if name == "add":
            return self._add(_Node(ADD, out, inputs, numbers))
        if name == "linear":
            return self._linear(out, inputs)
        if name == "matrix":
            n_out, n_in = (int(x) for x in numbers)
            row = inputs[0]
            matrix = self._matrix(n_in, n_out, GATES, self.gates, row.wanted)
            out = _Value(n_in * n_out, GATES, matrix=matrix)
            return self._add(_Node(MATRIX, out, [row], matrix=matrix))
        code = {"multiply": MULTIPLY, "choose": CHOOSE, "move": MOVE, "largest": LARGEST}[name]
        return self._add(_Node(code, out, inputs, runs=operation.runs, has_slope=code != LARGEST))

    def _linear(self, out: _Value, inputs: list[_Value]) -> _Value:
        """A linear map; a bias that is not one row for all samples is added afterwards."""
        x, of_matrix, *bias = inputs
        assert of_matrix.matrix is not None
        later = [b for b in bias if b.is_state or b.columns != out.columns or (not x.is_state and out.is_state)]
        rows = [b for b in bias if b not in later]
        product = _Value(out.columns, TAPE if x.is_state else GATES)
        node = _Node(LINEAR, product, [x, *rows], matrix=of_matrix.matrix, matrix_value=of_matrix)
        value = self._add(node)
        for b in later:
            value = self._add(_Node(ADD, _Value(out.columns, out.space), [value, b], (1.0, 1.0)))
        return value

    def _add(self, node: _Node) -> _Value:
        out, inputs = node.out, node.inputs
        sources = [*inputs, node.matrix_value] if node.matrix_value is not None else inputs
        out.wanted = any(v.wanted for v in sources) and (node.has_slope or out.is_state)
        bends = node.code in (UNARY, MULTIPLY, LINEAR)
        out.pulls_tangents = out.is_state and (bends or any(v.pulls_tangents for v in inputs))
        self._row(out)
        if node.code in (ADD, CHOOSE):
            # a single column goes into the padding as well
            factors = node.numbers if node.code == ADD else (0.0, 1.0, 1.0)
            node.clears = any(v.columns != out.columns and c for v, c in zip(inputs, factors, strict=True))
        node.clears = node.clears and out.step != out.columns
        (self.nodes if out.is_state else self.before).append(node)
        return out

    def _drop_unused(self, out: _Value) -> None:
        """Keeps the nodes that the field's value depends on."""
        used = {id(out)}
        for nodes in (self.nodes, self.before):
            for node in reversed(nodes):
                if id(node.out) in used:
                    used.update(id(v) for v in (*node.inputs, node.matrix_value) if v is not None)
        self.nodes = [node for node in self.nodes if id(node.out) in used]
        self.before = [node for node in self.before if id(node.out) in used]

    # --- places ---

    def _row(self, value: _Value) -> _Value:
        value.step = padded(value.columns, self.itemsize)
        return value

    def _constant(self, i: int) -> _Value:
        constant = self.tape.constants[i]
        literal = constant.value - len(self.tape.slots())
        wanted = literal < 0 or self.tape.preparation[literal].target != "literal"
        if constant.is_matrix:
            n_out, n_in = constant.shape
            matrix = self._matrix(n_in, n_out, PACKED, self.packed, wanted)
            return _Value(n_in * n_out, PACKED, wanted=wanted, matrix=matrix)
        size = 1
        for n in constant.shape:
            size *= n
        value = self._row(_Value(size, PACKED, wanted=wanted))
        value.at, value.bar = self.packed.take(value.step), self.grads.take(value.step)
        return value

    def _stored(self, value: _Value) -> Matrix:
        """A constant as a matrix, a row being one of a single column."""
        if value.matrix is not None:
            return value.matrix
        at, step = value.at, value.step
        return Matrix(1, value.columns, 1, step, PACKED, at, at, False, False, False, value.wanted, True, value.bar)

    def _matrix(self, n_in: int, n_out: int, space: int, places: Places, wanted: bool) -> Matrix:
        in_step, out_step = padded(n_in, self.itemsize), padded(n_out, self.itemsize)
        by_input = n_in >= n_out
        size = n_out * in_step if by_input else n_in * out_step
        is_constant = space == PACKED
        return Matrix(
            n_in=n_in,
            n_out=n_out,
            in_step=in_step,
            out_step=out_step,
            space=space,
            forward=places.take(n_in * out_step),
            backward=places.take(n_out * in_step),
            spreads_forward=spreads(n_in, n_out, self.itemsize),
            spreads_back=spreads(n_out, n_in, self.itemsize),
            by_input=by_input,
            wanted=wanted,
            in_grads=is_constant,
            bar=self.grads.take(size) if is_constant else 0,
        )

    def _place(self) -> None:
        """Places of all results, and of the cotangents of those that depend on time alone."""
        start = self.time_bars = self.scratch.total
        for node in self.before:
            matrix, out = node.out.matrix, node.out
            if matrix is None:
                out.at = self.gates.take(out.step)
                size = out.step
            else:
                size = matrix.n_out * matrix.in_step if matrix.by_input else matrix.n_in * matrix.out_step
            if out.wanted:
                out.bar = self.scratch.take(size)
                if matrix is not None:
                    matrix.bar = out.bar
        self.time_bars_size = self.scratch.total - start
        for node in self.nodes:
            node.out.at = self.places.take(self.rows * node.out.step)

    def _take(self, step: int) -> int:
        """A block for a cotangent of all rows, which another one may have left."""
        size = self.rows * step
        left = self._free.get(size)
        return left.pop() if left else self.scratch.take(size)

    # --- from nodes to instructions, the last one first ---

    def _instruction(self, node: _Node) -> Instruction:
        out, is_move = node.out, node.code == MOVE
        pulls = out.wanted and node.has_slope and (out.bar >= 0 if out.is_state else out.is_pulled)
        wanted = [pulls and v.wanted and not (node.code == CHOOSE and k == 0) for k, v in enumerate(node.inputs)]
        last = wanted.index(True) if True in wanted else -1
        operands: list[Operand] = []
        keeps = True
        for k in range(len(node.inputs) - 1, -1, -1):
            value = node.inputs[k]
            kind = FULL if is_move and value.is_state else self._kind(node, value)
            adds = not value.is_state or value.bar >= 0
            if wanted[k]:
                value.is_pulled = True
                if value.is_state and value.bar < 0:
                    # elementwise, the last operand's cotangent may take the place of the result's
                    in_place = k == last and kind == FULL and value.step == out.step
                    if in_place and node.code in (*ELEMENTWISE, UNARY):
                        value.bar, keeps = out.bar, False
                    else:
                        value.bar = self._take(value.step)
            operands.append(
                Operand(
                    space=value.space,
                    at=value.at,
                    row=value.step if value.is_state or not out.is_state else 0,
                    columns=value.columns,
                    is_column=node.code in ELEMENTWISE and value.columns == 1 < out.columns,
                    has_tangents=value.is_state,
                    kind=kind,
                    wanted=wanted[k],
                    adds=adds,
                    in_grads=value.space == PACKED,
                    bar=max(0, value.bar),
                    pulls_tangents=value.pulls_tangents,
                )
            )
        if pulls and node.matrix_value is not None:
            node.matrix_value.is_pulled = True
        if pulls and out.is_state and keeps:
            self._free.setdefault(self.rows * out.step, []).append(out.bar)
        p, q, *_ = (*node.numbers, 0.0, 0.0)
        return Instruction(
            code=node.code,
            function=node.function,
            p=float(p),
            q=float(q),
            at=out.at,
            columns=out.columns,
            step=out.step,
            clears=node.clears,
            pulls=pulls,
            bar=max(0, out.bar),
            n_operands=len(operands),
            operands=operands[::-1],
            n_runs=len(node.runs),
            runs=[Run(*run) for run in node.runs],
            matrix=node.matrix,
        )

    @staticmethod
    def _kind(node: _Node, value: _Value) -> int:
        is_column = node.code in ELEMENTWISE and value.columns == 1 < node.out.columns
        if not node.out.is_state:
            return NUMBER if is_column else FULL
        if value.is_state:
            return COLUMN if is_column else FULL
        return NUMBER if is_column else ROW

    @staticmethod
    def _work(node: _Node) -> int:
        if node.code == LINEAR:
            return node.matrix.n_in * node.matrix.n_out
        return WORK.get(node.code, 1) * node.out.columns
