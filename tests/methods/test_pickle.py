"""Methods, fields, flows and solutions can be pickled, saved and copied, before and after use."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.memory import measure_memory
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod, method_from_json
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.neural_ode import NeuralODE
from pynode.schemes.rk4 import RK4
from pynode.schemes.rk38 import RK38

TS = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
Y0 = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(3, 2)

METHODS: tuple[GradientMethod, ...] = (
    DiscOpt(RK4, steps=2),
    DiscOpt(RK38, steps=(2, 3), memory="recompute", engine="eager"),
    DiscOpt(RK4, steps=2, memory="checkpoint", budget=2),
    DiscOpt(RK4, steps=2, engine="fused"),
    DiscOpt(RK4, steps=2, memory="recompute", engine="fused"),
    OptDisc(rtol=1e-5, atol=1e-7),
    OptDisc(rtol=1e-5, atol=1e-7, engine="eager"),
    OptDisc(rtol=1e-5, atol=1e-7, adjoint="interpolating"),
    OptDiscFixed(steps=4),
    AdaptiveAD(rtol=1e-5, atol=1e-7),
)

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "pickle-2": lambda thing: pickle.loads(pickle.dumps(thing, protocol=2)),
    "torch.save": lambda thing: _saved(thing),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def _saved(thing: Any) -> Any:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def label(method: GradientMethod) -> str:
    """For the names of the tests."""
    return "-".join(str(v) for v in method.to_json().values() if isinstance(v, str))


def a_field() -> Field:
    """Small and smooth."""
    return MLP((2, 5, 2)).build(seed=3)


def solved(method: GradientMethod, field: nn.Module) -> tuple[Tensor, Tensor]:
    """The last state and the gradient of its sum of squares."""
    end = method.solve(field, Y0, TS).ys[-1]
    gradients = torch.autograd.grad(end.square().sum(), list(field.parameters()))
    return end.detach(), torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("method", METHODS, ids=label)
def test_a_method_goes_round_before_and_after_use(method: GradientMethod, way: str) -> None:
    """The copy is equal, has the same hash and computes the same bits."""
    field, fresh = a_field(), replace(method)
    before = COPIES[way](fresh)
    first = solved(fresh, field)
    after = COPIES[way](fresh)
    for copied in (before, after):
        assert copied == fresh == method
        assert hash(copied) == hash(fresh)
        assert repr(copied) == repr(fresh)
        assert method_from_json(copied.to_json()) == method
        for value, again in zip(first, solved(copied, field), strict=True):
            assert torch.equal(value, again)


@pytest.mark.parametrize("way", COPIES)
def test_a_users_own_method_with_a_cached_property_goes_round(way: str) -> None:
    """Anything that a subclass caches is left out, whatever its name."""
    method = Cached(steps=3)
    _, _ = method.helper, solved(method, a_field())
    assert "helper" in vars(method)
    copied = COPIES[way](method)
    assert "helper" not in vars(copied)
    assert copied == method
    assert copied.helper(2) == 6


class Cached(DiscOpt):
    """Holds a function that can't be pickled."""

    @property
    def _plain(self) -> int:
        return int(self.steps)  # type: ignore[arg-type]

    @cached_property
    def helper(self) -> Callable[[int], int]:
        """A local function."""
        return lambda n: n * self._plain


@pytest.mark.parametrize("way", [w for w in COPIES if w != "copy"])
@pytest.mark.parametrize("divergence", [Exact(), Hutchinson("rademacher")], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("method", [m for m in METHODS if m.name != "opt-disc-fixed"], ids=label)
def test_a_flow_goes_round_after_use(method: GradientMethod, divergence: Exact | Hutchinson, way: str) -> None:
    """With its method, and going on with the draws that the original would have used."""
    one_interval = {} if method.adaptive else {"steps": 3}
    method = replace(method, **one_interval)
    flow = Flow.build(ConcatSquash((2, 6, 2)), blocks=2, seed=1, method=method, divergence=divergence)
    flow.log_prob(Y0).mean().backward()
    copied = COPIES[way](flow)
    assert copied.method == flow.method
    assert torch.equal(copied.theta(), flow.theta())
    for _ in range(2):
        assert torch.equal(copied.log_prob(Y0), flow.log_prob(Y0))
    assert torch.equal(copied.sample(3), flow.sample(3))


@pytest.mark.parametrize("way", [w for w in COPIES if w != "copy"])
def test_conditional_flows_and_layers_go_round(way: str) -> None:
    context = torch.randn(len(Y0), 3, dtype=torch.float64)
    flow = Flow.build(ConcatSquash((2, 6, 2)), context=3, seed=1, method=DiscOpt(steps=3))
    flow.log_prob(Y0, context).mean().backward()
    copied = COPIES[way](flow)
    assert torch.equal(copied.log_prob(Y0, context), flow.log_prob(Y0, context))
    layer = NeuralODE(a_field(), DiscOpt(steps=3), TS)
    assert torch.equal(COPIES[way](layer)(Y0), layer(Y0))


@pytest.mark.parametrize("way", ["pickle", "torch.save"])
def test_a_solution_goes_round(way: str) -> None:
    """Its states and statistics, also those measured in a block of `measure_memory`."""
    with measure_memory(), torch.no_grad():
        solution = DiscOpt(RK4, steps=2, engine="eager").solve(a_field(), Y0, TS)
    copied = COPIES[way](solution)
    assert torch.equal(copied.ys, solution.ys)
    assert copied.stats == solution.stats
    assert copied.stats.peak_memory_bytes == solution.stats.peak_memory_bytes
    assert copied.stats.peak_memory_bytes > 0


def _worker(flow: Flow, x: Tensor) -> list[list[float]]:
    torch.set_num_threads(1)
    values = flow.log_prob(x).detach()
    return [values.tolist(), flow.sample(2).flatten().tolist()]


def test_a_used_flow_goes_to_a_spawned_process() -> None:
    flow = Flow.build(ConcatSquash((2, 4, 2)), seed=2, method=DiscOpt(steps=2), divergence=Hutchinson())
    flow.log_prob(Y0)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        values, samples = pool.apply(_worker, (flow, Y0))
    assert values == flow.log_prob(Y0).tolist()
    assert samples == flow.sample(2).flatten().tolist()
