"""The functions that tapes know, in kernels: values and derivatives against torch's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pynode.tapes.operations import UNARY

Numbers = npt.NDArray[Any]
Three = tuple[Numbers, Numbers, Numbers]
Evaluate = Callable[[str, tuple[float, ...], Numbers], Three]

INFINITY = math.inf
NUMBERS: dict[str, list[tuple[float, ...]]] = {
    "softplus": [(1.0, 20.0), (2.0, 20.0), (0.5, 3.0)],
    "leaky_relu": [(0.01,), (-0.5,)],
    "elu": [(1.0, 1.0), (1.6732632423543772, 1.0507009873554805)],
    "clamp": [(-1.0, 1.0), (-INFINITY, 2.0), (0.0, INFINITY), (0.0, 6.0), (2.0, 1.0)],
    "power": [(float(p),) for p in (0, 1, 2, 3, 4, 5, 8, 9, 11, 100, -1, -2, -3, -9)],
    "affine": [(2.0, -0.5), (-0.1, 3.0)],
    "greater": [(0.0,), (0.5,)],
    "at_least": [(0.0,), (0.5,)],
    "equal": [(0.0,), (0.5,)],
}
NUMBERS["power"] += [(p,) for p in (0.5, -0.5, 1.5, 2.5, -1.5, 1 / 3, 0.7, -1.3, 20.3)]
CASES = [(name, numbers) for name in UNARY for numbers in NUMBERS.get(name, [()])]

BOUNDED = ("tanh", "sigmoid", "softplus", "silu", "gelu", "gelu_tanh", "mish", "elu", "sin", "cos", "erf", "expm1")
"""Functions whose derivatives are sums of terms of size 1: these round, where torch's sum and ours are small."""


@pytest.fixture(scope="module")
def evaluate() -> Evaluate:
    """`evaluate(name, numbers, x)`: value, slope and curvature by the kernels' functions."""
    from pynode.engines.fused import unavailable

    if reason := unavailable():
        pytest.skip(reason)
    import numba

    from pynode.engines.fused.field.functions import UNARY_CODES
    from pynode.engines.fused.program.unary import curvature_block, slope_block, value_block
    from pynode.engines.fused.simd import pointer

    @numba.njit
    def kernel(code: int, p0: float, p1: float, x: Any, value: Any, slope: Any, curvature: Any) -> None:
        q, a, n = pointer(x), pointer(value), len(x)
        value_block(code, p0, p1, q, q, a, n)
        slope_block(code, p0, p1, q, a, pointer(slope), n)
        curvature_block(code, p0, p1, q, a, pointer(curvature), n)

    def run(name: str, numbers: tuple[float, ...], x: Numbers) -> Three:
        padded = np.concatenate([x, np.zeros(-len(x) % 16, x.dtype)])
        results = np.empty_like(padded), np.empty_like(padded), np.empty_like(padded)
        p0, p1 = (*numbers, 0.0, 0.0)[:2]
        kernel(UNARY_CODES[name], p0, p1, padded, *results)
        value, slope, curvature = (r[: len(x)] for r in results)
        return value, slope, curvature

    return run


def by_torch(name: str, numbers: tuple[float, ...], x: Numbers) -> Three:
    """Value, first and second derivative by torch's autograd."""
    leaf = torch.from_numpy(x).requires_grad_()
    value = UNARY[name][1](leaf, *numbers)
    slope = curvature = torch.zeros_like(leaf)
    if value.requires_grad:
        slope = torch.autograd.grad(value.sum(), leaf, create_graph=True)[0]
    if slope.requires_grad:
        curvature = torch.autograd.grad(slope.sum(), leaf, allow_unused=True, materialize_grads=True)[0]
    f, df, ddf = (r.detach().numpy(force=True) for r in (value, slope, curvature))
    return f, df, ddf


