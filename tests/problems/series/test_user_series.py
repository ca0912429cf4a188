"""Runs of a user's series: the same first weights for every method, records, resuming, forecasts from records alone."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pynode.errors import Interrupted, InvalidArgument, RecordError
from pynode.problems.series import user_series
from pynode.problems.series.user_series import SeriesOptions, UserSeries
from pynode.records.iteration import IterationRecord
from pynode.training.config import RunConfig
from pynode.training.plan import plan
from pynode.training.restore import restore
from pynode.training.trainer import train
from pynode.trajectories.build import Prepared, with_all_rows
from pynode.world import World

FEW = 12


@pytest.fixture(scope="module")
def swing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pendulum's angle alone, with a constant column beside it."""
    path = tmp_path_factory.mktemp("series") / "swing.csv"
    rng = np.random.default_rng(0)
    times = 0.1 * np.arange(120)
    lines = [
        f"{t:.1f},{np.cos(2 * t) + 0.01 * e:.5f},37.0" for t, e in zip(times, rng.standard_normal(120), strict=True)
    ]
    path.write_text("s,angle,setpoint\n" + "\n".join(lines) + "\n")
    return path


def configs(path: Path, *methods: str, iterations: int = FEW, **options: Any) -> list[RunConfig]:
    chosen = list(methods or ("disc-opt", "opt-disc"))
    given = {"data": str(path), "time": "s", **options}
    return plan("series", chosen, [0], {}, problem_options=given, iterations=iterations, validate_every=4)


def test_both_methods_begin_with_the_same_weights_and_take_the_kernels(swing: Path) -> None:
    first, second = configs(swing)
    problems = first.make_problem(), second.make_problem()
    assert torch.equal(*(p.model(0).theta() for p in problems))
    for config, problem in zip((first, second), problems, strict=True):
        objective = problem.objective(config.method, problem.model(0), problem.batch(0))
        objective.backward()
        assert objective.stats.engine == "fused"
        assert np.isfinite(objective.value)


def test_curves_through_all_rows_are_made_once(swing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of ten thousand rows they take seconds, and every stage asks for them several times."""
    (config,) = configs(swing, "disc-opt")
    problem, made = config.make_problem(), []

    def counted(prepared: Prepared) -> Prepared:
        made.append(prepared)
        return with_all_rows(prepared)

    monkeypatch.setattr(user_series, "with_all_rows", counted)
    model = problem.model(0)
    for stage in problem.stages():
        assert stage.gradients > 0
        stage.begin(model)
    assert len(made) == 1


def test_a_run_records_its_forecasts_and_is_forecast_from(swing: Path, tmp_path: Path) -> None:
    (config,) = configs(swing, "disc-opt")
    summary = train(config, tmp_path / "run")
    assert summary["hidden_dimensions"] == 1
    assert summary["finishing_evaluations"] > 8 * summary["finishing_gradients"] > 0
    assert summary["finishing_seconds"] > 0
    assert summary["forecast_error"] < 0.3 < summary["forecast_error_naive"]
    record = json.loads((tmp_path / "run" / "evaluation.json").read_text())["series"]["forecast"]
    assert record["columns"] == ["angle"]
    assert record["constants"] == [["setpoint", 37.0]]
    assert [row.count(None) for row in record["trajectories"][0]["forecast"]].count(0) == 24
    _, problem, model = restore(tmp_path / "run", last=True)
    assert isinstance(problem, UserSeries)
    (each,) = problem.series.each
    ahead = problem.forecast(model, each, np.array([12.0, 12.5, 13.0]))
    assert problem.columns == ("angle", "setpoint")
    assert (ahead[:, 1] == 37).all()
    assert np.abs(ahead[:, 0] - np.cos(2 * np.array([12.0, 12.5, 13.0]))).max() < 0.3


def test_a_resumed_run_has_the_numbers_of_one_that_was_not_stopped(swing: Path, tmp_path: Path) -> None:
    (shorter,), (longer,) = configs(swing, "disc-opt", iterations=5), configs(swing, "disc-opt", iterations=9)
    train(longer, tmp_path / "whole")
    train(shorter, tmp_path / "cut")
    train(longer, tmp_path / "cut", resume=True)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "records.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    ]
    assert losses[0] == losses[1]


def test_weights_that_are_lost_are_not_made_up(swing: Path, tmp_path: Path) -> None:
    (config,) = configs(swing, "disc-opt", iterations=4)
    train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "finishing")
    with pytest.raises(RecordError, match=r"finishing has no checkpoint; remove .*summary\.json and repeat"):
        restore(tmp_path / "run", last=True)
    (tmp_path / "run" / "summary.json").unlink()
    train(config, tmp_path / "run", resume=True)
    restore(tmp_path / "run", last=True)


def test_an_evaluation_only_evaluates(swing: Path, tmp_path: Path) -> None:
    """The same weights have the same errors, and keep them."""
    (config,) = configs(swing, "disc-opt", iterations=4)
    summary = train(config, tmp_path / "run")
    _, problem, model = restore(tmp_path / "run")
    theta = model.theta()
    again = problem.evaluate(model, config.method).metrics
    assert torch.equal(model.theta(), theta)
    assert {name: summary[name] for name in again} == dict(again)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("stage", ["windows x2", "windows x8", "all rows, windows x8"])
def test_a_run_that_is_interrupted_while_it_is_finished_goes_on_to_the_same_forecast(
    swing: Path, tmp_path: Path, stage: str
) -> None:
    (config,) = configs(swing, "disc-opt", iterations=4)
    train(config, tmp_path / "whole")

    def listen(record: IterationRecord) -> None:
        if record.stage == stage:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="saved: --resume continues there"):
        train(config, tmp_path / "cut", listener=listen)
    train(config, tmp_path / "cut", resume=True)
    for last in (False, True):
        thetas = [restore(tmp_path / run, last=last)[2].theta() for run in ("whole", "cut")]
        assert torch.equal(*thetas)
    assert (tmp_path / "whole" / "evaluation.json").read_bytes() == (tmp_path / "cut" / "evaluation.json").read_bytes()


@pytest.mark.parametrize("initial", ["learnt", "given", "encoded"])
def test_starts_of_every_kind_train(swing: Path, tmp_path: Path, initial: str) -> None:
    (config,) = configs(swing, "disc-opt", iterations=4, initial=initial)
    assert np.isfinite(train(config, tmp_path / "run")["forecast_error"])


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("window", 1, "window"),
        ("augment", -1, "augment"),
        ("continuity", -1.0, "continuity"),
        ("initial", "zero", "initial"),
        ("split", "half", "split"),
        ("held_out", "P9", "one trajectory only"),
    ],
)
def test_options_that_make_no_sense_are_refused(swing: Path, option: str, value: Any, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        configs(swing, "disc-opt", **{option: value})


FIELD = """
import torch

class Spring(torch.nn.Module):
    {flag}
    def __init__(self, width):
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(1.0))
        {made}

    def forward(self, t, y):
        {value}
