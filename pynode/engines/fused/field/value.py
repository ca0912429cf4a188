"""A system's slope at (t, y) for a tile of samples, leaving on a tape what its cotangents need.

`packed` are the packed parameters, `gates` what `set_gates` wrote for the time t.  A tape takes `field.tape_size`
numbers, scratch memory `field.scratch_size`; both must be zero before they are first used, since the padding of rows is
never written.  The caller puts the state of `n` samples, `field.state_step` numbers apart, into the tape at
`field.state`, once per tile calls `set_directions`, and then any number of times `value`.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.field.activations import TANH, activated, hyperbolic, slope_at, squashed
from pynode.engines.fused.field.layout import EXACT, NO_FLOW, Field, Layer
from pynode.engines.fused.field.products import dot_product, spread_product
from pynode.engines.fused.field.single import value_of_one
from pynode.engines.fused.simd import first_lanes, lanes, load, muladd, shift, splat, store, total


@part
def set_gates(field: Field, packed: Any, t: float, gates: Any) -> None:
    """Writes gates and shifts of all layers at time `t`, `field.gates_size` numbers."""
    if not field.is_gated:
        return
    width = lanes(packed)
    time = splat(packed, t)
    for k in range(field.n_layers):
        layer = field.layers[k]
        gate = shift(gates, layer.gates)
        for j in range(0, layer.out_step, width):
            argument = muladd(load(packed, layer.gate_weight + j), time, load(packed, layer.gate_bias + j))
            store(gate, j, squashed(argument))
            store(gate, layer.out_step + j, time * load(packed, layer.shift_weight + j))


@part
def set_directions(field: Field, scratch: Any, probes: Any, n: int) -> None:
    """Writes the directions of all tangents: unit vectors, or the `probes` (n, dim) of the tile's `n` samples."""
    dim, step, v = field.dim, field.state_step, shift(scratch, field.directions)
    for m in range(field.n_tangents):
        for s in range(n):
            row = (m * n + s) * step
            for i in range(dim):
                if field.divergence == EXACT:
                    v[row + i] = 1.0 if i == m else 0.0
                else:
                    v[row + i] = probes[s * dim + i]


@part
def value(field: Field, packed: Any, gates: Any, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """Writes the slope of `n` samples, `field.state_step` numbers apart; fills `tape`, which holds their state."""
    if n == 1 and field.is_single:
        value_of_one(field, packed, tape, slope)
        return
    _set_input(field, tape, scratch, n)
    layers, tangents = field.n_layers, field.n_tangents
    for k in range(layers):
        layer = field.layers[k]
        x, z = shift(tape, layer.x), shift(tape, layer.z)
        _multiply(layer, packed, shift(packed, layer.bias), x, z, n)
        if tangents > 0:
            pushed, products = shift(x, n * layer.x_step), shift(z, n * layer.out_step)
            _multiply(layer, packed, shift(packed, field.zeros), pushed, products, n * tangents)
        last = k == layers - 1
        out = shift(tape, field.out if last else field.layers[k + 1].x)
        active = not last or field.activates_end
        if tangents == 0 and not field.is_gated:
            if active:
                _activate(field.activation, z, out, n * layer.out_step)
        else:
            _gate_and_activate(field, layer, active, gates, z, out, n)
        if field.activates_end:
            _clear_padding(out, layer.n_out, layer.out_step, n)
    write_slope(field, tape, scratch, n, slope)


@part
def _set_input(field: Field, tape: Any, scratch: Any, n: int) -> None:
    """The first layer's input: the state raised to a power, and the tangents through that."""
    layer = field.layers[0]
    if layer.x == field.state:
        return
    width, step, power = lanes(tape), field.state_step, field.power
    y, x, v = shift(tape, field.state), shift(tape, layer.x), shift(scratch, field.directions)
    for s in range(n):
        for j in range(0, layer.in_step, width):
            at = s * step + j
            base = load(y, at)
            lower = splat(y, 1.0)
            for _ in range(1, power):
                lower = lower * base
            store(x, at, lower * base)
            scale = float(power) * lower
            for m in range(1, field.n_tangents + 1):
                row = m * n * step + at
                direction = load(v, row - n * step)
                store(x, row, direction if power == 1 else direction * scale)


@part
def _multiply(layer: Layer, packed: Any, start: Any, x: Any, z: Any, rows: int) -> None:
    """z = start + W x for `rows` rows."""
    out_step = layer.out_step
    if layer.spreads_forward:
        W = shift(packed, layer.forward)
        spread_product(start, 0, z, out_step, x, layer.x_step, 1, W, out_step, rows, layer.n_in, out_step)
    else:
        W = shift(packed, layer.backward)
        dot_product(start, z, out_step, x, layer.x_step, W, layer.in_step, rows, layer.in_step, layer.n_out)


@loop
def _gate_and_activate(field: Field, layer: Layer, active: bool, gates: Any, z: Any, out: Any, n: int) -> None:
    """From the products `z` to the layer's output: gate, shift, activation, and tangents through them."""
    width, step, act = lanes(z), layer.out_step, field.activation
    tangents, block = field.n_tangents, n * layer.out_step
    gate = shift(gates, layer.gates)
    if field.is_gated:
        for j in range(0, step, width):
            factor, offset = load(gate, j), load(gate, step + j)
            for s in range(n):
                at = s * step + j
                q = muladd(load(z, at), factor, offset)
                if active:
                    a = activated(act, q, q)
                    store(out, at, a)
                    if tangents > 0:
                        scale = slope_at(act, q, a) * factor
                        for m in range(1, tangents + 1):
                            store(out, m * block + at, scale * load(z, m * block + at))
                else:
                    store(out, at, q)
                    for m in range(1, tangents + 1):
                        store(out, m * block + at, factor * load(z, m * block + at))
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
    """The activation alone: a faster `_gate_and_activate` for layers without gates and tangents."""
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
def write_slope(field: Field, tape: Any, scratch: Any, n: int, slope: Any) -> None:
    """The slope of the whole state: the field's value, minus the divergence, the running costs."""
    width, dim, tangents = lanes(tape), field.dim, field.n_tangents
    step = field.out_step
    f, v = shift(tape, field.out), shift(scratch, field.directions)
    for s in range(n):
        row = s * field.state_step
        for j in range(0, step, width):
            store(slope, row + j, load(f, s * step + j))
        if field.divergence == NO_FLOW:
            continue
        trace, squares, energy = splat(f, 0.0), splat(f, 0.0), splat(f, 0.0)
        for m in range(1, tangents + 1):
            for j in range(0, step, width):
                pushed = load(f, (m * n + s) * step + j)
                trace = muladd(load(v, ((m - 1) * n + s) * field.state_step + j), pushed, trace)
                squares = muladd(pushed, pushed, squares)
        column = row + dim
        slope[column] = -total(trace)
        column += 1
        if field.has_kinetic:
            for j in range(0, step, width):
                value = load(f, s * step + j)
                energy = muladd(value, value, energy)
            slope[column] = 0.5 * total(energy)
            column += 1
        if field.has_jacobian:
            slope[column] = total(squares)
