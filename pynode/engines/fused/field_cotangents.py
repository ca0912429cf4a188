"""Both cotangents of a system's slope in one pass: by the state and by the parameters, for a tile of samples.

Works from the tape that `field_value` filled at the same point, with the same table, parameters, gates and directions.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import (
    ACT,
    BACKWARD,
    BY_INPUT,
    DIM,
    FINAL,
    FIRST,
    FLOW,
    FORWARD,
    G_BIAS,
    G_GATE_BIAS,
    G_GATE_WEIGHT,
    G_SHIFT_WEIGHT,
    G_WEIGHT,
    GATE,
    GATED,
    HEAD,
    IN,
    IN_STEP,
    JACOBIAN,
    KINETIC,
    LAYER,
    LAYERS,
    NO_FLOW,
    ONE_BARS,
    OUT,
    OUT_STEP,
    POWER,
    PROBES,
    SECOND,
    SINGLE,
    SPREAD_IN,
    STATE,
    TANGENTS,
    TAPE_OUT,
    TAPE_X,
    TAPE_Y,
    TAPE_Z,
    X_STEP,
    ZEROS,
)
from pynode.engines.fused.functions import curvature_at, slope_at
from pynode.engines.fused.jit import loop, part
from pynode.engines.fused.products import dot_product, spread_product
from pynode.engines.fused.simd import add_to, first_lanes, lanes, load, muladd, shift, splat, store
from pynode.engines.fused.single import add_products, cotangents_of_one


@part
def field_cotangents(
    d: Any, p: Any, gates: Any, t: float, tape: Any, scratch: Any, n: int, slope_bar: Any, y_bar: Any, g: Any
) -> None:
    """From the cotangent of the slope to those of state and parameters.

    `slope_bar` and `y_bar` hold `n` samples `d[STATE]` numbers apart; `y_bar` is written, the packed parameters'
    cotangent `g` (`d[GRADS]` numbers) is added to.
    """
    if n == 1 and d[SINGLE] == 1:
        bars = shift(scratch, d[ONE_BARS])
        cotangents_of_one(d, p, tape, slope_bar, bars, y_bar)
        add_products(d, tape, bars, 1, g)
        return
    out_bar, in_bar = shift(scratch, d[FIRST]), shift(scratch, d[SECOND])
    _disassemble(d, tape, scratch, n, slope_bar, out_bar)
    tangents = d[TANGENTS]
    rows = n * (1 + tangents)
    for k in range(d[LAYERS] - 1, -1, -1):
        layer = shift(d, HEAD + LAYER * k)
        n_in, n_out, in_step, out_step = layer[IN], layer[OUT], layer[IN_STEP], layer[OUT_STEP]
        x = shift(tape, layer[TAPE_X])
        last = k == d[LAYERS] - 1
        out = shift(tape, d[TAPE_OUT] if last else shift(layer, LAYER)[TAPE_X])
        active = not last or d[FINAL] == 1
        z = shift(tape, layer[TAPE_Z])
        if tangents == 0 and d[GATED] == 0:
            _deactivate(active, d[ACT], z, out, out_bar, shift(g, layer[G_BIAS]), n, out_step)
        else:
            _unfinish(d, layer, active, gates, t, z, out, out_bar, g, n)
        G = shift(g, layer[G_WEIGHT])
        if layer[BY_INPUT] == 1:
            spread_product(G, in_step, G, in_step, out_bar, 1, out_step, x, layer[X_STEP], n_out, rows, in_step)
        else:
            spread_product(G, out_step, G, out_step, x, 1, layer[X_STEP], out_bar, out_step, n_in, rows, out_step)
        # the tangents' directions are given; only a power of the state makes the first layer's depend on it
        pulled = rows if k > 0 or d[POWER] > 1 else n
        zeros = shift(p, d[ZEROS])
        if layer[SPREAD_IN] == 1:
            m = shift(p, layer[BACKWARD])
            spread_product(zeros, 0, in_bar, in_step, out_bar, out_step, 1, m, in_step, pulled, n_out, in_step)
        else:
            m = shift(p, layer[FORWARD])
            dot_product(zeros, in_bar, in_step, out_bar, out_step, m, out_step, pulled, out_step, n_in)
        out_bar, in_bar = in_bar, out_bar
    _uninput(d, tape, scratch, n, out_bar, y_bar)


@part
def _disassemble(d: Any, tape: Any, scratch: Any, n: int, slope_bar: Any, out_bar: Any) -> None:
    """From the cotangent of the whole slope to those of the field's value and of the pushed tangents."""
    width, dim, tangents = lanes(tape), d[DIM], d[TANGENTS]
    step = shift(d, HEAD + LAYER * (d[LAYERS] - 1))[OUT_STEP]
    f, v = shift(tape, d[TAPE_OUT]), shift(scratch, d[PROBES])
    for s in range(n):
        row = s * d[STATE]
        if d[FLOW] == NO_FLOW:
            for j in range(0, step, width):
                store(out_bar, s * step + j, load(slope_bar, row + j))
            continue
        column = row + dim
        trace_bar = splat(f, -slope_bar[column])
        column += 1
        energy_bar, squares_bar = splat(f, 0.0), splat(f, 0.0)
        if d[KINETIC] == 1:
            energy_bar = splat(f, slope_bar[column])
            column += 1
        if d[JACOBIAN] == 1:
            squares_bar = splat(f, 2.0 * slope_bar[column])
        for j in range(0, step, width):
            at = s * step + j
            # beyond the field's entries the row holds those of the running costs
            bar = muladd(energy_bar, load(f, at), load(slope_bar, row + j))
            store(out_bar, at, first_lanes(bar, dim - j))
        for m in range(1, tangents + 1):
            for j in range(0, step, width):
                at = (m * n + s) * step + j
                direction = load(v, ((m - 1) * n + s) * d[STATE] + j)
                store(out_bar, at, muladd(trace_bar, direction, squares_bar * load(f, at)))


