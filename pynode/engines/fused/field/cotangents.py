"""Both cotangents of a system's slope in one pass: by the state and by the parameters, for a tile of samples.

Works from the tape that `value` filled at the same point, with the same parameters, gates and directions.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop, part
from pynode.engines.fused.field.activations import curvature_at, slope_at
from pynode.engines.fused.field.layout import NO_FLOW, Field, Layer
from pynode.engines.fused.field.products import dot_product, spread_product
from pynode.engines.fused.field.single import add_products, cotangents_of_one
from pynode.engines.fused.simd import add_to, first_lanes, lanes, load, muladd, shift, splat, store


@part
def cotangents(
    field: Field,
    packed: Any,
    gates: Any,
    t: float,
    tape: Any,
    scratch: Any,
    n: int,
    slope_bar: Any,
    y_bar: Any,
    grads: Any,
) -> None:
    """From the cotangent of the slope to those of state and parameters.

    `slope_bar` and `y_bar` hold `n` samples `field.state_step` numbers apart; `y_bar` is written, the packed
    parameters' cotangent `grads` (`field.grads_size` numbers) is added to.
    """
    if n == 1 and field.is_single:
        bars = shift(scratch, field.bars)
        cotangents_of_one(field, packed, tape, slope_bar, bars, y_bar)
        add_products(field, tape, bars, 1, grads)
        return
    out_bar, in_bar = shift(scratch, field.buffer), shift(scratch, field.other_buffer)
    set_output_bar(field, tape, scratch, n, slope_bar, out_bar)
    tangents = field.n_tangents
    rows = n * (1 + tangents)
    for k in range(field.n_layers - 1, -1, -1):
        layer = field.layers[k]
        n_in, n_out, in_step, out_step = layer.n_in, layer.n_out, layer.in_step, layer.out_step
        x = shift(tape, layer.x)
        last = k == field.n_layers - 1
        out = shift(tape, field.out if last else field.layers[k + 1].x)
        active = not last or field.activates_end
        z = shift(tape, layer.z)
        if tangents == 0 and not field.is_gated:
            _pull_plain(active, field.activation, z, out, out_bar, shift(grads, layer.bias_bar), n, out_step)
        else:
            _pull_activation(field, layer, active, gates, t, z, out, out_bar, grads, n)
        W_bar = shift(grads, layer.weight_bar)
        if layer.by_input:
            spread_product(W_bar, in_step, W_bar, in_step, out_bar, 1, out_step, x, layer.x_step, n_out, rows, in_step)
        else:
            x_step = layer.x_step
            spread_product(W_bar, out_step, W_bar, out_step, x, 1, x_step, out_bar, out_step, n_in, rows, out_step)
        # the tangents' directions are given; only a power of the state makes the first layer's depend on it
        pulled = rows if k > 0 or field.power > 1 else n
        zeros = shift(packed, field.zeros)
        if layer.spreads_back:
            W = shift(packed, layer.backward)
            spread_product(zeros, 0, in_bar, in_step, out_bar, out_step, 1, W, in_step, pulled, n_out, in_step)
        else:
            W = shift(packed, layer.forward)
            dot_product(zeros, in_bar, in_step, out_bar, out_step, W, out_step, pulled, out_step, n_in)
        out_bar, in_bar = in_bar, out_bar
    _set_state_bar(field, tape, scratch, n, out_bar, y_bar)


@part
def set_output_bar(field: Field, tape: Any, scratch: Any, n: int, slope_bar: Any, out_bar: Any) -> None:
    """From the cotangent of the whole slope to those of the field's value and of the pushed tangents."""
    width, dim, tangents = lanes(tape), field.dim, field.n_tangents
    step = field.out_step
    f, v = shift(tape, field.out), shift(scratch, field.directions)
    for s in range(n):
        row = s * field.state_step
        if field.divergence == NO_FLOW:
            for j in range(0, step, width):
                store(out_bar, s * step + j, load(slope_bar, row + j))
            continue
        column = row + dim
        trace_bar = splat(f, -slope_bar[column])
        column += 1
        energy_bar, squares_bar = splat(f, 0.0), splat(f, 0.0)
        if field.has_kinetic:
            energy_bar = splat(f, slope_bar[column])
            column += 1
        if field.has_jacobian:
            squares_bar = splat(f, 2.0 * slope_bar[column])
        for j in range(0, step, width):
            at = s * step + j
            # beyond the field's entries the row holds those of the running costs
            bar = muladd(energy_bar, load(f, at), load(slope_bar, row + j))
            store(out_bar, at, first_lanes(bar, dim - j))
        for m in range(1, tangents + 1):
            for j in range(0, step, width):
                at = (m * n + s) * step + j
                direction = load(v, ((m - 1) * n + s) * field.state_step + j)
                store(out_bar, at, muladd(trace_bar, direction, squares_bar * load(f, at)))


@loop
def _pull_plain(active: bool, act: int, z: Any, out: Any, bar: Any, bias_bar: Any, n: int, step: int) -> None:
    """`_pull_activation` for layers without gates and tangents: a faster path."""
    for j in range(0, step, lanes(z)):
        sum_of_rows = splat(z, 0.0)
        for at in range(j, n * step, step):
            q_bar = load(bar, at)
            if active:
                q_bar = slope_at(act, load(z, at), load(out, at)) * q_bar
                store(bar, at, q_bar)
            sum_of_rows = sum_of_rows + q_bar
        add_to(bias_bar, j, sum_of_rows)


@loop
def _pull_activation(
    field: Field, layer: Layer, active: bool, gates: Any, t: float, z: Any, out: Any, bar: Any, grads: Any, n: int
) -> None:
    """Takes `bar` from the layer's output to its products; adds the cotangents of bias, gate and shift to `grads`."""
    width, step, act = lanes(z), layer.out_step, field.activation
    tangents, block = field.n_tangents, n * layer.out_step
    gate = shift(gates, layer.gates)
    gated = field.is_gated
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
        add_to(grads, layer.bias_bar + j, bias_bar)
        if gated:
            inner = gate_bar * factor * (one - factor)
            time = splat(z, t)
            add_to(grads, layer.gate_weight_bar + j, time * inner)
            add_to(grads, layer.gate_bias_bar + j, inner)
            add_to(grads, layer.shift_weight_bar + j, time * shift_bar)


@part
def _set_state_bar(field: Field, tape: Any, scratch: Any, n: int, x_bar: Any, y_bar: Any) -> None:
    """From the cotangent of the first layer's input to that of the state; the running costs have none."""
    layer = field.layers[0]
    width, step, in_step, power = lanes(tape), field.state_step, layer.in_step, field.power
    y, v = shift(tape, field.state), shift(scratch, field.directions)
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
                for m in range(1, field.n_tangents + 1):
                    pulled = load(v, ((m - 1) * n + s) * step + j) * load(x_bar, (m * n + s) * in_step + j)
                    bar = muladd(float(power * (power - 1)) * lower, pulled, bar)
            store(y_bar, row + j, first_lanes(bar, field.dim - j))
