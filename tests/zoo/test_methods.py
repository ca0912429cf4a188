"""Captured modules on the kernels against the same modules by torch operators, with every method and cost."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.fused import unavailable
from pynode.errors import EngineUnavailable
from pynode.flows.augmented import RunningCosts
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.least_squares import LeastSquares
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes import SCHEMES
from pynode.schemes.midpoint import MIDPOINT
from pynode.schemes.rk4 import RK4
from tests.zoo.entries import ENTRIES, Entry, zoo
from tests.zoo.solving import BATCH, Result, apart, apart_altogether, solved, times, with_gradients

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))

FIXED = {torch.float64: 1e-10, torch.float32: 2e-4}
RTOL = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Tolerances of adaptive solves; their gradients agree to ten of them."""

CAPTURED = zoo(captured=True)
NO_SECOND_DERIVATIVE = ("nn hardsigmoid",)
"""Entries whose divergence torch can't differentiate."""

DENSITIES = tuple(e for e in CAPTURED if e.lead == () and e.name not in NO_SECOND_DERIVATIVE)
FEW = tuple(
    ENTRIES[name]
    for name in (
        "spiral",
        "float32 spiral",
        "ffjord HyperLinear",
        "residual with layer norm",
        "weight norm",
        "antisymmetric",
        "hamiltonian net by autograd",
        "pendulum",
        "gru by hand",
        "matrix per sample",
        "columns in place",
        "mixture gated by time",
    )
)


def both(
    zoo_entry: Entry, method: type[Any], *, module: nn.Module | None = None, backwards: bool = False, **options: Any
) -> tuple[Result, Result]:
    """The solve by the kernels and the one by torch operators."""
    module, ts = module or zoo_entry.module(), times(zoo_entry, backwards=backwards)
    fused = solved(zoo_entry, module, method(engine="fused", **options), ts)
    eager = solved(zoo_entry, module, method(engine="eager", **options), ts)
    assert (fused.engine, eager.engine) == ("fused", "eager")
    return fused, eager


@pytest.mark.parametrize("zoo_entry", CAPTURED, ids=str)
def test_disc_opt(zoo_entry: Entry) -> None:
    assert apart(*both(zoo_entry, DiscOpt, scheme=RK4, steps=1)) <= FIXED[zoo_entry.dtype]


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_disc_opt_with_every_scheme(zoo_entry: Entry) -> None:
    module = zoo_entry.module()
    for scheme in SCHEMES.load_all().values():
        results = both(zoo_entry, DiscOpt, module=module, scheme=scheme, steps=1)
        assert apart(*results) <= FIXED[zoo_entry.dtype], scheme.name


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_disc_opt_in_less_memory_and_backwards_in_time(zoo_entry: Entry) -> None:
    results = both(zoo_entry, DiscOpt, backwards=True, scheme=RK4, steps=[3, 2], memory="recompute")
    assert apart(*results) <= FIXED[zoo_entry.dtype]


@pytest.mark.parametrize("adjoint", ["interpolating", "backsolve"])
@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_opt_disc(zoo_entry: Entry, adjoint: str) -> None:
    rtol = RTOL[zoo_entry.dtype]
    tolerances: dict[str, Any] = {"rtol": rtol, "atol": rtol, "adjoint": adjoint}
    assert apart_altogether(*both(zoo_entry, OptDisc, **tolerances)) <= 10 * rtol


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_opt_disc_with_tsit5(zoo_entry: Entry) -> None:
    """On the kernels alone, so compared with dopri5 by torch operators."""
    rtol = RTOL[zoo_entry.dtype]
    module, ts = zoo_entry.module(), times(zoo_entry)
    kernels = solved(zoo_entry, module, OptDisc("tsit5", rtol=rtol, atol=rtol, engine="fused"), ts)
    eager = solved(zoo_entry, module, OptDisc("dopri5", rtol=rtol, atol=rtol, engine="eager"), ts)
    assert kernels.engine == "fused"
    assert apart_altogether(kernels, eager) <= 10 * rtol


def density(
    zoo_entry: Entry,
    module: nn.Module,
    method: GradientMethod,
    divergence: Divergence,
    costs: RunningCosts | None = None,
) -> Result:
    """Log-likelihoods, and running costs, of a flow of one block, with gradients by samples and parameters."""
    x = zoo_entry.state(BATCH).requires_grad_()
    flow = Flow([module], zoo_entry.dim, horizon=0.7, method=method, divergence=divergence, seed=5)
    transport = flow.transport(x, draw=Draw(seed=3), costs=costs)
    columns = [transport.log_prob, transport.kinetic, transport.jacobian]
    values = torch.cat([column for column in columns if column is not None])
    sources = [x, *(p for p in module.parameters() if p.requires_grad)]
    return with_gradients(values, sources, transport.solves[0].engine)


