"""A field is held down where linear ones forecast training rows clearly better than those with a network."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pynode.series_fit import fit_series
from pynode.trajectories import backtest
from pynode.trajectories.backtest import (
    FIRM,
    ORIGINS,
    backtest_of_modes,
    backtests,
    can_be_restrained,
    restrained,
)
from pynode.trajectories.build import Prepared, first_model, prepare, with_all_rows
from pynode.trajectories.data import Trajectories
from pynode.trajectories.decisions import decisions
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.loss import FIRM_PRIOR, HELD_PRIOR, Weights, shooting_loss
from pynode.trajectories.matching import EFFORTS
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.orders import deepened
from pynode.trajectories.parts import parts_of
from pynode.trajectories.refit import long_windows
from pynode.trajectories.rollout import by_steps
from tests.trajectories.made import decays, rotation, series, swing, trajectory


def prepared(of: Trajectories) -> Prepared:
    return prepare(of, [np.ones(len(each.times), bool) for each in of.each])


def inner(model: SeriesModel) -> LinearAndNetwork:
    own = model.field.inner
    assert isinstance(own, LinearAndNetwork)
    return own


def passengers(months: int = 116, seed: int = 0) -> Trajectories:
    """A season about a rising level, both growing: beyond the levels that were seen a network has nothing to go by."""
    t = np.arange(months) / 12
    rng = np.random.default_rng(seed)
    values = (110 + 28 * t) * (1 + 0.2 * np.sin(2 * np.pi * t)) * np.exp(0.03 * rng.standard_normal(months))
    return series(trajectory("a", t, values), names=("passengers",))


def walks(columns: int = 8, rows: int = 160, seed: int = 1) -> Trajectories:
    """Random walks with drifts, of which a network sees laws in what is none."""
    rng = np.random.default_rng(seed)
    values = np.cumsum(0.15 * rng.standard_normal((rows, columns)) + rng.uniform(0, 0.05, columns), 0)
    return series(trajectory("a", np.arange(float(rows)), values), names=tuple(f"x{k}" for k in range(columns)))


@pytest.mark.parametrize("of", [passengers(), walks()], ids=["passengers", "walks"])
def test_a_field_that_would_blow_up_is_held_down(of: Trajectories) -> None:
    before = prepared(of)
    after = restrained(before)
    assert after.restraint is not None
    assert after.restraint.network is None
    linear, free = after.backtested
    assert linear <= 0.9 * free
    model = first_model(after, 0)
    assert torch.count_nonzero(inner(model).network[-1].weight) == 0
    sentence = next(line for line in decisions(after, parts_of(of, None, None, None)) if "is held near" in line)
    assert f"{linear:.2g} standard deviations" in sentence
    assert with_all_rows(after).restraint == after.restraint


@pytest.mark.parametrize(
    "of", [swing(), rotation(), rotation(noise=0.05), decays()], ids=["swing", "both", "noise", "few"]
)
def test_laws_stay_free(of: Trajectories) -> None:
    before = prepared(of)
    assert restrained(before) is before


@pytest.mark.parametrize("modes_error", [0.0, math.inf])
def test_a_sum_of_modes_is_held_down_where_it_forecasts_worse(
    modes_error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backtest, "backtest_of_modes", lambda _: modes_error)
    after = restrained(replace(prepared(passengers()), swings=True))
    assert (after.restraint is None) is (modes_error == 0.0)


def test_modes_are_judged_by_what_follows_the_rows_that_they_are_read_off() -> None:
    """A sum of two swings goes on as it did; a random walk does not."""
    t = 0.25 * np.arange(300)
    two = np.sin(t) + 0.7 * np.cos(1.9 * t) + 0.01 * np.random.default_rng(0).standard_normal(300)
    errors = []
    for values in (two, walks(1).each[0].values[:, 0]):
        of = series(trajectory("a", np.arange(float(len(values))), values), names=("x",))
        errors.append(backtest_of_modes(deepened(prepare(of, [np.ones(len(values), bool)]))))
    assert errors[0] < 0.1
    assert errors[1] > 3 * errors[0]


def test_few_rows_tell_nothing() -> None:
    of = passengers(9)
    before = prepared(of)
    assert restrained(before) is before


def test_impulses_and_relaxations_begin_by_themselves() -> None:
    relaxing = prepare(decays(), [np.ones(len(each.times), bool) for each in decays().each], augment=1)
    assert not can_be_restrained(relaxing)
    assert can_be_restrained(prepared(swing()))


def test_errors_are_on_rows_that_the_field_has_not_seen() -> None:
    """Rows after the origin are a jump that nothing before tells of: errors are as large as the jump."""
    of = rotation(120)
    each = of.each[0]
    values = each.values.copy()
    values[round(ORIGINS[0] * 120) :] += 2.0
    known = prepared(of)
    moved = replace(known, series=replace(of, each=(replace(each, values=values),)))
    moved = replace(moved, grids=prepared(moved.series).grids)
    plain = backtests(known, EFFORTS[:1], ORIGINS[:1])
    shifted = backtests(moved, EFFORTS[:1], ORIGINS[:1])
    assert plain[0] < 0.2
    assert shifted[0] > 1.0


def test_the_linear_part_is_held_to_that_of_the_first_field() -> None:
    held = replace(prepared(passengers()), restraint=EFFORTS[2], backtested=(0.5, 2.0))
    weights = Weights.of(held, 1.0, torch.float64)
    model = first_model(held, 0)
    assert weights.held is not None
    assert torch.equal(weights.held, inner(model).linear.weight.detach())
    assert weights.held_prior == HELD_PRIOR
    assert Weights.of(replace(held, restraint=FIRM[0]), 1.0, torch.float64).held_prior == FIRM_PRIOR
    windows = long_windows(held, 2, torch.float64)
    assert windows is not None
    free = replace(weights, held=None)
    with torch.no_grad():
        at = shooting_loss(model, windows, weights, by_steps(1)) - shooting_loss(model, windows, free, by_steps(1))
        inner(model).linear.weight[0, 0] += HELD_PRIOR
        away = shooting_loss(model, windows, weights, by_steps(1)) - shooting_loss(model, windows, free, by_steps(1))
    scale = float(weights.noise.square().mean()) / weights.observations
    assert float(away - at) == pytest.approx(scale, rel=1e-6)


def test_the_trained_field_forecasts_better_than_a_straight_line(tmp_path: Path) -> None:
    each = passengers(144).each[0]
    rows = [f"{t:.6f},{v:.3f}" for t, (v,) in zip(each.times, each.values, strict=True)]
    path = tmp_path / "passengers.csv"
    path.write_text("year,passengers\n" + "\n".join(rows) + "\n")
    fit = fit_series(path, iterations=60)
    assert any("is held near" in line for line in fit.notices)
    assert fit.errors["forecast_error"] < 0.6 * fit.errors["forecast_error_linear"]
