"""Every module of the zoo gets its verdict: a tape that is the same function, or the reason why there is none."""

from __future__ import annotations

import functools
import json
import re

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import NotCapturable
from pynode.tapes.capture import capture
from pynode.tapes.tape import Tape
from tests.zoo.entries import Entry, zoo

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
BATCHES = (1, 2, 7)


def captured(zoo_entry: Entry, module: nn.Module) -> Tape:
    return capture(module, zoo_entry.state(3))


@functools.cache
def tape_of(zoo_entry: Entry) -> Tape:
    """The tape of an entry, which any module of it has."""
    return captured(zoo_entry, zoo_entry.module())


def by_tape(tape: Tape, module: nn.Module, t: Tensor, y: Tensor) -> Tensor:
    """f(t, y) by the tape, with the tensors that the module has now."""
    names = (slot.name for slot in tape.slots())
    return tape.evaluate(dict(zip(names, tape.tensors_of(module), strict=True)), t, y)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference relative to the largest entry, or to 1 where all are smaller."""
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max()) / max(1.0, float(b.abs().max()))


def gradients(value: Tensor, sources: list[Tensor]) -> list[Tensor]:
    """By the sources, of a fixed cotangent; zeros where the value does not depend on them."""
    cotangent = torch.cos(torch.arange(value.numel(), dtype=value.dtype)).reshape(value.shape)
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in sources]
    return list(torch.autograd.grad(value, sources, cotangent, allow_unused=True, materialize_grads=True))


def compare(zoo_entry: Entry, module: nn.Module, t: Tensor, y: Tensor) -> None:
    """Value and gradients, by the state and by all parameters, are the same by tape and by module."""
    y = y.clone().requires_grad_()
    wanted, value = module(t, y.clone()), by_tape(tape_of(zoo_entry), module, t, y)
    assert value.shape == wanted.shape
    assert value.dtype == wanted.dtype
    tolerance = TOLERANCE[y.dtype]
    assert difference(value, wanted) <= tolerance
    sources = [y, *(p for p in module.parameters() if p.requires_grad)]
    pairs = zip(gradients(value, sources), gradients(wanted, sources), strict=True)
    assert max(difference(a, b) for a, b in pairs) <= 10 * tolerance


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_a_tape_is_the_same_function(zoo_entry: Entry) -> None:
    """At several batch sizes and times."""
    module = zoo_entry.module()
    for batch, t in zip(BATCHES, zoo_entry.times(), strict=True):
        compare(zoo_entry, module, t, zoo_entry.state(batch, seed=batch))


@pytest.mark.parametrize("zoo_entry", [e for e in zoo(captured=True) if not e.positive], ids=str)
def test_a_tape_is_the_same_function_at_special_states(zoo_entry: Entry) -> None:
    """At zero, which begins many solves, and far away, where activations have other branches."""
    module, y = zoo_entry.module(), zoo_entry.state(4)
    at_zero = torch.zeros_like(zoo_entry.times()[0])
    for t, state in ((at_zero, 0 * y), (at_zero - 2, 10 * y), (at_zero + 1, y.round())):
        compare(zoo_entry, module, t, state)


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_a_tape_survives_json(zoo_entry: Entry) -> None:
    module, t, y = zoo_entry.module(), zoo_entry.times()[1], zoo_entry.state(3)
    tape = tape_of(zoo_entry)
    again = Tape.from_json(json.loads(json.dumps(tape.to_json())))
    assert again == tape
    assert torch.equal(by_tape(again, module, t, y), by_tape(tape, module, t, y))


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_tensors_are_inputs_of_a_tape(zoo_entry: Entry) -> None:
    """New numbers in parameters and buffers need no new capture."""
    module, t, y = zoo_entry.module(), zoo_entry.times()[1], zoo_entry.state(3)
    with torch.no_grad():
        for x in (*module.parameters(), *module.buffers()):
            if x.is_floating_point():
                x.mul_(1.1)
    assert difference(by_tape(tape_of(zoo_entry), module, t, y), module(t, y.clone())) <= TOLERANCE[y.dtype]


@pytest.mark.parametrize("zoo_entry", zoo(captured=False), ids=str)
def test_what_can_not_be_captured_says_why_and_where(zoo_entry: Entry) -> None:
    module = zoo_entry.module()
    with pytest.raises(NotCapturable) as refusal:
        captured(zoo_entry, module)
    assert zoo_entry.refused is not None
    assert re.search(zoo_entry.refused, refusal.value.reason)
    places = [type(module).__name__, *(name for name, _ in module.named_modules() if name)]
    assert any(place in refusal.value.where for place in ([zoo_entry.where] if zoo_entry.where else places))
    assert refusal.value.remedy
    assert refusal.value.reason in str(refusal.value)