def points(dtype: Any) -> Numbers:
    """Numbers of all sizes and both signs, among them 0, the kinks of all functions, and the ends of the range."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    sizes = np.exp(rng.uniform(math.log(float(info.tiny)), math.log(float(info.max)), 4096))
    parts = [rng.normal(scale=scale, size=1024) for scale in (1e4, 1e3, 100.0, 30.0, 5.0, 1.0, 0.1, 1e-5, 1e-12)]
    parts += [np.linspace(-6, 6, 4097), np.arange(-100, 101) / 4, sizes, -sizes]
    parts += [np.multiply([0.0, info.smallest_subnormal, info.tiny / 8, info.tiny, info.max], s) for s in (1.0, -1.0)]
    return np.concatenate(parts).astype(dtype)


def assert_close(ours: Numbers, wanted: Numbers, units: float, scale: Numbers | float) -> None:
    """Within `units` rounding errors of `wanted`, or of `scale` where that is larger, in the type of `ours`."""
    info = np.finfo(ours.dtype)
    wanted = wanted.astype(np.float64)
    # results near the end of the range may come by way of infinity or numbers of few bits
    is_large = abs(wanted) > float(info.max) / 1e5
    assert (np.sign(ours) == np.sign(wanted))[is_large].all()
    assert (abs(ours[is_large].astype(np.float64)) > float(info.max) / 1e6).all()
    with np.errstate(invalid="ignore"):
        error = abs(ours.astype(np.float64) - wanted)
    tolerance = units * float(info.eps) * np.maximum(abs(wanted), scale) + 100 * float(info.tiny)
    assert not (np.isnan(ours) & ~np.isnan(wanted)).any()
    assert not (error > tolerance)[~is_large].any(), (error / tolerance)[~is_large].max()


def test_all_functions_have_a_code() -> None:
    """The kernels know the functions that tapes know, no others."""
    functions = pytest.importorskip("pynode.engines.fused.field.functions", exc_type=ImportError)
    assert set(functions.UNARY_CODES) == set(UNARY)
    assert functions.UNARY_CODES["tanh"] == 0
    assert len(set(functions.UNARY_CODES.values())) == len(UNARY)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "numbers"), CASES)
def test_values_and_derivatives(name: str, numbers: tuple[float, ...], dtype: Any, evaluate: Evaluate) -> None:
    """Close to those of torch in double precision, at every number."""
    x = points(dtype)
    results = evaluate(name, numbers, x)
    # torch takes these numbers in the type of x
    numbers = tuple(float(dtype(p)) for p in numbers)
    with np.errstate(over="ignore"):
        wanted = by_torch(name, numbers, x.astype(np.float64))
    # torch's own gelu and mish have no derivatives at huge numbers
    usual = np.isfinite(wanted[1]) & np.isfinite(wanted[2]) | (name not in ("gelu", "gelu_tanh", "mish"))
    if name == "atan":  # the square of its slope underflows
        usual &= abs(x.astype(np.float64)) < 1e70
    scale: Any = 0.0
    if name in ("gelu", "gelu_tanh"):  # in torch's formula 1 + erf or 1 + tanh cancels far below zero
        scale = abs(x.astype(np.float64)) / 2
    elif name == "affine":
        scale = abs(numbers[1])
    assert_close(results[0], wanted[0], 6 + 4 * (name == "power"), scale)
    units = 512 if name == "gelu_tanh" else 64  # there 1 - tanh^2 cancels, and is multiplied by powers of x
    for ours, theirs in zip(results[1:], wanted[1:], strict=True):
        assert_close(ours[usual], theirs[usual], units, 1.0 if name in BOUNDED else 0.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "numbers"), CASES)
def test_infinity_and_nan(name: str, numbers: tuple[float, ...], dtype: Any, evaluate: Evaluate) -> None:
    """Values as torch's; so are derivatives, where torch's are numbers."""
    x = np.array([INFINITY, -INFINITY, np.nan], dtype)
    results, wanted = evaluate(name, numbers, x), by_torch(name, numbers, x)
    same = (results[0] == wanted[0]) | np.isnan(results[0]) & np.isnan(wanted[0])
    # float32 alone: torch's gelu is NaN at infinity
    assert (same | np.isnan(wanted[0]) & (x == INFINITY))[: 3 if name != "sign" else 2].all()
    for ours, theirs in zip(results[1:], wanted[1:], strict=True):
        assert ((ours == theirs) | np.isnan(theirs))[:2].all()


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_turns_are_taken_off_exactly(name: str, dtype: Any, evaluate: Evaluate) -> None:
    """Next to multiples of pi / 2, where the result is tiny, and for huge numbers."""
    n = np.concatenate([np.arange(1, 60000, 7), 10.0 ** np.arange(5, 30)])
    x = (n * (math.pi / 2)).astype(dtype)
    wanted = np.array([getattr(math, name)(float(v)) for v in x])
    value, slope, _ = evaluate(name, (), x)
    assert_close(value, wanted, 3, 0.0)
    other = np.array([math.cos(float(v)) if name == "sin" else -math.sin(float(v)) for v in x])
    assert_close(slope, other, 3, 0.0)


def test_exact_gelu_keeps_its_digits_below_zero(evaluate: Evaluate) -> None:
    """Where 1 + erf would cancel."""
    x = np.linspace(-37.0, 0.0, 1001)
    wanted = np.array([v / 2 * math.erfc(-v / math.sqrt(2)) for v in x])
    value, _, _ = evaluate("gelu", (), x)
    # rounding v / sqrt(2) costs v^2 rounding errors in erfc
    assert (abs(value - wanted) <= 2.3e-16 * (8 + x**2) * abs(wanted)).all()


@pytest.mark.parametrize("p", [1 / 3, -1.3, 11.0, 100.0, 700.0, 12345.678])
def test_powers_keep_their_digits_where_they_are_large_or_tiny(p: float, evaluate: Evaluate) -> None:
    """p log(x) of several hundred needs a logarithm with more digits than a number has."""
    if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("this machine has no extended precision to compare with")
    x = np.exp(np.linspace(-700.0, 700.0, 4001) / max(abs(p), 1.0))
    wanted = x.astype(np.longdouble) ** np.longdouble(p)
    value, _, _ = evaluate("power", (p,), x)
    assert (abs(value - wanted) / np.spacing(wanted.astype(np.float64))).max() < 2
