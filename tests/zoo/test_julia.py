"""Captured modules in Julia against the same modules by torch operators: run where Julia is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import pynode
from pynode.engines.julia.engine import ADJOINTS
from pynode.flows.divergence import Exact, Hutchinson
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from tests.zoo.entries import Entry, zoo
from tests.zoo.solving import BATCH, apart, apart_altogether, solved, times
from tests.zoo.test_methods import DENSITIES, density

pytestmark = [pytest.mark.julia, pytest.mark.timeout(900)]  # the first calls compile

CAPTURED = zoo(captured=True)
FIXED = {torch.float64: 1e-12, torch.float32: 2e-4}
RTOL = {torch.float64: 1e-8, torch.float32: 1e-4}
SMOOTH, ROUGH = 100, 1000
"""Tolerances of adaptive solves, and how many of them their gradients agree to: more where the field or its derivatives
jump, which no error estimate of a step expects."""

JUMPS = {"relu", "leaky_relu", "abs", "clamp", "choose", "sign", "greater", "at_least", "equal", "largest"}
"""Operations that jump, or whose derivatives do."""

SLIDING = ("conditions",)
"""Fields that jump towards a surface from both sides: a solver takes ever smaller steps there, in torch as well."""

SWITCHED_IN_TIME = ("forced by torch.where on time",)
"""Fields that jump at a time.  Gauss's adjoint takes few points in a step for the integral over theta, whatever happens
between them, and does not control its error: 7e-4 at a tolerance of 1e-8."""

LEFT_OUT = {
    *((name, adjoint) for name in SLIDING for adjoint in ADJOINTS),
    *((name, "gauss") for name in SWITCHED_IN_TIME),
    ("masks of the default dtype", "backsolve"),  # backwards it leaves the trajectory, as `DriftError` says
}
"""Fields that jump, with adjoints whose gradient is not right to the tolerance."""


@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backwards"])
@pytest.mark.parametrize("zoo_entry", CAPTURED, ids=str)
def test_disc_opt_is_torchs_to_rounding(zoo_entry: Entry, backwards: bool) -> None:
    module, ts = zoo_entry.module(), times(zoo_entry, backwards=backwards)
    there, here = (solved(zoo_entry, module, DiscOpt(RK4, [1, 2], engine=e), ts) for e in ("julia", "eager"))
    assert (there.engine, here.engine) == ("julia", "eager")
    assert apart(there, here) <= FIXED[zoo_entry.dtype]


@pytest.mark.parametrize(
    ("zoo_entry", "adjoint"),
    [(e, adjoint) for e in CAPTURED for adjoint in ADJOINTS if (e.name, adjoint) not in LEFT_OUT],
    ids=str,
)
def test_every_adjoint_is_right_to_its_tolerance(zoo_entry: Entry, adjoint: str) -> None:
    module, ts, rtol = zoo_entry.module(), times(zoo_entry), RTOL[zoo_entry.dtype]
    operations = {operation.name for operation in pynode.capture(module, zoo_entry.state(BATCH)).operations}
    tolerances: dict[str, Any] = {"rtol": rtol, "atol": rtol / 10}
    there = solved(zoo_entry, module, OptDisc("tsit5", adjoint=adjoint, engine="julia", **tolerances), ts)  # type: ignore[arg-type]
    here = solved(zoo_entry, module, OptDisc("dopri5", engine="auto", **tolerances), ts)
    assert there.engine == "julia"
    assert apart_altogether(there, here) <= (ROUGH if operations & JUMPS else SMOOTH) * rtol


@pytest.mark.parametrize("zoo_entry", DENSITIES, ids=str)
def test_log_likelihoods_are_torchs_to_rounding(zoo_entry: Entry) -> None:
    """Of flows, with gradients, by an exact divergence and by Hutchinson's."""
    module = zoo_entry.module()
    for divergence in (Exact(), Hutchinson()):
        there, here = (density(zoo_entry, module, DiscOpt(RK4, 1, engine=e), divergence) for e in ("julia", "eager"))
        assert (there.engine, here.engine) == ("julia", "eager")
        assert apart(there, here) <= 10 * FIXED[zoo_entry.dtype], divergence
