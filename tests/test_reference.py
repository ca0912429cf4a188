"""Gradients recorded from the real SciML stack: ours meet them, and the recorded rows that are wrong are found."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pynode.fields.base import Field, field_from_json
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES
from pynode.schemes.rk4 import RK4
from pynode.studies.crosscheck.loss import loss_of

FOLDER = Path(__file__).parent / "reference"
CASES = ("spiral", "concatsquash", "concatsquash-reversed", "antisymmetric")
OUR_NAMES = {"rk4_38": "rk38"}
"""Recorded scheme names that are not ours."""


class Case(NamedTuple):
    """One file: the inputs as tensors, and everything that was recorded."""

    record: dict[str, Any]
    field: Field
    y0: Tensor
    ts: Tensor

    def loss(self, ys: Tensor) -> Tensor:
        """The recorded sentence about the loss, in torch."""
        loss = loss_of(self.record, (len(self.ts), self.y0.numel()))
        return loss(ys.reshape(len(self.ts), self.record["batch"], -1), self.record["dim"])


class Gradient(NamedTuple):
    """A loss and its gradients, flat."""

    loss: float
    by_theta: Tensor
    by_y0: Tensor


def tensor(values: Any) -> Tensor:
    """In float64."""
    return torch.tensor(values, dtype=torch.float64)


@cache
def case(name: str) -> Case:
    """The recorded case called `name`."""
    record = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    batch, dim = record["batch"], record["dim"]
    y0 = tensor(record["y0"])
    field = field_from_json(record["field"]).build(theta=tensor(record["theta"]))
    return Case(record, field, y0 if batch == 1 else y0.reshape(batch, dim), tensor(record["ts"]))


def gradient(name: str, method: GradientMethod) -> Gradient:
    """Ours."""
    which = case(name)
    y0 = which.y0.clone().requires_grad_()
    loss = which.loss(method.solve(which.field, y0, which.ts).ys)
    by_y0, *by_theta = torch.autograd.grad(loss, [y0, *which.field.parameters()])
    return Gradient(float(loss.detach()), torch.cat([g.reshape(-1) for g in by_theta]), by_y0.reshape(-1))


@cache
def our_reference(name: str) -> Gradient:
    """By a discrete method, fine enough for 1e-9: an adjoint of ours could share the fault of an adjoint of theirs."""
    return gradient(name, DiscOpt(RK4, max(200 // len(case(name).ts), 10)))


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())


def rows(kind: str) -> list[Any]:
    """Every recorded row of every case, as parameters of a test."""
    parameters = []
    for name in CASES:
        for row in case(name).record[kind]:
            label = row.get("scheme", row.get("adjoint"))
            parameters.append(pytest.param(name, row, id=f"{name}-{label}-{row.get('substeps', row.get('rtol'))}"))
    return parameters


@pytest.mark.parametrize("name", CASES)
def test_the_recorded_inputs_are_the_closed_formulas(name: str) -> None:
    """No random numbers went in: theta is a wave, so its layout cannot have been mixed up on the way."""
    a, b, size = {"spiral": (1.7, 0.3, 0.25), "antisymmetric": (1.3, 0.5, 0.8)}.get(name, (0.9, 0.1, 0.35))
    theta = [size * math.sin(a * i + b) for i in range(1, case(name).field.spec.n_params + 1)]
    assert case(name).record["theta"] == pytest.approx(theta, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(("name", "row"), rows("disc_opt"))
def test_disc_opt_is_met_to_rounding(name: str, row: dict[str, Any]) -> None:
    """Their ForwardDiff through a loop of their own against our reverse mode: the exact discrete gradient."""
    scheme = SCHEMES.load(OUR_NAMES.get(row["scheme"], row["scheme"]))
    for memory in ("store", "recompute", "checkpoint"):
        ours = gradient(name, DiscOpt(scheme, row["substeps"], memory))
        assert ours.loss == pytest.approx(row["loss"], rel=1e-12)
        assert relative(ours.by_theta, tensor(row["grad_theta"])) < 1e-12
        assert relative(ours.by_y0, tensor(row["grad_y0"])) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_opt_disc_meets_the_reference(name: str) -> None:
    """Their Vern9 at 1e-13 with ForwardDiff, our adjoint at tight tolerances."""
    wanted = case(name).record["reference"]
    ours = gradient(name, OptDisc(rtol=1e-11, atol=1e-11))
    # a tolerance of 1e-11 a step, summed over the steps of two solves
    assert ours.loss == pytest.approx(wanted["loss"], rel=1e-9)
    assert relative(ours.by_theta, tensor(wanted["grad_theta"])) < 1e-8
    assert relative(ours.by_y0, tensor(wanted["grad_y0"])) < 1e-8


@pytest.mark.parametrize("name", CASES)
def test_states_meet_the_reference(name: str) -> None:
    """At every output time."""
    which = case(name)
    with torch.no_grad():
        ys = OptDisc(rtol=1e-11, atol=1e-11).solve(which.field, which.y0, which.ts).ys
    wanted = tensor(which.record["reference"]["ys"]).reshape(ys.shape)
    assert torch.allclose(ys, wanted, rtol=1e-8, atol=1e-9)  # as above


@pytest.mark.parametrize("name", CASES)
def test_our_discrete_reference_is_fine_enough(name: str) -> None:
    """It judges the recorded adjoints below, so it must itself agree with their reference."""
    wanted, ours = case(name).record["reference"], our_reference(name)
    assert relative(ours.by_theta, tensor(wanted["grad_theta"])) < 1e-9
    assert relative(ours.by_y0, tensor(wanted["grad_y0"])) < 1e-9


def test_exactly_the_wrong_adjoints_are_flagged() -> None:
    """In reversed time three of SciML's adjoints, as recorded, are 10.8 % off at every tolerance; nothing else is."""
    flagged, judged = set(), 0
    for name in CASES:
        reference = our_reference(name)
        for row in case(name).record["opt_disc"]:
            errors = [
                relative(tensor(row["grad_theta"]), reference.by_theta),
                relative(tensor(row["grad_y0"]), reference.by_y0),
            ]
            judged += 1
            if max(errors) > 100 * row["rtol"]:
                flagged.add((name, row["adjoint"], row["rtol"]))
                assert errors[0] == pytest.approx(0.108, abs=0.002)
    assert judged == 80
    wrong = ("interpolating", "quadrature", "gauss")
    assert flagged == {("concatsquash-reversed", a, tol) for a in wrong for tol in (1e-3, 1e-5, 1e-7, 1e-10)}
