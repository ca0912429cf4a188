"""The kernels' activations against numbers of higher precision, and their derivatives against torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pynode.activations import ACTIVATIONS as TORCH_ACTIVATIONS
from pynode.engines.fused import ACTIVATIONS

Numbers = npt.NDArray[Any]
Evaluate = Callable[[int, Numbers], tuple[Numbers, Numbers, Numbers]]


@pytest.fixture(scope="module")
def evaluate() -> Evaluate:
    """`evaluate(code, x)`: value, slope and curvature by the kernels' functions."""
    from pynode.engines.fused import unavailable

    if reason := unavailable():
        pytest.skip(reason)
    import numba

    from pynode.engines.fused.field.activations import activated, curvature_at, slope_at
    from pynode.engines.fused.simd import lanes, load, pointer, store

    @numba.njit
    def kernel(code: int, x: Any, value: Any, slope: Any, curvature: Any) -> None:
        p, v, s, c = pointer(x), pointer(value), pointer(slope), pointer(curvature)
        for i in range(0, len(x), lanes(p)):
            q = load(p, i)
            a = activated(code, q, q)
            store(v, i, a)
            store(s, i, slope_at(code, q, a))
            store(c, i, curvature_at(code, q, a))

    def run(code: int, x: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        outputs = np.empty_like(x), np.empty_like(x), np.empty_like(x)
        kernel(code, x, *outputs)
        return outputs

    return run


def points(dtype: Any) -> Numbers:
    """Large, moderate, small and tiny numbers of both signs, a whole number of vectors."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(scale=scale, size=4096) for scale in (30.0, 1.0, 0.1, 1e-5, 1e-12)]
    return np.concatenate(parts).astype(dtype)


def exact(name: str, x: Numbers) -> Numbers:
    """The formula in extended precision."""
    x = x.astype(np.longdouble)
    inner = np.sqrt(np.longdouble(2) / np.longdouble(np.pi)) * (x + np.longdouble(0.044715) * x**3)
    values = {
        "tanh": np.tanh(x),
        "softplus": np.maximum(x, 0) + np.log1p(np.exp(-abs(x))),
        "sigmoid": 1 / (1 + np.exp(-x)),
        "silu": x / (1 + np.exp(-x)),
        "gelu": x / 2 * (1 + np.tanh(inner)),
    }
    return np.asarray(values[name])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name: str, dtype: Any, evaluate: Evaluate) -> None:
    """Within a few units in the last place, near zero and far from it."""
    if np.finfo(np.longdouble).nmant <= np.finfo(np.float64).nmant:
        pytest.skip("this machine has no extended precision to compare with")
    x = points(dtype)
    value, _, _ = evaluate(ACTIVATIONS.index(name), x)
    wanted = exact(name, x)
    # 1 + tanh cancels for large negative numbers, in this form of GELU on every backend
    scale = np.abs(wanted) if name != "gelu" else np.maximum(np.abs(wanted), np.abs(x) / 2)
    units = np.abs(value - wanted) / np.spacing(scale.astype(dtype)).astype(np.longdouble)
    # a sigmoid below e^-87 is not told from zero in float32
    assert units[np.abs(x) < 80].max() < 4


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name: str, evaluate: Evaluate) -> None:
    """First and second derivative, as torch takes them of its own function."""
    x = torch.from_numpy(points(np.float64)).requires_grad_()
    first = torch.autograd.grad(TORCH_ACTIVATIONS[name](x).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), x)[0]
    _, slope, curvature = evaluate(ACTIVATIONS.index(name), x.detach().numpy())
    assert abs(slope - first.detach().numpy()).max() < 1e-14
    # GELU's terms cancel far from zero, in torch's form of it as well
    assert abs(curvature - second.numpy()).max() < 1e-12


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extremes(name: str, dtype: Any, evaluate: Evaluate) -> None:
    """NaN stays NaN; huge and infinite numbers give the limits, not overflow."""
    x = np.full(16, 0.0, dtype=dtype)
    x[:7] = [np.nan, np.inf, 1e30, -1e30, 100.0, -100.0, 0.0]
    value, slope, _ = evaluate(ACTIVATIONS.index(name), x)
    high = {"tanh": 1.0, "sigmoid": 1.0}.get(name)
    assert np.isnan(value[0])
    assert value[2] == (high if high is not None else x[2])
    assert value[3] == pytest.approx(-1.0 if name == "tanh" else 0.0, abs=1e-6)
    assert value[4] == pytest.approx(high if high is not None else 100.0)
    assert value[5] == pytest.approx(-1.0 if name == "tanh" else 0.0, abs=1e-30)
    assert np.isfinite(slope[4:]).all()
    assert high is None or value[1] == high
