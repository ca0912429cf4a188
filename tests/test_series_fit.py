"""`pynode.fit_series`: a series fitted and forecast in a few lines."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import pynode
from pynode.errors import NonFiniteLoss, RunFailure
from pynode.problems.base import options_from_json
from pynode.problems.series.user_series import UserSeries


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temperature that follows another one, which is known for longer."""
    path = tmp_path_factory.mktemp("series") / "room.csv"
    hours = 0.5 * np.arange(130)
    outside, level, lines = 8 + 5 * np.sin(hours / 3), 12.0, []
    for k, (hour, out) in enumerate(zip(hours, outside, strict=True)):
        lines.append(f"{hour},{f'{level:.4f}' if k < 100 else ''},{out:.4f}")
        for _ in range(10):
            level += 0.05 * 0.4 * (out - level)
    path.write_text("hour,room,outdoor\n" + "\n".join(lines) + "\n")
    return path


def test_a_series_with_an_input(room: Path) -> None:
    seen: list[int] = []
    fit = pynode.fit_series(
        room,
        pynode.DiscOpt(),
        iterations=6,
        time="hour",
        values=("room",),
        inputs=("outdoor",),
        callback=lambda iteration, _: seen.append(iteration),
    )
    assert seen == list(range(len(fit.records)))
    assert [record.stage for record in fit.records[:7]] == [*[""] * 6, "windows x2"]
    assert len(fit.losses) == 6
    assert str(fit).startswith(fit.notices[0])
    assert f"forecast_error: {fit.errors['forecast_error']:.4g}" in str(fit).splitlines()
    assert fit.errors["forecast_error"] < 0.2 < fit.errors["forecast_error_naive"]
    (ahead,) = fit.forecast(60)
    assert ahead.columns == ("room",)
    assert ahead.times[-1] == 60
    assert ahead.values.shape == (len(ahead.times), 1)
    assert any("held out" in notice for notice in fit.notices)
    assert any("(window=N for others)" in notice for notice in fit.notices)
    assert [notice for notice in fit.notices if "--" in notice] == []
    with pytest.raises(pynode.UsageError, match=r"^until = 3: not after the last row"):
        fit.forecast(3)
    with pytest.raises(pynode.UsageError, match=r"^until = 'soon': no time in hours; give a number"):
        fit.forecast("soon")
    for wrong in (0, "5", float("nan")):
        with pytest.raises(pynode.UsageError, match=r"^every = .*: not a positive number"):
            fit.forecast(60, every=wrong)  # type: ignore[arg-type]
    with pytest.raises(pynode.UsageError, match=r"outdoor is known to 64\.5 only"):
        fit.forecast(80)


def test_weights_that_blow_up_are_refused(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"iterations": 2, "time": "hour", "values": ("room",), "held_out": 0}
    fit = pynode.fit_series(room, pynode.DiscOpt(), **options)  # type: ignore[arg-type]
    with torch.no_grad():
        fit.model.nodes.fill_(float("nan"))
        fit.model.start.fill_(float("nan"))
    with pytest.raises(RunFailure, match="is not finite from 50 on"):
        fit.forecast(70)
    monkeypatch.setattr(UserSeries, "validation_loss", lambda self, model: float("inf"))
    with pytest.raises(NonFiniteLoss, match="never finite"):
        pynode.fit_series(room, pynode.DiscOpt(), **options)  # type: ignore[arg-type]


def test_doses_have_rows_around_them(tmp_path: Path) -> None:
    """As `predict` writes them."""
    path = tmp_path / "doses.csv"
    hours = np.arange(24.0)
    lines = [f"{h:g},{10 * np.exp(-0.2 * (h % 12)):.3f},{10 if h % 12 == 0 else 0}" for h in hours]
    path.write_text("hour,level,dose\n" + "\n".join([*lines, "30.5,,10"]) + "\n")
    fit = pynode.fit_series(path, iterations=2, time="hour", inputs=("dose",), input_kind="jumps", held_out=0)
    (ahead,) = fit.forecast(32)
    near = ahead.times[np.abs(ahead.times - 30.5) < 0.1]
    assert len(near) == 2, "before the dose and just after"


OPTIONS = {"iterations": 4, "time": "hour", "values": ("room",), "inputs": ("outdoor",)}


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("at", [2, 9])
def test_ctrl_c_leaves_the_fit_so_far(room: Path, at: int) -> None:
    """In Adam's part, and in that of L-BFGS."""

    def stop(iteration: int, _: float) -> None:
        if iteration == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(pynode.FitInterrupted, match="the weights so far are kept in `fit` of this error") as caught:
        pynode.fit_series(room, callback=stop, **OPTIONS)  # type: ignore[arg-type]
    fit = caught.value.fit
    assert len(fit.records) == at + 1
    assert np.isfinite(fit.errors["forecast_error"])
    assert np.isfinite(fit.forecast(60)[0].values).all()
    if at < 4:
        first = fit.records[0].validation_loss
        assert first is not None
        assert fit.problem.validation_loss(fit.model) <= first


def test_a_fit_in_a_directory_goes_on_and_is_the_one_in_memory(room: Path, tmp_path: Path) -> None:
    def stop(iteration: int, _: float) -> None:
        if iteration == 7:
            raise RuntimeError("the notebook is closed")

    with pytest.raises(RuntimeError, match="the notebook"):
        pynode.fit_series(room, out=tmp_path / "fit", callback=stop, **OPTIONS)  # type: ignore[arg-type]
    fit = pynode.fit_series(room, out=tmp_path / "fit", resume=True, **OPTIONS)  # type: ignore[arg-type]
    other = pynode.fit_series(room, **OPTIONS)  # type: ignore[arg-type]
    assert torch.equal(fit.model.theta(), other.model.theta())
    assert torch.equal(fit.judged, other.judged)
    assert fit.errors == other.errors
    assert fit.losses == other.losses
    said = r"^out = .*fit: holds a run already; continue it with resume=True, or choose another directory$"
    with pytest.raises(pynode.UsageError, match=said):
        pynode.fit_series(room, out=tmp_path / "fit", **OPTIONS)  # type: ignore[arg-type]


def test_a_policy_goes_on_after_failures(room: Path) -> None:
    """Every solve of this method fails, so the first model is what is left."""
    method = pynode.OptDisc(max_steps=1)
    with pytest.raises(pynode.SolveError, match="iteration 0"):
        pynode.fit_series(room, method, **OPTIONS)  # type: ignore[arg-type]
    fit = pynode.fit_series(room, method, on_failure="skip", **OPTIONS)  # type: ignore[arg-type]
    assert all(record.failure for record in fit.records)
    assert any("failed iteration" in notice for notice in fit.notices)
    assert any("stage ended early" in notice for notice in fit.notices)


def test_one_name_may_stand_alone(room: Path) -> None:
    problem = options_from_json(UserSeries, {"data": str(room), "values": "room", "inputs": "outdoor"})
    assert (problem.values, problem.inputs) == (("room",), ("outdoor",))
    with pytest.raises(pynode.UsageError, match=r"^values = \(2,\): 2 is not a name; give names or numbers of"):
        pynode.fit_series(room, values=(2,))
    with pytest.raises(pynode.UsageError, match=r"^windw = 8: series has no such option; did you mean 'window'\?"):
        pynode.fit_series(room, windw=8)