@loop
def _deactivate(active: bool, act: int, z: Any, out: Any, bar: Any, bias_bar: Any, n: int, step: int) -> None:
    """`_unfinish` for layers without gates and tangents: a faster path."""
    for j in range(0, step, lanes(z)):
        found = splat(z, 0.0)
        for at in range(j, n * step, step):
            q_bar = load(bar, at)
            if active:
                q_bar = slope_at(act, load(z, at), load(out, at)) * q_bar
                store(bar, at, q_bar)
            found = found + q_bar
        add_to(bias_bar, j, found)


@loop
def _unfinish(
    d: Any, layer: Any, active: bool, gates: Any, t: float, z: Any, out: Any, bar: Any, g: Any, n: int
) -> None:
    """Takes `bar` from the layer's output to its products, and adds the cotangents of bias, gate and shift to `g`."""
    width, step, act = lanes(z), layer[OUT_STEP], d[ACT]
    tangents, block = d[TANGENTS], n * layer[OUT_STEP]
    gate = shift(gates, layer[GATE])
    gated = d[GATED] == 1
    for j in range(0, step, width):
        one = splat(z, 1.0)
        factor, offset = one, splat(z, 0.0)
        if gated:
            factor, offset = load(gate, j), load(gate, step + j)
        bias_bar, gate_bar, shift_bar = splat(z, 0.0), splat(z, 0.0), splat(z, 0.0)
        for s in range(n):
            at = s * step + j
            u, q_bar = load(z, at), load(bar, at)
            if active:
                a = load(out, at)
                q = muladd(u, factor, offset)
                scale = slope_at(act, q, a)
                q_bar = scale * q_bar
                if tangents > 0:
                    pulled = splat(z, 0.0)
                    for m in range(1, tangents + 1):
                        place = m * block + at
                        r, pushed_bar = load(z, place), load(bar, place)
                        pulled = muladd(r, pushed_bar, pulled)
                        store(bar, place, scale * pushed_bar)
                    q_bar = muladd(curvature_at(act, q, a) * factor, pulled, q_bar)
            if gated:
                shift_bar = shift_bar + q_bar
                gate_bar = muladd(q_bar, u, gate_bar)
                for m in range(1, tangents + 1):
                    place = m * block + at
                    p_bar = load(bar, place)
                    gate_bar = muladd(p_bar, load(z, place), gate_bar)
                    store(bar, place, factor * p_bar)
                q_bar = factor * q_bar
            store(bar, at, q_bar)
            bias_bar = bias_bar + q_bar
        add_to(g, layer[G_BIAS] + j, bias_bar)
        if gated:
            inner = gate_bar * factor * (one - factor)
            time = splat(z, t)
            add_to(g, layer[G_GATE_WEIGHT] + j, time * inner)
            add_to(g, layer[G_GATE_BIAS] + j, inner)
            add_to(g, layer[G_SHIFT_WEIGHT] + j, time * shift_bar)


@part
def _uninput(d: Any, tape: Any, scratch: Any, n: int, x_bar: Any, y_bar: Any) -> None:
    """From the cotangent of the first layer's input to that of the state; the running costs have none."""
    layer = shift(d, HEAD)
    width, step, in_step, power = lanes(tape), d[STATE], layer[IN_STEP], d[POWER]
    y, v = shift(tape, d[TAPE_Y]), shift(scratch, d[PROBES])
    for s in range(n):
        row = s * step
        for j in range(in_step, step, width):
            store(y_bar, row + j, splat(y, 0.0))
        for j in range(0, in_step, width):
            bar = load(x_bar, s * in_step + j)
            if power > 1:
                base = load(y, row + j)
                lower = splat(y, 1.0)
                for _ in range(2, power):
                    lower = lower * base
                bar = float(power) * lower * base * bar
                for m in range(1, d[TANGENTS] + 1):
                    pulled = load(v, ((m - 1) * n + s) * step + j) * load(x_bar, (m * n + s) * in_step + j)
                    bar = muladd(float(power * (power - 1)) * lower, pulled, bar)
            store(y_bar, row + j, first_lanes(bar, d[DIM] - j))
