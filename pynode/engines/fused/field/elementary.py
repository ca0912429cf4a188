"""exp, log, sin, erf and other elementary functions of `Lanes`, right for every number, infinity and NaN.

Errors are at most a few units in the last place.  Where a series is given by a formula it is the Taylor series, long
enough that what is left out is below a rounding error.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

from pynode.engines.fused.field.activations import LN2, expanded, exponential, reduced, small_power
from pynode.engines.fused.field.lanes import SHIFT, SMALLEST, Lanes, Number, either, emit_once, polynomial
from pynode.engines.fused.simd import emit_call, suffix

EXP_RANGE = {64: (-708.3964185322641, 709.782712893384), 32: (-87.33654, 88.72283)}
"""Below, e^x has fewer bits than other numbers and counts as 0; above, it is infinite."""
EXPM1_LARGE = 40.0
LOG_TERMS = {64: 10, 32: 5}
HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
"""pi / 2 in parts, the first two of so few bits that n times them is exact for n below a million."""
SINE_LARGE = 1e5
SINE_TERMS = {64: 8, 32: 4}
ERF_TERMS = {64: 12, 32: 7}
ERF_LARGE = 6.0
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
TWO_THIRDS, TWO_THIRDS_REST = 2 / 3, 2 / 3 * 2.0**-54
TAN_PI_8, TAN_3_PI_8 = math.sqrt(2) - 1, math.sqrt(2) + 1
QUARTER_PI, QUARTER_PI_REST = math.pi / 4, 3.061616997868383e-17
SMALL_POWER = 8.5


def exp(x: Lanes, rest: Lanes | float = 0.0) -> Lanes:
    """e^(x + rest), with |rest| below a hundredth."""
    low, high = EXP_RANGE[x.bits]
    r, shifted = reduced(x)
    if isinstance(rest, Lanes):
        r = r + rest
    result = (1.0 + small_power(r)).times_power_of_two(shifted)
    # above: infinity, or NaN
    return number(x, 0.0).choose(x.is_("<", low), result.choose(x.is_("<=", high), x + math.inf))


def expm1(x: Lanes) -> Lanes:
    """e^x - 1."""
    y = x.at_least(-EXPM1_LARGE)
    p, s = expanded(y)
    return s.times_plus(p, s - 1.0).choose(y.is_("<", EXPM1_LARGE), exp(y))


def sigmoid(x: Lanes) -> Lanes:
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(-x))


def log(x: Lanes, rest: Lanes | float = 0.0) -> Lanes:
    """log(x) + rest, with a `rest` that is far smaller: log(2^k m) = k ln 2 + 2 artanh((m - 1) / (m + 1))."""
    k, m = _split(x)
    high, low = LN2[x.bits]
    f = m - 1.0
    s = f / (2.0 + f)
    w = s * s
    series = w * polynomial(w, [2 / (2 * n + 3) for n in range(LOG_TERMS[x.bits])])
    half = 0.5 * f * f
    result = _with_ends(x, k * high - ((half - (s * (half + series) + (k * low + rest))) - f))
    return number(x, math.nan).choose(x.is_("<", 0.0), result)


def _split(x: Lanes) -> tuple[Lanes, Lanes]:
    """(k, m) with x = 2^k m and m in [sqrt(1 / 2), sqrt(2)), for positive numbers."""
    smallest, places = SMALLEST[x.bits]
    is_small = x.is_("<", smallest)
    k, m = (x * 2.0**places).choose(is_small, x).split()
    return (k - float(places)).choose(is_small, k), m


def _with_ends(x: Lanes, logarithm: Lanes) -> Lanes:
    """The logarithm of x >= 0, also at 0, infinity and NaN."""
    return number(x, -math.inf).choose(x.is_("==", 0.0), logarithm.choose(x.is_("<", math.inf), x))


def _log_in_parts(x: Lanes) -> tuple[Lanes, Lanes]:
    """log(x) for x >= 0 as a sum of two numbers, with a dozen bits more than one has: the first terms with their rest.

    As in `log`, with s = (m - 1) / (m + 1) and log(m) = 2 s + 2 / 3 s^3 + s^5 (2 / 5 + ...).
    """
    k, m = _split(x)
    high, low = LN2[64]
    f, d = m - 1.0, m + 1.0
    inverse = 1.0 / d
    s = f * inverse
    s_rest = ((-s).fused(d, f) - s * (m - (d - 1.0))) * inverse
    w = s * s
    cube = s * w
    cube_rest = s.fused(w, -cube) + s * (s.fused(s, -w) + 2.0 * s * s_rest) + s_rest * w
    third = cube * TWO_THIRDS
    third_rest = cube.fused(TWO_THIRDS, -third) + cube * TWO_THIRDS_REST + cube_rest * TWO_THIRDS
    tail = cube * w * polynomial(w, [2 / (2 * n + 5) for n in range(LOG_TERMS[64] - 1)])
    double = s + s
    first = double + third
    rest = (double - first) + third + (s_rest + s_rest + third_rest + tail)
    whole = k * high
    result = whole + first
    rest = (whole - result) + first + (rest + k * low)
    return _with_ends(x, result), rest


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
    kind = x.value.type

    def by_library() -> Lanes:
        return Lanes(x.builder, emit_call(x.builder, f"llvm.{name}.{suffix(kind)}", kind, x.value))

    return either(x.builder, x.all_within(SINE_LARGE), lambda: _turned(x, quarters), by_library)


def _turned(x: Lanes, quarters: float) -> Lanes:
    """sin(x + quarters pi / 2) for |x| up to SINE_LARGE."""
    # what is left of x after multiples of pi / 2 takes double precision
    left = x if x.bits == 64 else x.wide()
    shifted = left.times_plus(2 / math.pi, SHIFT[64])
    n = shifted - SHIFT[64]
    for part in HALF_PI:
        left = n.times_plus(-part, left)
    r = left if x.bits == 64 else left.narrow()
    w = r * r
    terms = SINE_TERMS[x.bits]
    series = polynomial(w, [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, terms + 1)])
    sine = (w * r).times_plus(series, r)
    half = 0.5 * w
    top = 1.0 - half
    series = polynomial(w, [(-1) ** k / math.factorial(2 * k) for k in range(2, terms + 2)])
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
    coefficients = [
        2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(ERF_TERMS[x.bits])
    ]
    small = x * polynomial(x * x, coefficients)
    z = z.at_most(ERF_LARGE)
    large = (1.0 - exponential(-z * z) * scaled_erfc(z)).with_sign_of(x)
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
        """e^(p log |x|), with the sign of x where p is odd; NaN below 0 where p is not whole."""
        size_of_result = _positive_power(abs(x), Number(builder, p, x.value.type))
        is_whole = builder.fcmp_ordered("==", fraction, double(0.0))
        half = builder.fmul(whole, double(0.5))
        is_odd = builder.fcmp_ordered("!=", half, emit_call(builder, "llvm.floor.f64", double, half))
        signed = either(builder, is_odd, lambda: size_of_result.with_sign_of(x), lambda: size_of_result)
        below = builder.and_(x.is_("<", 0.0), x.is_(">", -math.inf))
        partial = number(x, math.nan).choose(below, size_of_result)
        return either(builder, is_whole, lambda: signed, lambda: partial)

    builder.ret(either(builder, is_simple, simple, general).value)


def _positive_power(x: Lanes, p: Lanes) -> Lanes:
    """x^p for x >= 0."""
    if x.bits == 32:
        return exp(p.wide() * log(x.wide())).narrow()
    logarithm, rest = _log_in_parts(x)
    y = p * logarithm
    return exp(y, p.fused(logarithm, -y) + p * rest)
