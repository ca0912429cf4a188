"""Doses: jumps by covariates, and levels that come to rest at 0 where nothing is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.trajectories.build import first_model, prepare
from pynode.trajectories.data import Input, Trajectories
from pynode.trajectories.decisions import decisions
from pynode.trajectories.forecast import forecasts
from pynode.trajectories.impulses import fitted_decays, in_two_phases
from pynode.trajectories.parts import parts_of
from tests.trajectories.ended import ended
from tests.trajectories.made import series, trajectory

RATE = 0.1


def level(times: np.ndarray, at: np.ndarray, raised: np.ndarray) -> np.ndarray:
    """Of a drug that goes at `RATE`, raised by doses at `at`."""
    after = times[:, None] > at
    return np.asarray((after * raised * np.exp(-RATE * np.where(after, times[:, None] - at, 0))).sum(1))


def bodies(lift: float = 0.0) -> Trajectories:
    """Few samples each while doses go on, in bodies of unequal weight, `lift` above 0."""
    each, rng = [], np.random.default_rng(0)
    for k in range(12):
        weight = 50.0 + 4 * k
        at = np.arange(0, 48, 8.0)
        times = np.sort(rng.uniform(1, 48, 6))
        values = level(times, at, np.full(6, 100 / weight)) + lift
        each.append(trajectory(f"b{k}", times, values, (Input(at, np.full(6, 100.0)),), (weight,)))
    return series(*each, names=("level",), kinds=("jumps",))


def whole(of: Trajectories) -> list[np.ndarray]:
    return [np.ones(len(each.times), bool) for each in of.each]


def test_nothing_is_the_level_0_of_the_file() -> None:
    of = bodies()
    prepared = prepare(of, whole(of), augment=0)
    assert prepared.nothing is not None
    assert prepared.scaling.to_file(prepared.nothing[None])[0] == pytest.approx([0], abs=1e-12)
    below = bodies(lift=-2.0)
    assert prepare(below, whole(below), augment=0).nothing is None


def test_the_level_of_rest_is_drawn_to_nothing() -> None:
    of = bodies()
    prepared = prepare(of, whole(of), augment=0)
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    (drawn,) = fitted_decays(prepared.grids, masks, 1, prepared.nothing)
    (free,) = fitted_decays(prepared.grids, masks, 1)
    assert drawn is not None
    assert free is not None
    assert prepared.nothing is not None
    assert abs(drawn.rest - prepared.nothing[0]) < abs(free.rest - prepared.nothing[0])


def phases(share: float) -> Trajectories:
    """Doses that go at a fast rate, but for a `share` of each, which goes slowly; noisy."""
    each, rng = [], np.random.default_rng(1)
    at = np.array([0.0, 12.0, 24.0])
    for k in range(6):
        times = np.sort(rng.uniform(0.2, 36, 18))
        since = np.maximum(times[:, None] - at, 0)
        left = (1 - share) * np.exp(-0.9 * since) + share * np.exp(-0.06 * since)
        values = ((times[:, None] > at) * left).sum(1) * (1 + 0.03 * rng.standard_normal(18))
        each.append(trajectory(f"b{k}", times, 10 * values, (Input(at, np.full(3, 10.0)),)))
    return series(*each, names=("level",), kinds=("jumps",))


@pytest.mark.parametrize(("of", "hidden"), [(phases(0.3), 1), (phases(0.0), 0), (phases(1.0), 0), (bodies(), 0)])
def test_a_second_phase_calls_for_a_hidden_dimension(of: Trajectories, hidden: int) -> None:
    prepared = prepare(of, whole(of))
    seen = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    assert in_two_phases(prepared.grids, seen, 0) == bool(hidden)
    assert prepared.sizes.hidden == hidden
    told = decisions(prepared, parts_of(of, None, None, None))
    why = ": after a dose level rises before it falls, or falls in two phases (augment=0"
    assert any(why in line for line in told) == bool(hidden)


def test_covariates_make_jumps_larger_or_smaller() -> None:
    of = bodies()
    model = first_model(prepare(of, whole(of), augment=0), 0)
    with torch.no_grad():
        model.jumps.fill_(2.0)
        model.jumps_by.fill_(0.5)
    impulses, covariates = torch.ones(2, 1).double(), torch.tensor([[0.0], [-1.0]]).double()
    assert model.jumped(impulses, covariates)[:, 0].tolist() == pytest.approx([2.0, 2 * np.exp(-0.5)])


def test_after_the_last_dose_each_body_comes_to_0() -> None:
    of = bodies()
    prepared = prepare(of, whole(of), augment=0)
    model = ended(first_model(prepared, 0), prepared, DiscOpt(), 200).model
    at = np.array([50.0, 60.0, 80.0, 120.0])
    ahead = forecasts(model, prepared, of.each, [at] * len(of.each), whole(of))
    for k, values in enumerate(ahead):
        truth = level(at, np.arange(0, 48, 8.0), np.full(6, 100 / (50.0 + 4 * k)))
        assert np.abs(values[:, 0] - truth).max() < 0.35
