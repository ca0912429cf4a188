"""Adaptive solves by recordings, which a stand-in replays on the CPU: the same steps and numbers as torch operators."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.eager.engine import ADAPTIVE_SOLVERS, Eager
from pynode.engines.graph.adaptive import nodes as nodes_module
from pynode.engines.graph.adaptive.inputs import Inputs
from pynode.engines.graph.adaptive.solves import AdaptiveSolve
from pynode.engines.graph.known import kind_of
from pynode.engines.graph.recordings import Recordings
from pynode.engines.node import attach
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.methods.opt_disc import OptDisc
from pynode.solution import SolveStats
from tests.devices.modes import Reading
from tests.devices.recording import StandIn

F64: dict[str, Any] = {"dtype": torch.float64}
Y0 = torch.randn(6, 3, **F64, generator=torch.Generator().manual_seed(2))
FIELD = ConcatSquash((3, 8, 3)).build(seed=1)
TIMES = {
    "one interval": torch.tensor([0.0, 1.0], **F64),
    "several": torch.tensor([0.0, 0.1, 0.7, 1.5], **F64),
    "back in time": torch.tensor([1.5, 1.4, 0.2, 0.0], **F64),
}
LOW_ORDER = ("fehlberg2", "adaptive_heun")


class Counted(Recordings):
    """Recordings by the stand-in, whose recorders are kept."""

    def __init__(self) -> None:
        self.recorders: list[StandIn] = []
        super().__init__(self._new, kind_of)

    def _new(self, device: torch.device) -> StandIn:  # noqa: ARG002
        self.recorders.append(StandIn())
        return self.recorders[-1]

    @property
    def made(self) -> int:
        return sum(recorder.recorded for recorder in self.recorders)


def solved(engine: Any, method: OptDisc, ts: Tensor, field: Any = FIELD, y0: Tensor = Y0) -> tuple[Tensor, SolveStats]:
    """The states that `engine` finds, with their graph, and the work."""
    solve, _ = method.posed(field, y0, ts)
    assert engine.obstacle(solve) is None
    return attach(engine.run(solve)), solve.stats


def weighted(ys: Tensor) -> Tensor:
    """A loss of all states."""
    return (ys * torch.arange(ys.numel(), dtype=ys.dtype).reshape(ys.shape).cos()).sum()


def results(
    engine: Any, method: OptDisc, ts: Tensor, field: Any = FIELD, y0: Tensor = Y0, others: Any = ()
) -> tuple[Tensor, Tensor, SolveStats]:
    """States, the gradient by parameters, `others`, state and times, and the work."""
    y0, ts = y0.clone().requires_grad_(), ts.clone().requires_grad_()
    ys, stats = solved(engine, method, ts, field, y0)
    parts = torch.autograd.grad(weighted(ys), [*field.parameters(), *others, y0, ts])
    return ys.detach(), torch.cat([p.reshape(-1) for p in parts]), stats


def assert_alike(method: OptDisc, ts: Tensor, bound: float = 1e-12) -> None:
    """Recordings take the same steps as torch operators, to the same numbers."""
    ys, gradient, stats = results(Eager(), method, ts)
    recorded_ys, recorded_gradient, recorded_stats = results(Recordings(new, kind_of), method, ts)
    torch.testing.assert_close(recorded_ys, ys, rtol=bound, atol=bound)
    scale = float(gradient.abs().max())
    torch.testing.assert_close(recorded_gradient / scale, gradient / scale, rtol=bound, atol=bound)
    assert recorded_stats == stats


def new(device: torch.device) -> StandIn:  # noqa: ARG001
    return StandIn()


@pytest.mark.parametrize("solver", ADAPTIVE_SOLVERS)
@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("times", TIMES)
def test_steps_and_numbers_are_those_of_torch_operators(solver: str, adjoint: Any, times: str) -> None:
    if (solver, adjoint) == ("dopri8", "interpolating"):
        pytest.skip("not recorded")
    rtol = 1e-3 if solver in LOW_ORDER else 1e-5
    # an error estimate of dopri8 is at the level of rounding, so that its step sizes agree to fewer digits
    bound = 1e-10 if solver == "dopri8" else 1e-12
    assert_alike(OptDisc(solver, rtol, rtol / 100, adjoint=adjoint, engine="eager"), TIMES[times], bound)


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("norm", ["seminorm", "rms"])
def test_norms(adjoint: Any, norm: Any) -> None:
    method = OptDisc(rtol=1e-5, atol=1e-7, adjoint=adjoint, adjoint_norm=norm, engine="eager", adjoint_rtol=1e-4)
    assert_alike(method, TIMES["several"])


def test_landing() -> None:
    assert_alike(OptDisc(rtol=1e-4, atol=1e-6, landing=True, engine="eager"), TIMES["back in time"])


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()])
@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
def test_flows(divergence: Any, adjoint: Any) -> None:
    """The field of a flow is a new object with new probes at every solve, and needs no new recordings."""
    method, ts = OptDisc(rtol=1e-4, atol=1e-6, adjoint=adjoint, engine="eager"), TIMES["one interval"]
    solves, recorded = Counted(), 0
    for k in range(3):
        probes = torch.randn(6, 3, **F64) if isinstance(divergence, Hutchinson) else None
        field = AugmentedField(FIELD, 3, divergence, probes, RunningCosts(kinetic=True, jacobian=True))
        y0 = field.initial(Y0 + k)
        expected, by_recording = (results(engine, method, ts, field, y0) for engine in (Eager(), solves))
        torch.testing.assert_close(by_recording[0], expected[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_recording[1], expected[1], rtol=1e-10, atol=1e-12)
        assert by_recording[2] == expected[2]
        recorded = recorded or solves.made
        assert solves.made == recorded


class Own(nn.Module):
    """A field of the user's that reads a context and depends on time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3, **F64)
        self.context: Tensor = torch.ones(3, **F64)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        assert t.shape == ()
        return torch.tanh(self.layer(y)) * torch.cos(3 * t) + self.context


