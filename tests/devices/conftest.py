"""CUDA graphs on the CPU, by a stand-in that records operators."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from pynode.engines.graph import capture, known
from pynode.training import optimiser
from tests.devices.modes import DEVICE
from tests.devices.recording import StandIn


class Recorders:
    """All stand-ins of a test."""

    def __init__(self) -> None:
        self.every: list[StandIn] = []

    def __call__(self, device: torch.device) -> StandIn:  # noqa: ARG002
        self.every.append(StandIn())
        return self.every[-1]

    @property
    def replayed(self) -> int:
        """Replays of all recordings."""
        return sum(recorder.replayed for recorder in self.every)


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorders]:
    """The engine `graph` runs on the CPU."""
    made = Recorders()
    monkeypatch.setitem(capture.RECORDERS, "cpu", made)
    known.forget_recordings()
    yield made
    known.forget_recordings()


@pytest.fixture
def fused_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's fused step on the pretended device."""
    monkeypatch.setattr(optimiser, "DEVICES", frozenset({"cpu", "cuda", DEVICE.type}))
