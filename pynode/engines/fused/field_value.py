"""A system's slope at (t, y) for a tile of samples, leaving on a tape what its cotangents need.

`d` is the table of `description`, `p` the packed parameters, `gates` what `set_gates` wrote for the time t.  A tape
takes `d[TAPE]` numbers, scratch memory `d[SCRATCH]`; both must be zero before they are first used, since the padding of
rows is never written.  The caller puts the state of `n` samples, `d[STATE]` numbers apart, into the tape at
`d[TAPE_Y]`, once per tile calls `set_directions`, and then any number of times `field_value`.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import (
    ACT,
    BACKWARD,
    BIAS,
    DIM,
    EXACT,
    FINAL,
    FLOW,
    FORWARD,
    GATE,
    GATE_BIAS,
    GATE_WEIGHT,
    GATED,
    HEAD,
    IN,
    IN_STEP,
    JACOBIAN,
    KINETIC,
    LAYER,
    LAYERS,
    NO_FLOW,
    OUT,
    OUT_STEP,
    POWER,
    PROBES,
    SHIFT_WEIGHT,
    SINGLE,
    SPREAD_OUT,
    STATE,
    TANGENTS,
    TAPE_OUT,
    TAPE_X,
    TAPE_Y,
    TAPE_Z,
    X_STEP,
    ZEROS,
)
from pynode.engines.fused.functions import TANH, activated, hyperbolic, slope_at, squashed
from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.products import dot_product, spread_product
from pynode.engines.fused.simd import first_lanes, lanes, load, muladd, shift, splat, store, total
from pynode.engines.fused.single import value_of_one


@part
def set_gates(d: Any, p: Any, t: float, gates: Any) -> None:
    """Writes gates and shifts of all layers at time `t`, `d[GATES]` numbers."""
    if d[GATED] == 0:
        return
    width = lanes(p)
    time = splat(p, t)
    for k in range(d[LAYERS]):
        layer = shift(d, HEAD + LAYER * k)
        g = shift(gates, layer[GATE])
        for j in range(0, layer[OUT_STEP], width):
            at = muladd(load(p, layer[GATE_WEIGHT] + j), time, load(p, layer[GATE_BIAS] + j))
            store(g, j, squashed(at))
            store(g, layer[OUT_STEP] + j, time * load(p, layer[SHIFT_WEIGHT] + j))


@part
def set_directions(d: Any, scratch: Any, probes: Any, n: int) -> None:
    """Writes the directions of all tangents: unit vectors, or the `probes` (n, dim) of the tile's `n` samples."""
    dim, step, v = d[DIM], d[STATE], shift(scratch, d[PROBES])
    for m in range(d[TANGENTS]):
        for s in range(n):
            row = (m * n + s) * step
            for i in range(dim):
                if d[FLOW] == EXACT:
                    v[row + i] = 1.0 if i == m else 0.0
                else:
                    v[row + i] = probes[s * dim + i]


