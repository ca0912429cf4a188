"""The engine `graph` on a GPU: when it records again, solves in flight, memory, and reads by the host."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.errors import EngineUnavailable
from tests.gpu.common import TIMES, field_on, solved, states_for

RTOL = 1e-11
MOST_READS = 2
"""Reads by the host in one solve and gradient: whether the initial state, and whether all states, are finite."""


def compared(field: Any, y0: Tensor, **options: Any) -> None:
    """Asserts that the graph gives what torch operators give now."""
    by_graph = solved(pynode.DiscOpt(engine="graph", **options), field, y0)
    by_torch = solved(pynode.DiscOpt(engine="eager", **options), field, y0)
    assert by_graph.engine == "graph"
    rtol, atol = (1e-9, 1e-11) if y0.dtype is torch.float64 else (1e-4, 1e-5)
    torch.testing.assert_close(by_graph.values, by_torch.values, rtol=rtol, atol=atol)
    torch.testing.assert_close(by_graph.gradients, by_torch.gradients, rtol=rtol, atol=atol)


@pytest.mark.usefixtures("graph")
def test_what_changes_is_followed(device: torch.device) -> None:
    """Weights in place and by new tensors, states, batch size, number type, scheme and steps."""
    field = field_on("concatsquash", device)
    for rows in (5, 5, 9, 5):
        compared(field, states_for("concatsquash", device, rows=rows))
    with torch.no_grad():
        for p in field.parameters():
            p.mul_(1.3)
    compared(field, (states_for("concatsquash", device).detach() + 0.5).requires_grad_())
    for p in field.parameters():
        p.data = p.data.clone() * 0.7
    compared(field, states_for("concatsquash", device))
    compared(field, states_for("concatsquash", device), scheme=pynode.EULER, steps=3)
    single = field.float()
    compared(single, states_for("concatsquash", device, torch.float32))


@pytest.mark.usefixtures("graph")
def test_solves_in_flight_do_not_disturb_each_other(device: torch.device) -> None:
    """Three forward solves, then their gradients in another order."""
    method = pynode.DiscOpt(pynode.RK4, 2, engine="graph")
    field = field_on("mlp", device)
    ts = torch.tensor(TIMES, dtype=torch.float64, device=device)
    starts = [(states_for("mlp", device).detach() * scale).requires_grad_() for scale in (0.5, 1.0, 1.5)]
    losses = [method.solve(field, y0, ts).ys.square().sum() for y0 in starts]
    for k in (1, 0, 2):
        mine = torch.autograd.grad(losses[k], [starts[k], *field.parameters()])
        again = pynode.DiscOpt(pynode.RK4, 2, engine="eager").solve(field, starts[k], ts).ys.square().sum()
        theirs = torch.autograd.grad(again, [starts[k], *field.parameters()])
        torch.testing.assert_close(losses[k], again, rtol=RTOL, atol=0)
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("graph")
def test_on_another_stream(device: torch.device) -> None:
    """A solve on a stream of the user's, after one on the default stream."""
    if device.type != "cuda":
        pytest.skip("streams are those of a GPU")
    field, y0 = field_on("mlp", device), states_for("mlp", device)
    there = solved(pynode.DiscOpt(engine="graph"), field, y0)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        here = solved(pynode.DiscOpt(engine="graph"), field, y0)
    torch.cuda.current_stream().wait_stream(stream)
    torch.testing.assert_close(here.gradients, there.gradients, rtol=RTOL, atol=0)


def test_memory_does_not_grow(any_engine: str, device: torch.device) -> None:
    """200 iterations of loss, gradient and Adam, with a batch that changes its values."""
    if device.type != "cuda":
        pytest.skip("the memory of a GPU is meant")
    field = field_on("concatsquash", device)
    flow = pynode.Flow([field], 2)
    optimiser = torch.optim.Adam(field.parameters(), lr=1e-3)
    method = pynode.DiscOpt(pynode.RK4, 2, engine=any_engine)
    taken: list[int] = []
    for iteration in range(201):
        x = torch.randn(64, 2, dtype=torch.float64, device=device)
        loss = -flow.log_prob(x, method=method, divergence=pynode.Hutchinson()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if iteration % 100 == 0 and iteration:
            del loss
            gc.collect()
            torch.cuda.synchronize()
            taken.append(torch.cuda.memory_allocated())
    assert taken[-1] <= taken[0], "bytes after 200 iterations, and after 100"


@pytest.mark.usefixtures("graph")
def test_recordings_go_with_their_field(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("the memory of a GPU is meant")

    def use() -> None:
        solved(
            pynode.DiscOpt(steps=4, engine="graph"),
            field_on("concatsquash", device),
            states_for("concatsquash", device, rows=2048),
        )

    use()
    gc.collect()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        use()
        gc.collect()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() <= before + (1 << 20)


@pytest.mark.usefixtures("graph")
def test_what_cannot_be_recorded_is_refused_with_the_reason(device: torch.device) -> None:
    """Control flow by values, and random numbers; torch operators run both."""

    class Branches(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return self.layer(y) if float(y.detach().sum()) > 0 else -self.layer(y)

    class Drops(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return torch.nn.functional.dropout(self.layer(y), 0.5, training=True)

    y0, ts = states_for("mlp", device), torch.tensor(TIMES, dtype=torch.float64)
    for kind in (Branches, Drops):
        field = kind().double().to(device)
        with pytest.raises(EngineUnavailable, match=r"CUDA graphs can't solve this: .{20,}; use engine eager or auto"):
            pynode.DiscOpt(engine="graph").solve(field, y0, ts)
        assert pynode.DiscOpt().solve(field, y0, ts).stats.engine == "eager"


def test_the_host_reads_almost_nothing(any_engine: str, device: torch.device) -> None:
    """In one solve and its gradient, after the first ones."""
    if device.type != "cuda":
        pytest.skip("synchronisation is that of a GPU")
    assert reads_of(any_engine, field_on("concatsquash", device), states_for("concatsquash", device)) <= MOST_READS


@pytest.mark.parametrize("read", ["tolist", "item", "cpu", "__bool__"])
def test_planted_reads_are_seen(read: str, device: torch.device) -> None:
    """One in each of the 32 evaluations."""
    if device.type != "cuda":
        pytest.skip("synchronisation is that of a GPU")

    class Reads(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            getattr(y.detach().amax(), read)()
            return self.layer(y)

    assert reads_of("eager", Reads().double().to(device), states_for("mlp", device)) >= 32


def reads_of(engine: str, field: torch.nn.Module, y0: Tensor) -> int:
    """How often the host waits for the GPU in one solve and its gradient; torch warns of every such call."""
    method, ts = pynode.DiscOpt(pynode.RK4, 4, engine=engine), torch.tensor(TIMES, dtype=torch.float64)

    def iteration() -> None:
        method.solve(field, y0, ts).ys.square().mean().backward()

    for _ in range(3):
        iteration()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            iteration()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)
