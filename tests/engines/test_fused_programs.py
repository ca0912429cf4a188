"""The kernels run tapes: values, both cotangents, tangents and flows as torch operators have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.engines.fused import unavailable
from pynode.engines.fused.field.chain import chain_of
from pynode.fields.base import System
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import divergence
from pynode.schemes import SCHEMES
from pynode.schemes.heun import HEUN
from pynode.schemes.rk4 import RK4
from pynode.tapes.operations import UNARY
from tests.engines.tapes_by_hand import CHAINS, TAPES, Prepared, chain, function, mlp

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)

Differs = Callable[..., float]
Fused = Callable[..., Tensor]

TS = torch.tensor([0.1, 0.4, 0.9, 1.0], dtype=torch.float64)
BATCHES = (1, 3, 50, 130)
COSTS = (RunningCosts(), RunningCosts(True, False), RunningCosts(True, True))
FLAT = ("sign", "greater", "at_least", "equal")


def random_state(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(dtype)


def flow_of(field: Prepared, kind: str, costs: RunningCosts, batch: int) -> tuple[AugmentedField, Tensor]:
    dim = field.tape.dim
    probes = None if kind == "exact" else random_state(batch, dim, dtype=field.constants[0].dtype) + 1
    augmented = AugmentedField(field, dim, divergence(kind), probes, costs)
    return augmented, augmented.initial(random_state(batch, dim, dtype=field.constants[0].dtype))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", TAPES)
def test_values_and_gradients(name: str, batch: int, differs: Differs) -> None:
    """By y0 and every constant, both ways of keeping stages, forward and backward in time."""
    field = Prepared(TAPES[name])
    y0 = random_state(batch, field.tape.dim)
    assert differs(field, RK4, TS, 2, y0) < 1e-12
    assert differs(field, HEUN, TS.flip(0), (1, 3, 2), y0, "recompute") < 1e-12


def test_chains_are_told_from_programs() -> None:
    """Only what is exactly a chain goes the faster way."""
    assert {name for name, tape in TAPES.items() if chain_of(tape) is not None} == set(CHAINS)
    for tape in (
        mlp((2, 5, 2), "softplus", 2.0, 20.0),
        chain((2, 5, 2), 2.5, (True, True)),
        chain((2, 5, 2), -1, (True, True)),
        replace(CHAINS["linear_chain"], output=1),
    ):
        assert chain_of(tape) is None


@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_schemes(scheme: str, differs: Differs) -> None:
    field = Prepared(TAPES["time_matrices"])
    assert differs(field, SCHEMES.load(scheme), TS, 2, random_state(9, 3)) < 1e-12


@pytest.mark.parametrize("dim", [3, 8])
@pytest.mark.parametrize("name", UNARY)
def test_functions(name: str, dim: int, differs: Differs) -> None:
    """Every function, in both layers; also with tangents, where it has a slope."""
    field = Prepared(function(name, dim))
    assert differs(field, RK4, TS, 1, random_state(5, dim)) < 1e-12
    if name not in FLAT:
        augmented, state = flow_of(field, "exact", RunningCosts(True, True), 5)
        assert differs(augmented, RK4, TS, 1, state) < 1e-11


@pytest.mark.parametrize("batch", [1, 5, 60])
@pytest.mark.parametrize("kind", ["exact", "gaussian"])
@pytest.mark.parametrize("name", [name for name in TAPES if TAPES[name].dim <= 8 and TAPES[name].constants])
def test_flows(name: str, kind: str, batch: int, differs: Differs) -> None:
    for costs in COSTS if batch == 5 else COSTS[2:]:
        augmented, state = flow_of(Prepared(TAPES[name]), kind, costs, batch)
        assert differs(augmented, RK4, TS, 1, state, "recompute" if batch == 1 else "store") < 1e-11


@pytest.mark.parametrize("norm", ["mixed", "seminorm", "rms"])
@pytest.mark.parametrize("adjoint", ["backsolve", "interpolating"])
@pytest.mark.parametrize("name", ["mlp8", "layer_norm", "time_matrices", "softmax", "lotka_volterra"])
def test_continuous_adjoint(name: str, adjoint: Any, norm: Any) -> None:
    field = Prepared(TAPES[name])
    y0, rtol, results = 0.5 * random_state(6, field.tape.dim), 1e-9, []
    cotangents = random_state(len(TS), *y0.shape)
    for engine, solver in (("eager", "dopri5"), ("fused", "dopri5"), ("fused", "tsit5")):
        method = pynode.OptDisc(
            solver=solver, rtol=rtol, atol=rtol, adjoint=adjoint, adjoint_norm=norm, engine=engine, drift="ignore"
        )
        start = y0.clone().requires_grad_()
        ys = method.solve(field, start, TS).ys
        gradients = torch.autograd.grad((ys * cotangents).sum(), [start, *field.parameters()])
        results.append([ys.detach(), *gradients])
    for other in results[1:]:
        assert max(float((a - b).norm() / b.norm()) for a, b in zip(other, results[0], strict=True)) < 100 * rtol


@pytest.mark.parametrize("name", ["mlp9", "layer_norm", "time_matrices", "strided", "shared16"])
def test_single_precision(name: str, differs: Differs) -> None:
    field = Prepared(TAPES[name], torch.float32)
    assert differs(field, RK4, TS.float(), 1, random_state(9, field.tape.dim, dtype=torch.float32)) < 2e-5
    augmented, state = flow_of(field, "gaussian", RunningCosts(True, True), 5)
    assert differs(augmented, RK4, TS.float(), 1, state) < 5e-5


@pytest.mark.parametrize("name", ["layer_norm", "time_matrices"])
def test_threads_change_nothing(name: str, fused: Fused) -> None:
    augmented, state = flow_of(Prepared(TAPES[name]), "exact", RunningCosts(), 203)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ys = fused(augmented, RK4, TS, 3, state)
            results.append([ys.detach(), *torch.autograd.grad(ys.square().sum(), list(augmented.parameters()))])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("name", ["time_matrices", "shared"])
def test_second_derivatives(name: str, fused: Fused) -> None:
    """A gradient of the gradient takes the way of torch operators, with the constants in the module's place."""
    field = Prepared(TAPES[name])
    params = list(field.parameters())
    for module, y0 in ((field, random_state(3, field.tape.dim)), flow_of(field, "exact", RunningCosts(), 3)):
        grid = pynode.grid.TimeGrid.between(TS)
        results = []
        for ys in (fused(module, RK4, TS, 1, y0), RK4.solve(module, y0, grid)):
            first = torch.autograd.grad(ys.square().sum(), params, create_graph=True)
            squares = torch.stack([g.square().sum() for g in first]).sum()
            results.append(torch.autograd.grad(squares, params))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_constants_may_be_functions_of_parameters(fused: Fused) -> None:
    """In any shape and layout with as many entries; one that needs no gradient gets none."""
    tape = TAPES["mlp2"]
    field = Prepared(tape)
    leaves = [p.detach().clone().requires_grad_() for p in field.constants]
    leaves[1].requires_grad_(False)
    constants = [(2 * p).t().contiguous().t() if p.ndim == 2 else (p + 1).reshape(1, -1) for p in leaves]

    class Derived(Prepared):
        has_specification = True

        def system(self) -> System:
            return System(self.tape, tuple(constants), self.tape.dim)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.tape.evaluate_prepared(constants, t, y)

    module, y0 = Derived(tape), random_state(5, 2)
    wanted = [p for p in leaves if p.requires_grad]
    solutions = fused(module, RK4, TS, 2, y0), RK4.solve(module, y0, pynode.grid.TimeGrid.between(TS, 2))
    by = [torch.autograd.grad(ys.square().sum(), wanted, retain_graph=True) for ys in solutions]
    for a, b in zip(*by, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("batch", [1, 9])
def test_a_solve_that_blew_up_leaves_nothing_behind(batch: int, fused: Fused) -> None:
    """The next one of the same shape works in the same memory."""
    field = Prepared(TAPES["layer_norm"])
    y0 = random_state(batch, 3)

    def both(y: Tensor) -> list[Tensor]:
        ys = fused(field, RK4, TS, 2, y)
        return [ys.detach(), *torch.autograd.grad(ys.sum(), list(field.parameters()))]

    before = both(y0)
    assert not torch.isfinite(both(torch.full_like(y0, math.inf))[0]).all()
    assert all(map(torch.equal, before, both(y0)))
