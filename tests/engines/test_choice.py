"""Which engine runs a solve, who may say so, and that nobody can tell but by the clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines import fused
from pynode.engines.base import Engine
from pynode.engines.choice import engine_called
from pynode.engines.fixed_steps import fixed_steps
from pynode.engines.node import attach
from pynode.errors import EngineUnavailable, InvalidArgument, SolveError, StateMismatch
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Divergence, Exact
from pynode.flows.flow import Flow
from pynode.methods.base import GradientMethod, method_from_json
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.solve import Run, Solve

TS = torch.linspace(0, 1, 4, dtype=torch.float64)
Y0 = torch.tensor([[0.4, -0.3], [0.1, 0.8]], dtype=torch.float64)
METHODS: list[GradientMethod] = [DiscOpt(steps=2), OptDisc(rtol=1e-5, atol=1e-7)]


def field() -> Field:
    spec = MLP((2, 8, 2))
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return spec.build(theta=noise)


class Own(nn.Module):
    """A field of the user's."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return torch.tanh(self.layer(y))


class Branching(Own):
    """A field with a condition on numbers, which torch alone can follow."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return super().forward(t, y) if float(t) < 0.5 else -super().forward(t, y)


def engine_of(method: GradientMethod, f: Any, y0: Tensor = Y0, ts: Tensor = TS) -> str:
    return method.solve(f, y0, ts).stats.engine


@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_auto_takes_the_kernels_where_they_apply(method: GradientMethod) -> None:
    assert engine_of(method, field()) == "fused"
    assert engine_of(method, Own()) == "fused"
    assert engine_of(method, Branching()) == "eager"
    assert engine_of(method, field(), ts=TS.clone().requires_grad_()) == "eager"
    assert engine_of(method, lambda t, y: -y) == "eager"
    hooked, replaced = field(), field()
    hooked.register_forward_hook(lambda *_: None)
    replaced.forward = lambda t, y: -y  # type: ignore[method-assign]
    assert engine_of(method, hooked) == "eager"
    assert torch.allclose(method.solve(replaced, Y0, TS).ys[-1], Y0 * torch.exp(-TS[-1]), rtol=1e-2)


@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_divergence_of_the_users_is_the_users(method: GradientMethod) -> None:
    """The kernels know two; a subclass of one may be anything."""

    class Own(Exact):
        def __call__(self, *args: Any, **more: Any) -> Any:
            slope = super().__call__(*args, **more)
            return slope._replace(trace=2 * slope.trace)

    flow = Flow([field()], 2, method=method)
    plain, doubled = (flow.transport(Y0, divergence=d).log_det for d in (Exact(), Own()))
    assert torch.allclose(doubled, 2 * plain, rtol=1e-4)
    assert issubclass(Own, Divergence)


@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("kind", [DiscOpt, OptDisc])
def test_who_asks_for_an_engine_gets_it(kind: Any, engine: Any) -> None:
    """From Python, and from the plain values of a configuration."""
    assert engine_of(kind(engine=engine), field()) == engine
    again = method_from_json(kind(engine=engine).to_json())
    assert engine_of(again, field()) == engine
    assert method_from_json({"method": kind.name}).to_json()["engine"] == "auto"


@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("kind", [DiscOpt, OptDisc])
def test_kernels_that_cannot_say_why(kind: Any) -> None:
    with pytest.raises(EngineUnavailable, match=r"control flow.*test_choice.py, line \d+\).*use engine eager or auto"):
        engine_of(kind(engine="fused"), Branching())
    with pytest.raises(EngineUnavailable, match=r"function, not a torch.nn.Module.*use engine eager or auto"):
        engine_of(kind(engine="fused"), lambda t, y: -y)
    with pytest.raises(EngineUnavailable, match="output times"):
        engine_of(kind(engine="fused"), field(), ts=TS.clone().requires_grad_())
    with pytest.raises(InvalidArgument, match=r"torch\.float16"):
        engine_of(kind(engine="fused"), field().half(), Y0.half())


def test_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is none, and options that exclude each other."""
    with pytest.raises(InvalidArgument, match="engine = 'quick': unknown; use one of auto, eager, fused, graph, julia"):
        DiscOpt(engine="quick")
    with pytest.raises(InvalidArgument, match="torchdiffeq does not have solver = tsit5"):
        OptDisc(solver="tsit5", engine="eager")
    monkeypatch.setattr(fused, "unavailable", lambda: None)
    with pytest.raises(InvalidArgument, match="the kernels do not have solver = dopri8"):
        OptDisc(solver="dopri8", engine="fused")
    with pytest.raises(InvalidArgument, match="the kernels do not have memory = 'checkpoint'"):
        DiscOpt(memory="checkpoint", engine="fused")


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto goes on with torch; whoever insists on kernels, or on what they alone know, hears what is missing."""
    monkeypatch.setattr(fused, "unavailable", lambda: "the fused engine needs Numba; pip install numba")
    for method in METHODS:
        assert engine_of(method, field()) == "eager"
    with pytest.raises(EngineUnavailable, match="pip install numba"):
        engine_called("fused").check_available()
    with pytest.raises(EngineUnavailable, match="pip install numba"):
        engine_of(OptDisc(solver="tsit5"), field())
    engine_called("eager").check_available()


@pytest.mark.usefixtures("needs_fused")
def test_a_compiler_that_fails_is_nobodys_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "failure", lambda dtype, *_: f"no code for {dtype}")
    assert engine_of(DiscOpt(), field()) == "eager"
    with pytest.raises(EngineUnavailable, match="no code for"):
        engine_of(DiscOpt(engine="fused"), field())


@pytest.mark.usefixtures("needs_fused")
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_a_subclass_with_a_solve_of_its_own_is_heard(method: GradientMethod) -> None:
    class Mine(type(method)):  # type: ignore[misc]
        name = "mine"

        def run(self, solve: Solve, engine: Engine) -> Run:
            run = super().run(solve, engine)
            return run._replace(states=2 * attach(run), pullback=None)

    mine = Mine()
    assert torch.allclose(mine.solve(field(), Y0, TS).ys[0], 2 * Y0)


@pytest.mark.parametrize("engine", ["eager", "fused"])
@pytest.mark.parametrize("kind", [DiscOpt, OptDisc])
def test_mistakes_and_failures_are_the_same_on_both(kind: Any, engine: Any, request: pytest.FixtureRequest) -> None:
    """A state of another shape, NaN in y0, and a state that blows up."""
    if engine == "fused":
        request.getfixturevalue("needs_fused")
    method = kind(engine=engine)
    with pytest.raises((StateMismatch, EngineUnavailable), match=r"columns|shape"):
        method.solve(field(), torch.zeros(2, 3, dtype=torch.float64), TS)
    with pytest.raises(InvalidArgument, match="y0 = NaN"):
        method.solve(field(), torch.full((2,), float("nan"), dtype=torch.float64), TS)
    wild = MLP((1, 1), "tanh", input_power=3).build(theta=torch.tensor([1.0, 0.0], dtype=torch.float64))  # y' = y^3
    start = torch.tensor([3.0], dtype=torch.float64)
    with pytest.raises(SolveError):
        method.solve(wild, start, 30 * TS)
    quiet = method.solve(wild, start, 30 * TS, throw=False)
    assert quiet.status.name in ("NON_FINITE", "STEP_UNDERFLOW", "MAX_STEPS")
    assert torch.isnan(quiet.ys).all()


def test_fixed_steps_are_the_schemes_own() -> None:
    """With and without kernels; the states hang on no graph."""
    for f in (field(), Own()):
        states = fixed_steps(RK4, f, Y0, TS, 3)
        assert torch.allclose(states, DiscOpt(RK4, 3, engine="eager").solve(f, Y0, TS).ys, rtol=1e-13)
        assert not states.requires_grad


@pytest.mark.usefixtures("needs_fused")
def test_what_torch_transforms_is_left_to_torch() -> None:
    """Forward-mode AD through a solve gives what it always gave."""
    f = field().requires_grad_(False)

    def end(y: Tensor) -> Tensor:
        return DiscOpt(RK4, 2).solve(f, y, TS).ys[-1]

    by_jvp = torch.autograd.forward_ad
    with by_jvp.dual_level():
        dual = by_jvp.make_dual(Y0, torch.ones_like(Y0))
        pushed = by_jvp.unpack_dual(end(dual)).tangent
    h = 1e-6
    assert torch.allclose(pushed, (end(Y0 + h) - end(Y0 - h)) / (2 * h), rtol=1e-7)


class Wide(nn.Module):
    """More weights than the kernels are the faster for in a batch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 2)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(y)


@pytest.mark.parametrize(
    ("width", "batch", "expected"), [(400, 2, "fused"), (400, 64, "eager"), (100, 64, "fused"), (400, 16, "fused")]
)
@pytest.mark.usefixtures("needs_fused")
def test_wide_modules_are_left_to_blas_in_a_batch(width: int, batch: int, expected: str) -> None:
    y0 = torch.randn(batch, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert DiscOpt(steps=1).solve(Wide(width).double(), y0, TS[:2]).stats.engine == expected
