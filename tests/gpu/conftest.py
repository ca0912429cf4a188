"""Tests on a GPU; `PYNODE_GPU_TESTS=cpu` runs them on the CPU, where a stand-in records and replays operators."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module

import pytest
import torch

from pynode.engines.choice import engine_called

STAND_IN = os.environ.get("PYNODE_GPU_TESTS", "")
"""The device to run on instead of a GPU; where it is empty, a GPU is needed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests of this folder are marked `gpu`, and skipped where there is none."""
    reason = None if STAND_IN or torch.cuda.is_available() else "torch sees no CUDA device"
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.gpu)
            if reason is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def device() -> torch.device:
    """The GPU, or the device that `PYNODE_GPU_TESTS` names."""
    return torch.device(STAND_IN or "cuda")


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the engine that replays CUDA graphs; recordings of other tests are forgotten."""
    capture, known = (import_module(f"pynode.engines.graph.{name}") for name in ("capture", "known"))
    if STAND_IN:
        stand_in = import_module("tests.devices.recording").StandIn
        monkeypatch.setitem(capture.RECORDERS, STAND_IN, lambda device: stand_in())
    known.forget_recordings()
    if (reason := engine_called("graph").unavailable()) is not None:
        pytest.fail(reason)
    yield "graph"
    known.forget_recordings()


@pytest.fixture(params=["eager", "graph"])
def any_engine(request: pytest.FixtureRequest) -> str:
    """Each engine that runs on the GPU in turn."""
    return str(request.getfixturevalue("graph")) if request.param == "graph" else "eager"


@pytest.fixture(autouse=True)
def gpu_in_full_precision() -> Iterator[None]:
    """Every test leaves torch's switch for products as it was."""
    before = torch.get_float32_matmul_precision()
    yield
    assert torch.get_float32_matmul_precision() == before
