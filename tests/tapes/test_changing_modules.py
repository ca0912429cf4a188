"""Modules that change between solves: captured again, read anew, or left to torch."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import NotCapturable
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.tapes.captured import MOST_RECAPTURES, forget_captures, system_by_tape
from tests.tapes.test_captured import METHODS, STALE, TS, Y0, Net, captures_made, results


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    """Every test starts without captures."""
    forget_captures()


def test_a_module_that_changes_all_the_time_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names what changes."""
    made = captures_made(monkeypatch)
    module = Net()

    def solve_and_change() -> None:
        for k in range(2 * MOST_RECAPTURES):
            module.power = k + 2
            system_by_tape(module, Y0, TS)

    with pytest.raises(NotCapturable, match="`power` changes from solve to solve"):
        solve_and_change()
    assert len(made) == MOST_RECAPTURES
    made.clear()
    for y0 in (Y0, Y0[0]):
        with pytest.raises(NotCapturable):
            system_by_tape(module, y0, TS)
    assert not made


def test_a_module_that_changes_now_and_then_is_captured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = captures_made(monkeypatch)
    module = Net()
    for k in range(2 * MOST_RECAPTURES):
        module.power = k + 2
        for _ in range(5):
            system_by_tape(module, Y0, TS)
    assert len(made) == 2 * MOST_RECAPTURES


class WithContext(Net):
    """Reads what an encoder has made for this solve."""

    context: Tensor

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(t, y) * self.context


def test_a_tensor_that_is_replaced_by_another_is_read_from_then_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without another capture; its gradient goes where it was computed."""
    made = captures_made(monkeypatch)
    module, encoder = WithContext(), nn.Linear(3, 2).double()
    for k in range(3 * MOST_RECAPTURES):
        module.context = encoder(torch.full((3,), float(k), dtype=torch.float64))
        if k % 3 == 0:
            STALE["replaced parameter"](module)
        ys = [DiscOpt(RK4, steps=2, engine=e).solve(module, Y0, TS).ys for e in ("auto", "eager")]
        gradients = [torch.autograd.grad(y.sum(), list(encoder.parameters()), retain_graph=True) for y in ys]
        torch.testing.assert_close(ys[0], ys[1])
        torch.testing.assert_close(gradients[0], gradients[1])
    assert len(made) == 1


def test_a_tensor_of_another_shape_is_another_module(monkeypatch: pytest.MonkeyPatch) -> None:
    made = captures_made(monkeypatch)
    module = WithContext()
    for shape in ((2,), (1,), (2,)):
        module.context = torch.full(shape, 2.0, dtype=torch.float64)
        assert system_by_tape(module, Y0, TS).spec.slots()[-1].shape == shape
    assert len(made) == 2  # the first one serves again


def test_weights_that_are_no_longer_shared() -> None:
    """One slot of a tape can't stand for both."""

    class Tied(Net):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(2, 8).double()
            self.other.weight = cast(nn.Linear, self.net[0]).weight

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return super().forward(t, y) + self.other(y)[:, :2]

    for replaced in ("net", "other"):
        module = Tied()
        results(METHODS[0], module)
        layer: Any = module.net[0] if replaced == "net" else module.other
        layer.weight = nn.Parameter(torch.ones(8, 2, dtype=torch.float64))
        torch.testing.assert_close(results(METHODS[0], module), results(METHODS[0].on_engine("eager"), module))
