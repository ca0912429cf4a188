"""Recordings that are kept: how many, for how long, and what makes another one necessary."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import pynode
from pynode.engines.graph import known
from pynode.engines.graph.adaptive.solves import AdaptiveSolve
from pynode.engines.graph.recordings import Recordings
from pynode.engines.graph.solves import RecordedSolve
from pynode.engines.node import attach
from pynode.fields.mlp import MLP
from pynode.methods.base import GradientMethod
from pynode.precision import products_in
from tests.devices.conftest import Recorders
from tests.devices.loops import a_loop
from tests.devices.recording import StandIn

TS = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
METHODS: dict[str, GradientMethod] = {
    "store": pynode.DiscOpt(steps=2, engine="eager"),
    "recompute": pynode.DiscOpt(steps=2, memory="recompute", engine="eager"),
    "checkpoint": pynode.DiscOpt(steps=4, memory="checkpoint", engine="eager"),
    "interpolating": pynode.OptDisc(rtol=1e-3, atol=1e-5, engine="eager"),
    "backsolve": pynode.OptDisc(rtol=1e-5, atol=1e-7, adjoint="backsolve", engine="eager"),
}
BOTH = ("store", "interpolating")


def new_recordings() -> Recordings:
    return Recordings(lambda device: StandIn(), known.kind_of)


def posed(method: GradientMethod, field: Any, rows: int = 3) -> Any:
    y0 = torch.linspace(0.1, 1, 2 * rows, dtype=torch.float64).reshape(rows, 2)
    return method.posed(field, y0.requires_grad_(), TS)[0]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """No garbage collection: what is freed has been freed by its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def buffers_of(recorded: Any) -> list[weakref.ref[Tensor]]:
    """Static tensors of a recording."""
    if isinstance(recorded, RecordedSolve):
        return [weakref.ref(x) for x in (*recorded._given, recorded.states)]
    assert isinstance(recorded, AdaptiveSolve)
    captured = recorded.captured
    assert captured.adjoint is not None
    nodes = [] if captured.nodes is None else [captured.nodes.rows]
    return [weakref.ref(x) for x in (captured.forward.slopes, captured.adjoint.slopes, *nodes)]


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("name", METHODS)
def test_the_last_user_of_a_recording_frees_its_memory(name: str) -> None:
    """Of a solve in flight, of a gradient, and of the store; without waiting for a garbage collection."""
    recordings, field = new_recordings(), MLP((2, 4, 2)).build(seed=0)
    solve = posed(METHODS[name], field)
    buffers = buffers_of(recordings.recorded(solve))
    states = attach(recordings.run(solve))
    recordings.forget()
    states.sum().backward(retain_graph=True)
    assert all(buffer() is not None for buffer in buffers), "the gradient may be asked for again"
    del states, solve
    assert [buffer() for buffer in buffers] == [None] * len(buffers)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("name", METHODS)
def test_the_end_of_the_field_frees_its_recordings(name: str) -> None:
    recordings, field = new_recordings(), MLP((2, 4, 2)).build(seed=0)
    solve = posed(METHODS[name], field)
    buffers = buffers_of(recordings.recorded(solve))
    recordings.run(solve)
    assert len(recordings) == 1
    del solve, field
    gc.collect()  # modules may be parts of cycles of torch's own
    assert len(recordings) == 0
    assert [buffer() for buffer in buffers] == [None] * len(buffers)


@pytest.mark.usefixtures("recorders", "without_collector")
def test_the_end_of_a_run_frees_its_recordings(tmp_path: Path) -> None:
    loop = a_loop("spiral", "cpu", tmp_path, pynode.DiscOpt(steps=1, engine="graph"))
    loop.warm_up()
    loop.iterate()
    assert loop.graphed is not None
    (iteration,) = loop.graphed._recorded.values()
    buffers = [weakref.ref(x) for x in (iteration._status, *iteration._slots)]
    del loop, iteration
    assert [buffer() for buffer in buffers] == [None] * len(buffers)


class Own(nn.Module):
    """A user-defined module; with `reads` its control flow depends on values."""

    def __init__(self, *, reads: bool = False) -> None:
        super().__init__()
        self.layer, self.factor, self.reads = nn.Linear(2, 2, dtype=torch.float64), 1.0, reads

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        slope = self.factor * torch.tanh(self.layer(y))
        return -slope if self.reads and bool(y.sum() > 1e6) else slope


