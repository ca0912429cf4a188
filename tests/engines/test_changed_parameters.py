"""Parameters that change between solve and backward: the kernels write no gradient where it does not fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import pynode
from pynode.errors import FieldChanged

Field = nn.Module

pytestmark = pytest.mark.usefixtures("needs_fused")


def _smaller(field: Field) -> None:
    next(field.parameters()).data = torch.zeros(1, 1, dtype=torch.float64)


def _larger(field: Field) -> None:
    next(field.parameters()).data = torch.zeros(64, 64, dtype=torch.float64)


def _other_dtype(field: Field) -> None:
    field.float()


def _in_place(field: Field) -> None:
    with torch.no_grad():
        for p in field.parameters():
            p.add_(1.0)


METHODS = [
    pynode.DiscOpt(pynode.RK4, steps=2, engine="fused"),
    pynode.DiscOpt(pynode.RK4, steps=2, engine="fused", memory="recompute"),
    pynode.OptDisc(rtol=1e-6, atol=1e-8, engine="fused"),
]


@pytest.mark.parametrize("change", [_smaller, _larger, _other_dtype])
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.label)
def test_other_sizes_and_dtypes_are_an_error(method: pynode.GradientMethod, change: Callable[[Field], None]) -> None:
    field = pynode.MLP((2, 8, 2)).build(seed=0)
    ys = method.solve(field, torch.ones(4, 2, dtype=torch.float64), torch.tensor([0.0, 1.0])).ys
    change(field)
    with pytest.raises(FieldChanged, match="size or dtype"):
        ys.sum().backward()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.label)
def test_values_that_have_changed_make_no_difference(method: pynode.GradientMethod) -> None:
    gradients = []
    for change in (_in_place, lambda field: None):
        field = pynode.MLP((2, 8, 2)).build(seed=0)
        ys = method.solve(field, torch.ones(4, 2, dtype=torch.float64), torch.tensor([0.0, 1.0])).ys
        change(field)
        ys.sum().backward()
        gradients.append([p.grad for p in field.parameters()])
    for changed, plain in zip(*gradients, strict=True):
        assert torch.equal(changed, plain)
