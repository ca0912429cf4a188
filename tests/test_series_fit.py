"""`pynode.fit_series`: a series fitted and forecast in a few lines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import pynode


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
    assert fit.errors["forecast_error"] < 0.2 < fit.errors["forecast_error_naive"]
    (ahead,) = fit.forecast(60)
    assert ahead.columns == ("room",)
    assert ahead.times[-1] == 60
    assert ahead.values.shape == (len(ahead.times), 1)
    assert any("held out" in notice for notice in fit.notices)
    with pytest.raises(pynode.UsageError, match=r"outdoor is known to 64\.5 only"):
        fit.forecast(80)