@part
def field_value(d: Any, p: Any, gates: Any, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """Writes the slope of `n` samples, `d[STATE]` numbers apart; fills `tape`, which holds their state."""
    if n == 1 and d[SINGLE] == 1:
        value_of_one(d, p, tape, slope)
        return
    _input(d, tape, scratch, n)
    layers, tangents = d[LAYERS], d[TANGENTS]
    for k in range(layers):
        layer = shift(d, HEAD + LAYER * k)
        x, z = shift(tape, layer[TAPE_X]), shift(tape, layer[TAPE_Z])
        _multiply(layer, p, shift(p, layer[BIAS]), x, z, n)
        if tangents > 0:
            row = n * layer[X_STEP]
            _multiply(layer, p, shift(p, d[ZEROS]), shift(x, row), shift(z, n * layer[OUT_STEP]), n * tangents)
        last = k == layers - 1
        out = shift(tape, d[TAPE_OUT] if last else shift(layer, LAYER)[TAPE_X])
        active = not last or d[FINAL] == 1
        if tangents == 0 and d[GATED] == 0:
            if active:
                _activate(d[ACT], z, out, n * layer[OUT_STEP])
        else:
            _finish(d, layer, active, gates, z, out, n)
        if d[FINAL] == 1:
            _clear_padding(out, layer[OUT], layer[OUT_STEP], n)
    _assemble(d, tape, scratch, n, slope)


@part
def _input(d: Any, tape: Any, scratch: Any, n: int) -> None:
    """The first layer's input: the state raised to a power, and the tangents through that."""
    layer = shift(d, HEAD)
    if layer[TAPE_X] == d[TAPE_Y]:
        return
    width, step, power = lanes(tape), d[STATE], d[POWER]
    y, x, v = shift(tape, d[TAPE_Y]), shift(tape, layer[TAPE_X]), shift(scratch, d[PROBES])
    for s in range(n):
        for j in range(0, layer[IN_STEP], width):
            at = s * step + j
            base = load(y, at)
            lower = splat(y, 1.0)
            for _ in range(1, power):
                lower = lower * base
            store(x, at, lower * base)
            scale = float(power) * lower
            for m in range(1, d[TANGENTS] + 1):
                row = m * n * step + at
                direction = load(v, row - n * step)
                store(x, row, direction if power == 1 else direction * scale)


@part
def _multiply(layer: Any, p: Any, start: Any, x: Any, z: Any, rows: int) -> None:
    """z = start + W x for `rows` rows."""
    out_step = layer[OUT_STEP]
    if layer[SPREAD_OUT] == 1:
        m = shift(p, layer[FORWARD])
        spread_product(start, 0, z, out_step, x, layer[X_STEP], 1, m, out_step, rows, layer[IN], out_step)
    else:
        m = shift(p, layer[BACKWARD])
        dot_product(start, z, out_step, x, layer[X_STEP], m, layer[IN_STEP], rows, layer[IN_STEP], layer[OUT])


@loop
def _finish(d: Any, layer: Any, active: bool, gates: Any, z: Any, out: Any, n: int) -> None:
    """From the products `z` to the layer's output: gate, shift, activation, and tangents through them."""
    width, step, act = lanes(z), layer[OUT_STEP], d[ACT]
    tangents, block = d[TANGENTS], n * layer[OUT_STEP]
    gate = shift(gates, layer[GATE])
    if d[GATED] == 1:
        for j in range(0, step, width):
            g, offset = load(gate, j), load(gate, step + j)
            for s in range(n):
                at = s * step + j
                q = muladd(load(z, at), g, offset)
                if active:
                    a = activated(act, q, q)
                    store(out, at, a)
                    if tangents > 0:
                        scale = slope_at(act, q, a) * g
                        for m in range(1, tangents + 1):
                            store(out, m * block + at, scale * load(z, m * block + at))
                else:
                    store(out, at, q)
                    for m in range(1, tangents + 1):
                        store(out, m * block + at, g * load(z, m * block + at))
    elif active:
        for at in range(0, n * step, width):
            q = load(z, at)
            a = activated(act, q, q)
            store(out, at, a)
            if tangents > 0:
                scale = slope_at(act, q, a)
                for m in range(1, tangents + 1):
                    store(out, m * block + at, scale * load(z, m * block + at))


@part
def _activate(act: int, z: Any, out: Any, size: int) -> None:
    """The activation alone: a faster `_finish` for layers without gates and tangents."""
    if act == TANH:
        _activate_tanh(z, out, size)
    else:
        _activate_any(act, z, out, size)


@loop
def _activate_tanh(z: Any, out: Any, size: int) -> None:
    for at in range(0, size, lanes(z)):
        store(out, at, hyperbolic(load(z, at)))


@loop
def _activate_any(act: int, z: Any, out: Any, size: int) -> None:
    for at in range(0, size, lanes(z)):
        q = load(z, at)
        store(out, at, activated(act, q, q))


@part
def _clear_padding(rows: Any, columns: int, step: int, n: int) -> None:
    """act(0) need not be zero, but padding must not add to sums over a row."""
    for s in range(n):
        for j in range(0, step, lanes(rows)):
            at = s * step + j
            store(rows, at, first_lanes(load(rows, at), columns - j))


@part
def _assemble(d: Any, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """The slope of the whole state: the field's value, minus the divergence, the running costs."""
    width, dim, tangents = lanes(tape), d[DIM], d[TANGENTS]
    step = shift(d, HEAD + LAYER * (d[LAYERS] - 1))[OUT_STEP]
    f, v = shift(tape, d[TAPE_OUT]), shift(scratch, d[PROBES])
    for s in range(n):
        row = s * d[STATE]
        for j in range(0, step, width):
            store(slope, row + j, load(f, s * step + j))
        if d[FLOW] == NO_FLOW:
            continue
        trace, squares, energy = splat(f, 0.0), splat(f, 0.0), splat(f, 0.0)
        for m in range(1, tangents + 1):
            for j in range(0, step, width):
                pushed = load(f, (m * n + s) * step + j)
                trace = muladd(load(v, ((m - 1) * n + s) * d[STATE] + j), pushed, trace)
                squares = muladd(pushed, pushed, squares)
        column = row + dim
        slope[column] = -total(trace)
        column += 1
        if d[KINETIC] == 1:
            for j in range(0, step, width):
                value = load(f, s * step + j)
                energy = muladd(value, value, energy)
            slope[column] = 0.5 * total(energy)
            column += 1
        if d[JACOBIAN] == 1:
            slope[column] = total(squares)
