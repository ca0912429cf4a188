"""Whole iterations as recordings, by the stand-in: the records and weights of training by torch operators."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.errors import PynodeError
from pynode.problems.series.stress import LotkaVolterra
from pynode.records.events import EVENTS
from pynode.training import checkpoint
from pynode.training.config import RunConfig
from pynode.training.trainer import train
from tests.devices.conftest import Recorders


def config(engine: str, **options: Any) -> RunConfig:
    """A short run."""
    problem = options.pop("problem", "lotka-volterra")
    if problem == "lotka-volterra":
        options |= {"options": {"horizon": 0.8, "width": 6}}
    memory = options.pop("memory", "store")
    method = pynode.DiscOpt(pynode.RK4, steps=1, engine=engine, memory=memory)
    given: dict[str, Any] = {"iterations": 6, "learning_rate": 0.05, "weight_decay": 0.0, "validate_every": 3}
    return RunConfig(problem=problem, method=method, seed=0, **(given | options))


def records(directory: Path) -> list[dict[str, Any]]:
    """The records of a run, without times, memory and the name of the engine."""
    rows = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    left_out = ("seconds", "peak_memory", "load", "engine", "checksum")
    return [{k: -1 if v is None else v for k, v in row.items() if not k.startswith(left_out)} for row in rows]


def events(directory: Path) -> list[str]:
    """What the events of a run say."""
    rows = [json.loads(line) for line in (directory / EVENTS).read_text().splitlines()]
    return [row["detail"] for row in rows]


def weights(directory: Path) -> dict[str, Tensor]:
    """All tensors of the last checkpoint."""
    return checkpoint.decode((directory / checkpoint.NAME).read_bytes(), "checkpoint").tensors


def assert_alike(ours: Path, theirs: Path) -> None:
    """Asserts that two runs have the same numbers to rounding."""
    for mine, other in zip(records(ours), records(theirs), strict=True):
        words = {k for k, v in other.items() if isinstance(v, str)}
        assert all(mine.pop(k) == other.pop(k) for k in words)
        assert mine == pytest.approx(other, rel=1e-9, nan_ok=True)
    mine, other = weights(ours), weights(theirs)
    torch.testing.assert_close(mine, other, rtol=1e-8, atol=1e-10)


RUNS: list[dict[str, Any]] = [
    {},
    {"memory": "recompute"},
    {"memory": "checkpoint"},
    {"weight_decay": 0.01, "rate_half_life": 3},
    {"problem": "8gaussians", "options": {"batch": 20, "hidden": (6,)}, "validate_every": 6},
    {"problem": "8gaussians", "options": {"batch": 20, "hidden": (6,), "divergence": "gaussian", "blocks": 2,
                                          "kinetic": 0.1}, "validate_every": 6},
]  # fmt: skip


@pytest.mark.parametrize("options", RUNS, ids=str)
def test_a_run_has_the_numbers_of_torch_operators(recorders: Recorders, tmp_path: Path, options: Any) -> None:
    """Losses, norms, counts, weights and the state of Adam."""
    train(config("graph", **options), tmp_path / "graph")
    replayed = recorders.replayed
    train(config("eager", **options), tmp_path / "eager")
    assert_alike(tmp_path / "graph", tmp_path / "eager")
    assert replayed >= 6
    assert not (tmp_path / "graph" / EVENTS).exists()


def test_a_run_is_resumed(recorders: Recorders, tmp_path: Path) -> None:
    """A run in two parts has the numbers of one in one."""
    train(config("graph", iterations=3, validate_every=1), tmp_path / "parts")
    train(config("graph", validate_every=1), tmp_path / "parts", resume=True)
    train(config("graph", validate_every=1), tmp_path / "whole")
    assert_alike(tmp_path / "parts", tmp_path / "whole")
    assert recorders.replayed >= 12


@pytest.mark.parametrize("policy", ["skip", "restore"])
def test_failures_are_those_of_torch_operators(
    recorders: Recorders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """Where the loss overflows, weights stay, the message is the same, and the run goes on as the policy says."""
    plain = LotkaVolterra.batch

    def batch(problem: LotkaVolterra, iteration: int) -> Tensor:
        return plain(problem, iteration) * (1e300 if iteration == 2 else 1.0)

    monkeypatch.setattr(LotkaVolterra, "batch", batch)
    for engine in ("graph", "eager"):
        train(config(engine, on_failure=policy), tmp_path / engine)
    assert_alike(tmp_path / "graph", tmp_path / "eager")
    told = [events(tmp_path / engine) for engine in ("graph", "eager")]
    assert told[0] == told[1]
    assert len(told[0]) == 1
    assert recorders.replayed >= 6


def test_what_can_not_be_recorded_runs_by_operators(
    recorders: Recorders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A problem without a loss that can be recorded is trained all the same, and its events say why."""
    monkeypatch.setattr(LotkaVolterra, "loss", lambda *_: None)
    train(config("graph"), tmp_path / "graph")
    (told,) = events(tmp_path / "graph")
    assert "has no method `loss`" in told
    train(config("eager"), tmp_path / "eager")
    assert_alike(tmp_path / "graph", tmp_path / "eager")
    assert recorders.replayed


def test_without_a_recorder_the_engine_is_refused(tmp_path: Path) -> None:
    """On a machine without a GPU."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(PynodeError, match="GPU"):
        train(config("graph"), tmp_path / "graph")
