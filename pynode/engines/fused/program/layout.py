"""From a tape to a program: which memory holds each value and its cotangent."""

from __future__ import annotations

from typing import NamedTuple

from pynode.engines.fused.places import Places
from pynode.engines.fused.program.instructions import (
    CHOOSE,
    COLUMN,
    FULL,
    LINEAR,
    MOVE,
    NUMBER,
    PACKED,
    ROW,
    UNARY,
    Constant,
    Instruction,
    Matrix,
    Operand,
    Program,
    Run,
)
from pynode.engines.fused.program.nodes import ELEMENTWISE, Node, Nodes, Value
from pynode.tapes.tape import Tape

WORK = {UNARY: 8}
"""What a column of an instruction's result costs, in multiply-adds; else 1."""


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
        self.tape, self.capacity, self.rows = tape, capacity, capacity * (1 + tangents)
        self.places, self.scratch = places, scratch
        self.nodes = Nodes(tape, itemsize)
        argument = self.nodes.argument
        argument.at = places.take(self.rows * argument.step) if tangents else state
        self._free: dict[int, list[int]] = {}

    def build(self) -> tuple[Program, Sizes]:
        """The program and its sizes."""
        nodes, out, argument = self.nodes, self.nodes.out, self.nodes.argument
        self._place()
        step = max([argument.step, *(v.step for node in nodes.states for v in (node.out, *node.inputs))])
        widest = max([step, *(v.step for node in nodes.before for v in (node.out, *node.inputs))])
        rows = self.rows, self.capacity, self.capacity
        blocks = [self.scratch.take(max(n * step, widest)) for n in rows]
        value_bar = out.bar = self._take(out.step)
        instructions = [self._instruction(node) for node in reversed(nodes.states)][::-1]
        before = [self._instruction(node) for node in reversed(nodes.before)][::-1]
        program = Program(
            n_before=len(before),
            before=before,
            n_instructions=len(instructions),
            instructions=instructions,
            n_constants=len(nodes.constants),
            constants=[
                Constant(given.is_matrix, given.transposed, self._stored(value))
                for given, value in zip(self.tape.constants, nodes.constants, strict=True)
            ],
            state=argument.at,
            state_step=argument.step,
            state_bar=max(0, argument.bar),
            has_state_bar=argument.bar >= 0,
            value_bar=value_bar,
            zeros=nodes.packed.take(widest),
            one=nodes.one.at,
            time_bars=self.time_bars,
            time_bars_size=self.time_bars_size,
            block=blocks[0],
            second_block=blocks[1],
            third_block=blocks[2],
        )
        work = sum(self._work(node) for node in nodes.states)
        return program, Sizes(nodes.packed.total, nodes.gates.total, nodes.grads.total, out.at, out.step, work)

    # --- places ---

    def _stored(self, value: Value) -> Matrix:
        """A constant as a matrix, a row being one of a single column."""
        if value.matrix is not None:
            return value.matrix
        at, step = value.at, value.step
        return Matrix(1, value.columns, 1, step, PACKED, at, at, False, False, False, value.wanted, True, value.bar)

    def _place(self) -> None:
        """Places of all results, and of the cotangents of those that depend on time alone."""
        start = self.time_bars = self.scratch.total
        for node in self.nodes.before:
            matrix, out = node.out.matrix, node.out
            if matrix is None:
                out.at = self.nodes.gates.take(out.step)
                size = out.step
            else:
                size = matrix.n_out * matrix.in_step if matrix.by_input else matrix.n_in * matrix.out_step
            if out.wanted:
                out.bar = self.scratch.take(size)
                if matrix is not None:
                    matrix.bar = out.bar
        self.time_bars_size = self.scratch.total - start
        for node in self.nodes.states:
            node.out.at = self.places.take(self.rows * node.out.step)

    def _take(self, step: int) -> int:
        """A block for a cotangent of all rows, which another one may have left."""
        size = self.rows * step
        left = self._free.get(size)
        return left.pop() if left else self.scratch.take(size)

    # --- from nodes to instructions, the last one first ---

    def _instruction(self, node: Node) -> Instruction:
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
            covers=node.covers,
            is_slice=node.is_slice,
            matrix=node.matrix,
        )

    @staticmethod
    def _kind(node: Node, value: Value) -> int:
        is_column = node.code in ELEMENTWISE and value.columns == 1 < node.out.columns
        if not node.out.is_state:
            return NUMBER if is_column else FULL
        if value.is_state:
            return COLUMN if is_column else FULL
        return NUMBER if is_column else ROW

    @staticmethod
    def _work(node: Node) -> int:
        if node.code == LINEAR:
            return node.matrix.n_in * node.matrix.n_out
        return WORK.get(node.code, 1) * node.out.columns
