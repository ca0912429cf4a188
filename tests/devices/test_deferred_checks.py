"""Checks that are deferred are made at the end of their block at the latest, and nothing piles up until then."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.deferred import MOST, Checks, active_checks, deferred_checks
from pynode.errors import CotangentError, FieldChanged, InvalidArgument, SolveError
from pynode.methods.base import GradientMethod
from tests.devices.modes import DEVICE, CountSyncs, Pretended

TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
REBUILDING: dict[str, GradientMethod] = {
    # methods whose gradient has checks of its own
    "recompute": pynode.DiscOpt(steps=2, memory="recompute", engine="eager"),
    "checkpoint": pynode.DiscOpt(steps=3, memory="checkpoint", budget=2, engine="eager"),
    "opt-disc-fixed": pynode.OptDiscFixed(steps=2),
    "opt-disc-fixed-implicit": pynode.OptDiscFixed(steps=2, adjoint="backward-euler"),
}


class Scaled(torch.nn.Module):
    """dy/dt = rate * y, where `rate` is an attribute that users may change."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64, device=DEVICE))
        self.rate = torch.full((2,), -1.0, dtype=torch.float64).to(DEVICE)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.rate * self.weight * y


def start() -> Tensor:
    return torch.ones(3, 2, dtype=torch.float64).to(DEVICE)


def failing(message: str) -> Callable[[], None]:
    def fail() -> None:
        raise ValueError(message)

    return fail


def flag(value: bool) -> Tensor:
    return torch.tensor(value).to(DEVICE)


def in_a_block(*values: bool) -> Checks:
    """A block that has ended, with a check for each value; `failing` says which is the first that fails."""
    with deferred_checks() as checks:
        for k, value in enumerate(values):
            checks.add(flag(value), failing(f"check {k}"))
        assert checks.waiting == len(values)
    return checks


def test_a_block_makes_its_checks_when_it_ends() -> None:
    """In their order: the error is that of the first that fails."""
    with Pretended():
        with pytest.raises(ValueError, match="check 1"):
            in_a_block(True, False, False)
        assert in_a_block(True, True).waiting == 0
        assert active_checks() is None


def test_a_solve_that_fails_is_told_at_the_end_of_its_block() -> None:
    steps: list[str] = []

    def solve() -> None:
        with deferred_checks():
            pynode.DiscOpt(steps=2, engine="eager").solve(lambda t, y: y**9, 1e9 * start(), TS)
            steps.append("solved")
        steps.append("not reached")

    with Pretended(), pytest.raises(SolveError):
        solve()
    assert steps == ["solved"]


def test_an_exception_that_leaves_a_block_is_the_one_that_is_raised() -> None:
    blocks: list[Checks] = []

    def interrupted() -> None:
        with deferred_checks() as checks:
            blocks.append(checks)
            checks.add(flag(False), failing("not this one"))
            raise KeyError

    with Pretended(), pytest.raises(KeyError):
        interrupted()
    assert blocks[0].waiting == 0


def test_blocks_may_be_nested() -> None:
    """A check belongs to the innermost block."""
    with Pretended(), deferred_checks() as outer:
        outer.add(flag(True), failing("outer"))
        with pytest.raises(ValueError, match="check 0"):
            in_a_block(False)
        assert active_checks() is outer
        assert outer.waiting == 1


@pytest.mark.parametrize("name", REBUILDING)
def test_a_gradient_after_the_block_is_checked_at_once(name: str) -> None:
    method = REBUILDING[name]

    def solved(checks: list[Checks]) -> tuple[Scaled, Tensor]:
        field = Scaled()
        with deferred_checks() as block:
            ys = method.solve(field, start(), TS).ys
        checks.append(block)
        return field, ys

    blocks: list[Checks] = []
    with Pretended():
        field, ys = solved(blocks)
        with torch.no_grad():
            field.rate.copy_(field.rate * 2)
            field.rate = field.rate.clone()
        with pytest.raises((FieldChanged, RuntimeError)):
            ys.sum().backward()
        _, ys = solved(blocks)
        for _ in range(3):
            ys.sum().backward(retain_graph=True)
        if name.startswith("opt-disc"):
            with pytest.raises(CotangentError, match="NaN"):
                ys.backward(torch.full_like(ys, math.nan), retain_graph=True)
    assert [block.waiting for block in blocks] == [0, 0]


