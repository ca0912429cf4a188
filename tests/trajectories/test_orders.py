"""Second and third derivatives are hidden dimensions where position and speed are not the whole state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pynode.trajectories.build import Prepared, prepare
from pynode.trajectories.data import Input, Trajectories
from pynode.trajectories.orders import deepened
from tests.trajectories.made import decays, rotation, series, swing, trajectory


def prepared(of: Trajectories) -> Prepared:
    return prepare(of, [np.ones(len(each.times), bool) for each in of.each])


def driven(noise: float = 0.02, seed: int = 0) -> Trajectories:
    """The position of a swing that something unobserved of another frequency drives."""
    t = 0.1 * np.arange(500)
    rng = np.random.default_rng(seed)
    x = np.cos(2 * t) + 0.6 * np.cos(0.7 * t + 1) + noise * rng.standard_normal(len(t))
    return series(trajectory("a", t, x), names=("shift",))


def test_a_driven_swing_needs_more_than_its_speed() -> None:
    before = prepared(driven())
    assert before.hidden.orders == (1,)
    after = deepened(before)
    assert after.hidden.orders == (1, 2, 3)
    assert after.sizes.hidden == 3
    assert after.hidden_words[-1] == "third derivative of shift"
    assert after.ambiguous == before.ambiguous == ("shift",)


@pytest.mark.parametrize("of", [swing(), swing(noise=0.1), rotation(), decays()], ids=["swing", "noise", "both", "few"])
def test_others_keep_what_they_have(of: Trajectories) -> None:
    before = prepared(of)
    assert deepened(before) is before


def test_few_rows_tell_nothing_of_higher_derivatives() -> None:
    of = driven()
    each = replace(of.each[0], times=of.each[0].times[:50], values=of.each[0].values[:50])
    before = prepared(replace(of, each=(each,)))
    assert deepened(before) is before


def heated(lag: float | None) -> Trajectories:
    """A temperature that follows a stepped power, at once or through a second heat that lags behind and is not seen."""
    rng = np.random.default_rng(0)
    power = np.repeat(rng.choice([0.0, 0.5, 1.0, 1.8], 32), 10)
    steps, heat, temperature, values = 50, 0.0, 0.0, []
    for level in power:
        values.append(temperature)
        for _ in range(steps):
            heat = level if lag is None else heat + (level - heat) / lag / steps
            temperature += 0.25 * (heat - temperature) / steps
    noisy = np.array(values) + 0.005 * rng.standard_normal(len(values))
    t = np.arange(len(power), dtype=np.float64)
    return series(trajectory("a", t, noisy, (Input(t, power),)), names=("temperature",), kinds=("steps",))


def test_what_lags_behind_an_input_is_hidden() -> None:
    before = prepared(heated(3.0))
    assert before.hidden.count == 0
    after = deepened(before)
    assert after.hidden_words == ("rate of change of temperature",)
    assert after.sizes.hidden == 1


def test_what_follows_an_input_at_once_hides_nothing() -> None:
    before = prepared(heated(None))
    assert deepened(before) is before
