"""Flows against records of the SciML stack: states, losses and gradients of other code in another language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.fields.base import field_from_json
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES

RECORDED = Path(__file__).parents[1] / "reference"
CASES = ("cnf-exact", "cnf-hutchinson")
SCHEME_OF = {"rk4_38": "rk38"}


class GivenProbes(Hutchinson):
    """The probes that the record used."""

    given: Tensor

    def probes(self, draw: Draw, z: Tensor, block: int) -> Tensor:  # noqa: ARG002
        return self.given


def recorded(name: str) -> tuple[dict[str, Any], Flow, Tensor]:
    """The record, its flow, and its data `(batch, 2)`."""
    case = json.loads((RECORDED / f"{name}.json").read_text())
    probes: Divergence = Exact()
    if case["divergence"] == "hutchinson":
        hutchinson = GivenProbes()
        object.__setattr__(hutchinson, "given", torch.tensor(case["probes"], dtype=torch.float64))
        probes = hutchinson
    field = field_from_json(case["field"]).build(theta=torch.tensor(case["theta"], dtype=torch.float64))
    flow = Flow([field], 2, horizon=case["ts"][-1], divergence=probes)
    states = torch.tensor(case["y0"], dtype=torch.float64).reshape(case["batch"], 3)
    return case, flow, states[:, :2]


def loss_and_gradient(flow: Flow, x: Tensor, method: GradientMethod) -> tuple[float, Tensor]:
    loss = -flow.log_prob(x, method=method).mean()
    return float(loss.detach()), torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(flow.parameters()))])


def distance(values: Tensor, expected: list[float]) -> float:
    """Relative, 2-norm."""
    wanted = torch.tensor(expected, dtype=torch.float64)
    return float((values - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("name", CASES)
def test_discrete_gradients_agree_to_rounding(name: str) -> None:
    """The same scheme on the same grid, differentiated by ForwardDiff there and by autograd here."""
    case, flow, x = recorded(name)
    assert len(case["disc_opt"]) == 4
    for entry in case["disc_opt"]:
        scheme = SCHEMES.load(SCHEME_OF.get(entry["scheme"], entry["scheme"]))
        loss, gradient = loss_and_gradient(flow, x, DiscOpt(scheme, entry["substeps"]))
        assert loss == pytest.approx(entry["loss"], rel=1e-13)
        assert distance(gradient, entry["grad_theta"]) < 1e-12


@pytest.mark.parametrize("name", CASES)
def test_the_adjoint_agrees_with_the_continuous_gradient(name: str) -> None:
    case, flow, x = recorded(name)
    loss, gradient = loss_and_gradient(flow, x, OptDisc(rtol=1e-9, atol=1e-11))
    assert loss == pytest.approx(case["reference"]["loss"], rel=1e-9)
    assert distance(gradient, case["reference"]["grad_theta"]) < 1e-8


@pytest.mark.parametrize("name", CASES)
def test_states_agree(name: str) -> None:
    """Base point and change of the log-density."""
    case, flow, x = recorded(name)
    moved = flow.transport(x, method=OptDisc(rtol=1e-10, atol=1e-12))
    end = torch.tensor(case["reference"]["ys"][-1], dtype=torch.float64).reshape(case["batch"], 3)
    torch.testing.assert_close(moved.z, end[:, :2], rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(-moved.log_det, end[:, 2], rtol=1e-8, atol=1e-8)
