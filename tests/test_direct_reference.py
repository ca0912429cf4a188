"""Gradients that PyNODE recorded on the real SciML stack, hand-written products and all: torch meets every row."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES
from pynode.studies.crosscheck.case import Case, Row, read_case

FILES = sorted((Path(__file__).parent / "reference" / "direct").glob("*.json"))
ADJOINTS = {"gauss", "interpolating", "quadrature", "backsolve"}


@cache
def case(path: Path) -> Case:
    """Read once."""
    return read_case(path)


@cache
def gradient(path: Path, method: GradientMethod) -> tuple[float, Tensor, Tensor]:
    """Loss, gradient by theta and by y0, ours."""
    which = case(path)
    module, y0 = which.field(), which.y0.clone().requires_grad_()
    loss = which.loss(method.solve(module, y0, which.ts).ys)
    by_y0, *rest = torch.autograd.grad(loss, [y0, *module.parameters()])
    return float(loss.detach()), torch.cat([g.reshape(-1) for g in rest]), by_y0.reshape(-1)


def worst(ours: tuple[float, Tensor, Tensor], row: Row) -> float:
    """The largest relative difference of loss and gradients."""
    assert row.loss is not None
    assert row.grad_theta is not None
    assert row.grad_y0 is not None
    parts = [float((a - b).norm() / b.norm()) for a, b in zip(ours[1:], (row.grad_theta, row.grad_y0), strict=True)]
    return max(abs(ours[0] - row.loss) / abs(row.loss), *parts)


def test_every_field_was_recorded_with_every_adjoint() -> None:
    """Eight cases, both time directions, four tolerances, five schemes."""
    assert len(FILES) == 8
    assert {case(path).spec.architecture for path in FILES} == {"mlp", "concatsquash", "antisymmetric", "hamiltonian"}
    for path in FILES:
        rows = case(path).rows
        assert {row.settings["adjoint"] for row in rows if row.kind == "opt_disc"} == ADJOINTS
        assert {row.settings["scheme"] for row in rows if row.kind == "disc_opt"} <= set(SCHEMES.names())
        assert all(row.failed is None for row in rows)
        assert str(case(path).versions["SciMLSensitivity"]) >= "7.112"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_disc_opt_is_met_to_rounding(path: Path) -> None:
    """Julia's discrete adjoint with hand-written products against torch's reverse mode."""
    for row in case(path).rows:
        if row.kind == "disc_opt":
            scheme, steps = SCHEMES.load(row.settings["scheme"]), int(row.settings["substeps"])
            assert worst(gradient(path, DiscOpt(scheme, steps)), row) < 1e-12, row.label


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_opt_disc_meets_the_reference(path: Path) -> None:
    """Vern9 at 1e-12 with ForwardDiff through the solver."""
    reference = case(path).reference
    assert reference is not None
    assert worst(gradient(path, OptDisc(rtol=1e-11, atol=1e-11)), reference) < 1e-8


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_adjoint_is_right_to_its_tolerance(path: Path) -> None:
    """In reversed time too, where the same adjoints taken through `saveat` are 10.8 % off (tests/test_reference.py)."""
    ours = gradient(path, DiscOpt(steps=max(200 // len(case(path).ts), 10)))
    for row in case(path).rows:
        if row.kind == "opt_disc":
            assert worst(ours, row) < 100 * row.settings["rtol"] + 1e-8, row.label
