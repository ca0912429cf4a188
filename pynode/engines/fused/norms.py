"""Scaled sums of squares: what error control and the choice of the first step are made of."""

# ruff: noqa: ARG001 (Numba's code generators have fixed signatures)
from __future__ import annotations

from typing import Any

from pynode.engines.fused.jit import intrinsic, loop
from pynode.engines.fused.simd import emit_call, lanes, load, muladd, splat, suffix, total


@intrinsic
def magnitude(typing: Any, v: Any) -> Any:
    """|v| for vectors."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return emit_call(builder, f"llvm.fabs.{suffix(kind)}", kind, args[0])

    return v(v), generate


@intrinsic
def larger(typing: Any, v: Any, w: Any) -> Any:
    """The larger of each two lanes; the other one where one is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = args[0].type
        return emit_call(builder, f"llvm.maxnum.{suffix(kind)}", kind, *args)

    return v(v, v), generate


@loop
def add_squares(sums: Any, at: int, x: Any, y: Any, z: Any, atol: float, rtol: float, size: int) -> None:
    """Adds to sums[at] the squares of x / (atol + rtol max(|y|, |z|)) over `size` (whole vectors) entries."""
    absolute, relative, found = splat(x, atol), splat(x, rtol), splat(x, 0.0)
    for i in range(0, size, lanes(x)):
        ratio = load(x, i) / muladd(relative, larger(magnitude(load(y, i)), magnitude(load(z, i))), absolute)
        found = muladd(ratio, ratio, found)
    sums[at] += total(found)


@loop
def add_plain_squares(sums: Any, at: int, x: Any, size: int) -> None:
    """Adds to sums[at] the squares of `x`."""
    found = splat(x, 0.0)
    for i in range(0, size, lanes(x)):
        found = muladd(load(x, i), load(x, i), found)
    sums[at] += total(found)