def densities(
    zoo_entry: Entry, divergence: Divergence, costs: RunningCosts | None = None, module: nn.Module | None = None
) -> tuple[Result, Result]:
    """The density by the kernels and the one by torch operators."""
    module = module or zoo_entry.module()
    fused = density(zoo_entry, module, DiscOpt(MIDPOINT, 2, engine="fused"), divergence, costs)
    eager = density(zoo_entry, module, DiscOpt(MIDPOINT, 2, engine="eager"), divergence, costs)
    assert (fused.engine, eager.engine) == ("fused", "eager")
    return fused, eager


@pytest.mark.parametrize("zoo_entry", DENSITIES, ids=str)
def test_log_likelihoods(zoo_entry: Entry) -> None:
    module = zoo_entry.module()
    for divergence in (Exact(), Hutchinson()):
        results = densities(zoo_entry, divergence, module=module)
        assert apart(*results) <= FIXED[zoo_entry.dtype], divergence


@pytest.mark.parametrize("zoo_entry", [e for e in FEW if e.name != "residual with layer norm"], ids=str)
def test_running_costs(zoo_entry: Entry) -> None:
    results = densities(zoo_entry, Hutchinson(), RunningCosts(kinetic=True, jacobian=True))
    assert apart(*results) <= FIXED[zoo_entry.dtype]


def test_the_jacobian_cost_of_a_layer_norm() -> None:
    """Against differences: torch's third derivatives of `native_layer_norm` take mean and variance for constants."""
    zoo_entry, costs = ENTRIES["residual with layer norm"], RunningCosts(jacobian=True)
    method = DiscOpt(RK4, 2, engine="fused")
    module, x = zoo_entry.module(), zoo_entry.state(BATCH)
    flow = Flow([module], zoo_entry.dim, method=method, divergence=Hutchinson(), seed=5)

    def cost(x: Tensor) -> Tensor:
        jacobian = flow.transport(x, draw=Draw(seed=3), costs=costs).jacobian
        assert jacobian is not None
        return jacobian.sum()

    direction, step = zoo_entry.state(BATCH, seed=1), 1e-5
    wanted = (cost(x + step * direction) - cost(x - step * direction)).detach() / (2 * step)
    (gradient,) = torch.autograd.grad(cost(x.requires_grad_()), x)
    assert float((gradient * direction).sum()) == pytest.approx(float(wanted), rel=1e-6)


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_log_likelihoods_by_opt_disc(zoo_entry: Entry) -> None:
    rtol = RTOL[zoo_entry.dtype]
    module = zoo_entry.module()
    fused, eager = (
        density(zoo_entry, module, OptDisc(rtol=rtol, atol=rtol, engine=e), Exact()) for e in ("fused", "eager")
    )
    assert apart_altogether(fused, eager) <= 10 * rtol


@pytest.mark.parametrize("zoo_entry", FEW, ids=str)
def test_least_squares(zoo_entry: Entry) -> None:
    ts = times(zoo_entry)
    results = []
    for engine in ("fused", "eager"):
        module, y0 = zoo_entry.module(), zoo_entry.state(BATCH)
        fit = LeastSquares(DiscOpt(RK4, 2, engine=engine), module, y0, ts, torch.zeros(len(ts), *y0.shape).to(y0))
        fit.backward()
        gradients = tuple(p.grad for p in module.parameters() if p.grad is not None)
        results.append(Result(torch.tensor([fit.loss]), gradients, fit.stats.engine))
    assert [result.engine for result in results] == ["fused", "eager"]
    assert apart(*results) <= FIXED[zoo_entry.dtype]


@pytest.mark.filterwarnings("ignore::pynode.errors.CaptureWarning")
@pytest.mark.parametrize("zoo_entry", [e for e in zoo(captured=False) if e.name != "state changed in place"], ids=str)
def test_what_can_not_be_captured_runs_by_torch_operators(zoo_entry: Entry) -> None:
    """With the very numbers of engine eager: trying to capture it leaves no trace."""
    ts = times(zoo_entry)
    auto, eager = (solved(zoo_entry, zoo_entry.module(), DiscOpt(RK4, 2, engine=e), ts) for e in ("auto", "eager"))
    assert auto.engine == "eager"
    assert torch.equal(auto.values, eager.values)
    assert all(torch.equal(a, b) for a, b in zip(auto.gradients, eager.gradients, strict=True))
    with pytest.raises(EngineUnavailable) as refusal:
        solved(zoo_entry, zoo_entry.module(), DiscOpt(RK4, 2, engine="fused"), ts)
    assert zoo_entry.refused is not None
    assert re.search(zoo_entry.refused, str(refusal.value))
