"""Operators that work number by number and are made of others."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pynode.tapes.tracing.rules import COMPOSED


def _lerp(a: Tensor, b: Tensor, weight: Any) -> Tensor:
    return a + weight * (b - a)


def root(x: Tensor) -> Tensor:
    """The square root with the derivative 0 at 0, as torch's norms have it."""
    positive = x > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, x, 1.0)), 0.0)


LARGE = 1e8
"""A number whose square is so large that 1 beside it does not matter."""


def _asinh(x: Tensor) -> Tensor:
    size = torch.where(x < 0, -x, x)
    large = size > LARGE
    safe = torch.where(large, 1.0, size)
    y = torch.log1p(safe + safe * safe / (1 + torch.sqrt(1 + safe * safe)))
    y = torch.where(large, torch.log(torch.where(large, size, 1.0)) + math.log(2), y)
    return torch.where(x < 0, -y, y)


def _sinh(x: Tensor) -> Tensor:
    small = x.abs() < 1
    e = torch.expm1(torch.where(small, x, 0.0))
    return torch.where(small, 0.5 * (e + e / (1 + e)), 0.5 * (torch.exp(x) - torch.exp(-x)))


def _sinc(x: Tensor) -> Tensor:
    z = torch.where(x == 0, 1.0, math.pi * x)
    return torch.where(x == 0, 1.0, torch.sin(z) / z)


def _hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """With the derivative 0 at the bounds, where that of `clamp` is 1."""
    return torch.where(x >= high, high, torch.where(x <= low, low, x))


def _atan2(y: Tensor, x: Tensor) -> Tensor:
    flat, origin = x.abs() >= y.abs(), (x == 0) & (y == 0)  # at the origin the derivatives are 0
    angle = torch.atan(
        torch.where(origin, 0.0, torch.where(flat, y, x)) / torch.where(origin, 1.0, torch.where(flat, x, y))
    )
    half = math.pi - 2 * math.pi * (y < 0).to(y.dtype)
    return torch.where(flat, torch.where(x < 0, angle + half, angle), 0.5 * half - angle)


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b)


def _clamp_by(x: Tensor, low: Any = None, high: Any = None, **named: Any) -> Any:
    low, high = named.get("min", low), named.get("max", high)
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return NotImplemented
    x = x if low is None else torch.where(x < low, low, x)
    return x if high is None else torch.where(x > high, high, x)


def _asin(x: Tensor) -> Tensor:
    return torch.atan(x / torch.sqrt((1 - x) * (1 + x)))


def _no_dropout(x: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    """With the probability 0; others are refused before."""
    return x * 1.0, torch.ones_like(x, dtype=torch.bool)


COMPOSED.update(
    clamp=_clamp_by,
    clamp_min=_clamp_by,
    clamp_max=lambda x, high: _clamp_by(x, None, high),
    asin=_asin,
    acos=lambda x: 0.5 * math.pi - _asin(x),
    atanh=lambda x: 0.5 * (torch.log1p(x) - torch.log1p(-x)),
    acosh=lambda x: torch.log1p((x - 1) + torch.sqrt((x - 1) * (x + 1))),
    native_dropout=_no_dropout,
    lerp=_lerp,
    atan2=_atan2,
    arctan2=_atan2,
    glu=_glu,
    hypot=lambda a, b: torch.sqrt(a * a + b * b),
    addcdiv=lambda x, a, b, value=1.0: x + value * (a / b),
    tan=lambda x: torch.sin(x) / torch.cos(x),
    sinh=_sinh,
    cosh=lambda x: 0.5 * (torch.exp(x) + torch.exp(-x)),
    asinh=_asinh,
    sinc=_sinc,
    hardtanh=_hardtanh,
    relu6=lambda x: _hardtanh(x, 0.0, 6.0),
    fmax=lambda a, b: torch.maximum(a, b),
    fmin=lambda a, b: torch.minimum(a, b),
    signbit=lambda x: x < 0,
    log_sigmoid_forward=lambda x: (-torch.nn.functional.softplus(-x, threshold=40), x.new_zeros(0)),
    hardsigmoid=lambda x: torch.clamp(x / 6 + 0.5, 0, 1),
    hardswish=lambda x: x * torch.clamp(x / 6 + 0.5, 0, 1),
    softsign=lambda x: x / (1 + x.abs()),
    threshold=lambda x, threshold, value: torch.where(x > threshold, x, value),
    maximum=lambda a, b: torch.where(a > b, a, torch.where(a == b, 0.5 * a + 0.5 * b, b)),
    minimum=lambda a, b: torch.where(a < b, a, torch.where(a == b, 0.5 * a + 0.5 * b, b)),
    tanh_backward=lambda bar, a: bar * (1 - a * a),
    sigmoid_backward=lambda bar, a: bar * (a * (1 - a)),
    threshold_backward=lambda bar, x, threshold: torch.where(x > threshold, bar, 0.0),
    softplus_backward=lambda bar, x, beta, threshold: torch.where(
        x * beta > threshold, bar, bar * torch.sigmoid(beta * x)
    ),
    silu_backward=lambda bar, x: bar * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x))),
)
