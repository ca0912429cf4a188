"""Forecasts start from each trajectory's own state, and end where an input is no longer known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.errors import InvalidArgument
from pynode.methods.disc_opt import DiscOpt
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.data import Input, Trajectories
from pynode.trajectories.forecast import fitted, forecasts
from pynode.trajectories.model import SeriesModel
from tests.trajectories.axes import Numbers
from tests.trajectories.ended import ended
from tests.trajectories.made import decays, rotation, series, swing, trajectory


def trained(of: Trajectories, evaluations: int = 60) -> tuple[SeriesModel, Prepared]:
    prepared = prepare(of, [np.ones(len(each.times), bool) for each in of.each])
    model = ended(first_model(prepared, 0), prepared, DiscOpt(), evaluations).model
    return model, prepared


def test_a_rotation_goes_on_in_both_units() -> None:
    of = rotation()
    model, prepared = trained(of)
    at = of.each[0].times[-1] + np.linspace(0.1, 6, 40)
    (ahead,) = forecasts(model, prepared, of.each, [at], [np.ones(120, bool)])
    assert np.abs(ahead - np.stack((np.cos(at), 100 * np.sin(at)), -1)).max(0) == pytest.approx([0, 0], abs=20)
    assert np.abs(ahead[:, 0] - np.cos(at)).max() < 0.15
    (fit,) = fitted(model, prepared, [np.ones(120, bool)])
    assert np.sqrt(np.mean((fit[:, 0] - np.cos(of.each[0].times)) ** 2)) < 0.03


def test_a_swing_of_which_only_the_position_is_known_goes_on() -> None:
    of = swing()
    model, prepared = trained(of)
    at = 0.05 * np.arange(200, 260)
    (ahead,) = forecasts(model, prepared, of.each, [at], [np.ones(200, bool)])
    assert ahead.shape == (60, 1)
    assert np.sqrt(np.mean((ahead[:, 0] - np.cos(np.pi * at)) ** 2)) < 0.15


def test_each_patient_goes_on_from_its_own_state() -> None:
    of = decays()
    model, prepared = trained(of)
    times = [each.times[-1] + np.array([0.5, 1.0]) for each in of.each]
    known = [np.ones(len(each.times), bool) for each in of.each]
    ahead = forecasts(model, prepared, of.each, times, known)
    for k, (each, values) in enumerate(zip(of.each, ahead, strict=True)):
        truth = (4 + k) * np.exp(-0.7 * (each.times[-1] + np.array([0.5, 1.0])))
        assert np.abs(values[:, 0] - truth).max() < 0.35
    new = trajectory("new", np.array([0.0, 0.5]), 12 * np.exp(-0.7 * np.array([0.0, 0.5])))
    (values,) = forecasts(model, prepared, [new], [np.array([1.5])], [np.ones(2, bool)])
    assert values[0, 0] == pytest.approx(12 * np.exp(-0.7 * 1.5), rel=0.25)


def test_inputs_end_a_forecast() -> None:
    hours = np.arange(30.0)
    of = series(
        trajectory("a", hours[:25], np.sin(hours[:25]), (Input(hours, np.cos(hours)),)), kinds=("interpolated",)
    )
    of = Trajectories(of.each, Numbers("t", "number", "t"), of.values, of.inputs, of.input_kinds)
    model, prepared = trained(of, 20)
    forecasts(model, prepared, of.each, [np.array([29.0])], [np.ones(25, bool)])
    with pytest.raises(InvalidArgument, match="u0 is known to 29"):
        forecasts(model, prepared, of.each, [np.array([30.0])], [np.ones(25, bool)])


def test_an_angle_stays_within_its_period() -> None:
    rng = np.random.default_rng(0)
    times = 0.2 * np.arange(150)
    wind = (350 + 40 * times + 2 * rng.standard_normal(150)) % 360
    of = series(trajectory("a", times, wind), names=("wind",), periods={"wind": 360.0})
    model, prepared = trained(of)
    at = times[-1] + np.linspace(0.2, 9, 50)
    (ahead,) = forecasts(model, prepared, of.each, [at], [np.ones(150, bool)])
    assert ((ahead >= 0) & (ahead < 360)).all()
    error = (ahead[:, 0] - (350 + 40 * at) + 180) % 360 - 180
    assert np.abs(error).max() < 20


def test_doses_make_a_level_jump() -> None:
    rng = np.random.default_rng(0)
    each = []
    for k in range(8):
        at = np.sort(rng.uniform(0, 10, 3))
        doses = rng.uniform(5, 15, 3)
        times = np.sort(rng.uniform(0, 14, 9))
        level = np.array(
            [sum(d * np.exp(-0.3 * (t - a)) for a, d in zip(at, doses, strict=True) if a < t) for t in times]
        )
        each.append(trajectory(f"p{k}", times, level + 0.1 * rng.standard_normal(9), (Input(at, doses),)))
    of = series(*each, kinds=("jumps",))
    model, prepared = trained(of, 400)
    fit = np.concatenate(fitted(model, prepared, [np.ones(9, bool)] * 8))
    truth = np.concatenate([one.values for one in of.each])
    assert np.sqrt(np.mean((fit - truth) ** 2)) < 0.35 * truth.std()
    assert bool(torch.isfinite(model.theta()).all())


def test_a_dose_that_is_absorbed_slowly_asks_for_a_hidden_dimension() -> None:
    rng = np.random.default_rng(1)
    each = []
    for k in range(8):
        times = np.sort(rng.uniform(0.2, 12, 9))
        level = 8 * (np.exp(-0.2 * times) - np.exp(-0.6 * times)) + 0.05 * rng.standard_normal(9)
        each.append(trajectory(f"p{k}", times, level, (Input(np.zeros(1), np.full(1, 6.0)),)))
    of = series(*each, kinds=("jumps",))
    assert prepare(of, [np.ones(9, bool)] * 8).hidden.orders == (1,)
