"""Problems as subjects of advice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pynode.errors import EngineUnavailable
from pynode.fields.mlp import MLP
from pynode.methods.disc_opt import DiscOpt
from pynode.problems.density.user_tables import AnyTable, FileOptions
from pynode.studies.advice.costs import time_settings
from pynode.studies.advice.measurements import Measurements
from pynode.studies.advice.problems import problem_subject
from pynode.studies.advice.subject import loss_subject


def test_a_flow_with_a_condition_is_timed_on_the_first_rows_of_its_batch(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    rows = np.random.default_rng(0).standard_normal((200, 3))
    lines = [f"{a:.6f},{b:.6f},{'low' if c < 0 else 'high'}" for a, b, c in rows]
    table.write_text("\n".join(["a,b,kind", *lines]) + "\n")
    options = FileOptions(data=str(table), condition=("kind",), hidden=(8,), batch=100)
    exact, actual = (AnyTable(options=options, dtype=dtype) for dtype in (torch.float64, torch.float32))
    subject = problem_subject(exact, actual, budget=1e-9, seed=0, iterations=3, learning_rate=1e-2)
    assert subject.timed.samples == 32
    assert subject.practice is not None
    first, second = (float(subject.practice.losses(k)(DiscOpt(steps=1)).detach()) for k in (0, 1))
    assert np.isfinite([first, second]).all()
    assert first != second, "each iteration has rows of its own"


def test_a_setting_that_cannot_run_is_noted_and_the_advice_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module = MLP((2, 4, 2)).build(seed=0).double()
    y0, ts = torch.ones(1, 2, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    subject = loss_subject(lambda m: m.solve(module, y0, ts).ys.square().mean(), module.parameters(), iterations=0)
    known = Measurements(subject, 60.0, lambda _: None)
    known.thetas["untrained"] = subject.exact.theta()
    known.begin_at("untrained", 0.1)
    known.record(DiscOpt(steps=8), "untrained")

    def refused(*_: object) -> None:
        raise EngineUnavailable("it has no such engine")

    monkeypatch.setattr("pynode.studies.advice.costs.work_of", lambda *_: refused)
    time_settings(known, known.settings())
    assert known.notes == ["Not measured: disc-opt-rk4-x8, it has no such engine."]
    assert known.settings()[0].seconds is None
