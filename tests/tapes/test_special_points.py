"""Tapes agree with torch where functions are taken apart: at zero, at kinks, at ties, near cancellation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pynode.tapes.capture import capture_module

POINTS = [[0.0, 0.5], [0.5, 0.0], [0.0, 0.0], [-0.3, 0.4], [1e-9, 1e-12], [1.0, -1.0], [6.0, -1.0]]
POSITIVE = [[0.0, 0.5], [0.5, 0.0], [0.0, 0.0], [1e-9, 1e-12], [1.0, 3.0]]

Formula = Callable[[Tensor, Tensor], Tensor]

CASES: dict[str, tuple[Formula, list[list[float]]]] = {
    "power by a parameter": (lambda y, p: y.abs() ** p, POINTS),
    "steep power by a parameter": (lambda y, p: y.abs() ** (0.5 * p), POSITIVE),
    "powers by a tensor": (lambda y, p: y.abs() ** torch.tensor([2.0, 0.5], dtype=y.dtype) * p, POINTS),
    "number to the power": (lambda y, p: 2.0**y * p + torch.pow(0.5, y), POINTS),
    "test for nan": (lambda y, p: torch.where(torch.isnan(torch.log(y.abs())), y, 2 * y) * p, POINTS),
    "sinh": (lambda y, p: torch.sinh(y) * p, [*POINTS, [300.0, -700.0]]),
    "asinh": (lambda y, p: torch.asinh(y) * p, [*POINTS, [1e10, -1e10]]),
    "acosh": (lambda y, p: torch.acosh(1 + y * y) * p, [[0.5, 0.3], [1.0, 2.0]]),
    "sinc": (lambda y, p: torch.sinc(y) * p, [p for p in POINTS if 1e-9 not in p]),  # torch cancels there
    "hardtanh": (lambda y, p: F.hardtanh(y) * p, POINTS),
    "relu6": (lambda y, p: F.relu6(y) * p, POINTS),
    "clamp": (lambda y, p: y.clamp(-1.0, 1.0) * p, POINTS),
    "norm": (lambda y, p: y.norm(dim=-1, keepdim=True) * p, POINTS),
    "norm of third order": (lambda y, p: y.norm(p=3, dim=-1, keepdim=True) * p, POINTS),
    "largest of each": (lambda y, p: torch.maximum(y, p * y), POINTS),
    "largest column": (lambda y, p: y.max(-1, keepdim=True).values * p, POINTS),
    "largest columns share": (lambda y, p: y.amax(-1, keepdim=True) * p, POINTS),
    "smallest column": (lambda y, p: y.min(-1, keepdim=True).values * p, POINTS),
    "softmax": (lambda y, p: torch.softmax(100 * y, -1) * p, POINTS),
    "logsumexp": (lambda y, p: torch.logsumexp(100 * y, -1, keepdim=True) * p, POINTS),
    "abs and sign": (lambda y, p: y.abs() * p + y.sign(), POINTS),
}


class Own(nn.Module):
    def __init__(self, formula: Formula) -> None:
        super().__init__()
        self.formula = formula
        self.p = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.formula(y, self.p)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_at_special_points(name: str) -> None:
    formula, points = CASES[name]
    module = Own(formula)
    random = torch.Generator().manual_seed(0)
    y0 = torch.rand(4, 2, dtype=torch.float64, generator=random) * 0.5 + 0.3
    capture = capture_module(module, y0)
    t = torch.zeros((), dtype=torch.float64)

    def of_tape(y: Tensor) -> Tensor:
        return capture.tape.evaluate_prepared(capture.tape.prepare(capture.tensors()), t, y)

    for point in points:
        results = []
        for field in (of_tape, lambda y: module(t, y)):
            y = torch.tensor([point], dtype=torch.float64, requires_grad=True)
            value = field(y)
            by_y, by_p = torch.autograd.grad(value.sum(), (y, module.p), allow_unused=True)
            results.append((value.detach(), by_y, torch.zeros(2) if by_p is None else by_p))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs.to(ours), rtol=1e-11, atol=1e-300, equal_nan=True)
