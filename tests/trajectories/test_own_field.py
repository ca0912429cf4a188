"""A field of the user's own in the file's units: each column with its own shift and scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.cli.as_typed import as_typed
from pynode.errors import InvalidArgument
from pynode.trajectories.build import prepare
from pynode.trajectories.data import Input, InputKind
from pynode.trajectories.own_field import OwnField, own_field
from tests.trajectories.made import series, trajectory


class Listening(nn.Module):
    """Keeps the y that it is given."""

    file_units = True
    heard: Tensor

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        del t
        self.heard = y
        return torch.zeros_like(y[..., :1])


@pytest.mark.parametrize("dose_first", [True, False])
def test_an_input_beside_doses_has_its_own_units(dose_first: bool) -> None:
    times = np.arange(20.0)
    dose = Input(np.array([0.0, 8.0]), np.array([500.0, 500.0]))
    outdoor = Input(times, 10 + 3 * np.sin(times))
    kinds: tuple[InputKind, ...] = ("jumps", "interpolated") if dose_first else ("interpolated", "jumps")
    inputs = (dose, outdoor) if dose_first else (outdoor, dose)
    of = series(trajectory("a", times, 20 + np.cos(times), inputs), kinds=kinds)
    prepared = prepare(of, [np.ones(20, bool)], augment=0)
    field = Listening()
    own = OwnField(field, prepared.sizes, prepared.scaling)
    own(torch.zeros(1), torch.tensor([[*prepared.grids[0].values[0], *prepared.grids[0].starts[0]]]))
    assert field.heard[0].numpy() == pytest.approx([21, 10])


MODULES = """
import torch

class OfState(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = torch.nn.Linear(width, width)

    def forward(self, y):
        return self.net(y)

class OfBoth(OfState):
    def forward(self, t, y):
        return self.net(y)

class Scaled(OfState):
    def forward(self, y, scale=1.0):
        return scale * self.net(y)

class Broken(OfState):
    def forward(self, y):
        return self.net(y[..., :0])

CHAIN = torch.nn.Sequential(torch.nn.Linear(1, 1))
"""


def test_units_of_the_file_beside_angles() -> None:
    of = series(trajectory("a", times := np.arange(20.0), 10 * times % 360), periods={"x": 360.0})
    prepared = prepare(of, [np.ones(20, bool)], augment=0)
    with pytest.raises(InvalidArgument, match="no circular columns; leave out file_units, or angles") as caught:
        OwnField(Listening(), prepared.sizes, prepared.scaling)
    assert as_typed(str(caught.value), "series").endswith("or angles (--circular ...)")


def test_a_module_of_the_state_alone(tmp_path: Path) -> None:
    """It is the same field as one of time and state that does not use the time."""
    (file := tmp_path / "mine.py").write_text(MODULES)
    prepared = prepare(series(trajectory("a", times := np.arange(20.0), np.cos(times))), [np.ones(20, bool)], augment=0)
    sizes, x = prepared.sizes, torch.randn(5, 1, dtype=torch.float64)
    made = {
        name: own_field(f"{file}:{name}", sizes, prepared.scaling, (8,), seed=0)
        for name in ("OfState", "OfBoth", "Scaled", "CHAIN")
    }
    slopes = {name: own(torch.zeros(()), x) for name, own in made.items()}
    assert torch.equal(slopes["OfState"], slopes["OfBoth"])
    assert torch.equal(slopes["Scaled"], slopes["OfBoth"])
    assert torch.equal(slopes["CHAIN"], made["CHAIN"].field(x))
    with pytest.raises(InvalidArgument, match=r"write forward\(t, y\), or forward\(y\), for y \(\.\.\., 1\)"):
        own_field(f"{file}:Broken", sizes, prepared.scaling, (8,), seed=0)
