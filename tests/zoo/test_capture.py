"""Every module of the zoo gets its verdict: a tape that is the same function, or the reason why there is none."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import NotCapturable
from pynode.tapes.capture import Capture, capture_module
from tests.zoo.entries import Entry, zoo

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
BATCHES = (1, 2, 7)


def captured(zoo_entry: Entry, module: nn.Module) -> Capture:
    return capture_module(module, zoo_entry.state(3))


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


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_a_tape_is_the_same_function(zoo_entry: Entry) -> None:
    """Values, and gradients by the state and by all parameters, at several batch sizes and times."""
    module = zoo_entry.module()
    capture = captured(zoo_entry, module)
    parameters = [p for p in module.parameters() if p.requires_grad]
    for batch in BATCHES:
        for i, t in enumerate(zoo_entry.times()):
            y = zoo_entry.state(batch, seed=i + 1).requires_grad_()
            wanted = module(t, y.clone())
            value = capture.tape.evaluate_prepared(capture.tape.prepare(capture.tensors()), t, y)
            assert value.shape == wanted.shape
            assert value.dtype == wanted.dtype
            tolerance = TOLERANCE[y.dtype]
            assert difference(value, wanted) <= tolerance
            pairs = zip(gradients(value, [y, *parameters]), gradients(wanted, [y, *parameters]), strict=True)
            assert max(difference(a, b) for a, b in pairs) <= 10 * tolerance


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_tensors_are_inputs_of_a_tape(zoo_entry: Entry) -> None:
    """New numbers in parameters and buffers need no new capture."""
    module, t, y = zoo_entry.module(), zoo_entry.times()[1], zoo_entry.state(3)
    capture = captured(zoo_entry, module)
    with torch.no_grad():
        for x in (*module.parameters(), *module.buffers()):
            if x.is_floating_point():
                x.mul_(1.1)
    value = capture.tape.evaluate_prepared(capture.tape.prepare(capture.tensors()), t, y)
    assert difference(value, module(t, y.clone())) <= TOLERANCE[y.dtype]


@pytest.mark.parametrize("zoo_entry", zoo(captured=False), ids=str)
def test_what_can_not_be_captured_says_why_and_where(zoo_entry: Entry) -> None:
    module = zoo_entry.module()
    with pytest.raises(NotCapturable) as refusal:
        captured(zoo_entry, module)
    assert zoo_entry.refused is not None
    assert re.search(zoo_entry.refused, refusal.value.reason)
    places = (
        [zoo_entry.where] if zoo_entry.where else [type(module).__name__, *(n for n, _ in module.named_modules() if n)]
    )
    assert any(place in refusal.value.where for place in places)
    assert refusal.value.remedy
    assert refusal.value.reason in str(refusal.value)
