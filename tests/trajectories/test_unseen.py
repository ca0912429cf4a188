"""Trajectories that a model was not trained on are forecast as those that it was trained on would best be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.data import Trajectories
from pynode.trajectories.forecast import calibrated
from pynode.trajectories.loss import START_PRIOR
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.unseen import Approach, Members, _means_without, _starts, approaches_of, combined
from tests.trajectories.made import series, trajectory


def falls(
    count: int = 8,
    noise: float = 0.002,
    seed: int = 0,
    rates: tuple[float, ...] = (0.5,),
    covariates: bool = True,
) -> Trajectories:
    """Decays from several levels, each with one of `rates` in turn and, with `covariates`, one that says nothing."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 5, 26)
    each = []
    for k in range(count):
        level = rng.uniform(1, 3)
        values = level * np.exp(-rates[k % len(rates)] * t) + noise * rng.standard_normal(len(t))
        number = rng.standard_normal()
        each.append(trajectory(str(k), t, values, covariates=(number,) if covariates else ()))
    return series(*each)


def trained(of: Trajectories) -> tuple[SeriesModel, Prepared]:
    prepared = prepare(of, [np.ones(len(each.times), bool) for each in of.each], augment=0)
    return first_model(prepared, 0), prepared


def test_where_the_state_tells_all_it_stands_alone() -> None:
    model, prepared = trained(falls())
    noise, spread = calibrated(model, prepared)
    (approach,) = approaches_of(model, prepared, 3, noise, spread)
    assert approach.population is None
    assert approach.share == 1.0


def test_shares_of_several_approaches_add_up() -> None:
    """Rates differ, which the state can't tell: the paths of others help."""
    model, prepared = trained(falls(12, noise=0.05, rates=(0.2, 1.2)))
    noise, spread = calibrated(model, prepared)
    approaches = approaches_of(model, prepared, 2, noise, spread)
    assert any(approach.population is not None for approach in approaches)
    assert sum(approach.share for approach in approaches) == pytest.approx(1.0)
    assert len({approach.population for approach in approaches}) == len(approaches)


def test_too_few_trained_trajectories_leave_the_state() -> None:
    model, prepared = trained(falls(2))
    noise, spread = calibrated(model, prepared)
    assert approaches_of(model, prepared, 2, noise, spread) == (Approach(),)
    assert Members.of(*trained(falls(4))) is None
    assert Members.of(*trained(falls(5))) is not None


def test_the_expected_start_is_that_without_the_trajectory_itself() -> None:
    """The closed form of leaving one out is the regression without it."""
    model, prepared = trained(falls(9, noise=0.05))
    trained_ones, starts, covariates = _starts(model, prepared)
    design = torch.cat((torch.ones(9, 1, dtype=torch.float64), covariates), 1)
    ridge = torch.diag(torch.tensor([0.0, START_PRIOR**-2], dtype=torch.float64))

    def mean(rows: list[int]) -> torch.Tensor:
        x, y = design[rows], starts[rows]
        return torch.linalg.solve(x.T @ x + ridge, x.T @ y)

    every = mean(list(range(9)))
    with torch.no_grad():
        model.start.copy_(every[0])
        model.start_by.copy_(every[1:])
    places, moved = _means_without(model, prepared)
    assert list(places) == trained_ones == list(range(9))
    for k in range(9):
        others = mean([n for n in range(9) if n != k])
        assert torch.allclose(design @ every + moved[k], design @ others, atol=1e-10)


def test_without_covariates_leaving_one_out_moves_no_member() -> None:
    """Starts of others stay where they are: only the mean that is expected moves."""
    model, prepared = trained(falls(7, covariates=False))
    noise, spread = calibrated(model, prepared)
    _, moved = _means_without(model, prepared)
    assert torch.allclose(moved, moved[:, :1].expand_as(moved))
    approaches = approaches_of(model, prepared, 2, noise, spread)
    assert all(approach.population != "covariates" for approach in approaches)


def test_members_weigh_as_likely_as_they_make_the_rows() -> None:
    model, prepared = trained(falls(6))
    members = Members.of(model, prepared)
    assert members is not None
    grid, last = prepared.grids[2], len(prepared.grids[2].times) - 1
    paths = members.paths(model, grid, last, "starts")
    seen = np.ones(last + 1, bool)
    noise = torch.tensor([0.02], dtype=torch.float64)
    assert torch.allclose(members.mean(paths, grid, seen, noise), paths[2], atol=0.02)
    assert torch.allclose(members.mean(paths, grid, seen, noise * 1e6), paths.mean(0), atol=1e-6)
    others = np.arange(6) != 2
    without = members.mean(paths, grid, seen, noise * 1e6, others)
    assert torch.allclose(without, paths[torch.as_tensor(others)].mean(0), atol=1e-6)


def test_a_path_that_blows_up_has_no_weight() -> None:
    model, prepared = trained(falls(6))
    members = Members.of(model, prepared)
    assert members is not None
    grid = prepared.grids[0]
    paths = members.paths(model, grid, len(grid.times) - 1, "starts")
    seen, noise = np.arange(len(grid.times)) < 3, torch.tensor([0.1], dtype=torch.float64)
    paths[3, -1] = torch.inf  # beyond the rows that are known
    mean = members.mean(paths, grid, seen, noise)
    assert torch.allclose(mean, members.mean(paths, grid, seen, noise, np.arange(6) != 3))
    paths[:] = torch.inf
    assert bool(torch.isnan(members.mean(paths, grid, seen, noise)).all())


def test_where_all_members_blow_up_the_state_is_left() -> None:
    model, prepared = trained(falls(6))
    members = Members.of(model, prepared)
    assert members is not None
    grid = prepared.grids[1]
    size = len(grid.times)
    lost = replace(members, starts=torch.full_like(members.starts, torch.nan))
    both = (Approach(1.0, None, 0.5), Approach(1.0, "starts", 0.5))
    own, noise = np.full((size, 1), 7.0), torch.tensor([0.05], dtype=torch.float64)
    seen = np.arange(size) < 3
    assert np.array_equal(combined(model, both, lost, grid, seen, own, noise), own)
    assert np.array_equal(combined(model, both[1:], lost, grid, seen, own, noise), own)


def test_approaches_are_combined_by_their_shares() -> None:
    model, prepared = trained(falls(6))
    members = Members.of(model, prepared)
    assert members is not None
    grid = prepared.grids[1]
    size, noise = len(grid.times), torch.tensor([0.05], dtype=torch.float64)
    seen = np.arange(size) < 3
    own = np.full((size, 1), 7.0)
    paths = members.paths(model, grid, size - 1, "covariates")
    other = members.mean(paths, grid, seen, noise * 2.0).numpy()
    both = (Approach(1.0, None, 0.25), Approach(2.0, "covariates", 0.75))
    assert np.allclose(combined(model, both, members, grid, seen, own, noise), 0.25 * own + 0.75 * other)
