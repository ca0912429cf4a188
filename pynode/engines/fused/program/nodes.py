"""From the operations of a tape to the nodes of a program: fewer kinds, and what is known of each before it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pynode.engines.fused.field.functions import UNARY_CODES
from pynode.engines.fused.places import Places, padded, spreads
from pynode.engines.fused.program.instructions import (
    ADD,
    CHOOSE,
    GATES,
    LARGEST,
    LINEAR,
    MATRIX,
    MOVE,
    MULTIPLY,
    NO_MATRIX,
    PACKED,
    TAPE,
    UNARY,
    Matrix,
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

ELEMENTWISE = (ADD, MULTIPLY, CHOOSE)


@dataclass(eq=False)
class Value:
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
class Node:
    """An operation between values."""

    code: int
    out: Value
    inputs: list[Value]
    numbers: tuple[float, ...] = ()
    function: int = 0
    runs: Sequence[tuple[int, ...]] = ()
    covers: bool = False
    is_slice: bool = False
    clears: bool = False
    has_slope: bool = True
    matrix: Matrix = field(default_factory=lambda: NO_MATRIX)
    matrix_value: Value | None = None


class Nodes:
    """The nodes that the value of a tape depends on: those `before` depend on time alone, the others on the state.

    Constants have their places among the packed parameters and among the cotangents of these.
    """

    def __init__(self, tape: Tape, itemsize: int) -> None:
        self.tape, self.itemsize = tape, itemsize
        self.packed, self.gates, self.grads = Places(), Places(), Places()
        self.before: list[Node] = []
        self.states: list[Node] = []
        self.constants = [self._constant(i) for i in range(len(tape.constants))]
        self.one = self._row(Value(1, PACKED, wanted=False))
        self.one.at = self.packed.take(self.one.step)
        time, self.argument = self._row(Value(1, GATES, wanted=False)), self._row(Value(tape.dim, TAPE))
        time.at = self.gates.take(time.step)
        self._registers = [time, self.argument]
        for operation in tape.operations:
            self._registers.append(self._lower(operation))
        self.out = self._registers[tape.output]
        if not self.out.is_state or self.out.columns != tape.dim:
            run = (0, 0, 0 if self.out.columns == 1 else 1, 0, 1, tape.dim)
            self.out = self._add(Node(MOVE, Value(tape.dim, TAPE), [self.out], runs=(run,)))
        self._drop_unused()

    def _lower(self, operation: Operation) -> Value:
        """The nodes of an operation; its result."""
        inputs = [self.constants[~i] if i < 0 else self._registers[i] for i in operation.inputs]
        name, numbers = operation.name, operation.numbers
        out = Value(operation.columns, TAPE if any(v.is_state for v in inputs) else GATES)
        if name == "affine":
            return self._add(Node(ADD, out, [*inputs, self.one], numbers))
        if name in UNARY_NAMES:
            node = Node(UNARY, out, inputs, numbers, function=UNARY_CODES[name])
            node.clears, node.has_slope = name not in CALM, name not in NO_SLOPE
            return self._add(node)
        if name == "add":
            return self._add(Node(ADD, out, inputs, numbers))
        if name == "linear":
            return self._linear(out, inputs)
        if name == "matrix":
            n_out, n_in = (int(x) for x in numbers)
            row = inputs[0]
            matrix = self._matrix(n_in, n_out, GATES, self.gates, row.wanted)
            out = Value(n_in * n_out, GATES, matrix=matrix)
            return self._add(Node(MATRIX, out, [row], matrix=matrix))
        code = {"multiply": MULTIPLY, "choose": CHOOSE, "move": MOVE, "largest": LARGEST}[name]
        return self._add(Node(code, out, inputs, runs=operation.runs, has_slope=code != LARGEST))

    def _linear(self, out: Value, inputs: list[Value]) -> Value:
        """A linear map; a bias that is not one row for all samples is added afterwards."""
        x, of_matrix, *bias = inputs
        assert of_matrix.matrix is not None
        later = [b for b in bias if b.is_state or b.columns != out.columns or (not x.is_state and out.is_state)]
        rows = [b for b in bias if b not in later]
        product = Value(out.columns, TAPE if x.is_state else GATES)
        node = Node(LINEAR, product, [x, *rows], matrix=of_matrix.matrix, matrix_value=of_matrix)
        value = self._add(node)
        for b in later:
            value = self._add(Node(ADD, Value(out.columns, out.space), [value, b], (1.0, 1.0)))
        return value

    def _add(self, node: Node) -> Value:
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
        if node.code == MOVE:
            # a single column has no step
            node.runs = [(*run[:2], 1, run[3], 1, 1) if run[5] == 1 else run for run in node.runs]
            node.covers = _covers(node)
            node.is_slice = node.covers and len(node.runs) == 1 and node.runs[0][2] == node.runs[0][4] == 1
            node.clears = node.covers and not node.is_slice
        node.clears = node.clears and out.step != out.columns
        (self.states if out.is_state else self.before).append(node)
        return out

    def _drop_unused(self) -> None:
        used = {id(self.out)}
        for nodes in (self.states, self.before):
            for node in reversed(nodes):
                if id(node.out) in used:
                    used.update(id(v) for v in (*node.inputs, node.matrix_value) if v is not None)
        self.states = [node for node in self.states if id(node.out) in used]
        self.before = [node for node in self.before if id(node.out) in used]

    def _row(self, value: Value) -> Value:
        value.step = padded(value.columns, self.itemsize)
        return value

    def _constant(self, i: int) -> Value:
        constant = self.tape.constants[i]
        literal = constant.value - len(self.tape.slots())
        wanted = literal < 0 or self.tape.preparation[literal].target != "literal"
        if constant.is_matrix:
            n_out, n_in = constant.shape
            matrix = self._matrix(n_in, n_out, PACKED, self.packed, wanted)
            return Value(n_in * n_out, PACKED, wanted=wanted, matrix=matrix)
        size = 1
        for n in constant.shape:
            size *= n
        value = self._row(Value(size, PACKED, wanted=wanted))
        value.at, value.bar = self.packed.take(value.step), self.grads.take(value.step)
        return value

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


def _covers(node: Node) -> bool:
    """Whether each column of a `MOVE`, and of its tangents, comes from one run."""
    columns: list[int] = []
    for source, _, _, to, to_step, count in node.runs:
        if node.out.is_state and not node.inputs[source].is_state:
            return False
        columns += [to] if to_step == 0 else range(to, to + to_step * count, to_step)
    return sorted(columns) == list(range(node.out.columns))
