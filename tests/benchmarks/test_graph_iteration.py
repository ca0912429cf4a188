"""The whole iteration as one recording, by the stand-in for CUDA graphs: it trains as torch operators do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from experiments.benchmarks.agreement import difference
from experiments.benchmarks.entrants import ENTRANTS
from experiments.benchmarks.workload import Workload
from pynode.engines.graph import capture, known
from tests.devices.recording import StandIn

NAME = "pynode-graph-iteration"


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[StandIn]]:
    """The engine `graph` runs on the CPU; all stand-ins that record for it."""
    made: list[StandIn] = []

    def recorder(device: torch.device) -> StandIn:  # noqa: ARG001
        made.append(StandIn())
        return made[-1]

    monkeypatch.setitem(capture.RECORDERS, "cpu", recorder)
    known.forget_recordings()
    yield made
    known.forget_recordings()


def trained(entrant: Any) -> Any:
    """Theta after three iterations."""
    entrant.reset()
    for _ in range(3):
        entrant.work()
    return entrant.theta()


def assert_trains_like_eager(workload: Workload, recorders: list[StandIn]) -> None:
    """Weights are the same, from the start and once more after a reset, by one recording."""
    eager, mine = (ENTRANTS.load(name)(workload, "", "float64") for name in ("pynode-eager", NAME))
    expected = trained(eager)
    start = workload.arrays["theta"]
    assert difference(trained(mine) - start, expected - start) < 1e-9
    recorded = sum(recorder.recorded for recorder in recorders)
    assert np.array_equal(trained(mine), trained(mine))
    assert difference(trained(mine) - start, expected - start) < 1e-9
    assert sum(recorder.recorded for recorder in recorders) == recorded
    assert sum(recorder.replayed for recorder in recorders) == 12
    gradient, reference = mine.gradient(), eager.gradient()
    assert difference(gradient.theta, reference.theta) < 1e-12
    assert gradient.engine == "graph"


def test_a_series_trains_like_torch_operators(series: Workload, recorders: list[StandIn]) -> None:
    assert_trains_like_eager(series, recorders)


def test_a_flow_trains_like_torch_operators(flow: Workload, recorders: list[StandIn]) -> None:
    assert_trains_like_eager(flow, recorders)


def test_what_is_not_finite_is_told(series: Workload, recorders: list[StandIn]) -> None:
    spoilt = replace(series, arrays={**series.arrays, "theta": np.full_like(series.arrays["theta"], 1e200)})
    entrant = ENTRANTS.load(NAME)(spoilt, "", "float64")
    with pytest.raises(RuntimeError, match="loss, gradient or states are not finite"):
        entrant.work()
    assert recorders


def test_what_can_not_be_recorded_is_told(series: Workload, recorders: list[StandIn]) -> None:
    entrant: Any = ENTRANTS.load(NAME)(series, "", "float64")
    entrant.loop.problem.loss = lambda *_: None
    with pytest.raises(RuntimeError, match="has no method `loss`"):
        entrant.work()
    assert recorders


def test_it_is_entered_for_iterations_on_a_gpu(series: Workload) -> None:
    kind = ENTRANTS.load(NAME)
    assert kind.unfit(replace(series, device="cuda")) is None
    assert kind.unfit(series) == "its graphs are those of a GPU"
    assert kind.unfit(replace(series, device="cuda", unit="gradient")) == "entered for whole iterations alone"
