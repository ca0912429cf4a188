"""The functions of one number that tapes know, on vectors, with first and second derivatives.

The derivatives are those that torch's autograd gives, also where there is none in the strict sense: 0 for |x| at 0, 1
for `clamp` at its bounds.
"""

# ruff: noqa: ARG001, ARG005 (the formulas have fixed signatures)
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from pynode.engines.fused.field import activations, elementary
from pynode.engines.fused.field.activations import tanh
from pynode.engines.fused.field.elementary import bell, exp, number, sigmoid
from pynode.engines.fused.field.lanes import Lanes, Number

Formula: TypeAlias = Callable[[Lanes, Lanes, Number, Number], Lanes]
TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)
MISH_LARGE = 40.0
"""From here on mish(x) is x, also in double precision."""
GELU_LARGE = 50.0
"""Beyond +-50 the derivatives of both forms of gelu are constant; powers of larger numbers might overflow."""


def zero(x: Lanes) -> Lanes:
    return number(x, 0.0)


def one_where(x: Lanes, mask: Any) -> Lanes:
    return number(x, 1.0).choose(mask, 0.0)


def sign(x: Lanes) -> Lanes:
    return number(x, 1.0).choose(x.is_(">", 0.0), number(x, -1.0).choose(x.is_("<", 0.0), 0.0))


# --- softplus, silu, mish --------------------------------------------------------------------------------------------


def softplus(x: Lanes, a: Lanes, beta: Number, threshold: Number) -> Lanes:
    y = x * beta
    return x.choose(y.is_(">", threshold), activations.softplus(y, exp) / beta)


def softplus_slope(x: Lanes, a: Lanes, beta: Number, threshold: Number) -> Lanes:
    y = x * beta
    return number(x, 1.0).choose(y.is_(">", threshold), sigmoid(y))


def softplus_curvature(x: Lanes, a: Lanes, beta: Number, threshold: Number) -> Lanes:
    y = x * beta
    s = sigmoid(y)
    return zero(x).choose(y.is_(">=", threshold), s * (1.0 - s) * beta)


def silu(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    return x / (1.0 + exp(-x))


def silu_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def silu_curvature(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    s = sigmoid(x)
    return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))


