"""The state at the end of the data is found from as many rows as forecast the training rows best."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.trajectories import look_back as module
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.forecast import calibrated
from pynode.trajectories.look_back import LENGTHS, look_back
from tests.trajectories.made import rotation


def prepared_rotation(rows: int) -> Prepared:
    of = rotation(rows)
    return prepare(of, [np.ones(rows, bool)])


def test_a_short_series_takes_its_last_window() -> None:
    prepared = prepared_rotation(12)
    model = first_model(prepared, 0)
    noise, _ = calibrated(model, prepared)
    assert look_back(model, prepared, 2 * noise, noise) == 1


@pytest.mark.parametrize("best", LENGTHS)
def test_the_length_with_the_least_error_is_taken(best: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """States are found exactly from `best` windows, and far off from others."""
    prepared = prepared_rotation(300)
    model = first_model(prepared, 0)
    noise, _ = calibrated(model, prepared)
    lengths = iter(LENGTHS)

    def assimilated(*_: object, iterations: int) -> torch.Tensor:  # noqa: ARG001
        prior = _[2]
        assert isinstance(prior, torch.Tensor)
        return prior if next(lengths) == best else prior + 3

    monkeypatch.setattr(module, "assimilate", assimilated)
    assert look_back(model, prepared, 2 * noise, noise) == best
