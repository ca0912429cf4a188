"""What recorded adaptive solves do where something is wrong, on another device, and as the engine `graph`."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import pynode
from pynode.adjoint import norm_of_parts
from pynode.engines.eager.engine import Eager
from pynode.engines.graph import known
from pynode.engines.graph.adaptive.formula import Formula, root_mean_square
from pynode.engines.graph.adaptive.nodes import Nodes
from pynode.engines.graph.adaptive.recipes import SOLVERS
from pynode.engines.graph.adaptive.stepper import Stepper
from pynode.engines.graph.known import kind_of
from pynode.engines.graph.recordings import Recordings
from pynode.engines.node import attach
from pynode.errors import CotangentError, DriftError, EngineUnavailable, FieldChanged, InvalidArgument, SolveError
from pynode.fields.mlp import MLP
from pynode.methods.opt_disc import OptDisc
from pynode.solution import Status
from tests.devices.conftest import Recorders
from tests.devices.recording import StandIn

F64: dict[str, Any] = {"dtype": torch.float64}
TS = torch.tensor([0.0, 0.5, 2.0], **F64)
Y0 = torch.tensor([[1.0], [0.3], [0.2]], **F64)


def new(device: torch.device) -> StandIn:  # noqa: ARG001
    return StandIn()


class Formulated(nn.Module):
    """A field by a formula, with one parameter."""

    def __init__(self, formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones((), **F64))
        self.formula = formula

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.formula(t, y, self.a)


def squared(t: Tensor, y: Tensor, a: Tensor) -> Tensor:  # noqa: ARG001
    """Reaches infinity at t = 1 from y = 1."""
    return a * y.square()


def rooted(t: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Is NaN from t = 0.75 on."""
    return a * y + (0.75 - t).sqrt()