def mish(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    e = exp(x.at_most(MISH_LARGE))
    n = e * (e + 2.0)
    return x * (n / (n + 2.0))


def _mish_parts(x: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """sigmoid(x), T = tanh(softplus(x)) and 1 - T^2; with e = e^x and n = e (e + 2), T is n / (n + 2)."""
    e = exp(x)
    n = e * (e + 2.0)
    inverse = 1.0 / (n + 2.0)
    return e / (1.0 + e), n * inverse, 4.0 * (n + 1.0) * inverse * inverse


def mish_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    x = x.at_most(MISH_LARGE)
    s, t, u = _mish_parts(x)
    return t + x * s * u


def mish_curvature(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    x = x.at_most(MISH_LARGE)
    s, t, u = _mish_parts(x)
    return s * u * (2.0 + x * (1.0 - s - 2.0 * s * t))


# --- gelu ------------------------------------------------------------------------------------------------------------


def gelu(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    below, _ = elementary.normal(x)
    return x * below


def gelu_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    x = _within(x, GELU_LARGE)
    below, density = elementary.normal(x)
    return below + x * density


def gelu_curvature(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    x = _within(x, GELU_LARGE)
    return bell(x, 0.5) * (1 / math.sqrt(2 * math.pi)) * (2.0 - x * x)


def _within(x: Lanes, bound: float) -> Lanes:
    return x.at_most(bound).at_least(-bound)


# --- functions in pieces ---------------------------------------------------------------------------------------------


def relu_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    return zero(x).choose(x.is_("<=", 0.0), 1.0)


def leaky_relu(x: Lanes, a: Lanes, slope: Number, q: Number) -> Lanes:
    return x.choose(x.is_(">", 0.0), x * slope)


def elu(x: Lanes, a: Lanes, alpha: Number, scale: Number) -> Lanes:
    return scale * x.choose(x.is_(">", 0.0), alpha * elementary.expm1(x))


def elu_slope(x: Lanes, a: Lanes, alpha: Number, scale: Number) -> Lanes:
    return scale * number(x, 1.0).choose(x.is_(">", 0.0), alpha * exp(x))


def elu_curvature(x: Lanes, a: Lanes, alpha: Number, scale: Number) -> Lanes:
    return zero(x).choose(x.is_(">=", 0.0), scale * alpha * exp(x))


def clamp(x: Lanes, a: Lanes, low: Number, high: Number) -> Lanes:
    return x.at_least(low).at_most(high)


def clamp_slope(x: Lanes, a: Lanes, low: Number, high: Number) -> Lanes:
    return one_where(x, x.builder.and_(x.is_(">=", low), x.is_("<=", high)))


# --- powers ----------------------------------------------------------------------------------------------------------


def power_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    slope = p * elementary.power(x, p.plus(-1.0))
    return zero(x).choose(p.is_("==", 0.0), slope)


def power_curvature(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    before = p.plus(-1.0)
    curvature = p * before * elementary.power(x, p.plus(-2.0))
    return zero(x).choose(p.is_("==", 0.0), zero(x).choose(before.is_("==", 0.0), curvature))


# --- the table -------------------------------------------------------------------------------------------------------


def erf_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    return TWO_BY_ROOT_PI * bell(x, 1.0)


def atan_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    return 1.0 / (x * x + 1.0)


def atan_curvature(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    slope = 1.0 / (x * x + 1.0)
    return x * slope * slope * -2.0


def _no_slope(x: Lanes, a: Lanes, p: Number, q: Number) -> Lanes:
    return zero(x)


def _reciprocal_square(x: Lanes) -> Lanes:
    inverse = 1.0 / x
    return -inverse * inverse


FORMULAS: dict[str, tuple[Formula, Formula, Formula]] = {
    "tanh": (
        lambda x, a, p, q: tanh(x),
        lambda x, a, p, q: 1.0 - a * a,
        lambda x, a, p, q: -2.0 * a * (1.0 - a * a),
    ),
    "sigmoid": (
        lambda x, a, p, q: sigmoid(x),
        lambda x, a, p, q: a * (1.0 - a),
        lambda x, a, p, q: a * (1.0 - a) * (1.0 - 2.0 * a),
    ),
    "softplus": (softplus, softplus_slope, softplus_curvature),
    "silu": (silu, silu_slope, silu_curvature),
    "gelu": (gelu, gelu_slope, gelu_curvature),
    "gelu_tanh": (
        lambda x, a, p, q: activations.VALUES["gelu"](x, x),
        lambda x, a, p, q: activations.gelu_slope(_within(x, GELU_LARGE), a),
        lambda x, a, p, q: activations.gelu_curvature(_within(x, GELU_LARGE), a),
    ),
    "relu": (lambda x, a, p, q: x.at_least(0.0), relu_slope, _no_slope),
    "leaky_relu": (leaky_relu, lambda x, a, p, q: number(x, 1.0).choose(x.is_(">", 0.0), p), _no_slope),
    "elu": (elu, elu_slope, elu_curvature),
    "mish": (mish, mish_slope, mish_curvature),
    "clamp": (clamp, clamp_slope, _no_slope),
    "sin": (lambda x, a, p, q: elementary.sin(x), lambda x, a, p, q: elementary.cos(x), lambda x, a, p, q: -a),
    "cos": (lambda x, a, p, q: elementary.cos(x), lambda x, a, p, q: -elementary.sin(x), lambda x, a, p, q: -a),
    "exp": (lambda x, a, p, q: exp(x), lambda x, a, p, q: a, lambda x, a, p, q: a),
    "log": (
        lambda x, a, p, q: elementary.log(x),
        lambda x, a, p, q: 1.0 / x,
        lambda x, a, p, q: _reciprocal_square(x),
    ),
    "sqrt": (
        lambda x, a, p, q: x.root(),
        lambda x, a, p, q: 0.5 / a,
        lambda x, a, p, q: -0.25 / (a * a * a),
    ),
    "abs": (lambda x, a, p, q: abs(x), lambda x, a, p, q: sign(x), _no_slope),
    "square": (lambda x, a, p, q: x * x, lambda x, a, p, q: x + x, lambda x, a, p, q: number(x, 2.0)),
    "power": (lambda x, a, p, q: elementary.power(x, p), power_slope, power_curvature),
    "reciprocal": (
        lambda x, a, p, q: 1.0 / x,
        lambda x, a, p, q: -a * a,
        lambda x, a, p, q: 2.0 * a * a * a,
    ),
    "affine": (lambda x, a, p, q: x * p + q, lambda x, a, p, q: p, _no_slope),
    "erf": (lambda x, a, p, q: elementary.erf(x), erf_slope, lambda x, a, p, q: x * (-2.0 * erf_slope(x, a, p, q))),
    "expm1": (lambda x, a, p, q: elementary.expm1(x), lambda x, a, p, q: a + 1.0, lambda x, a, p, q: a + 1.0),
    "log1p": (
        lambda x, a, p, q: elementary.log1p(x),
        lambda x, a, p, q: 1.0 / (x + 1.0),
        lambda x, a, p, q: _reciprocal_square(x + 1.0),
    ),
    "atan": (lambda x, a, p, q: elementary.atan(x), atan_slope, atan_curvature),
    "sign": (lambda x, a, p, q: sign(x), _no_slope, _no_slope),
    "greater": (lambda x, a, p, q: one_where(x, x.is_(">", p)), _no_slope, _no_slope),
    "at_least": (lambda x, a, p, q: one_where(x, x.is_(">=", p)), _no_slope, _no_slope),
    "equal": (lambda x, a, p, q: one_where(x, x.is_("==", p)), _no_slope, _no_slope),
}
"""Value, first and second derivative at x with the numbers p and q, given a, which is the value."""

UNARY_CODES: dict[str, int] = {name: code for code, name in enumerate(FORMULAS)}
"""The number of each function in kernels."""
