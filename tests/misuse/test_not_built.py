"""A specification such as `pynode.MLP(...)` passed for the module that its `build()` makes: the message says so."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchdiffeq

import pynode
from pynode.errors import NotBuilt
from pynode.fields import FIELDS
from pynode.fields.base import FieldSpec

SPEC: Any = pynode.MLP((2, 4, 2))
Y0, TS = torch.ones(3, 2).double(), torch.linspace(0, 1, 4).double()
LEAF = [torch.ones(1, requires_grad=True)]
STATES = torch.zeros(4, 3, 2).double()


def loss(method: Any) -> torch.Tensor:
    """A loss that solves with the specification."""
    value: torch.Tensor = method.solve(SPEC, Y0, TS).ys.sum()
    return value


USES: dict[str, Callable[[], Any]] = {
    "DiscOpt.solve": lambda: pynode.DiscOpt().solve(SPEC, Y0, TS),
    "DiscOpt.solve, recomputed": lambda: pynode.DiscOpt(memory="recompute").solve(SPEC, Y0, TS),
    "OptDisc.solve": lambda: pynode.OptDisc().solve(SPEC, Y0, TS),
    "OptDiscFixed.solve": lambda: pynode.OptDiscFixed().solve(SPEC, Y0, TS),
    "AdaptiveAD.solve": lambda: pynode.AdaptiveAD().solve(SPEC, Y0, TS),
    "DiscOptJulia.solve": lambda: pynode.DiscOptJulia().solve(SPEC, Y0, TS),
    "solve(params=spec)": lambda: pynode.DiscOpt().solve(SPEC.build(), Y0, TS, params=SPEC),
    "solve(params=[spec])": lambda: pynode.DiscOpt().solve(SPEC.build(), Y0, TS, params=[SPEC]),
    "LeastSquares": lambda: pynode.LeastSquares(pynode.DiscOpt(), SPEC, Y0, TS, STATES),
    "odeint": lambda: pynode.odeint(SPEC, Y0, TS),
    "odeint by a method": lambda: pynode.odeint(SPEC, Y0, TS, method=pynode.DiscOpt()),
    "odeint_adjoint": lambda: pynode.odeint_adjoint(SPEC, Y0, TS),
    "odeint_adjoint(adjoint_params=spec)": lambda: pynode.odeint_adjoint(SPEC.build(), Y0, TS, adjoint_params=SPEC),
    "odeint_dense": lambda: pynode.odeint_dense(SPEC, Y0, TS[0], TS[-1]),
    "odeint_event": lambda: pynode.odeint_event(SPEC, Y0, TS[0], event_fn=lambda t, y: y.sum()),
    "torchdiffeq itself": lambda: torchdiffeq.odeint(SPEC, Y0, TS),
    "Flow": lambda: pynode.Flow(SPEC, 2),
    "Flow of a list": lambda: pynode.Flow([SPEC], 2),
    "taylor_test by the specification": lambda: pynode.taylor_test(lambda: LEAF[0].sum(), SPEC),
    "taylor_test by a list": lambda: pynode.taylor_test(lambda: LEAF[0].sum(), [SPEC]),
    "taylor_test by its parameters": lambda: pynode.taylor_test(lambda: LEAF[0].sum(), SPEC.parameters()),
    "taylor_test of a loss that solves with it": lambda: pynode.taylor_test(lambda: loss(pynode.DiscOpt()), LEAF),
    "taylor_test of the specification": lambda: pynode.taylor_test(SPEC, LEAF),
    "gradient_errors by the specification": lambda: list(pynode.gradient_errors(loss, SPEC, [pynode.DiscOpt()])),
    "gradient_errors of a loss": lambda: list(pynode.gradient_errors(loss, LEAF, [pynode.DiscOpt()])),
    "a call": lambda: SPEC(0.0, Y0),
    "an optimiser": lambda: torch.optim.Adam(SPEC.parameters()),
    "a move": lambda: SPEC.double(),
    "a state": lambda: SPEC.state_dict(),
    "peak_bytes": lambda: pynode.peak_bytes(SPEC),
}


@pytest.mark.parametrize("use", USES)
def test_build_is_said_to_be_missing(use: str) -> None:
    with pytest.raises(pynode.UsageError, match=r"MLP\(\.\.\.\)\.build\(\)|add \.build\(\)"):
        USES[use]()


def test_the_other_way_round_is_said_as_well() -> None:
    with pytest.raises(pynode.UsageError, match="not a specification of a field"):
        pynode.Flow.build(SPEC.build())


def test_what_a_specification_is_asked_by_others_is_answered() -> None:
    """Python and its libraries look for attributes that are not there."""
    assert not hasattr(SPEC, "parameters")
    assert not hasattr(SPEC, "nosuch")
    with pytest.raises(AttributeError, match="'MLP' object has no attribute 'nosuch'") as caught:
        _ = SPEC.nosuch
    assert not isinstance(caught.value, NotBuilt)
    assert copy.deepcopy(SPEC) == copy.copy(SPEC) == SPEC


@pytest.mark.parametrize("name", FIELDS.names())
def test_every_field_says_so(name: str, small_spec: Callable[[str], FieldSpec]) -> None:
    spec: Any = small_spec(name)
    with pytest.raises(NotBuilt, match=rf"add \.build\(\): {type(spec).__name__}\(\.\.\.\)\.build\(\)"):
        spec.parameters()
