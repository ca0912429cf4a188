"""Gradients on the GPU are those of the losses computed there: Taylor slopes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.flows.probes import DrawnAhead
from pynode.schemes import SCHEMES
from pynode.studies.gradients.taylor import taylor_test
from tests.conftest import SMALL_SPECS
from tests.gpu.common import TIMES, field_on, states_for


def check(loss: Any, params: Any) -> None:
    """Slope 2, from remainders that are not all rounding."""
    result = taylor_test(loss, list(params))
    assert result.passes, result.verdict
    assert abs(result.slope_e1 - 2) < 0.1
    assert abs(result.slope_e0 - 1) < 0.1


@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_of_a_series(scheme: str, any_engine: str, device: torch.device) -> None:
    field, y0 = field_on("mlp", device), states_for("mlp", device).detach()
    ts = torch.tensor(TIMES, dtype=torch.float64, device=device)
    method = pynode.DiscOpt(SCHEMES.load(scheme), 2, engine=any_engine)

    def loss() -> Tensor:
        return method.solve(field, y0, ts).ys.square().sum()

    check(loss, field.parameters())


@pytest.mark.parametrize("divergence", [pynode.Exact(), pynode.Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("name", sorted(SMALL_SPECS))
def test_of_a_flow(name: str, divergence: Any, any_engine: str, device: torch.device) -> None:
    field, x = field_on(name, device), states_for(name, device).detach()
    flow = pynode.Flow([field], x.shape[1], horizon=0.7)
    draw = DrawnAhead(drawn=(torch.randn_like(x),))
    method = pynode.DiscOpt(pynode.RK4, 2, engine=any_engine)

    def loss() -> Tensor:
        return -flow.log_prob(x, method=method, divergence=divergence, draw=draw).mean()

    check(loss, field.parameters())