def test_a_context_gets_its_gradient_and_needs_no_new_recording() -> None:
    field, solves, method = Own(), Counted(), OptDisc(rtol=1e-6, atol=1e-8, engine="eager")
    for k in range(3):
        weight = torch.full((3,), 1.0 + k, **F64, requires_grad=True)
        gradients = []
        for engine in (Eager(), solves):
            field.context = weight.sin()
            gradients.append(results(engine, method, TIMES["several"], field, others=[weight])[1])
        torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)
    assert len(solves.recorders) == 1


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("solver", ["dopri5", "bosh3"])
def test_float32(adjoint: Any, solver: str) -> None:
    """In single precision steps may differ by rounding; the numbers agree to the tolerance."""
    field, y0, ts = ConcatSquash((3, 8, 3)).build(seed=1, dtype=torch.float32), Y0.float(), TIMES["several"].float()
    method = OptDisc(solver, 1e-4, 1e-5, adjoint=adjoint, engine="eager")
    ys, gradient, _ = results(Eager(), method, ts, field, y0)
    by_recording = results(Recordings(new, kind_of), method, ts, field, y0)
    torch.testing.assert_close(by_recording[0], ys, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(by_recording[1], gradient, rtol=1e-3, atol=1e-3)


def test_changed_parameters_are_read_where_they_are() -> None:
    """A step of an optimiser needs no new recording."""
    field, solves, method = MLP((3, 8, 3)).build(seed=3), Counted(), OptDisc(rtol=1e-5, atol=1e-7, engine="eager")
    for _ in range(3):
        expected, by_recording = (results(engine, method, TIMES["several"], field) for engine in (Eager(), solves))
        torch.testing.assert_close(by_recording[1], expected[1], rtol=1e-11, atol=1e-11)
        with torch.no_grad():
            for p in field.parameters():
                p.mul_(1.1)
    assert len(solves.recorders) == 1


def test_other_shapes_parameters_and_recipes_are_recorded_anew() -> None:
    solves, method = Counted(), OptDisc(rtol=1e-4, atol=1e-6, engine="eager")
    ts, back = TIMES["several"], TIMES["back in time"]
    others = ConcatSquash((3, 8, 3)).build(seed=2)
    cases = [
        (method, ts, FIELD, Y0),
        (method, ts, FIELD, Y0[:4]),
        (method, back, FIELD, Y0),
        (method, ts, others, Y0),
        (OptDisc(rtol=1e-3, atol=1e-6, engine="eager"), ts, FIELD, Y0),
    ]
    for n, case in enumerate(cases, start=1):
        torch.testing.assert_close(results(solves, *case)[1], results(Eager(), *case)[1], rtol=1e-11, atol=1e-11)
        assert len(solves.recorders) == n
    for case in cases:
        solved(solves, *case)
    assert len(solves.recorders) == len(cases)
    solved(solves, method, TIMES["one interval"])  # the output times are no part of a recording
    assert len(solves.recorders) == len(cases)


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("solver", ["dopri5", "bosh3"])
def test_two_solves_in_flight(adjoint: Any, solver: str) -> None:
    """Gradients in either order, and twice, are those of solves one after the other."""
    solves, method = Recordings(new, kind_of), OptDisc(solver, 1e-4, 1e-6, adjoint=adjoint, engine="eager")
    parameters = list(FIELD.parameters())
    starts = [Y0, 2 * Y0, Y0 - 1]
    expected = [
        torch.autograd.grad(weighted(solved(Eager(), method, TIMES["several"], y0=y)[0]), parameters) for y in starts
    ]
    losses = [weighted(solved(solves, method, TIMES["several"], y0=y)[0]) for y in starts]
    for k in (1, 0, 2, 0, 1):
        by_recording = torch.autograd.grad(losses[k], parameters, retain_graph=True)
        for a, b in zip(by_recording, expected[k], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("solver", ["dopri5", "adaptive_heun"])
def test_memory_of_the_nodes_grows(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "FIRST_CAPACITY", 4)
    assert_alike(OptDisc(solver, 1e-4, 1e-6, engine="eager"), TIMES["several"])


def test_one_read_a_step() -> None:
    """The host reads the device once an attempt, and once before each solve."""
    method = OptDisc(rtol=1e-5, atol=1e-7, engine="eager")
    solves = Recordings(new, kind_of)
    solve, _ = method.posed(FIELD, Y0, TIMES["several"])
    recorded, progress = solves.recorded(solve), Counts()
    assert isinstance(recorded, AdaptiveSolve)
    with recorded.captured.use(FIELD, Inputs(solve).tensors), Reading() as reading:
        recorded.captured.solve(Y0, solve.times or (), progress, landing=False)
    assert progress.attempts > 3
    assert reading.reads == {"tolist": progress.attempts + 1}


class Counts:
    attempts = 0

    def evaluated(self, times: int) -> None: ...

    def refuse(self, *, tried: bool) -> None:  # noqa: ARG002
        raise AssertionError

    def may_attempt(self) -> bool:
        return True

    def attempted(self, *, accepted: bool) -> None:  # noqa: ARG002
        self.attempts += 1
