"""`pynode.fit_series`: a series fitted and forecast in a few lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pynode
from pynode.errors import NonFiniteLoss, RunFailure


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
    assert seen == list(range(6))
    assert str(fit).startswith(fit.notices[0])
    assert f"forecast_error: {fit.errors['forecast_error']:.4g}" in str(fit).splitlines()
    assert fit.errors["forecast_error"] < 0.2 < fit.errors["forecast_error_naive"]
    (ahead,) = fit.forecast(60)
    assert ahead.columns == ("room",)
    assert ahead.times[-1] == 60
    assert ahead.values.shape == (len(ahead.times), 1)
    assert any("held out" in notice for notice in fit.notices)
    with pytest.raises(pynode.UsageError, match=r"^until = 3: not after the last row"):
        fit.forecast(3)
    for wrong in (0, "5", float("nan")):
        with pytest.raises(pynode.UsageError, match=r"^every = .*: not a positive number"):
            fit.forecast(60, every=wrong)  # type: ignore[arg-type]
    with pytest.raises(pynode.UsageError, match=r"outdoor is known to 64\.5 only"):
        fit.forecast(80)


def test_weights_that_blow_up_are_refused(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pynode.problems.series.user_series import UserSeries

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


def test_a_name_is_no_list_of_letters(room: Path) -> None:
    with pytest.raises(pynode.UsageError, match=r"^values = 'room': not a list of names; write \('room',\)"):
        pynode.fit_series(room, values="room")
    with pytest.raises(pynode.UsageError, match=r"^windw = 8: series has no such option; did you mean 'window'\?"):
        pynode.fit_series(room, windw=8)
