"""Tapes as specifications: slots, theta, plain values, derivatives; and what they refuse to be read from."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pynode
from pynode.errors import InvalidArgument, NotCapturable
from pynode.tapes.capture import capture
from pynode.tapes.tape import Tape


class Gated(nn.Module):
    """Something of all layers: a preparation, time, state, a buffer, a clamp at infinity."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 2))
        self.W = nn.Parameter(torch.randn(2, 2))
        self.register_buffer("scale", torch.tensor([0.5, 2.0]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = self.net(torch.cat([y, torch.sin(t).expand(len(y), 1)], 1))
        return x * torch.sigmoid(self.scale * t) + y.clamp(min=-1.0) @ (self.W - self.W.T)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(4)
    return Gated().double()


def test_slots_are_the_modules_own_names(module: nn.Module) -> None:
    tape = capture(module, torch.zeros(4, 2, dtype=torch.float64))
    assert [slot.name for slot in tape.parameters] == [
        "W",
        "net.0.weight",
        "net.0.bias",
        "net.2.weight",
        "net.2.bias",
    ]
    assert [slot.name for slot in tape.buffers] == ["scale"]
    assert tape.n_params == sum(x.numel() for x in (*module.parameters(), *module.buffers()))
    expected = torch.cat([module.get_parameter(s.name).reshape(-1) for s in tape.parameters])
    assert torch.equal(tape.theta_of(module)[: len(expected)], expected)


def test_a_tape_built_again_is_the_module(module: nn.Module) -> None:
    y, t = torch.randn(7, 2, dtype=torch.float64), torch.tensor(0.4, dtype=torch.float64)
    tape = capture(module, y[:3])
    field = tape.build(theta=tape.theta_of(module))
    assert torch.allclose(field(t, y), module(t, y), rtol=1e-13, atol=1e-14)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda x: module(t, x[None])[0]))(y)
    value, trace = field.divergence(t, y)
    assert torch.allclose(value, module(t, y), rtol=1e-13)
    assert torch.allclose(trace, jacobian.diagonal(dim1=1, dim2=2).sum(-1), rtol=1e-12)
    v = torch.randn(1, 7, 2, dtype=torch.float64)
    assert torch.allclose(field.tangents(t, y, v)[1][0], (jacobian @ v[0][..., None])[..., 0], rtol=1e-12)


def test_plain_values_and_back(module: nn.Module) -> None:
    tape = capture(module, torch.zeros(4, 2, dtype=torch.float64))
    text = json.dumps(tape.to_json(), allow_nan=False)
    again = Tape.from_json(json.loads(text))
    assert again == tape
    assert hash(again) == hash(tape)
    assert any(math.inf in operation.numbers for operation in again.operations)


@pytest.mark.parametrize(
    "change",
    [
        {"operations": [{"name": "system", "inputs": [1], "columns": 2, "layer": "state", "numbers": [], "runs": []}]},
        {"preparation": [{"target": "aten.add_.Tensor", "args": [], "kwargs": [], "result": None}]},
        {"preparation": [{"target": "os.system.default", "args": [], "kwargs": [], "result": None}]},
        {"constants": [{"value": 0}]},
        {"dim": None},
    ],
)
def test_what_is_no_tape_is_refused(module: nn.Module, change: dict[str, Any]) -> None:
    data = {**capture(module, torch.zeros(4, 2, dtype=torch.float64)).to_json(), **change}
    with pytest.raises(InvalidArgument, match="field"):
        Tape.from_json(data)


def test_theta_of_another_module_is_refused(module: nn.Module) -> None:
    tape = capture(module, torch.zeros(4, 2, dtype=torch.float64))
    with pytest.raises(InvalidArgument, match="which the tape reads"):
        tape.theta_of(nn.Linear(2, 2))
    module.register_parameter("W", nn.Parameter(torch.zeros(3, 3)))
    with pytest.raises(InvalidArgument, match="not a tensor of shape"):
        tape.theta_of(module)


@pytest.mark.parametrize("y0", [torch.zeros(3, dtype=torch.int64), torch.zeros((), dtype=torch.float64), None])
def test_states_that_are_none(y0: Any) -> None:
    with pytest.raises(InvalidArgument, match="y0"):
        capture(nn.Linear(2, 2), y0)


def test_specifications_have_no_dots_in_their_names() -> None:
    field = pynode.MLP((2, 4, 2)).build(seed=0)
    assert [name for name, _ in field.named_parameters()] == ["W0", "b0", "W1", "b1"]


def test_the_place_of_what_can_not_be_captured() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([nn.Linear(2, 2), nn.Dropout(0.5)])

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            for part in self.parts:
                y = part(y)
            return y

    with pytest.raises(NotCapturable, match="random") as caught:
        capture(Noisy(), torch.zeros(3, 2))
    assert caught.value.where.startswith("parts.1, ")
    assert "eval()" in caught.value.remedy
