"""Tolerances of adaptive methods beside a context: all of them are scaled, or the method is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import pynode
from pynode.context import beside_context
from pynode.errors import InvalidArgument
from pynode.methods.base import GradientMethod
from pynode.methods.opt_disc import OptDisc

TS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Some numbers."""
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_tolerances_of_the_adjoint_are_scaled_as_those_of_the_solve() -> None:
    scaled: Any = beside_context(OptDisc(rtol=1e-4, atol=1e-6, adjoint_rtol=1e-3, adjoint_atol=1e-5), 2, 30)
    tolerances = (scaled.rtol, scaled.atol, scaled.adjoint_rtol, scaled.adjoint_atol)
    assert tolerances == pytest.approx([math.sqrt(2 / 32) * value for value in (1e-4, 1e-6, 1e-3, 1e-5)])
    default: Any = beside_context(OptDisc(rtol=1e-4, atol=1e-6), 2, 30)
    assert (default.adjoint_rtol, default.adjoint_atol) == (None, None)
    assert beside_context(pynode.DiscOpt(steps=3), 2, 30) == pynode.DiscOpt(steps=3)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_tolerances_of_the_adjoint_that_are_those_of_the_solve_change_nothing(engine: str) -> None:
    field = pynode.ConcatSquash((3, 6, 3), context=20).build(seed=1)
    gradients, work = [], []
    for further in ({}, {"adjoint_rtol": 1e-3, "adjoint_atol": 1e-3}):
        method = OptDisc(rtol=1e-3, atol=1e-3, engine=engine, **further)  # type: ignore[arg-type]
        layer, context = pynode.NeuralODE(field, method, TS, context=20), normal(4, 20).requires_grad_()
        gradients.append(torch.autograd.grad(layer(normal(4, 3), context=context).square().sum(), context)[0])
        assert layer.stats is not None
        work.append(layer.stats.backward)
    assert torch.equal(*gradients)
    assert work[0] == work[1]


def test_an_adaptive_method_whose_tolerances_are_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be less accurate than without a context, and nobody would know."""

    @dataclass(frozen=True)
    class Other(GradientMethod):
        name: ClassVar[str] = "other"
        adaptive: ClassVar[bool] = True
        tolerance: float = 1e-3

        def __post_init__(self) -> None:
            """Nothing to check."""

    monkeypatch.setattr(Other, "__abstractmethods__", frozenset())
    method: Any = Other()  # type: ignore[abstract]
    with pytest.raises(InvalidArgument, match=r"method = other: its steps are adaptive, but it has no rtol and atol"):
        beside_context(method, 2, 3)
    assert beside_context(method, 2, 0) is method