FACTOR = {"of Hidden": 1.0}
"""A global variable, whose changes nothing but the value of the field tells."""


class Hidden(Scaled):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return FACTOR["of Hidden"] * super().forward(t, y)


@pytest.mark.parametrize("inside", [False, True])
def test_a_changed_value_is_found(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a gradient after the block at once, by one in the block at its end."""

    def differentiate() -> None:
        with deferred_checks():
            ys = REBUILDING["recompute"].solve(Hidden(), start(), TS).ys
            monkeypatch.setitem(FACTOR, "of Hidden", 2.0)
            if inside:
                ys.sum().backward()
        assert not inside
        ys.sum().backward()

    with Pretended(), pytest.raises(FieldChanged, match="another value"):
        differentiate()


@pytest.mark.parametrize("name", ["recompute", "opt-disc-fixed-implicit"])
def test_a_long_block_does_not_pile_up_checks(name: str) -> None:
    """The host reads once for every `MOST` of them."""
    method, solves, most = REBUILDING[name], 40, 0
    with Pretended():
        field = Scaled()
        with CountSyncs() as count, deferred_checks() as checks:
            for _ in range(solves):
                method.solve(field, start(), TS).ys.sum().backward()
                most = max(most, checks.waiting)
        assert most < MOST
    reads = sum(count.reads.values())
    assert 1 <= reads <= 1 + solves * 8 // MOST


def test_a_failure_in_a_long_block_is_told_there() -> None:
    """No later than with the next read."""
    added: list[int] = []

    def fill() -> None:
        with deferred_checks() as checks:
            checks.add(flag(False), failing("early"))
            for k in range(2 * MOST):
                added.append(k)
                checks.add(flag(True), failing("fine"))

    with Pretended(), pytest.raises(ValueError, match="early"):
        fill()
    assert len(added) == MOST - 1


class Fitted:
    """Least squares of a constant on the pretended device."""

    def __init__(self) -> None:
        self.field, self.y0 = Scaled(), start()

    def __call__(self, data: Tensor, **options: Any) -> pynode.LeastSquares:
        return pynode.LeastSquares(pynode.DiscOpt(steps=1, engine="eager"), self.field, self.y0, TS, data, **options)


def test_least_squares_refuses_data_on_a_device_before_it_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    with Pretended():
        fitted, data = Fitted(), torch.zeros(3, 3, 2, dtype=torch.float64)
        data[1, 0, 0] = math.nan
        monkeypatch.setattr(pynode.DiscOpt, "run_directly", None)
        monkeypatch.setattr(pynode.DiscOpt, "solve", None)
        with pytest.raises(InvalidArgument, match="1 of 18 entries is not finite"):
            fitted(data.to(DEVICE))
        with pytest.raises(InvalidArgument, match="nothing is left"):
            fitted(torch.full_like(data, math.nan).to(DEVICE), missing="mask")
        with pytest.raises(InvalidArgument, match=f"data = cpu: the states are on {DEVICE}"):
            fitted(torch.zeros_like(data))


def test_least_squares_reads_data_on_a_device_once() -> None:
    """A later check of the same tensor needs no read unless it has been changed in place."""
    with Pretended():
        fitted, data = Fitted(), torch.zeros(3, 3, 2, dtype=torch.float64).to(DEVICE)
        reads = []
        for k in range(4):
            if k == 2:
                data.add_(1)
            with CountSyncs() as count:
                fitted(data)
            reads.append(sum(count.reads.values()))
        assert reads == [1, 0, 1, 0]
        data.fill_(math.nan)
        with pytest.raises(InvalidArgument, match="18 of 18"):
            fitted(data)
        with pytest.raises(InvalidArgument, match="18 of 18"), deferred_checks():
            fitted(data)
