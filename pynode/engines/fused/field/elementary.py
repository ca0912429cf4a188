"""exp, log, sin, erf and other elementary functions of `Lanes`, right for every number, infinity and NaN.

Errors are at most a few units in the last place.  Where a series is given by a formula it is the Taylor series, long
enough that what is left out is below a rounding error.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from pynode.engines.fused.field.activations import LN2, reduced, small_power
from pynode.engines.fused.field.lanes import SHIFT, SMALLEST, Lanes, Number, either, emit_once, polynomial
from pynode.engines.fused.simd import emit_call, suffix

EXP_RANGE = {64: (-746.0, 710.0), 32: (-104.5, 89.0)}
"""Beyond them e^x is 0 and infinity."""
EXPM1_LARGE = 40.0
LOG_TERMS = {64: 11, 32: 5}
HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi / 2 in parts, the first two of so few bits that n times them is exact for n below a million."""
SINE_LARGE = 1e5
ERF_TERMS = {64: 12, 32: 7}
ATAN_TERMS = {64: 20, 32: 9}
SCALED_ERFC = {
    64: (1.095995661000491, -0.9765487290808821, 0.7732087022652374, -0.5408538313132201, 0.33085158787798813,
         -0.17401093724044453, 0.07638151490987771, -0.02637005333230321, 0.0061120556492774555,
         -0.00028095893558087193, -0.0004550526455639654, 0.00017681319046764806, -3.635296646587849e-06,
         -1.886213507131139e-05, 4.694619976583313e-06, 1.4268525380407012e-06, -8.46291501725211e-07,
         -7.900030007324783e-08, 1.2397022621920958e-07, 3.3863100022513686e-09, -1.5213206819950384e-08,
         -6.36903746253068e-10, 9.084541771213907e-10),
    32: (1.095995659817651, -0.9765487362088031, 0.7732088577419219, -0.5408532637076517, 0.33084865418715514,
         -0.1740228922272806, 0.07639244162310109, -0.02628336493225682, 0.006175034740707886,
         -0.0004515169330015119, -0.0007804227547028236),
}  # fmt: skip
"""(z + 4) e^(z^2) erfc(z) as a polynomial in (z - 4) / (z + 4), exact at Chebyshev points of 0 <= z <= 28 (10.2)."""
TAN_PI_8, TAN_3_PI_8 = math.sqrt(2) - 1, math.sqrt(2) + 1
QUARTER_PI, QUARTER_PI_REST = math.pi / 4, 3.061616997868383e-17
SMALL_POWER = 8.5


def exp(x: Lanes, rest: Lanes | float = 0.0) -> Lanes:
    """e^(x + rest), with |rest| below a hundredth."""
    low, high = EXP_RANGE[x.bits]
    r, shifted = reduced(x.at_most(high).at_least(low))
    if isinstance(rest, Lanes):
        r = r + rest
    p = small_power(r)
    first, second = _halves(shifted)
    return first.times_plus(p, first) * second


def _halves(shifted: Lanes) -> tuple[Lanes, Lanes]:
    """Two numbers with the product 2^n, which itself may be too large or too small, for n + SHIFT."""
    shift = SHIFT[shifted.bits]
    n = shifted - shift
    half = n.times_plus(0.5, shift)
    return half.power_of_two(), (n - (half - shift) + shift).power_of_two()


def expm1(x: Lanes) -> Lanes:
    """e^x - 1."""
    r, shifted = reduced(x.at_most(EXPM1_LARGE).at_least(-EXPM1_LARGE))
    s = shifted.power_of_two()
    return s.times_plus(small_power(r), s - 1.0).choose(x.is_("<", EXPM1_LARGE), exp(x))


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(-x))


def log(x: Lanes, rest: Lanes | float = 0.0) -> Lanes:
    """log(x) + rest, with a `rest` that is far smaller: log(2^k m) = k ln 2 + 2 artanh((m - 1) / (m + 1))."""
    smallest, places = SMALLEST[x.bits]
    is_small = x.is_("<", smallest)
    k, m = (x * 2.0**places).choose(is_small, x).split()
    k = (k - float(places)).choose(is_small, k)
    high, low = LN2[x.bits]
    f = m - 1.0
    s = f / (2.0 + f)
    w = s * s
    series = w * polynomial(w, [2 / (2 * n + 3) for n in range(LOG_TERMS[x.bits])])
    half = 0.5 * f * f
    result = k * high - ((half - (s * (half + series) + (k * low + rest))) - f)
    result = result.choose(x.is_("<", math.inf), x)
    return number(x, math.nan).choose(x.is_("<", 0.0), number(x, -math.inf).choose(x.is_("==", 0.0), result))


def number(like: Lanes, x: float) -> Lanes:
    """`x` in every lane."""
    return Lanes(like.builder, like.of(x))


def log1p(x: Lanes) -> Lanes:
    """log(1 + x): what is lost of x in u = 1 + x adds lost / u."""
    u = 1.0 + x
    b = u - 1.0
    lost = (1.0 - (u - b)) + (x - b)
    return log(u, (lost / u).choose(x.is_("<", 1e30), 0.0))


def sin(x: Lanes) -> Lanes:
    return _sine(x, "sin", 0.0)


def cos(x: Lanes) -> Lanes:
    return _sine(x, "cos", 1.0)


