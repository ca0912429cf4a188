"""A field of the user's own in the file's units: each column with its own shift and scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.trajectories.build import prepare
from pynode.trajectories.data import Input, InputKind
from pynode.trajectories.own_field import OwnField
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
