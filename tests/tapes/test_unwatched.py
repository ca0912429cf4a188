"""What Python code reads in ways that no copy shows: found, or left to torch."""

from __future__ import annotations

import array
import collections
import dataclasses
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode

Y0 = torch.tensor([[0.5, 0.7], [1.1, 0.6]], dtype=torch.float64)
TS = torch.tensor([0.0, 0.5], dtype=torch.float64)


class Base(nn.Module):
    """tanh(W y + b) times what `scale` gives."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2).double()
        self.held = held

    def scale(self) -> Any:
        return self.held

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return torch.tanh(self.linear(y)) * self.scale()


@dataclasses.dataclass(slots=True)
class Slots:
    scale: float = 1.0


@dataclasses.dataclass
class Equal:
    scale: float = dataclasses.field(default=1.0, compare=False)


class Schedule:
    def __init__(self) -> None:
        self._values = [1.0]

    def __getitem__(self, i: int) -> float:
        return self._values[i]


class OfScale(Base):
    def scale(self) -> Any:
        return self.held.scale


class OfFirst(Base):
    def scale(self) -> Any:
        return self.held[0]


class OfEnvironment(Base):
    def scale(self) -> Any:
        return float(os.environ.get("PYNODE_TEST_SCALE", "1"))


class OfDictionary(Base):
    def scale(self) -> Any:
        return self.__dict__["held"]


class OfDefault(Base):
    def scale(self, values: list[float] = [1.0]) -> Any:  # noqa: B006
        return values[0]


class OfSwitch(Base):
    def scale(self) -> Any:
        return 3.0 if self.held is True else 1.0


class OfMask(Base):
    mask: Tensor

    def __init__(self, held: Any) -> None:
        super().__init__(held)
        self.register_buffer("mask", torch.tensor([True, True]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.where(self.mask, super().forward(t, y), 3 * y)


class OfCall(Base):
    def scale(self) -> Any:
        return self.held()


def _first_to_three(field: Any) -> None:
    field.held[0] = 3.0


def _default_to_three(field: Any) -> None:  # noqa: ARG001 (the class's own)
    defaults: Any = OfDefault.scale.__defaults__
    defaults[0][0] = 3.0


def _local() -> threading.local:
    local = threading.local()
    local.scale = 1.0
    return local


def _times(factors: dict[str, float]) -> float:
    return factors["k"]


def _set(name: str) -> Callable[[Any], None]:
    return lambda field: setattr(field.held, name, 3.0)


CASES: dict[str, tuple[Callable[[], Base], Callable[[Any], Any]]] = {
    "slots": (lambda: OfScale(Slots()), _set("scale")),
    "equal object": (lambda: OfScale(Equal()), lambda field: setattr(field, "held", Equal(3.0))),
    "own getitem": (lambda: OfFirst(Schedule()), lambda field: field.held._values.__setitem__(0, 3.0)),
    "deque": (lambda: OfFirst(collections.deque([1.0])), _first_to_three),
    "array": (lambda: OfFirst(array.array("d", [1.0])), _first_to_three),
    "user list": (lambda: OfFirst(collections.UserList([1.0])), _first_to_three),
    "thread's own": (lambda: OfScale(_local()), _set("scale")),
    "environment": (lambda: OfEnvironment(None), lambda field: os.environ.__setitem__("PYNODE_TEST_SCALE", "3")),
    "dictionary of attributes": (lambda: OfDictionary(1.0), lambda field: setattr(field, "held", 3.0)),
    "default argument": (lambda: OfDefault(None), _default_to_three),
    "one to true": (lambda: OfSwitch(1), lambda field: setattr(field, "held", True)),
    "mask by data": (lambda: OfMask(1.0), lambda field: field.mask.data.__setitem__(0, False)),
    "mask by numpy": (lambda: OfMask(1.0), lambda field: field.mask.numpy().__setitem__(0, False)),
    "keywords of a partial": (
        lambda: OfCall(functools.partial(_times, factors={"k": 1.0})),
        lambda field: field.held.keywords["factors"].__setitem__("k", 3.0),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_those_of_torch(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYNODE_TEST_SCALE", "1")
    build, change = CASES[name]
    field = build()
    automatic = pynode.DiscOpt(pynode.RK4, steps=2)
    for _ in range(4):
        before = automatic.solve(field, Y0, TS).ys
    change(field)
    after = automatic.solve(field, Y0, TS).ys
    expected = pynode.DiscOpt(pynode.RK4, steps=2, engine="eager").solve(field, Y0, TS).ys
    assert not torch.allclose(before, expected, rtol=1e-3), "the change makes a difference"
    assert torch.allclose(after, expected, rtol=1e-12)


class Counting(Base):
    """Counts its evaluations."""

    def __init__(self, held: Any) -> None:
        super().__init__(held)
        self.calls = 0

    def scale(self) -> Any:
        self.calls += 1
        return 1.0


class Steered(Counting):
    def scale(self) -> Any:
        self.calls += 1
        return 1.0 if self.calls <= 100 else 3.0


def test_a_counter_that_steers_is_left_to_torch() -> None:
    method = pynode.DiscOpt(pynode.RK4, steps=2)
    assert method.solve(Counting(None), Y0, TS).stats.engine == "fused"
    field = Steered(None)
    states = [method.solve(field, Y0, TS) for _ in range(40)]
    assert states[0].stats.engine == "eager"
    assert not torch.allclose(states[0].ys, states[-1].ys, rtol=1e-3)
