"""The GPU gives the CPU's numbers: every scheme, field, divergence and way of keeping states, by both engines."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pynode
from pynode.schemes import SCHEMES
from tests.conftest import SMALL_SPECS
from tests.gpu.common import assert_alike, field_on, log_density, solved, states_for

FIELDS = sorted(SMALL_SPECS)
CPU = torch.device("cpu")
DIVERGENCES = {"exact": pynode.Exact(), "hutchinson": pynode.Hutchinson()}


@pytest.mark.parametrize("name", SCHEMES.names())
def test_every_scheme_and_field(name: str, any_engine: str, device: torch.device) -> None:
    """States and gradients in float64, to rounding."""
    scheme = SCHEMES.load(name)
    for field in FIELDS:
        there = solved(pynode.DiscOpt(scheme, 2, engine="eager"), field_on(field, CPU), states_for(field, CPU))
        method = pynode.DiscOpt(scheme, 2, engine=any_engine)
        here = solved(method, field_on(field, device), states_for(field, device))
        assert here.engine == any_engine
        assert_alike(here, there)


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("name", SCHEMES.names())
def test_every_scheme_and_flow(name: str, divergence: str, any_engine: str, device: torch.device) -> None:
    """Log-densities and gradients of flows, for each field."""
    scheme, chosen = SCHEMES.load(name), DIVERGENCES[divergence]
    for field in FIELDS:
        there = log_density(pynode.DiscOpt(scheme, 2, engine="eager"), field, CPU, chosen)
        here = log_density(pynode.DiscOpt(scheme, 2, engine=any_engine), field, device, chosen)
        assert here.engine == any_engine
        assert_alike(here, there)


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_way_of_keeping_states(field: str, memory: Any, any_engine: str, device: torch.device) -> None:
    there = solved(pynode.DiscOpt(pynode.RK4, 4, engine="eager"), field_on(field, CPU), states_for(field, CPU))
    method = pynode.DiscOpt(pynode.RK4, 4, memory=memory, engine=any_engine)
    here = solved(method, field_on(field, device), states_for(field, device))
    assert here.engine == any_engine
    assert_alike(here, there)


@pytest.mark.parametrize("field", FIELDS)
def test_float32(field: str, any_engine: str, device: torch.device) -> None:
    """Six digits, so nothing is in TF32 unasked."""
    single = torch.float32
    there = solved(pynode.DiscOpt(pynode.RK4, 2, engine="eager"), field_on(field, CPU), states_for(field, CPU))
    method = pynode.DiscOpt(pynode.RK4, 2, engine=any_engine)
    here = solved(method, field_on(field, device, single), states_for(field, device, single))
    doubled = here._replace(values=here.values.double(), gradients=[g.double() for g in here.gradients])
    assert here.values.dtype is single
    assert_alike(doubled, there, rtol=2e-5)


def test_products_of_wide_nets_are_in_full_precision(any_engine: str, device: torch.device) -> None:
    """Wide enough for tensor cores: TF32 would be off by 1e-4."""
    spec = pynode.ConcatSquash((16, 256, 16))
    results = []
    for where, dtype in ((CPU, torch.float64), (device, torch.float32)):
        field = spec.build(seed=1, dtype=dtype, device=where)
        y0 = torch.randn(128, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        engine = "eager" if where == CPU else any_engine
        results.append(solved(pynode.DiscOpt(steps=2, engine=engine), field, y0.to(where, dtype).requires_grad_()))
    there, here = results
    error = (here.values.double() - there.values).norm() / there.values.norm()
    assert float(error) < 2e-6


def test_any_module(any_engine: str, device: torch.device) -> None:
    """A user's own module, with time in it."""

    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))

        def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.net(torch.cat([y, t.expand(len(y), 1)], dim=1))

    results = []
    for where, engine in ((CPU, "eager"), (device, any_engine)):
        torch.manual_seed(5)
        field = Own().double().to(where)
        results.append(solved(pynode.DiscOpt(steps=3, engine=engine), field, states_for("mlp", where)))
    assert_alike(results[1], results[0])
