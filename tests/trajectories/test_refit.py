"""The end of training: all windows count, nothing that fails is silent, and the rates of small systems are met."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.trajectories import finishing, refit
from pynode.trajectories.build import Prepared, first_model, prepare, with_all_rows
from pynode.trajectories.fields import LinearAndNetwork
from pynode.trajectories.forecast import calibrated
from pynode.trajectories.loss import Weights, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.refit import chunks_of
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import Windows, make_windows
from tests.trajectories.ended import ended
from tests.trajectories.made import decays, rotation, series, trajectory

METHOD = DiscOpt(RK4, 1)


def begun(n: int = 60, window: int = 8) -> tuple[SeriesModel, Prepared]:
    prepared = prepare(rotation(n), [np.arange(n) < n - 10], augment=0, window=window)
    return first_model(prepared, 0), prepared


def windows_of(prepared: Prepared, length: int = 1) -> Windows:
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    windows = make_windows(prepared.grids, prepared.places, masks, length, torch.float64)
    assert windows is not None
    return windows


def test_parts_of_the_windows_have_loss_and_gradient_of_all() -> None:
    model, prepared = begun()
    windows, weights = windows_of(prepared), Weights.of(prepared, 1.0, torch.float64)
    whole = shooting_loss(model, windows, weights, by_method(METHOD, []))
    whole.backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    value = 0.0
    for share, part in chunks_of(windows, 2):
        loss = share * shooting_loss(model, part, weights, by_method(METHOD, []))
        loss.backward()
        value += float(loss.detach())
    assert value == pytest.approx(float(whole.detach()), rel=1e-3), (
        "steps differ a little: their number is the longest window's"
    )
    for gradient, p in zip(gradients, [p for p in model.parameters() if p.grad is not None], strict=True):
        assert torch.allclose(gradient, p.grad, rtol=1e-2, atol=1e-5)  # type: ignore[arg-type]


def test_gradients_of_some_windows_are_said_and_judged_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prepared = begun()
    monkeypatch.setattr(refit, "MOST_WINDOWS", 3)
    said = ended(model, prepared, METHOD, 20).events
    assert any("gradients were of 3 of 6 windows; its weights are kept" in line for line in said)
    values = iter((1.0, 2.0, 1.0, 2.0))
    monkeypatch.setattr(finishing, "loss_of_all", lambda *_: next(values))
    same = ended(model, prepared, METHOD, 20)
    assert torch.equal(same.model.theta(), model.theta())
    assert len(same.events) == 2
    assert "not kept" in same.events[0]


def test_all_windows_say_nothing() -> None:
    model, prepared = begun()
    assert not ended(model, prepared, METHOD, 20).events


def test_an_end_that_fails_is_said_and_the_weights_before_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prepared = begun()
    monkeypatch.setattr(finishing, "shooting_loss", lambda *_: model.start.sum() * float("nan"))
    same = ended(model, prepared, METHOD, 20)
    assert torch.equal(same.model.theta(), model.theta())
    assert any("stage ended early: windows x2: the loss is nan; the best weights" in line for line in same.events)


def test_a_stage_ends_with_the_best_weights_that_it_tried() -> None:
    model, prepared = begun()
    whole = ended(model, prepared, METHOD, 20)
    windows, weights = windows_of(prepared, 8), Weights.of(prepared, 1.0, torch.float64)
    loss = sum(
        share * float(shooting_loss(whole.model, part, weights, by_method(METHOD, [])).detach())
        for share, part in chunks_of(windows)
    )
    of_stage = [record for record in whole.records if record.stage == "windows x8"]
    assert loss == pytest.approx(of_stage[-1].best_loss, rel=1e-9)
    assert sum(record.gradients for record in of_stage) >= 14


def rate_of(model: SeriesModel, prepared: Prepared) -> float:
    """The slope's mean derivative by the state, by the file's time, near the data."""
    field = model.field.inner
    assert isinstance(field, LinearAndNetwork)
    at = torch.linspace(-1, 1, 9, dtype=torch.float64)[:, None].requires_grad_()
    (slope,) = torch.autograd.grad(field(torch.zeros(()), at).sum(), at)
    return float(slope.mean()) / prepared.scaling.time


def test_training_on_all_rows_meets_the_rate_of_decay() -> None:
    of = decays()
    prepared = prepare(of, [np.arange(len(each.times)) < max(2, len(each.times) - 2) for each in of.each], augment=0)
    _, last, records, _ = ended(first_model(prepared, 0), prepared, METHOD, 40, with_all_rows(prepared))
    gradients = sum(record.gradients for record in records if record.stage.startswith("all rows"))
    assert 0 < gradients <= refit.AGAIN + 25
    assert rate_of(last, prepared) == pytest.approx(-0.7, abs=0.12)


def test_residuals_are_calibrated_to_the_noise_of_the_data() -> None:
    rng = np.random.default_rng(1)
    times = 0.05 * np.arange(200)
    values = np.exp(-0.5 * times)
    of = series(trajectory("a", times, values + 0.02 * rng.standard_normal(200)))
    prepared = prepare(of, [np.ones(200, bool)], augment=0)
    model = ended(first_model(prepared, 0), prepared, METHOD, 60).model
    noise, spread = calibrated(model, prepared)
    assert float(noise[0]) * prepared.scaling.scales[0] == pytest.approx(0.02, rel=0.2)
    assert spread.shape == (1,)


def test_long_solves_take_fewer_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are ever farther apart, as after a transient, make solves of many steps."""
    model, prepared = begun()
    monkeypatch.setattr(refit, "STEPS", 1)
    few = sum(record.gradients for record in ended(model, prepared, METHOD, refit.EVALUATIONS).records)
    # at most 20 of each length of windows, and what a line search ends with
    assert few <= 2 * 20 + 30