@pytest.mark.parametrize("name", BOTH)
def test_refusals_take_no_place_of_recordings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.engines.graph.recordings.KEPT", 1)
    monkeypatch.setattr("pynode.engines.graph.recordings.REFUSED", 3)
    recordings, field, reading = new_recordings(), Own(), Own(reads=True)
    solve = posed(METHODS[name], field)
    recorded = recordings.recorded(solve)
    for rows in range(1, 6):
        assert "the host reads" in str(recordings.obstacle(posed(METHODS[name], reading, rows)))
    assert len(recordings) == 1
    assert len(recordings._refused) == 3
    assert recordings.recorded(posed(METHODS[name], field)) is recorded


@pytest.mark.parametrize("name", BOTH)
def test_a_parameter_is_watched_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings that are dropped and made again leave nothing behind."""
    monkeypatch.setattr("pynode.engines.graph.recordings.KEPT", 1)
    monkeypatch.setattr("pynode.engines.graph.recordings.MOST_RECAPTURES", 99)
    recordings, field = new_recordings(), MLP((2, 4, 2)).build(seed=0)
    watched = [field, *field.parameters()]
    counts = []
    for rows in (1, 2, 1, 2, 1, 2):
        recordings.run(posed(METHODS[name], field, rows))
        finalizers = len(weakref.finalize._registry)  # type: ignore[attr-defined]
        counts.append([finalizers, len(recordings._owners), *map(weakref.getweakrefcount, watched)])
    assert counts[-1] == counts[1]
    assert len(recordings) == 1


@pytest.mark.parametrize("name", BOTH)
def test_a_field_of_ever_new_shapes_is_left_alone(name: str) -> None:
    recordings, field = new_recordings(), MLP((2, 4, 2)).build(seed=0)
    reasons = [recordings.obstacle(posed(METHODS[name], field, rows)) for rows in range(1, 11)]
    assert reasons[:8] == [None] * 8
    assert all("change from solve to solve" in str(reason) for reason in reasons[8:])


@pytest.mark.parametrize("name", BOTH)
def test_settings_of_kernels_are_part_of_the_key(name: str) -> None:
    """For solves with fixed and with adaptive steps alike."""
    recordings, field = new_recordings(), MLP((2, 4, 2)).build(seed=0)
    first = recordings.recorded(posed(METHODS[name], field))
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(not before)
        assert recordings.recorded(posed(METHODS[name], field)) is not first
    finally:
        torch.use_deterministic_algorithms(before)
    with products_in("tf32"):
        assert recordings.recorded(posed(METHODS[name], field)) is not first
    assert recordings.recorded(posed(METHODS[name], field)) is first


def test_no_recording_of_a_former_state_of_a_module_is_used(recorders: Recorders) -> None:
    """An attribute that takes many values, in new objects each time: none is mistaken for an earlier one."""
    field, y0 = Own(), torch.ones(3, 2, dtype=torch.float64)
    by_graph, by_torch = pynode.DiscOpt(engine="graph"), pynode.DiscOpt(engine="eager")
    for k in range(6):
        field.factor = 1.0 + k
        for _ in range(3):
            ours, theirs = (m.solve(field, y0, TS).ys.detach() for m in (by_graph, by_torch))
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    assert len(recorders.every) == 6


def second_derivative(engine: str) -> list[Tensor]:
    """Of a loss by parameters, where the initial state has been changed in place since the solve."""
    field, leaf = MLP((2, 4, 2)).build(seed=0), torch.tensor([[0.3, -0.2]], dtype=torch.float64, requires_grad=True)
    y0 = leaf * 1
    ys = pynode.DiscOpt(pynode.RK4, memory="recompute", engine=engine).solve(field, y0, TS).ys
    with torch.no_grad():
        y0.mul_(2)
    (first,) = torch.autograd.grad(ys.square().sum(), leaf, create_graph=True)
    return [first.detach(), *torch.autograd.grad(first.square().sum(), list(field.parameters()))]


def test_a_second_derivative_is_that_at_the_initial_state_of_the_solve(recorders: Recorders) -> None:
    torch.testing.assert_close(second_derivative("graph"), second_derivative("eager"), rtol=1e-10, atol=1e-12)
    assert recorders.replayed


class Products(TorchDispatchMode):
    """Notes the dtypes of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("mm", "addmm"):
            self.dtypes |= {x.dtype for x in args if isinstance(x, Tensor)}
        return func(*args, **(kwargs or {}))


def test_a_second_derivative_is_computed_under_the_autocast_of_the_solve(recorders: Recorders) -> None:
    field, y0 = MLP((2, 4, 2)).build(seed=0, dtype=torch.float32), torch.tensor([[0.3, -0.2]], requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ys = pynode.DiscOpt(pynode.RK4, engine="graph").solve(field, y0, TS).ys
    with Products() as products:
        torch.autograd.grad(ys.square().sum(), y0, create_graph=True)
    assert products.dtypes == {torch.bfloat16}
    assert recorders.replayed