def _sine(x: Lanes, name: str, quarters: float) -> Lanes:
    """sin(x + quarters pi / 2), which is the function `name`."""
    if x.bits == 32:  # it takes double precision to find what is left of x after multiples of pi / 2
        return _sine(x.wide(), name, quarters).narrow()
    kind = x.value.type

    def by_library() -> Lanes:
        return Lanes(x.builder, emit_call(x.builder, f"llvm.{name}.{suffix(kind)}", kind, x.value))

    return either(x.builder, x.all_within(SINE_LARGE), lambda: _turned(x, quarters), by_library)


def _turned(x: Lanes, quarters: float) -> Lanes:
    """sin(x + quarters pi / 2) for |x| up to SINE_LARGE."""
    shifted = x.times_plus(2 / math.pi, SHIFT[64])
    n = shifted - SHIFT[64]
    r = x
    for part in HALF_PI:
        r = n.times_plus(-part, r)
    w = r * r
    sine = (w * r).times_plus(polynomial(w, [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, 9)]), r)
    half = 0.5 * w
    top = 1.0 - half
    series = polynomial(w, [(-1) ** k / math.factorial(2 * k) for k in range(2, 9)])
    cosine = top + (w * w).times_plus(series, (1.0 - top) - half)
    turn = shifted + quarters
    result = cosine.choose(turn.has_bit(0), sine)
    return (-result).choose(turn.has_bit(1), result)


def atan(x: Lanes) -> Lanes:
    """By the slope against the nearest of 0, pi / 4 and pi / 2."""
    z = abs(x)
    steep, middle = z.is_(">", TAN_3_PI_8), z.is_(">", TAN_PI_8)
    above = number(x, -1.0).choose(steep, (z - 1.0).choose(middle, z))
    below = z.choose(steep, (z + 1.0).choose(middle, 1.0))
    base = number(x, 2.0).choose(steep, number(x, 1.0).choose(middle, 0.0))
    y = above / below
    w = y * y
    series = polynomial(w, [(-1) ** k / (2 * k + 1) for k in range(1, ATAN_TERMS[x.bits])])
    part = y + (y * w).times_plus(series, base * QUARTER_PI_REST)
    return base.times_plus(QUARTER_PI, part).with_sign_of(x)


def bell(x: Lanes, factor: float) -> Lanes:
    """e^(-factor x^2), for a factor of 1 or 1/2: the rest of the rounded square is not lost."""
    x = abs(x).at_most(60.0)
    top = x.top_half()
    return exp((-factor * top) * top, (-factor * (x - top)) * (x + top))


def scaled_erfc(z: Lanes) -> Lanes:
    """e^(z^2) erfc(z) for z >= 0."""
    u = 1.0 / (z + 4.0)
    return u * polynomial(u.times_plus(-8.0, 1.0), list(SCALED_ERFC[z.bits]))


def erf(x: Lanes) -> Lanes:
    z = abs(x)
    w = x * x
    coefficients = [
        2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(ERF_TERMS[x.bits])
    ]
    small = x * polynomial(w, coefficients)
    large = (1.0 - bell(x, 1.0) * scaled_erfc(z)).with_sign_of(x)
    return small.choose(z.is_("<", 0.5), large)


def normal(x: Lanes) -> tuple[Lanes, Lanes]:
    """The standard normal distribution: what is below x, and its density at x."""
    e = bell(x, 0.5)
    tail = 0.5 * e * scaled_erfc(abs(x) * math.sqrt(0.5))
    return tail.choose(x.is_("<", 0.0), 1.0 - tail), e * (1 / math.sqrt(2 * math.pi))


def power(x: Lanes, p: Number) -> Lanes:
    """x^p."""
    return Lanes(x.builder, emit_once(x.builder, "pynode.power", x.value.type, [x.value, p.scalar], _write_power))


def _write_power(builder: Any, x_value: Any, p: Any) -> None:
    x = Lanes(builder, x_value)
    double = ir.DoubleType()
    size = emit_call(builder, "llvm.fabs.f64", double, p)
    whole = emit_call(builder, "llvm.floor.f64", double, size)
    fraction = builder.fsub(size, whole)
    has_root = builder.fcmp_ordered("==", fraction, double(0.5))
    is_simple = builder.and_(
        builder.fcmp_ordered("<=", size, double(SMALL_POWER)),
        builder.or_(has_root, builder.fcmp_ordered("==", fraction, double(0.0))),
    )

    def rooted(product: Lanes) -> Lanes:
        """Times sqrt(x); beyond it as C's pow, which has no negative results here and is infinite at -infinity."""
        root = x.root()
        endless = abs(x).choose(x.is_("==", -math.inf), root)
        is_more = builder.fcmp_ordered(">", size, double(1.0))
        return either(builder, is_more, lambda: abs(product * endless), lambda: root)

    def simple() -> Lanes:
        """By products and a square root."""
        n = builder.fptosi(whole, ir.IntType(64))
        result, factor = number(x, 1.0), x
        for i in range(4):
            is_in = builder.trunc(builder.lshr(n, ir.IntType(64)(i)), ir.IntType(1))
            result = (result * factor).choose(is_in, result)
            factor = factor * factor
        result = either(builder, has_root, lambda: rooted(result), lambda: result)
        return either(builder, builder.fcmp_ordered("<", p, double(0.0)), lambda: 1.0 / result, lambda: result)

    def general() -> Lanes:
        exponent: Lanes = Number(builder, p, x.value.type)
        wide = x
        if x.bits == 32:
            wide, exponent = x.wide(), exponent.wide()
        kind = wide.value.type
        result = Lanes(builder, emit_call(builder, f"llvm.pow.{suffix(kind)}", kind, wide.value, exponent.value))
        return result if x.bits == 64 else result.narrow()

    builder.ret(either(builder, is_simple, simple, general).value)
