"""A vector field as the kernels know it: a record of sizes and places, so that one kernel serves all widths.

It is a chain of dense layers, x -> (W x + b) * gate + shift with an activation after each layer but the last (after the
last too where `activates_end`), or the program of a tape.  The four architectures are chains:

- MLP and ConcatSquash as they stand;
- Antisymmetric is one layer with the matrix W - W^T - gamma I, activated at the end;
- Hamiltonian is W, b and then the rotated W^T without bias.

`parameters` writes the matrices of this chain from theta, and theta's cotangent from theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

from pynode.engines.fused import ACTIVATIONS
from pynode.engines.fused.field.chain import PLAIN, Chain, chain_of
from pynode.engines.fused.places import Places, padded, spreads
from pynode.engines.fused.program.instructions import Program
from pynode.engines.fused.program.layout import program_of
from pynode.engines.fused.records import Record
from pynode.fields.base import FieldSpec, System
from pynode.fields.hamiltonian import Hamiltonian
from pynode.tapes.tape import Tape

NO_FLOW, EXACT, HUTCHINSON, ZERO = range(4)
"""The divergence: ZERO where it vanishes identically, so that no tangents are needed."""

Costs: TypeAlias = tuple[str, bool, bool] | None
"""Of a flow: the divergence, and whether there are a kinetic and a Jacobian cost."""

TILE_ROWS = 48
"""Samples and tangents of a tile together: enough for the blocks of products, little enough for the cache."""


@dataclass(eq=False)
class Layer(Record):
    """One dense layer.  A step is the distance of two rows, in numbers; columns are padded to whole vectors."""

    n_in: int
    n_out: int
    in_step: int
    out_step: int
    x_step: int  # of the layer's input on the tape
    # which of theta's tensors its matrix and its bias are (-1: none); a transposed matrix is (in, out) there
    weight_slot: int
    bias_slot: int
    is_transposed: bool
    # where the packed parameters hold W^T (in, out), W (out, in), b, and the layer's gate and shift
    forward: int
    backward: int
    bias: int
    gate_weight: int
    gate_bias: int
    shift_weight: int
    gates: int  # where the gates of one time start; the shifts follow `out_step` later
    spreads_forward: bool  # W x takes the first form of `products`
    spreads_back: bool  # so does its cotangent
    # where the cotangent of the packed parameters holds those of this layer
    by_input: bool  # that of W is (out, in), else (in, out)
    weight_bar: int
    bias_bar: int
    gate_weight_bar: int
    gate_bias_bar: int
    shift_weight_bar: int
    # where a tape holds the layer's input and product W x + b, and behind it those of the tangents
    x: int
    z: int
    z_bar: int  # where `Field.bars_size` numbers hold the cotangent of the product of a sample alone


@dataclass(eq=False)
class Field(Record):
    """A system for tiles of at most `capacity` samples.

    Steppers know its sizes: an evaluation takes a tape of `tape_size` numbers, with the state at `state`, and
    `scratch_size` numbers of working memory.
    """

    # --- what steppers know ---
    columns: int  # entries of one sample's state
    state_step: int  # distance of two samples' states
    capacity: int
    dim: int  # entries of one sample's probe
    n_tangents: int  # tangents that are pushed forward with each sample
    packed_size: int  # numbers of the packed parameters
    gates_size: int  # numbers that depend on time alone
    bars_size: int  # cotangents that a sample alone leaves for later products, see `single`
    grads_size: int  # numbers of the cotangent of the packed parameters
    tape_size: int
    state: int  # where the tape holds the state
    scratch_size: int
    is_single: bool  # a sample alone goes the way of `single`
    is_program: bool  # instructions of `program` rather than a chain of layers
    work: int  # multiply-adds of one row

    divergence: int
    has_kinetic: bool
    has_jacobian: bool
    out: int  # where a tape holds the field's value and the pushed tangents, and the distance of their rows
    out_step: int
    directions: int  # those of the tangents, in working memory
    entry: int = 0  # the address of the function that does all this, see `interface`
    program: Program = dataclass_field(default_factory=Program)

    # --- the chain ---
    matrices: int = PLAIN
    gamma: float = 0.0  # Antisymmetric's damping
    power: int = 1  # exponent of the input
    activation: int = 0
    activates_end: bool = False
    is_gated: bool = False  # layers have gate and shift
    zeros: int = 0  # where the packed parameters hold zeros, as many as the widest layer
    # in working memory: two buffers for the cotangents of a layer, and `bars_size` numbers
    buffer: int = 0
    other_buffer: int = 0
    bars: int = 0
    n_layers: int = 0
    layers: list[Layer] = dataclass_field(default_factory=list)

    @property
    def rows(self) -> int:
        """Samples and tangents of a full tile."""
        return self.capacity * (1 + self.n_tangents)


def tangents_of(system: System) -> int:
    """Tangents that an evaluation pushes forward with each sample."""
    flow = system.flow
    if flow is None:
        return 0
    if flow["divergence"] == "hutchinson":
        return 1
    if isinstance(system.spec, Hamiltonian) and not flow["jacobian"]:
        return 0  # the divergence is zero whatever the weights
    return system.spec.state_dim - flow.get("context", 0)


def tile_capacity(batch: int, tangents: int) -> int:
    """Samples of a tile: a multiple of four near TILE_ROWS rows, at most the batch."""
    wanted = max(4, TILE_ROWS // (1 + tangents) // 4 * 4)
    return min(batch, wanted)


def describe(system: System, batch: int, itemsize: int) -> Field:
    """The record of `system` for `batch` samples of numbers of `itemsize` bytes."""
    flow, tangents = system.flow, tangents_of(system)
    costs = None if flow is None else (flow["divergence"], bool(flow["kinetic"]), bool(flow["jacobian"]))
    return _field(system.spec, costs, system.columns, tangents, tile_capacity(batch, tangents), itemsize)


@lru_cache(maxsize=64)
def _field(spec: FieldSpec, costs: Costs, columns: int, tangents: int, capacity: int, itemsize: int) -> Field:
    # cached: batches of many sizes have tiles of the same size
    chain = chain_of(spec)
    if chain is not None:
        return _chain_field(chain, costs, columns, tangents, capacity, itemsize)
    assert isinstance(spec, Tape)
    return _program_field(spec, costs, columns, tangents, capacity, itemsize)


def _divergence_code(costs: Costs, tangents: int) -> int:
    if costs is None:
        return NO_FLOW
    return HUTCHINSON if costs[0] == "hutchinson" else EXACT if tangents else ZERO


def _program_field(spec: Tape, costs: Costs, columns: int, tangents: int, capacity: int, itemsize: int) -> Field:
    tape, scratch, state_step = Places(), Places(), padded(columns, itemsize)
    state = tape.take(capacity * state_step)
    directions = scratch.take(capacity * tangents * state_step)
    program, sizes = program_of(spec, capacity, tangents, itemsize, state, tape, scratch)
    _, has_kinetic, has_jacobian = costs or ("", False, False)
    return Field(
        columns=columns,
        state_step=state_step,
        capacity=capacity,
        dim=spec.dim,
        n_tangents=tangents,
        packed_size=sizes.packed,
        gates_size=sizes.gates,
        bars_size=0,
        grads_size=sizes.grads,
        tape_size=tape.total,
        state=state,
        scratch_size=scratch.total,
        is_single=False,
        is_program=True,
        work=sizes.work,
        divergence=_divergence_code(costs, tangents),
        has_kinetic=has_kinetic,
        has_jacobian=has_jacobian,
        out=sizes.out,
        out_step=sizes.out_step,
        directions=directions,
        program=program,
    )


def _chain_field(chain: Chain, costs: Costs, columns: int, tangents: int, capacity: int, itemsize: int) -> Field:
    widths, power, activation, is_gated = chain.widths, chain.power, chain.activation, chain.is_gated
    rows, state_step = capacity * (1 + tangents), padded(columns, itemsize)
    widest = max(padded(w, itemsize) for w in widths)
    _, has_kinetic, has_jacobian = costs or ("", False, False)
    # the slopes of these follow from their values, so that nobody asks for what stood there before
    in_place = not tangents and not is_gated and activation in ("tanh", "sigmoid")

    packed, gates, grads, bars, tape = (Places() for _ in range(5))
    zeros = packed.take(widest)
    state = tape.take(capacity * state_step)
    layers: list[Layer] = []
    for (n_in, n_out), slots in zip(pairwise(widths), chain.slots, strict=True):
        in_step, out_step = padded(n_in, itemsize), padded(n_out, itemsize)
        x_step = in_step if layers else state_step
        if not layers and not tangents and power == 1:
            x = state
        elif layers and in_place:
            x = layers[-1].z
        else:
            x = tape.take(rows * x_step)
        by_input = n_in >= n_out
        gate_size = out_step if is_gated else 0
        layer = Layer(
            n_in=n_in,
            n_out=n_out,
            in_step=in_step,
            out_step=out_step,
            x_step=x_step,
            weight_slot=slots.weight,
            bias_slot=slots.bias,
            is_transposed=slots.is_transposed,
            forward=packed.take(n_in * out_step),
            backward=packed.take(n_out * in_step),
            bias=packed.take(out_step),
            gate_weight=packed.take(gate_size),
            gate_bias=packed.take(gate_size),
            shift_weight=packed.take(gate_size),
            gates=gates.take(2 * gate_size),
            spreads_forward=spreads(n_in, n_out, itemsize),
            spreads_back=spreads(n_out, n_in, itemsize),
            by_input=by_input,
            weight_bar=grads.take(n_out * in_step if by_input else n_in * out_step),
            bias_bar=grads.take(out_step),
            gate_weight_bar=grads.take(gate_size),
            gate_bias_bar=grads.take(gate_size),
            shift_weight_bar=grads.take(gate_size),
            x=x,
            z=tape.take(rows * out_step),
            z_bar=bars.take(out_step),
        )
        layers.append(layer)
    # a last layer without gate and activation leaves its products as they are
    out = tape.take(rows * layers[-1].out_step) if is_gated or chain.activates_end else layers[-1].z
    scratch = Places()
    return Field(
        columns=columns,
        state_step=state_step,
        capacity=capacity,
        dim=widths[0],
        n_tangents=tangents,
        packed_size=packed.total,
        gates_size=gates.total,
        bars_size=bars.total,
        grads_size=grads.total,
        tape_size=tape.total,
        state=state,
        is_single=not tangents and not is_gated and costs is None and activation == "tanh",
        is_program=False,
        work=sum(layer.n_in * layer.n_out for layer in layers),
        matrices=chain.matrices,
        gamma=float(chain.gamma),
        power=power,
        activation=ACTIVATIONS.index(activation),
        activates_end=chain.activates_end,
        is_gated=is_gated,
        divergence=_divergence_code(costs, tangents),
        has_kinetic=has_kinetic,
        has_jacobian=has_jacobian,
        zeros=zeros,
        out=out,
        out_step=layers[-1].out_step,
        bars=scratch.take(bars.total),
        buffer=scratch.take(rows * widest),
        other_buffer=scratch.take(rows * widest),
        directions=scratch.take(capacity * tangents * state_step),
        scratch_size=scratch.total,
        n_layers=len(layers),
        layers=layers,
    )
