"""Whatever a module's value depends on is watched; what it does not depend on, or changes by itself, is not."""

from __future__ import annotations

import copy
import math
import timeit
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.tapes.watch import Watch

T, Y = torch.tensor(0.3), torch.ones(3, 2)

SCALE = 2.0
SETTINGS = {"shift": 1.0, "parts": [1.0, 2.0]}
OPTIONS = types.SimpleNamespace(gain=1.0)
OUTER = torch.ones(1)
EVALUATIONS = 0


def scaled(y: Tensor) -> Tensor:
    return _doubled(y) * SCALE


def _doubled(y: Tensor) -> Tensor:
    return y * SETTINGS["parts"][1]  # type: ignore[index]


class Plain:
    """An object of the user's that a module holds."""

    def __init__(self) -> None:
        self.rate = 1.0


class Own(nn.Module):
    """Reads one of everything."""

    limit = 3.0
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 2))
        self.layers = [nn.Linear(2, 2)]
        self.register_buffer("mean", torch.zeros(2))
        self.gain = nn.Parameter(torch.ones(1))
        self.power, self.table, self.rates = 2, {"a": [1, 2]}, np.ones(2)
        self.plain, self.unread, self.nfe = Plain(), 0, 0
        self.log: list[float] = []
        offset = 0.5
        self.shift = lambda y: y + offset

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        global EVALUATIONS
        EVALUATIONS += 1
        self.nfe += 1
        self.log.append(float(t))
        y = self.layers[0](self.net(y**self.power)) + self.helper(y) + OUTER + math.pi
        return self.shift(scaled(y)) * OPTIONS.gain + self.plain.rate * self.table["a"][0] + float(self.rates[0])

    def helper(self, y: Tensor) -> Tensor:
        return (y - self.mean) * self.limit * self.gain


class Colder(Own):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -super().forward(t, y)


def watched(module: nn.Module) -> Watch:
    """A watch that knows what the module's own evaluation changes."""
    watch = Watch(module)
    module(T, Y)
    watch.free_changed()
    assert watch.same(module)
    assert watch.changes(module) == []
    return watch


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """What tests change outside of modules has its value back afterwards."""
    kept = SCALE, copy.deepcopy(SETTINGS), OPTIONS.gain, OUTER, Own.limit, Own.forward, nn.Linear.forward
    yield
    globals()["SCALE"], globals()["SETTINGS"], OPTIONS.gain, globals()["OUTER"] = kept[:4]
    Own.limit, Own.forward, nn.Linear.forward = kept[4:]  # type: ignore[method-assign]


def set_global(name: str, value: Any) -> Callable[[Any], None]:
    return lambda _: globals().__setitem__(name, value)


