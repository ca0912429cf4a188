"""Trajectories that a model was not trained on are forecast as those that it was trained on would best be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pynode.trajectories import forecast
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.data import Trajectories
from pynode.trajectories.evaluation import evaluated
from pynode.trajectories.forecast import calibrated, forecasts
from pynode.trajectories.grid import make_grid
from pynode.trajectories.loss import START_PRIOR
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.parts import parts_of
from pynode.trajectories.trained_curves import conditioned, curve_paths
from pynode.trajectories.unseen import (
    Approach,
    Members,
    _means_without,
    _starts,
    approaches_of,
    combined,
    with_curves,
)
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


def growths(count: int = 10, seed: int = 0) -> Trajectories:
    """One law of logistic growth from several levels: what follows is no linear function of the first rows."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 6, 31)
    each = []
    for k in range(count):
        level = np.exp(rng.uniform(-3, 0.5))
        values = 1 / (1 + (1 / level - 1) * np.exp(-1.2 * t)) + 0.002 * rng.standard_normal(len(t))
        each.append(trajectory(str(k), t, values))
    return series(*each)


def unseen_error(of: Trajectories, held_out: int, given: int) -> float:
    """The error of the forecasts of the last `held_out` trajectories from their first `given` rows."""
    out = range(len(of.each) - held_out, len(of.each))
    masks = [np.full(len(each.times), k not in out) for k, each in enumerate(of.each)]
    prepared = prepare(of, masks, augment=0)
    model = first_model(prepared, 0)
    new = [of.each[k] for k in out]
    known = [np.arange(len(each.times)) < given for each in new]
    times = [each.times[given:] for each in new]
    values = forecasts(model, prepared, new, times, known)
    return float(np.sqrt(np.mean([(v - each.values[given:]) ** 2 for v, each in zip(values, new, strict=True)])))


def test_where_the_state_tells_all_it_stands_alone() -> None:
    model, prepared = trained(growths())
    noise, spread = calibrated(model, prepared)
    (approach,) = approaches_of(model, prepared, 3, noise, spread)
    assert approach.population is None
    assert approach.share == 1.0


def test_where_curves_tell_as_much_as_the_state_both_are_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decays by one law are multiples of one curve, of which rows tell one as well as a state does."""
    model, prepared = trained(falls())
    noise, spread = calibrated(model, prepared)
    approaches = approaches_of(model, prepared, 3, noise, spread)
    assert {approach.population for approach in approaches} == {None, "curves"}
    both = unseen_error(falls(), 3, 3)
    monkeypatch.setattr(forecast, "approaches_of", lambda *_: (Approach(),))
    assert both < unseen_error(falls(), 3, 3)


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
    assert np.array_equal(combined(model, prepared, both, lost, grid, seen, own, noise), own)
    assert np.array_equal(combined(model, prepared, both[1:], lost, grid, seen, own, noise), own)


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
    mixed = combined(model, prepared, both, members, grid, seen, own, noise)
    assert np.allclose(mixed, 0.25 * own + 0.75 * other)


def rises(count: int = 12, seed: int = 0, rows: int = 21) -> Trajectories:
    """Growth at a rate of each trajectory's own, which a state of one dimension can't tell, but its first rows can."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 4, rows)
    each = []
    for k in range(count):
        values = rng.uniform(0, 1) + rng.uniform(0.2, 2) * t + 0.01 * rng.standard_normal(rows)
        each.append(trajectory(str(k), t, values))
    return series(*each)


def test_what_a_state_can_not_tell_the_curves_of_others_do() -> None:
    """Without them the error is 1.2: the field knows one mean rate at each level."""
    of = rises()
    model, prepared = trained(of)
    noise, spread = calibrated(model, prepared)
    assert "curves" in {approach.population for approach in approaches_of(model, prepared, 5, noise, spread)}
    assert unseen_error(of, 3, 5) < 0.2


def test_few_trained_trajectories_have_curves_without_members() -> None:
    """Three others span all lines."""
    model, prepared = trained(rises(4))
    assert Members.of(model, prepared) is None
    noise, spread = calibrated(model, prepared)
    assert "curves" in {approach.population for approach in approaches_of(model, prepared, 5, noise, spread)}
    assert np.isfinite(unseen_error(rises(5), 1, 5))


def test_given_values_pick_a_path_among_those_of_others() -> None:
    """Lines with two numbers of their own: two exact values tell both, vague ones nothing."""
    t = torch.linspace(0, 1, 11, dtype=torch.float64)[:, None]
    numbers = torch.tensor([(0.0, 1.0), (1.0, 3.0), (2.0, -1.0), (0.5, 0.0)], dtype=torch.float64)
    paths = torch.stack([a + b * t for a, b in numbers])
    truth, marks = 0.3 + 2 * t, torch.zeros_like(t)
    marks[[0, 3]] = 1
    noise = torch.tensor([1e-4], dtype=torch.float64)
    assert torch.allclose(conditioned(paths, truth * marks, marks, noise), truth, atol=1e-3)
    assert torch.allclose(conditioned(paths, truth * marks, marks, noise * 1e8), paths.mean(0), atol=1e-6)


def test_a_curve_goes_on_as_the_others_do_and_then_as_the_forecast() -> None:
    """Curves count from their first rows, wherever these are."""
    long, short = np.linspace(5, 15, 21), np.linspace(100, 104, 9)
    of = series(trajectory("a", long, 2 * (long - 5)), trajectory("b", short, 7 + 0 * short))
    prepared = prepare(of, [np.ones(len(each.times), bool) for each in of.each], augment=0)
    new = trajectory("c", np.array([50.0, 54, 60, 64]), np.zeros(4))
    grid = make_grid(new, prepared.scaling, (), longest=np.inf)
    onward = np.array([[9.0], [9.0], [9.0], [5.0]])
    paths = curve_paths(prepared, [0, 1], grid, onward)[..., 0]
    scale, shift = prepared.scaling.scales[0], prepared.scaling.shifts[0]
    after = -4 * scale  # as `onward` falls from 60 to 64, where nothing was observed
    assert np.allclose(paths[0] * scale + shift, [0, 8, 20, 20 + after], atol=1e-2)
    assert np.allclose(paths[1] * scale + shift, [7, 7, 7 + 12, 7 + 12 + after], atol=1e-2)


def test_curves_stand_for_themselves_without_the_field() -> None:
    model, prepared = trained(rises(30))
    assert len(with_curves(prepared)) == 24
    grid, seen, own = prepared.grids[4], np.arange(21) < 5, np.full((21, 1), 7.0)
    noise = torch.tensor([0.01], dtype=torch.float64)
    path = combined(model, prepared, (Approach(1.0, "curves"),), None, grid, seen, own, noise)
    assert np.abs(path - grid.values).max() < 0.1
    own[-1] = np.inf
    alone = combined(model, prepared, (Approach(1.0, "curves"),), None, grid, seen, own, noise)
    assert np.allclose(alone, path), "what the state leads to is not needed where curves go on"


@pytest.mark.parametrize(("of", "without_field"), [(rises(), True), (growths(), False)])
def test_an_evaluation_records_whether_forecasts_used_the_field(of: Trajectories, without_field: bool) -> None:
    parts = parts_of(of, None, [each.name for each in of.each[-3:]], 5)
    prepared = prepare(of, parts.training, augment=0)
    assert evaluated(first_model(prepared, 0), prepared, parts)["without_field"] is without_field