def missing(t: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Is NaN everywhere, in the first sample."""
    return a * y + t + torch.log(y - 0.95).nan_to_num(nan=0.0) - torch.log(1.05 - y)


def stiff(t: Tensor, y: Tensor, a: Tensor) -> Tensor:
    """Needs very many steps."""
    return -1e4 * a * (y - t.cos())


def failure(engine: Any, method: OptDisc, formula: Any, y0: Tensor = Y0) -> tuple[SolveError, Any]:
    """The error of a solve or of its gradient, and the work until then."""
    field = Formulated(formula)
    solve, _ = method.posed(field, y0.clone().requires_grad_(), TS)
    assert engine.obstacle(solve) is None
    with pytest.raises(SolveError) as caught:
        attach(engine.run(solve)).sum().backward()
    return caught.value, solve.stats


CASES = {
    "infinite": (squared, OptDisc(rtol=1e-6, atol=1e-8, engine="eager")),
    "not a number from some time on": (rooted, OptDisc(rtol=1e-6, atol=1e-8, engine="eager")),
    "limit of steps": (stiff, OptDisc(rtol=1e-6, atol=1e-8, max_steps=20, engine="eager")),
    "limit in the gradient": (
        lambda t, y, a: -a * y + t.cos(),
        OptDisc(rtol=1e-3, atol=1e-3, max_steps=12, adjoint_rtol=1e-8, adjoint_atol=1e-8, engine="eager"),
    ),
    "drift": (
        lambda t, y, a: -40 * a * y + t,
        OptDisc(rtol=1e-6, atol=1e-8, adjoint="backsolve", engine="eager"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_failures_are_those_of_torch_operators(case: str) -> None:
    """The same status at the same time, with the same sentence; afterwards the recordings serve again."""
    formula, method = CASES[case]
    expected, stats = failure(Eager(), method, formula)
    solves = Recordings(new, kind_of)
    for _ in range(2):
        error, recorded_stats = failure(solves, method, formula)
        assert type(error) is type(expected)
        assert error.status is expected.status
        assert error.phase == expected.phase
        assert error.samples == expected.samples
        assert error.t == pytest.approx(expected.t, rel=1e-6)  # sizes of the first attempts are made of rounding errors
        assert str(error).split("; ")[-1] == str(expected).split("; ")[-1]
        assert recorded_stats.forward == stats.forward
        assert recorded_stats.backward == stats.backward


def test_the_cases_are_the_ones_meant() -> None:
    by_recording = {
        name: failure(Recordings(new, kind_of), method, formula)[0] for name, (formula, method) in CASES.items()
    }
    assert by_recording["infinite"].status is Status.STEP_UNDERFLOW
    assert by_recording["not a number from some time on"].status is Status.NON_FINITE
    assert by_recording["limit of steps"].status is by_recording["limit in the gradient"].status is Status.MAX_STEPS
    assert by_recording["limit in the gradient"].phase == "backward"
    assert isinstance(by_recording["drift"], DriftError)


def test_a_slope_that_is_not_finite_at_the_beginning() -> None:
    y0 = torch.tensor([[1.0], [2.0], [0.2]], **F64)
    method = OptDisc(rtol=1e-6, atol=1e-8, engine="eager")
    (expected, _), (error, _) = (failure(engine, method, missing, y0) for engine in (Eager(), Recordings(new, kind_of)))
    assert error.status is expected.status is Status.NON_FINITE
    assert str(error) == str(expected)
    assert error.samples is not None
    assert error.samples.indices == (1,)


def posed(field: nn.Module, y0: Tensor = Y0) -> Any:
    return OptDisc(rtol=1e-5, atol=1e-7, engine="eager").posed(field, y0.clone().requires_grad_(), TS)[0]


def test_cotangents_and_parameters_are_checked() -> None:
    solves, field = Recordings(new, kind_of), Formulated(lambda t, y, a: torch.sin(a * y + t))
    ys = attach(solves.run(posed(field)))
    with pytest.raises(CotangentError, match="cotangent of the states is NaN"):
        ys.backward(torch.full_like(ys, torch.nan), retain_graph=True)
    with torch.no_grad():
        field.a.mul_(2)
    with pytest.raises(FieldChanged):
        ys.sum().backward()


class Dropping(nn.Module):
    """Draws random numbers."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return nn.functional.dropout(y, 0.5)


class Branching(nn.Module):
    """Looks at values."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y if bool(t > 0.3) else y


@pytest.mark.parametrize(("kind", "reason"), [(Dropping, "random"), (Branching, "host reads")])
def test_fields_that_can_not_be_recorded(kind: type[nn.Module], reason: str) -> None:
    solves, field = Recordings(new, kind_of), kind()
    for _ in range(2):
        assert reason in str(solves.obstacle(posed(field)))
    assert len(solves) == 0


def test_recordings_are_freed_with_their_field() -> None:
    solves, field = Recordings(new, kind_of), MLP((1, 4, 1)).build(seed=0)
    ys = attach(solves.run(posed(field)))
    assert len(solves) == 1
    del ys, field
    gc.collect()
    assert len(solves) == 0


def test_recordings_keep_neither_state_nor_context_of_the_user() -> None:
    """What belongs to one solve is freed with its states."""
    solves, field = Recordings(new, kind_of), Formulated(lambda t, y, a: torch.sin(a * y + t))
    held = []
    for _ in range(4):
        attach(solves.run(posed(field))).sum().backward()
        gc.collect()
        held.append(sum(issubclass(type(x), Tensor) for x in gc.get_objects()))
    assert held[-1] == held[1]


def test_kinds_are_kept_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynode.engines.graph.recordings.KEPT", 2)
    solves, field = Recordings(new, kind_of), MLP((1, 4, 1)).build(seed=0)
    states = [attach(solves.run(posed(field, Y0[:n]))) for n in (1, 2, 3)]
    assert len(solves) == 2
    states[0].sum().backward()  # its recordings are no longer kept for others


# --- another device --------------------------------------------------------------------------------------------------


class OneDevice(TorchDispatchMode):
    """Fails at an operator that takes tensors of two devices, even where torch allows it for single numbers."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_iter((args, kwargs, result)) if isinstance(x, Tensor)]
        assert len({x.device for x in tensors}) < 2, func
        return result


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", [(5, 3), (3,), ()])
def test_everything_recorded_stays_on_the_device(solver: str, shape: tuple[int, ...]) -> None:
    """Meta tensors have no values: reading one on the host fails, as does mixing it with a tensor of the CPU."""
    like = torch.empty(shape, device="meta")
    nodes = Nodes(like, with_middle=solver == "dopri5")

    def slope(t: Tensor, y: Tensor) -> Tensor:
        return nodes.state(t.double()) * y + t

    def keep(stepper: Stepper, accepted: Tensor) -> None:
        nodes.write(stepper.start, [stepper.before] * nodes.columns, accepted)

    norm = root_mean_square if not shape else norm_of_parts([1] * shape[0]) if len(shape) == 1 else root_mean_square
    stepper = Stepper(StandIn(), Formula(solver, like, 1e-3, 1e-6), slope, norm, like, -1.0, keep)
    with OneDevice():
        for function in (stepper._estimate, stepper._resume, stepper._attempt, stepper._interpolate):
            function()


def test_a_number_of_the_host_is_found() -> None:
    """The mode above sees what it is there for."""
    with pytest.raises(AssertionError), OneDevice():
        torch.empty(3, device="meta") * torch.ones(())


# --- the engine ------------------------------------------------------------------------------------------------------


@pytest.fixture
def on_cpu(recorders: Recorders) -> Iterator[Recorders]:
    """The engine `graph` on the CPU, without recordings."""
    known.forget_recordings()
    yield recorders
    known.forget_recordings()


def test_the_engine_solves_with_adaptive_steps(on_cpu: Recorders) -> None:
    flow = pynode.Flow([MLP((2, 4, 2)).build(seed=0)], 2, divergence=pynode.Hutchinson(), trainable_horizon=True)
    x = torch.randn(4, 2, **F64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for engine in ("eager", "graph"):
        method = OptDisc(rtol=1e-4, atol=1e-6, engine=engine)
        draw = pynode.flows.probes.Draw(0, 0)
        loss = flow.log_prob(x, method=method, draw=draw).mean()
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(flow.parameters()))]))
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-12)
    assert on_cpu.replayed
    assert known.recordings() == 1


def test_the_engine_refuses(on_cpu: Recorders) -> None:  # noqa: ARG001
    with pytest.raises(InvalidArgument, match="dopri8"):
        OptDisc("dopri8", engine="graph")
    with pytest.raises(InvalidArgument, match="tsit5"):
        OptDisc("tsit5", engine="graph")
    with pytest.raises(EngineUnavailable, match="function, not a torch"):
        OptDisc(engine="graph").solve(lambda t, y: -y * t, Y0, TS)
    with pytest.raises(EngineUnavailable, match="use engine eager or auto"):
        OptDisc(engine="graph").solve(Branching(), Y0, TS)