def set_cell(module: Any) -> None:
    module.shift.__closure__[0].cell_contents = 0.7


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "attribute": (lambda m: setattr(m, "power", 3), "power"),
    "entry of an attribute": (lambda m: m.table["a"].append(3), "table"),
    "array in place": (lambda m: m.rates.fill(2.0), "rates"),
    "object of the user's": (lambda m: setattr(m.plain, "rate", 2.0), "plain.rate"),
    "global number": (set_global("SCALE", 3.0), "global SCALE"),
    "global dict": (lambda _: SETTINGS["parts"].append(3), "global SETTINGS"),  # type: ignore[attr-defined]
    "global object": (lambda _: setattr(OPTIONS, "gain", 2.0), "OPTIONS.gain"),
    "global tensor of equal value": (set_global("OUTER", torch.ones(1)), "global OUTER"),
    "closure": (set_cell, "variable offset"),
    "buffer": (lambda m: setattr(m, "mean", torch.zeros(2)), "mean"),
    "parameter of equal value": (lambda m: setattr(m, "gain", nn.Parameter(torch.ones(1))), "gain"),
    "swapped layer": (lambda m: m.net.__setitem__(1, nn.ReLU()), "net.1"),
    "layer in a list": (lambda m: m.layers.__setitem__(0, nn.Linear(2, 2)), "layers"),
    "weight of a layer in a list": (
        lambda m: setattr(m.layers[0], "weight", nn.Parameter(torch.ones(2, 2))),
        "layers[0].weight",
    ),
    "mode": (lambda m: m.net[1].eval(), "net.1.training"),
    "hook": (lambda m: m.net.register_forward_hook(lambda *_: None), "net._forward_hooks"),
    "forward of the object": (lambda m: setattr(m, "forward", lambda t, y: y), "forward"),
    "forward of the class": (lambda m: setattr(Own, "forward", lambda s, t, y: y), "Own.forward"),
    "forward of a class of torch": (lambda m: setattr(nn.Linear, "forward", lambda s, y: y), "Linear.forward"),
    "class attribute": (lambda m: setattr(Own, "limit", 4.0), "Own.limit"),
    "class": (lambda m: setattr(m, "__class__", Colder), "class of the module"),
    "new attribute": (lambda m: setattr(m, "another", 1), "another"),
    "removed attribute": (lambda m: delattr(m, "power"), "power"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_shows(name: str) -> None:
    """Quickly, and by name."""
    change, said = CHANGES[name]
    module = Own()
    watch = watched(module)
    change(module)
    assert not watch.same(module)
    assert said in watch.changes(module)


def test_what_does_not_matter_does_not_count() -> None:
    """Numbers of parameters, gradients, counters of evaluations, attributes that no code reads."""
    module = Own()
    watch = watched(module)
    module.load_state_dict(Own().state_dict())
    module.requires_grad_(False).requires_grad_(True)
    module(T, Y).sum().backward()
    module.nfe, module.unread = 100, 7
    assert watch.same(module)
    assert sorted(watch.own_names()) == ["global EVALUATIONS", "log", "nfe"]


def test_evaluations_in_between_leave_no_traces() -> None:
    module = Own()
    watch = watched(module)
    before = module.nfe, list(module.log), EVALUATIONS
    with watch.own_kept():
        module(T, Y)
        assert module.nfe == before[0] + 1
    assert (module.nfe, module.log, EVALUATIONS) == before


def test_entries_of_tensors_count_where_they_are_baked() -> None:
    module, index = Own(), torch.tensor([0, 1])
    watch = watched(module)
    watch.bake([index])
    assert watch.same(module)
    index[0] = 1
    assert not watch.same(module)
    assert watch.changes(module) == ["entries of a tensor of shape (2,)"]


def test_a_buffer_that_the_evaluation_replaces_is_its_own() -> None:
    """The others are still watched."""

    class Last(nn.Module):
        scale: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("last", torch.zeros(2))
            self.register_buffer("scale", torch.ones(2))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            self.last = y
            return y * self.scale

    module = Last()
    watch = watched(module)
    module(T, 2 * Y)
    assert watch.same(module)
    module.scale = torch.zeros(2)
    assert watch.changes(module) == ["scale"]


def test_code_that_reads_by_computed_names_reads_all() -> None:
    class Dynamic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate_a = 1.0

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return y * getattr(self, "rate" + "_a")

    module = Dynamic()
    watch = watched(module)
    module.rate_a = 2.0
    assert watch.changes(module) == ["rate_a"]


def test_values_that_can_not_be_compared_count_as_changed() -> None:
    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

        __hash__ = None  # type: ignore[assignment]

    module = Own()
    module.plain.rate = Odd()  # type: ignore[assignment]
    watch = Watch(module)
    assert watch.same(module)
    module.plain.rate = Odd()  # type: ignore[assignment]
    assert not watch.same(module)
    assert watch.changes(module) == ["plain.rate"]


def test_a_look_takes_some_microseconds() -> None:
    net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
    watch = Watch(net)
    seconds = min(timeit.repeat(lambda: watch.same(net), number=1000, repeat=7)) / 1000
    assert seconds < 15e-6  # 2e-6 on an idle machine


def test_a_watch_does_not_keep_its_module_alive() -> None:
    import weakref

    module = Own()
    reference, watch = weakref.ref(module), watched(module)
    del module
    import gc

    gc.collect()
    assert reference() is None
    assert watch is not None
