"""A system as plain numbers: one table of integers that every kernel reads, so that one kernel serves all widths.

Every architecture is a chain of dense layers here, x -> (W x + b) * gate + shift with an activation after each layer
but the last (after the last too where `FINAL`):

- MLP and ConcatSquash are chains as they stand;
- Antisymmetric is one layer with the matrix W - W^T - gamma I, activated at the end;
- Hamiltonian is W, b and then the rotated W^T without bias.

`parameters` writes the matrices of this chain from theta, and theta's cotangent from theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pynode.engines.fused import ACTIVATIONS
from pynode.engines.fused.machine import VECTOR_BYTES
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec, System
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP

Table = npt.NDArray[np.int64]

PLAIN, ANTISYMMETRIC, HAMILTONIAN = range(3)
"""How the chain's matrices follow from theta (`KIND`)."""

NO_FLOW, EXACT, HUTCHINSON, ZERO = range(4)
"""The divergence (`FLOW`): ZERO where it vanishes identically, so that no tangents are needed."""

# --- the table's head ------------------------------------------------------------------------------------------------
KIND = 0
LAYERS = 1
GATED = 2  # 1: layers have gate and shift
ACT = 3  # code of the activation
FINAL = 4  # 1: the last layer is activated too
POWER = 5  # exponent of the input
DIM = 6
TANGENTS = 7  # tangents per sample
COLUMNS = 8  # entries of one sample's state
STATE = 9  # distance of two samples' states
FLOW = 10
KINETIC = 11
JACOBIAN = 12
CAPACITY = 13  # most samples of a tile
PACKED = 14  # numbers in the packed parameters
ZEROS = 15  # where they hold zeros, as many as the widest layer
GATES = 16  # numbers that gates and shifts of one time take
GRADS = 17  # numbers in the cotangent of the packed parameters
TAPE = 18  # numbers that one evaluation leaves for its cotangent
TAPE_OUT = 19  # where a tape holds the field's value and the pushed tangents
TAPE_Y = 20  # where it holds the state
SCRATCH = 21  # numbers of working memory
FIRST, SECOND = 22, 23  # two buffers in it, for cotangents of a layer
PROBES = 24  # where it holds the tangents' directions
WIDE = 25  # distance of two rows in the buffers
SINGLE = 26  # 1: a sample alone goes the way of `single`
BARS = 27  # numbers that the cotangents of one evaluation's layers take there
ONE_BARS = 28  # where scratch memory holds them
HEAD = 32

# --- then one block a layer ------------------------------------------------------------------------------------------
IN, OUT = 0, 1
IN_STEP, OUT_STEP = 2, 3  # both padded to whole vectors
X_STEP = 4  # distance of two rows of the layer's input
FORWARD, BACKWARD, BIAS = 5, 6, 7  # packed: W^T (in, out), W (out, in), b
GATE_WEIGHT, GATE_BIAS, SHIFT_WEIGHT = 8, 9, 10  # packed
GATE = 11  # where the gates of one time start; the shifts follow at + OUT_STEP
SPREAD_OUT, SPREAD_IN = 12, 13  # 1: the product uses the first form of `products`, for W x and for its cotangent
BY_INPUT = 14  # 1: the cotangent of W is held as (out, in), else as (in, out)
G_WEIGHT, G_BIAS, G_GATE_WEIGHT, G_GATE_BIAS, G_SHIFT_WEIGHT = 15, 16, 17, 18, 19
TAPE_X, TAPE_Z = 20, 21  # a tape's input and product W x + b, W v of the layer
BAR = 22  # where `BARS` numbers hold the cotangent of the layer's product
LAYER = 24

SUM_COST = 6
"""What adding up the lanes of a vector costs, in multiply-adds of vectors."""

TILE_ROWS = 48
"""Samples and tangents of a tile together: enough for the blocks of products, little enough for the cache."""


@dataclass(frozen=True, eq=False)
class Layout:
    """The table of a system for tiles of at most `capacity` samples, and the damping of Antisymmetric."""

    table: Table
    gamma: float

    def __getitem__(self, entry: int) -> int:
        return self.entries[entry]

    @cached_property
    def entries(self) -> list[int]:
        """The table as plain integers."""
        return [int(n) for n in self.table]

    @cached_property
    def n_weights(self) -> int:
        """Entries of all matrices: multiply-adds of one row."""
        layers = self.table[HEAD:].reshape(-1, LAYER)
        return int((layers[:, IN] * layers[:, OUT]).sum())


def layer_widths(spec: FieldSpec) -> tuple[int, ...]:
    """Sizes of the chain's layers, input first; empty for an architecture that is none."""
    if isinstance(spec, (MLP, ConcatSquash)):
        return spec.widths
    if isinstance(spec, Antisymmetric):
        return (spec.dim, spec.dim)
    if isinstance(spec, Hamiltonian):
        return (spec.dim, spec.width, spec.dim)
    return ()


def tangents_of(system: System) -> int:
    """Tangents that an evaluation pushes forward with each sample."""
    flow = system.flow
    if flow is None:
        return 0
    if flow["divergence"] == "hutchinson":
        return 1
    if isinstance(system.spec, Hamiltonian) and not flow["jacobian"]:
        return 0  # the divergence is zero whatever the weights
    return system.spec.state_dim


