"""Everything of a solve lies where its state lies: on `meta`, where values don't matter, and on a pretended device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.deferred import deferred_checks
from pynode.engines.choice import engine_called
from pynode.engines.node import attach
from pynode.fields.base import FieldSpec
from pynode.flows.augmented import AugmentedField
from pynode.methods.base import GradientMethod
from pynode.schemes import SCHEMES
from pynode.solve import Solve
from tests.conftest import SMALL_SPECS
from tests.devices.modes import DEVICE, DeviceFault, OneDevice, Pretended

META = torch.device("meta")


def solved_on_meta(method: GradientMethod, field: torch.nn.Module, columns: int) -> Tensor:
    """The states of a solve and its gradient on `meta`, which the front of a method refuses for want of values."""
    y0 = torch.zeros(3, columns, dtype=torch.float64, device=META, requires_grad=True)
    ts = torch.zeros(3, dtype=torch.float64, device=META)

    def run() -> Tensor:
        solve = Solve(field, y0, ts, method.recipe, times=(0.0, 0.4, 1.0))
        states = attach(engine_called("eager").run(solve))
        torch.autograd.grad(states.square().sum(), [y0, *field.parameters()], allow_unused=True)
        return states

    run()  # copies the times of the stages, once
    with OneDevice():
        return run()


@pytest.mark.parametrize("name", SMALL_SPECS)
def test_fields_stay_on_their_device(name: str, small_spec: Callable[[str], FieldSpec]) -> None:
    spec = small_spec(name)
    field = spec.build(seed=0, device=META)
    states = solved_on_meta(pynode.DiscOpt(steps=2, engine="eager"), field, spec.state_dim)
    assert (states.device, states.shape) == (META, (3, 3, spec.state_dim))


@pytest.mark.parametrize("name", SCHEMES.names())
def test_schemes_stay_on_the_device(name: str) -> None:
    method = pynode.DiscOpt(SCHEMES.load(name), steps=(1, 2), engine="eager")
    states = solved_on_meta(method, pynode.MLP((2, 3, 2)).build(seed=0, device=META), 2)
    assert states.device == META


@pytest.mark.parametrize("divergence", [pynode.Exact(), pynode.Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("jacobian", [False, True])
def test_flows_stay_on_the_device(divergence: Any, jacobian: bool) -> None:
    costs = pynode.RunningCosts(kinetic=True, jacobian=jacobian)
    z = torch.zeros(3, 3, dtype=torch.float64, device=META)
    probes = divergence.probes(pynode.Draw(0, 0), z, 0)
    field = AugmentedField(pynode.ConcatSquash((3, 4, 3)).build(seed=0, device=META), 3, divergence, probes, costs)
    states = solved_on_meta(pynode.DiscOpt(steps=1, engine="eager"), field, 4 + costs.columns)
    assert states.device == META


class Misplaced(torch.nn.Module):
    """A field with a tensor on the CPU."""

    def __init__(self, constant: Tensor) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.ones((), dtype=torch.float64, device=DEVICE))
        self.constant = constant

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.rate * y * self.constant


@pytest.mark.parametrize("constant", [torch.ones(()), torch.ones(2)], ids=["scalar", "vector"])
def test_a_planted_mix_of_devices_is_seen(constant: Tensor) -> None:
    with Pretended():
        y0, ts = torch.ones(3, 2, dtype=torch.float64).to(DEVICE), torch.tensor([0.0, 1.0])
        method = pynode.DiscOpt(steps=1, engine="eager")
        placed = Misplaced(constant.to(DEVICE))
        method.solve(placed, y0, ts)
        with deferred_checks(), OneDevice():
            method.solve(placed, y0, ts)
            with pytest.raises(DeviceFault, match="cpu"):
                method.solve(Misplaced(constant), y0, ts)
