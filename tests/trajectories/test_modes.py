"""Modes: sums of swings that a column makes, as a first field and in forecasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.trajectories.build import first_model, prepare
from pynode.trajectories.data import Trajectories
from pynode.trajectories.modes import fitted_modes
from pynode.trajectories.orders import deepened
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.windows import make_windows
from tests.trajectories.made import series, trajectory

FAST, SLOW, DECAY = 5**0.5, 3**0.5, 0.005


def beats(times: np.ndarray, rest: float = 0.0) -> np.ndarray:
    """Where the first of two equal masses is that springs join, when it was pulled and let go."""
    return np.asarray(rest + np.exp(-DECAY * times) * (np.cos(FAST * times) + np.cos(SLOW * times)) / 2)


def observed(rest: float = 0.0, noise: float = 0.02) -> Trajectories:
    times = 0.1 * np.arange(400)
    rng = np.random.default_rng(0)
    return series(trajectory("m", times, beats(times, rest) + noise * rng.normal(size=times.size)), names=("x",))


def test_modes_are_found_in_their_sum() -> None:
    """Exponents, rest and derivatives, of two trajectories that share the exponents."""
    times = np.linspace(0, 30, 300)
    points = [(times, beats(times, 0.3)), (times[:200], 0.3 + 2 * (beats(times, 0.0)[50:250]))]
    paths = [(np.arange(0, t[-1], 0.25), np.interp(np.arange(0, t[-1], 0.25), t, y)) for t, y in points]
    modes = fitted_modes(points, paths, 4)
    assert modes is not None
    assert sorted(abs(modes.exponents.imag)) == pytest.approx([SLOW, FAST], abs=1e-4)
    assert modes.exponents.real == pytest.approx(-DECAY, abs=1e-4)
    assert modes.rest == pytest.approx(0.3, abs=1e-4)
    told = modes.derivatives(0, times, 1)
    assert told[:, 0] == pytest.approx(beats(times, 0.3), abs=1e-4)
    slopes = (beats(times + 1e-4) - beats(times - 1e-4)) / 2e-4
    assert told[:, 1] == pytest.approx(slopes, abs=2e-4)
    assert modes.coefficients[[0, 2]] == pytest.approx([15, 8], rel=0.01)


def test_few_points_have_no_modes() -> None:
    times = np.arange(8.0)
    assert fitted_modes([(times, np.sin(times))], [(times, np.sin(times))], 4) is None


@pytest.mark.parametrize("rest", [0.0, 40.0])
def test_beats_have_three_hidden_derivatives_and_are_followed(rest: float) -> None:
    """Slopes of smooth curves alone lead nowhere near: fourth derivatives are noise."""
    of = observed(rest)
    prepared = deepened(prepare(of, [np.ones(400, bool)]))
    assert prepared.hidden.orders == (1, 2, 3)
    assert prepared.swings
    model = first_model(prepared, 0)
    assert model.by_modes
    masks = [prepared.node_mask(0, prepared.masks[0])]
    windows = make_windows(prepared.grids, prepared.places, masks, 16, torch.float64)
    assert windows is not None
    first = windows.take(torch.tensor([0]))
    path = roll_out(model, first, model.nodes[first.node].detach(), by_steps(4)).detach().numpy()[:, 0]
    clean = prepared.scaling.to_model(beats(0.1 * np.arange(len(path)), rest)[:, None])[:, 0]
    assert path[:, 0] == pytest.approx(clean, abs=0.1)


def test_a_season_that_grows_with_its_trend_swings_without_further_derivatives() -> None:
    """Its two hidden derivatives are there from the start: what follows the data by modes is not held down either."""
    months = np.arange(120.0)
    rng = np.random.default_rng(7)
    season = 1 + 0.18 * np.sin(np.pi * (months - 3) / 6)
    sold = 110 * np.exp(0.0102 * months) * season * np.exp(0.03 * rng.normal(size=120))
    before = prepare(series(trajectory("m", months, sold), names=("x",)), [months < 96])
    after = deepened(before)
    assert before.hidden.orders == after.hidden.orders == (1, 2)
    assert after.swings
