"""States from observations: of a linear field the posterior mean, which is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.trajectories.assimilate import assimilate
from pynode.trajectories.build import first_model, prepare
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.windows import together
from tests.trajectories.made import series, trajectory


@pytest.mark.parametrize("spread", [0.05, 0.5, 100.0])
def test_assimilate_gives_the_posterior_mean_of_a_decay(spread: float) -> None:
    rng, noise = np.random.default_rng(0), 0.1
    times = np.linspace(0, 2, 12)
    values = np.exp(-times) + noise * rng.standard_normal(12)
    prepared = prepare(series(trajectory("a", times, values)), [np.ones(12, bool)], augment=0)
    model = first_model(prepared, 0)
    field = model.field.inner
    assert isinstance(field, LinearAndNetwork)
    with torch.no_grad():
        for part in field.parameters():
            part.zero_()
        field.linear.weight[0, 0] = -1.0
    (grid,) = prepared.grids
    windows = together([(grid, 0, len(grid.lengths), np.ones(len(grid.times), bool))])
    clock = np.concatenate(([0.0], np.cumsum(grid.lengths)))
    seen = np.isfinite(grid.values[:, 0])
    decay, observed, prior = np.exp(-clock[seen]), grid.values[seen, 0], 0.3
    posterior = (decay @ observed / noise**2 + prior / spread**2) / (decay @ decay / noise**2 + 1 / spread**2)
    columns = torch.tensor([[prior]], dtype=torch.float64), torch.tensor([spread], dtype=torch.float64)
    state = assimilate(model, windows, *columns, torch.tensor([noise], dtype=torch.float64))
    assert float(state[0, 0]) == pytest.approx(posterior, abs=1e-3)
