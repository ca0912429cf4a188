"""Whether hidden dimensions are asked for: where one column passes a level both ways, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from pynode.trajectories.build import Prepared, prepare
from pynode.trajectories.data import Trajectories
from tests.trajectories.made import decays, rotation, swing


def prepared(series: Trajectories, augment: int | None = None) -> Prepared:
    return prepare(series, [np.ones(len(each.times), bool) for each in series.each], augment=augment)


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1])
def test_position_alone_needs_a_hidden_dimension(noise: float) -> None:
    model = prepared(swing(noise=noise))
    assert model.sizes.hidden == 1
    assert model.ambiguous == ("angle",)
    assert model.hidden_words == ("rate of change of angle",)


def test_a_whole_state_needs_none() -> None:
    assert prepared(rotation()).sizes.hidden == 0
    assert prepared(decays()).sizes.hidden == 0


def test_hidden_dimensions_by_number() -> None:
    assert prepared(swing(), augment=0).sizes.hidden == 0
    assert prepared(decays(), augment=2).hidden.orders == (1, 2)
    assert prepared(rotation(), augment=2).hidden.orders == (1, 1)
