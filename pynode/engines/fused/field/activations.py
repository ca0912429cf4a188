"""exp, tanh and the other activations on vectors, with first and second derivatives.

All stand on one expansion, e^x - 1 = 2^n (p + 1) - 1 with n = round(x / ln 2) and p = e^r - 1 on |r| <= ln 2 / 2 by its
Taylor series, whose first left-out term is below a quarter of a rounding error.  Errors against exact values are at
most three units in the last place, near zero too; NaN stays NaN.  Formulas as in `pynode.activations`.

The formulas are ordinary functions of `Lanes`, whose operators write LLVM instructions when a kernel is compiled: type
inference over each of them would take longer than everything else.
"""

# ruff: noqa: ARG001, ARG005 (Numba's code generators and the formulas have fixed signatures)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types

from pynode.engines.fused import ACTIVATIONS
from pynode.engines.fused.compile import intrinsic
from pynode.engines.fused.simd import emit_call, emit_muladd, suffix

TANH = ACTIVATIONS.index("tanh")
LOG2_E = math.log2(math.e)
# ln 2 in two parts, the first with so few bits that n times it is exact
LN2 = {64: (6.93147180369123816490e-01, 1.90821492927058770002e-10), 32: (0.693359375, -2.12194440e-4)}
SHIFT = {64: 1.5 * 2.0**52, 32: 1.5 * 2.0**23}
"""Added to a number it leaves the nearest integer in the last bits."""
EXPONENT = {64: (1023, 52), 32: (127, 23)}
"""Bias and place of a number's exponent."""
TAYLOR_TERMS = {64: 13, 32: 8}
LOG_TERMS = {64: 17, 32: 8}
LARGEST = {64: 700.0, 32: 87.0}
GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


