"""stand-in"""

from __future__ import annotations

from typing import Any

from pynode.engines.fused.compile import loop
from pynode.engines.fused.field.activations import activated, curvature_at, slope_at
from pynode.engines.fused.simd import lanes, load, store

UNARY_CODES = {"tanh": 0, "softplus": 1, "sigmoid": 2, "silu": 3, "gelu_tanh": 4}


@loop
def value_block(code: int, p: float, q: float, x: Any, out: Any, size: int) -> None:
    """out = f(x)"""
    for at in range(0, size, lanes(x)):
        v = load(x, at)
        store(out, at, activated(code, v, v))


@loop
def slope_block(code: int, p: float, q: float, x: Any, a: Any, out: Any, size: int) -> None:
    """out = f'(x)"""
    for at in range(0, size, lanes(x)):
        store(out, at, slope_at(code, load(x, at), load(a, at)))


@loop
def curvature_block(code: int, p: float, q: float, x: Any, a: Any, out: Any, size: int) -> None:
    """out = f''(x)"""
    for at in range(0, size, lanes(x)):
        store(out, at, curvature_at(code, load(x, at), load(a, at)))
