"""exp, tanh and the other activations on vectors, with first and second derivatives.

All stand on one expansion, e^x - 1 = 2^n (p + 1) - 1 with n = round(x / ln 2) and p = e^r - 1 on |r| <= ln 2 / 2 by its
Taylor series, whose first left-out term is below a quarter of a rounding error.  Errors against exact values are at
most three units in the last place, near zero too; NaN stays NaN.  Formulas as in `pynode.activations`.
"""

# ruff: noqa: ARG001, ARG005 (Numba's code generators and the formulas have fixed signatures)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba.core import types

from pynode.engines.fused import ACTIVATIONS
from pynode.engines.fused.compile import intrinsic
from pynode.engines.fused.field.lanes import SHIFT, Lanes, emit_by_code, polynomial

TANH = ACTIVATIONS.index("tanh")
LOG2_E = math.log2(math.e)
# ln 2 in two parts, the first with so few bits that n times it is exact
LN2 = {64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 32: (0.693359375, -2.12194440e-4)}
TAYLOR_TERMS = {64: 13, 32: 8}
LOG_TERMS = {64: 17, 32: 8}
LARGEST = {64: 700.0, 32: 87.0}
GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


def reduced(x: Lanes) -> tuple[Lanes, Lanes]:
    """(r, n + SHIFT) with x = n ln 2 + r, |r| <= ln 2 / 2, for |x| up to a thousand."""
    shifted = x.times_plus(LOG2_E, SHIFT[x.bits])
    n = shifted - SHIFT[x.bits]
    high, low = LN2[x.bits]
    return n.times_plus(-low, n.times_plus(-high, x)), shifted


def small_power(r: Lanes) -> Lanes:
    """e^r - 1 for |r| <= ln 2 / 2."""
    q = polynomial(r, [1 / math.factorial(k) for k in range(2, TAYLOR_TERMS[r.bits] + 1)])
    return (r * r).times_plus(q, r)


def expanded(x: Lanes) -> tuple[Lanes, Lanes]:
    """(p, s) with e^x = s (1 + p), s a power of two and |p| < 0.42, for |x| up to LARGEST."""
    r, shifted = reduced(x)
    return small_power(r), shifted.power_of_two()


def exponential(x: Lanes) -> Lanes:
    """e^x, held constant beyond +-LARGEST."""
    p, s = expanded(x.at_most(LARGEST[x.bits]).at_least(-LARGEST[x.bits]))
    return s.times_plus(p, s)


def tanh(x: Lanes) -> Lanes:
    """m / (m + 2) with m = e^(2 x) - 1."""
    p, s = expanded((x + x).at_most(40.0).at_least(-40.0))
    m = s.times_plus(p, s - 1.0)
    return m / (m + 2.0)


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exponential(-x))


def softplus(x: Lanes, exp: Callable[[Lanes], Lanes] = exponential) -> Lanes:
    """max(x, 0) + log(1 + e^-|x|), the logarithm as 2 artanh(z / (2 + z)) by its series in powers of at most 1/9."""
    z = exp(-abs(x))
    s = z / (2.0 + z)
    w = s * s
    series = polynomial(w, [2 / (2 * k + 1) for k in range(LOG_TERMS[x.bits])])
    return x.at_least(0.0) + s * series


def gelu_inner(x: Lanes) -> Lanes:
    """tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    return tanh(GELU_SCALE * (GELU_CUBIC * x).times_plus(x * x, x))


def gelu_stretch(x: Lanes) -> Lanes:
    """The slope of what stands inside that tanh."""
    return (x * x).times_plus(3 * GELU_SCALE * GELU_CUBIC, GELU_SCALE)


def silu_slope(x: Lanes, a: Lanes) -> Lanes:
    s = sigmoid(x)
    return s + a * (1.0 - s)


def gelu_slope(x: Lanes, a: Lanes) -> Lanes:
    inner = gelu_inner(x)
    return 0.5 * (1.0 + inner) + 0.5 * x * (1.0 - inner * inner) * gelu_stretch(x)


def softplus_curvature(x: Lanes, a: Lanes) -> Lanes:
    s = sigmoid(x)
    return s * (1.0 - s)


def silu_curvature(x: Lanes, a: Lanes) -> Lanes:
    s = sigmoid(x)
    return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))


def gelu_curvature(x: Lanes, a: Lanes) -> Lanes:
    inner, stretch = gelu_inner(x), gelu_stretch(x)
    bend = (6 * GELU_SCALE * GELU_CUBIC) * x
    return (1.0 - inner * inner) * (stretch + 0.5 * x * (bend - 2.0 * inner * stretch * stretch))


Formula = Callable[[Lanes, Lanes], Lanes]

VALUES: dict[str, Formula] = {
    "tanh": lambda x, a: tanh(x),
    "softplus": lambda x, a: softplus(x),
    "sigmoid": lambda x, a: sigmoid(x),
    "silu": lambda x, a: x * sigmoid(x),
    "gelu": lambda x, a: 0.5 * x * (1.0 + gelu_inner(x)),
}
"""act(x)."""

SLOPES: dict[str, Formula] = {
    "tanh": lambda x, a: 1.0 - a * a,
    "softplus": lambda x, a: sigmoid(x),
    "sigmoid": lambda x, a: a * (1.0 - a),
    "silu": silu_slope,
    "gelu": gelu_slope,
}
"""act'(x), given a = act(x)."""

CURVATURES: dict[str, Formula] = {
    "tanh": lambda x, a: -2.0 * a * (1.0 - a * a),
    "softplus": softplus_curvature,
    "sigmoid": lambda x, a: a * (1.0 - a) * (1.0 - 2.0 * a),
    "silu": silu_curvature,
    "gelu": gelu_curvature,
}
"""act''(x), given a = act(x)."""


# --- functions for kernels -------------------------------------------------------------------------------------------


def _by_code(name: str, formulas: dict[str, Formula]) -> Any:
    """The function (code, x, a) that evaluates the formula of the activation with that code."""

    @intrinsic
    def evaluate(typing: Any, code: Any, x: Any, a: Any) -> Any:
        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            code, *operands = args
            return emit_by_code(builder, f"pynode.{name}", code, operands, [formulas[n] for n in ACTIVATIONS])

        return x(types.int64, x, x), generate

    return evaluate


activated = _by_code("value", VALUES)
slope_at = _by_code("slope", SLOPES)
curvature_at = _by_code("curvature", CURVATURES)


@intrinsic
def hyperbolic(typing: Any, x: Any) -> Any:
    """tanh(x)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return tanh(Lanes(builder, args[0])).value

    return x(x), generate


@intrinsic
def squashed(typing: Any, x: Any) -> Any:
    """sigmoid(x)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return sigmoid(Lanes(builder, args[0])).value

    return x(x), generate