class Lanes:
    """A vector in a program that is being written; operators write instructions."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value
        self.bits = 64 if isinstance(value.type.element, ir.DoubleType) else 32

    def of(self, x: Lanes | float) -> Any:
        """The LLVM value of `x`, a number in every lane."""
        if isinstance(x, Lanes):
            return x.value
        return ir.Constant(self.value.type, [float(x)] * self.value.type.count)

    def _write(self, instruction: str, a: Any, b: Any) -> Lanes:
        # contraction to a fused multiply-add only takes roundings away
        return Lanes(self.builder, getattr(self.builder, instruction)(self.of(a), self.of(b), flags=("contract",)))

    def __add__(self, x: Lanes | float) -> Lanes:
        return self._write("fadd", self, x)

    def __radd__(self, x: float) -> Lanes:
        return self._write("fadd", x, self)

    def __sub__(self, x: Lanes | float) -> Lanes:
        return self._write("fsub", self, x)

    def __rsub__(self, x: float) -> Lanes:
        return self._write("fsub", x, self)

    def __mul__(self, x: Lanes | float) -> Lanes:
        return self._write("fmul", self, x)

    def __rmul__(self, x: float) -> Lanes:
        return self._write("fmul", x, self)

    def __truediv__(self, x: Lanes | float) -> Lanes:
        return self._write("fdiv", self, x)

    def __rtruediv__(self, x: float) -> Lanes:
        return self._write("fdiv", x, self)

    def __neg__(self) -> Lanes:
        return Lanes(self.builder, self.builder.fneg(self.value))

    def __abs__(self) -> Lanes:
        kind = self.value.type
        return Lanes(self.builder, emit_call(self.builder, f"llvm.fabs.{suffix(kind)}", kind, self.value))

    def times_plus(self, b: Lanes | float, c: Lanes | float) -> Lanes:
        """self * b + c."""
        return Lanes(self.builder, emit_muladd(self.builder, self.value, self.of(b), self.of(c)))

    def at_most(self, bound: float) -> Lanes:
        """The smaller of the two; NaN stays NaN."""
        above = self.builder.fcmp_ordered(">", self.value, self.of(bound))
        return Lanes(self.builder, self.builder.select(above, self.of(bound), self.value))

    def at_least(self, bound: float) -> Lanes:
        """The larger of the two; NaN stays NaN."""
        below = self.builder.fcmp_ordered("<", self.value, self.of(bound))
        return Lanes(self.builder, self.builder.select(below, self.of(bound), self.value))

    def power_of_two(self) -> Lanes:
        """2^n for n + SHIFT: n stands in the last bits, and goes where the exponent is."""
        bias, place = EXPONENT[self.bits]
        kind = ir.VectorType(ir.IntType(self.bits), self.value.type.count)
        n = self.builder.add(self.builder.bitcast(self.value, kind), ir.Constant(kind, [bias] * kind.count))
        shifted = self.builder.shl(n, ir.Constant(kind, [place] * kind.count))
        return Lanes(self.builder, self.builder.bitcast(shifted, self.value.type))


def polynomial(x: Lanes, coefficients: list[float]) -> Lanes | float:
    """sum_k coefficients_k x^k, in pairs of pairs: short chains keep the processor busy."""
    terms: list[Lanes | float] = list(coefficients)
    while len(terms) > 1:
        pairs = [x.times_plus(b, a) for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, *terms[2 * len(pairs) :]]
        x = x * x
    return terms[0]


def expanded(x: Lanes) -> tuple[Lanes, Lanes]:
    """(packed, s) with e^x = s (1 + packed), s a power of two and |p| < 0.42, for |x| up to LARGEST."""
    shifted = x.times_plus(LOG2_E, SHIFT[x.bits])
    n = shifted - SHIFT[x.bits]
    high, low = LN2[x.bits]
    r = n.times_plus(-low, n.times_plus(-high, x))
    q = polynomial(r, [1 / math.factorial(k) for k in range(2, TAYLOR_TERMS[x.bits] + 1)])
    return (r * r).times_plus(q, r), shifted.power_of_two()


def exponential(x: Lanes) -> Lanes:
    """e^x, held constant beyond +-LARGEST."""
    packed, s = expanded(x.at_most(LARGEST[x.bits]).at_least(-LARGEST[x.bits]))
    return s.times_plus(packed, s)


def tanh(x: Lanes) -> Lanes:
    """m / (m + 2) with m = e^(2 x) - 1."""
    packed, s = expanded((x + x).at_most(40.0).at_least(-40.0))
    m = s.times_plus(packed, s - 1.0)
    return m / (m + 2.0)


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exponential(-x))


def softplus(x: Lanes) -> Lanes:
    """max(x, 0) + log(1 + e^-|x|), the logarithm as 2 artanh(z / (2 + z)) by its series in powers of at most 1/9."""
    z = exponential(-abs(x))
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
            code, x, a = args
            usual, others, after = (builder.append_basic_block(b) for b in ("usual", "others", "after"))
            builder.cbranch(builder.icmp_signed("==", code, ir.IntType(64)(0)), usual, others)
            builder.position_at_end(usual)
            first = formulas[ACTIVATIONS[0]](Lanes(builder, x), Lanes(builder, a)).value
            builder.branch(after)
            builder.position_at_end(others)
            other = builder.call(_others(builder.module, name, formulas, x.type), args)
            builder.branch(after)
            builder.position_at_end(after)
            result = builder.phi(x.type)
            result.add_incoming(first, usual)
            result.add_incoming(other, others)
            return result

        return x(types.int64, x, x), generate

    return evaluate


def _others(module: Any, name: str, formulas: dict[str, Formula], kind: Any) -> Any:
    """A function in `module` for all activations but the first: written once, not at every place of use."""
    full = f"pynode.{name}.{suffix(kind)}"
    if full in module.globals:
        return module.globals[full]
    function = ir.Function(module, ir.FunctionType(kind, [ir.IntType(64), kind, kind]), full)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    code, x, a = function.args
    builder = ir.IRBuilder(function.append_basic_block())
    blocks = [function.append_basic_block(n) for n in ACTIVATIONS]
    choice = builder.switch(code, blocks[-1])
    for i, block in enumerate(blocks):
        choice.add_case(ir.IntType(64)(i), block)
        builder.position_at_end(block)
        builder.ret(formulas[ACTIVATIONS[i]](Lanes(builder, x), Lanes(builder, a)).value)
    return function


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
