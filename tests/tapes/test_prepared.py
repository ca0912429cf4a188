"""A tape after its preparation: plain operations on constants, which programs without torch's operators rebuild."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, UnknownName
from pynode.fields.mlp import MLP
from pynode.tapes.tape import Tape, specification_from_json
from tests.zoo.entries import Entry, zoo

Y = torch.tensor([[0.4, -0.7], [0.1, 0.9]], dtype=torch.float64)


def constants_of(tape: Tape, module: nn.Module) -> Tensor:
    """Theta of the prepared tape."""
    parts = [p.detach().reshape(-1).double() for p in tape.prepare(tape.tensors_of(module))]
    return torch.cat([torch.empty(0, dtype=torch.float64), *parts])


@pytest.mark.parametrize("zoo_entry", zoo(captured=True), ids=str)
def test_it_computes_what_the_module_does(zoo_entry: Entry) -> None:
    """Also written to JSON and read again, with its constants for a theta, and with tangents."""
    module, y, t = zoo_entry.module(), zoo_entry.state(3), zoo_entry.times()[1]
    tape = pynode.capture(module, y)
    prepared = tape.after_preparation()
    assert prepared.after_preparation() == prepared
    assert (prepared.preparation, prepared.buffers, len(prepared.slots())) == ((), (), len(tape.constants))
    again = specification_from_json(json.loads(json.dumps(prepared.to_json())))
    field = again.build(theta=constants_of(tape, module), dtype=y.dtype)
    torch.testing.assert_close(
        field(t, y), module(t, y.clone()), rtol=1e-4 if y.dtype == torch.float32 else 1e-12, atol=1e-6
    )


class Twice(nn.Module):
    """Reads a matrix both ways round; names that attributes of a field have."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([[0.5, 1.0], [-1.0, 0.2]], dtype=torch.float64))
        self.spec = nn.ParameterDict(
            {"a": torch.ones(2, dtype=torch.float64), "p7": torch.ones(2, dtype=torch.float64)}
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(y @ self.theta.T + self.spec["a"]) @ self.theta + t * self.spec["p7"].exp()


def test_slots_have_names_of_their_own_and_the_shapes_that_are_kept() -> None:
    module = Twice()
    tape = pynode.capture(module, Y)
    prepared = tape.after_preparation()
    names = [slot.name for slot in prepared.slots()]
    assert len(set(names)) == len(names)
    assert {"theta", "spec.a"} <= set(names)
    for k, (slot, constant) in enumerate(zip(prepared.slots(), prepared.constants, strict=True)):
        assert constant.value == k
        assert slot.shape == (constant.shape[::-1] if constant.transposed else constant.shape)
    field = prepared.build(theta=constants_of(tape, module))
    torch.testing.assert_close(field(Y.new_zeros(()), Y), module(Y.new_zeros(()), Y))
    assert torch.equal(field.theta(), constants_of(tape, module))
    assert len(dict(field.named_parameters())) == len(names)


def test_architectures_are_themselves() -> None:
    spec = MLP((2, 3, 2))
    assert spec.after_preparation() is spec
    assert specification_from_json(spec.to_json()) == spec
    with pytest.raises(UnknownName):
        specification_from_json({"architecture": "tapes"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["operations"][0].update(inputs=[9]), r"operations\[0\] reads what is not there"),
        (lambda d: d["operations"][0].update(inputs=[2]), r"operations\[0\] reads what is not there"),
        (lambda d: d["operations"][0].update(inputs=[-99]), r"operations\[0\] reads what is not there"),
        (lambda d: d["constants"][0].update(value=99), r"constants\[0\] reads what is not there"),
        (lambda d: d.update(output=99), "output reads what is not there"),
        (lambda d: d.pop("operations"), "no description of a tape"),
        (lambda d: d["operations"][0].update(name="sinc"), "no operation of a tape"),
    ],
)
def test_damaged_tapes_are_refused(change: Any, said: str) -> None:
    data = pynode.capture(Twice(), Y).after_preparation().to_json()
    change(data)
    with pytest.raises(InvalidArgument, match=said):
        specification_from_json(data)
