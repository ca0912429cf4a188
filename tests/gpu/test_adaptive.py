"""Adaptive solves and continuous adjoints on the GPU, by both engines, against the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pynode
from pynode.errors import SolveError
from tests.conftest import SMALL_SPECS
from tests.gpu.common import assert_alike, field_on, log_density, solved, states_for

CPU = torch.device("cpu")


def made(**options: Any) -> pynode.OptDisc:
    """Opt-Disc at small tolerances."""
    return pynode.OptDisc(rtol=1e-7, atol=1e-9, **options)


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("field", sorted(SMALL_SPECS))
def test_opt_disc(field: str, adjoint: Any, any_engine: str, device: torch.device) -> None:
    """The same solution and gradients to the tolerances."""
    there = solved(made(adjoint=adjoint, engine="eager"), field_on(field, CPU), states_for(field, CPU))
    here = solved(made(adjoint=adjoint, engine=any_engine), field_on(field, device), states_for(field, device))
    assert here.engine == any_engine
    assert_alike(here, there, rtol=1e-6)


def test_a_flow(any_engine: str, device: torch.device) -> None:
    """Log-densities and gradients by Opt-Disc."""
    there = log_density(made(engine="eager"), "concatsquash", CPU, pynode.Exact())
    here = log_density(made(engine=any_engine), "concatsquash", device, pynode.Exact())
    assert here.engine == any_engine
    assert_alike(here, there, rtol=1e-6)


def test_through_the_steps(device: torch.device) -> None:
    """Differentiated through the steps that the solver took."""
    method = pynode.AdaptiveAD(rtol=1e-7, atol=1e-9)
    there = solved(method, field_on("mlp", CPU), states_for("mlp", CPU))
    here = solved(method, field_on("mlp", device), states_for("mlp", device))
    assert_alike(here, there, rtol=1e-6)


def test_a_solve_that_fails_says_so(any_engine: str, device: torch.device) -> None:
    """States that become infinite."""

    class Explodes(torch.nn.Module):
        def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            return y**3

    y0 = torch.full((2, 1), 30.0, dtype=torch.float64, device=device)
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64, device=device)
    methods: list[Any] = [
        pynode.DiscOpt(steps=8, engine=any_engine),
        pynode.OptDisc(rtol=1e-6, atol=1e-8, max_steps=200, engine=any_engine),
    ]
    for method in methods:
        with pytest.raises(SolveError):
            method.solve(Explodes(), y0, ts)
        solution = method.solve(Explodes(), y0, ts, throw=False)
        assert solution.stats.engine == any_engine
        assert solution.ys.isnan().all()
