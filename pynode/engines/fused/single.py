"""One sample alone through layers with tanh: slope and cotangents in fewer passes, and products put off.

A lone sample gives no block of rows to work on, so its time goes into what stands between the products.  Here a layer
is one pass, with its activation (or the slope of the activation before it) applied while the sums are in registers, and
the parameters' cotangents are not added up at each stage: the cotangents of all layers stay in `bars`, `d[BARS]`
numbers a stage, and `add_products` takes the outer products of many stages at once.

Serves where `d[SINGLE]` is 1: neither tangents nor gates nor running costs, tanh.
"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.description import (
    BACKWARD,
    BAR,
    BARS,
    BIAS,
    BY_INPUT,
    FINAL,
    FORWARD,
    G_BIAS,
    G_WEIGHT,
    HEAD,
    IN,
    IN_STEP,
    LAYER,
    LAYERS,
    OUT,
    OUT_STEP,
    POWER,
    SPREAD_IN,
    SPREAD_OUT,
    STATE,
    TAPE,
    TAPE_OUT,
    TAPE_X,
    TAPE_Y,
    ZEROS,
)
from pynode.engines.fused.jit import loop
from pynode.engines.fused.products import spread_product
from pynode.engines.fused.rows import PLAIN_END, SLOPE_END, TANH_END, dot_row, spread_row
from pynode.engines.fused.simd import add_to, lanes, load, shift, splat, store


@loop
def value_of_one(d: Any, p: Any, tape: Any, slope: Any) -> None:
    """What `field_value` does for one sample."""
    layers = d[LAYERS]
    y, x = shift(tape, d[TAPE_Y]), shift(tape, shift(d, HEAD)[TAPE_X])
    if d[POWER] > 1:
        for j in range(0, d[STATE], lanes(p)):
            base = load(y, j)
            found = base
            for _ in range(1, d[POWER]):
                found = found * base
            store(x, j, found)
    for k in range(layers):
        layer = shift(d, HEAD + LAYER * k)
        last = k == layers - 1
        active = not last or d[FINAL] == 1
        out = slope
        if active:
            out = shift(tape, d[TAPE_OUT] if last else shift(layer, LAYER)[TAPE_X])
        end = TANH_END if active else PLAIN_END
        n_in, n_out, out_step, start = layer[IN], layer[OUT], layer[OUT_STEP], shift(p, layer[BIAS])
        if layer[SPREAD_OUT] == 1:
            spread_row(start, x, shift(p, layer[FORWARD]), out_step, n_in, out_step, out, end, out)
        else:
            in_step = layer[IN_STEP]
            dot_row(start, x, shift(p, layer[BACKWARD]), in_step, in_step, n_out, out_step, out, end, out)
        x = out
    if d[FINAL] == 1:
        for j in range(0, d[STATE], lanes(p)):
            store(slope, j, load(x, j))


@loop
def cotangents_of_one(d: Any, p: Any, tape: Any, slope_bar: Any, bars: Any, y_bar: Any) -> None:
    """From the cotangent of one sample's slope to that of its state, and to those of all layers' products in `bars`."""
    width, last = lanes(p), shift(d, HEAD + LAYER * (d[LAYERS] - 1))
    bar, out = shift(bars, last[BAR]), shift(tape, d[TAPE_OUT])
    for j in range(0, d[STATE], width):
        found = load(slope_bar, j)
        if d[FINAL] == 1:
            a = load(out, j)
            found = found * (1.0 - a * a)
        store(bar, j, found)
    zeros = shift(p, d[ZEROS])
    for k in range(d[LAYERS] - 1, -1, -1):
        layer = shift(d, HEAD + LAYER * k)
        bar, x, below = shift(bars, layer[BAR]), shift(tape, layer[TAPE_X]), y_bar
        if k > 0:
            below = shift(bars, shift(layer, -LAYER)[BAR])
        end = SLOPE_END if k > 0 else PLAIN_END
        n_in, n_out, in_step, out_step = layer[IN], layer[OUT], layer[IN_STEP], layer[OUT_STEP]
        if layer[SPREAD_IN] == 1:
            spread_row(zeros, bar, shift(p, layer[BACKWARD]), in_step, n_out, in_step, below, end, x)
        else:
            dot_row(zeros, bar, shift(p, layer[FORWARD]), out_step, out_step, n_in, in_step, below, end, x)
    if d[POWER] > 1:
        y = shift(tape, d[TAPE_Y])
        for j in range(0, d[STATE], width):
            base = load(y, j)
            lower = splat(y, float(d[POWER]))
            for _ in range(1, d[POWER]):
                lower = lower * base
            store(y_bar, j, lower * load(y_bar, j))


@loop
def add_products(d: Any, tapes: Any, bars: Any, stages: int, g: Any) -> None:
    """Adds what `stages` evaluations, with consecutive `tapes` and `bars`, contribute to the parameters' cotangent."""
    tape_step, bar_step = d[TAPE], d[BARS]
    for k in range(d[LAYERS]):
        layer = shift(d, HEAD + LAYER * k)
        n_in, n_out, in_step, out_step = layer[IN], layer[OUT], layer[IN_STEP], layer[OUT_STEP]
        x, bar, G = shift(tapes, layer[TAPE_X]), shift(bars, layer[BAR]), shift(g, layer[G_WEIGHT])
        if layer[BY_INPUT] == 1:
            spread_product(G, in_step, G, in_step, bar, 1, bar_step, x, tape_step, n_out, stages, in_step)
        else:
            spread_product(G, out_step, G, out_step, x, 1, tape_step, bar, bar_step, n_in, stages, out_step)
        for j in range(0, out_step, lanes(g)):
            found = load(bar, j)
            for at in range(bar_step + j, stages * bar_step, bar_step):
                found = found + load(bar, at)
            add_to(g, layer[G_BIAS] + j, found)