"""


def write(path: Path, value: str, made: str = "", flag: str = "file_units = False") -> str:
    path.write_text(FIELD.format(value=value, made=made or "pass", flag=flag))
    return f"{path}:Spring"


def test_a_field_of_ones_own_is_trained(swing: Path, tmp_path: Path) -> None:
    name = write(tmp_path / "own.py", "return torch.stack((y[..., 1], -self.rate * y[..., 0]), -1)")
    (config,) = configs(swing, "disc-opt", field=name)
    assert np.isfinite(train(config, tmp_path / "run")["forecast_error"])


def test_a_field_that_has_changed_is_another_and_is_told(
    swing: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = write(tmp_path / "own.py", "return torch.stack((y[..., 1], -self.rate * y[..., 0]), -1)")
    (config,) = configs(swing, "disc-opt", iterations=4, field=name)
    digest = config.to_json()["outside"]["field"]["sha256"]
    assert digest == hashlib.sha256((tmp_path / "own.py").read_bytes()).hexdigest()
    train(config, tmp_path / "run")
    write(tmp_path / "own.py", "return torch.stack((y[..., 1], -4 * self.rate * y[..., 0]), -1)")
    _, _, model = restore(tmp_path / "run")
    assert "own.py, which the field" in caplog.text
    assert "has changed since" in caplog.text
    field, y = model.field.inner.field, torch.ones(1, 2, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(field(y[:, :1], y)[0, 1], -4 * field.rate), "the file as it is now"


@pytest.mark.parametrize(
    ("value", "made", "named"),
    [
        ("raise ValueError('no such state')", "", "raises ValueError: no such state"),
        ("return y[..., :1].sum()", "", "returns"),
        ("return y", "1 / 0", "making it raises ZeroDivisionError"),
    ],
)
def test_a_field_that_is_none_is_refused(swing: Path, tmp_path: Path, value: str, made: str, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        configs(swing, "disc-opt", field=write(tmp_path / "own.py", value, made))


def test_where_a_series_can_not_be_trained(swing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before the file is read."""
    monkeypatch.setattr("pynode.problems.series.user_series.read_series", None)
    options = SeriesOptions(data=str(swing))
    with pytest.raises(InvalidArgument, match=r"^device = cuda: series are trained on the CPU alone; use cpu$"):
        UserSeries(device="cuda", options=options).check()
    several = World(0, 2)
    with pytest.raises(InvalidArgument, match=r"^WORLD_SIZE = 2: .*; run it in one process, without torchrun$"):
        UserSeries(world=several, options=options).check()
