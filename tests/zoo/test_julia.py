"""Captured modules in Julia against the same modules by torch operators: run where Julia is."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pynode.engines.julia.engine import ADJOINTS
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from tests.zoo.entries import Entry, zoo
from tests.zoo.solving import apart, apart_altogether, solved, times

pytestmark = [pytest.mark.julia, pytest.mark.timeout(900)]  # the first calls compile

CAPTURED = zoo(captured=True)
FIXED = {torch.float64: 1e-12, torch.float32: 2e-4}
RTOL = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Tolerances of adaptive solves; their gradients agree to a hundred of them."""


@pytest.mark.parametrize("backwards", [False, True], ids=["forward", "backwards"])
@pytest.mark.parametrize("zoo_entry", CAPTURED, ids=str)
def test_disc_opt_is_torchs_to_rounding(zoo_entry: Entry, backwards: bool) -> None:
    module, ts = zoo_entry.module(), times(zoo_entry, backwards=backwards)
    there, here = (solved(zoo_entry, module, DiscOpt(RK4, [1, 2], engine=e), ts) for e in ("julia", "eager"))
    assert (there.engine, here.engine) == ("julia", "eager")
    assert apart(there, here) <= FIXED[zoo_entry.dtype]


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("zoo_entry", CAPTURED, ids=str)
def test_every_adjoint_is_right_to_its_tolerance(zoo_entry: Entry, adjoint: str) -> None:
    module, ts, rtol = zoo_entry.module(), times(zoo_entry), RTOL[zoo_entry.dtype]
    tolerances: dict[str, Any] = {"rtol": rtol, "atol": rtol / 10}
    there = solved(zoo_entry, module, OptDisc("tsit5", adjoint=adjoint, engine="julia", **tolerances), ts)  # type: ignore[arg-type]
    here = solved(zoo_entry, module, OptDisc("dopri5", engine="auto", **tolerances), ts)
    assert there.engine == "julia"
    assert apart_altogether(there, here) <= 100 * rtol