def tile_capacity(batch: int, tangents: int) -> int:
    """Samples of a tile: a multiple of four near TILE_ROWS rows, at most the batch."""
    wanted = max(4, TILE_ROWS // (1 + tangents) // 4 * 4)
    return min(batch, wanted)


def describe(system: System, batch: int, itemsize: int) -> Layout:
    """The layout of `system` for `batch` samples of numbers of `itemsize` bytes."""
    flow, tangents = system.flow, tangents_of(system)
    costs = None if flow is None else (flow["divergence"], bool(flow["kinetic"]), bool(flow["jacobian"]))
    return _layout(system.spec, costs, system.columns, tangents, tile_capacity(batch, tangents), itemsize)


@lru_cache(maxsize=64)
def _layout(
    spec: FieldSpec, costs: tuple[str, bool, bool] | None, columns: int, tangents: int, capacity: int, itemsize: int
) -> Layout:
    # cached: batches of many sizes have tiles of the same size
    widths = layer_widths(spec)
    lanes = VECTOR_BYTES // itemsize

    def padded(n: int) -> int:
        whole = -(-n // lanes) * lanes
        # rows of a multiple of 2 KiB would compete for the same few places of the nearest cache
        return whole + lanes if whole * itemsize % 2048 == 0 else whole

    layers = len(widths) - 1
    rows = capacity * (1 + tangents)
    gated = isinstance(spec, ConcatSquash)
    wide = max(padded(w) for w in widths)
    d = np.zeros(HEAD + LAYER * layers, dtype=np.int64)
    d[KIND] = {Antisymmetric: ANTISYMMETRIC, Hamiltonian: HAMILTONIAN}.get(type(spec), PLAIN)
    d[LAYERS], d[GATED], d[FINAL] = layers, gated, isinstance(spec, Antisymmetric)
    d[ACT] = ACTIVATIONS.index(_option(spec, "activation"))
    d[POWER] = spec.input_power if isinstance(spec, MLP) else 1
    d[DIM], d[TANGENTS], d[COLUMNS], d[STATE] = widths[0], tangents, columns, padded(columns)
    if costs is not None:
        divergence, d[KINETIC], d[JACOBIAN] = costs
        d[FLOW] = HUTCHINSON if divergence == "hutchinson" else EXACT if tangents else ZERO
    d[CAPACITY], d[WIDE] = capacity, wide

    # the slopes of these follow from their values, so that nobody asks for what stood there before
    in_place = not tangents and not gated and _option(spec, "activation") in ("tanh", "sigmoid")

    d[SINGLE] = not tangents and not gated and costs is None and _option(spec, "activation") == "tanh"

    packed, gates, grads, bars = _Counter(), _Counter(), _Counter(), _Counter()
    tape = _Counter()
    d[ZEROS] = packed.take(wide)
    d[TAPE_Y] = tape.take(capacity * d[STATE])
    for k, (i, o) in enumerate(pairwise(widths)):
        block = d[HEAD + LAYER * k : HEAD + LAYER * (k + 1)]
        ip, op = padded(i), padded(o)
        block[IN], block[OUT], block[IN_STEP], block[OUT_STEP] = i, o, ip, op
        block[X_STEP] = d[STATE] if k == 0 else ip
        block[FORWARD], block[BACKWARD], block[BIAS] = packed.take(i * op), packed.take(o * ip), packed.take(op)
        block[SPREAD_OUT], block[SPREAD_IN] = _spreads(i, o, lanes), _spreads(o, i, lanes)
        block[BY_INPUT] = i >= o
        block[G_WEIGHT] = grads.take(o * ip if i >= o else i * op)
        block[G_BIAS] = grads.take(op)
        if gated:
            block[GATE_WEIGHT], block[GATE_BIAS], block[SHIFT_WEIGHT] = (packed.take(op) for _ in range(3))
            block[G_GATE_WEIGHT], block[G_GATE_BIAS], block[G_SHIFT_WEIGHT] = (grads.take(op) for _ in range(3))
            block[GATE] = gates.take(2 * op)
        if k == 0 and not tangents and d[POWER] == 1:
            block[TAPE_X] = d[TAPE_Y]
        elif k and in_place:
            block[TAPE_X] = d[HEAD + LAYER * (k - 1) + TAPE_Z]
        else:
            block[TAPE_X] = tape.take(rows * int(block[X_STEP]))
        block[TAPE_Z] = tape.take(rows * op)
        block[BAR] = bars.take(op)
    # a last layer without gate and activation leaves its products as they are
    d[TAPE_OUT] = tape.take(rows * padded(widths[-1])) if gated or d[FINAL] else d[HEAD + LAYER * (layers - 1) + TAPE_Z]
    d[PACKED], d[GATES], d[GRADS], d[TAPE] = packed.total, gates.total, grads.total, tape.total

    d[BARS] = bars.total
    scratch = _Counter()
    d[ONE_BARS] = scratch.take(bars.total)
    d[FIRST], d[SECOND] = scratch.take(rows * wide), scratch.take(rows * wide)
    d[PROBES] = scratch.take(capacity * tangents * int(d[STATE]))
    d[SCRATCH] = scratch.total
    return Layout(d, float(_option(spec, "gamma", 0.0)))


class _Counter:
    """Hands out consecutive places."""

    def __init__(self) -> None:
        self.total = 0

    def take(self, n: int) -> int:
        """Where the next `n` numbers lie."""
        start, self.total = self.total, self.total + int(n)
        return start


def _spreads(terms: int, columns: int, lanes: int) -> bool:
    """Whether the first form of `products` is the cheaper one."""
    vectors = -(-columns // lanes)
    return terms * vectors <= columns * (-(-terms // lanes) + SUM_COST)


def _option(spec: FieldSpec, name: str, default: Any = None) -> Any:
    return getattr(spec, name, default)
