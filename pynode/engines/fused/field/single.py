"""One sample alone through layers with tanh: slope and cotangents in fewer passes, and products put off.

A lone sample gives no block of rows to work on, so its time goes into what stands between the products.  Here a layer
is one pass, with its activation (or the slope of the activation before it) applied while the sums are in registers, and
the parameters' cotangents are not added up at each stage: the cotangents of all layers stay in
`bars`, `field.bars_size` numbers a stage, and `add_products` takes the outer products of many stages at once.

Serves where `field.is_single`: neither tangents nor gates nor running costs, tanh.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop
from pynode.engines.fused.field.layout import Field
from pynode.engines.fused.field.products import spread_product
from pynode.engines.fused.field.row_products import PLAIN_END, SLOPE_END, TANH_END, dot_row, spread_row
from pynode.engines.fused.simd import add_to, lanes, load, shift, splat, store


@loop
def value_of_one(field: Field, packed: Any, tape: Any, slope: Any) -> None:
    """What `value` does for one sample."""
    layers = field.n_layers
    y, x = shift(tape, field.state), shift(tape, field.layers[0].x)
    if field.power > 1:
        for j in range(0, field.state_step, lanes(packed)):
            base = load(y, j)
            raised = base
            for _ in range(1, field.power):
                raised = raised * base
            store(x, j, raised)
    for k in range(layers):
        layer = field.layers[k]
        last = k == layers - 1
        active = not last or field.activates_end
        out = slope
        if active:
            out = shift(tape, field.out if last else field.layers[k + 1].x)
        end = TANH_END if active else PLAIN_END
        n_in, n_out, out_step, start = layer.n_in, layer.n_out, layer.out_step, shift(packed, layer.bias)
        if layer.spreads_forward:
            spread_row(start, x, shift(packed, layer.forward), out_step, n_in, out_step, out, end, out)
        else:
            in_step = layer.in_step
            dot_row(start, x, shift(packed, layer.backward), in_step, in_step, n_out, out_step, out, end, out)
        x = out
    if field.activates_end:
        for j in range(0, field.state_step, lanes(packed)):
            store(slope, j, load(x, j))


@loop
def cotangents_of_one(field: Field, packed: Any, tape: Any, slope_bar: Any, bars: Any, y_bar: Any) -> None:
    """From the cotangent of one sample's slope to that of its state, and to those of all layers' products in `bars`."""
    width, last = lanes(packed), field.layers[field.n_layers - 1]
    bar, out = shift(bars, last.z_bar), shift(tape, field.out)
    for j in range(0, field.state_step, width):
        out_bar = load(slope_bar, j)
        if field.activates_end:
            a = load(out, j)
            out_bar = out_bar * (1.0 - a * a)
        store(bar, j, out_bar)
    zeros = shift(packed, field.zeros)
    for k in range(field.n_layers - 1, -1, -1):
        layer = field.layers[k]
        bar, x, below = shift(bars, layer.z_bar), shift(tape, layer.x), y_bar
        if k > 0:
            below = shift(bars, field.layers[k - 1].z_bar)
        end = SLOPE_END if k > 0 else PLAIN_END
        n_in, n_out, in_step, out_step = layer.n_in, layer.n_out, layer.in_step, layer.out_step
        if layer.spreads_back:
            spread_row(zeros, bar, shift(packed, layer.backward), in_step, n_out, in_step, below, end, x)
        else:
            dot_row(zeros, bar, shift(packed, layer.forward), out_step, out_step, n_in, in_step, below, end, x)
    if field.power > 1:
        y = shift(tape, field.state)
        for j in range(0, field.state_step, width):
            base = load(y, j)
            lower = splat(y, float(field.power))
            for _ in range(1, field.power):
                lower = lower * base
            store(y_bar, j, lower * load(y_bar, j))


@loop
def add_products(field: Field, tapes: Any, bars: Any, stages: int, grads: Any) -> None:
    """Adds what `stages` evaluations, with consecutive `tapes` and `bars`, contribute to the parameters' cotangent."""
    tape_step, bar_step = field.tape_size, field.bars_size
    for k in range(field.n_layers):
        layer = field.layers[k]
        n_in, n_out, in_step, out_step = layer.n_in, layer.n_out, layer.in_step, layer.out_step
        x, bar, W_bar = shift(tapes, layer.x), shift(bars, layer.z_bar), shift(grads, layer.weight_bar)
        if layer.by_input:
            spread_product(W_bar, in_step, W_bar, in_step, bar, 1, bar_step, x, tape_step, n_out, stages, in_step)
        else:
            spread_product(W_bar, out_step, W_bar, out_step, x, 1, tape_step, bar, bar_step, n_in, stages, out_step)
        for j in range(0, out_step, lanes(grads)):
            sum_of_stages = load(bar, j)
            for at in range(bar_step + j, stages * bar_step, bar_step):
                sum_of_stages = sum_of_stages + load(bar, at)
            add_to(grads, layer.bias_bar + j, sum_of_stages)
