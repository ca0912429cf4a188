"""The kernels compute what the torch operators compute: states, gradients and counts, to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.fields import FIELDS
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import divergence
from pynode.schemes import SCHEMES
from pynode.schemes.base import Scheme
from pynode.schemes.heun import HEUN
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.studies.gradients.taylor import taylor_test

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
Differs = Callable[..., float]
Fused = Callable[..., Tensor]

TS = torch.tensor([0.1, 0.4, 0.9, 1.0], dtype=torch.float64)
MEMORIES = ("store", "recompute")
ACTIVATIONS = ("tanh", "softplus", "sigmoid", "silu", "gelu")
COSTS = (RunningCosts(), RunningCosts(True, False), RunningCosts(False, True), RunningCosts(True, True))

# wider than a vector, not whole vectors, narrow at one end, one layer, many layers
WIDE_SPECS: tuple[FieldSpec, ...] = (
    MLP((2, 50, 2), input_power=3),
    MLP((3, 17, 4, 9, 3), input_power=2),
    MLP((2, 2)),
    MLP((20, 33, 20)),
    ConcatSquash((5, 33, 9, 5)),
    ConcatSquash((2, 64, 64, 64, 2)),
    Antisymmetric(19, gamma=0.2),
    Hamiltonian(2, 30),
    Hamiltonian(18, 5),
)


def random_field(spec: FieldSpec, dtype: torch.dtype = torch.float64) -> Field:
    """Parameters of a size that keeps solutions moderate."""
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scale = 0.8 / max(getattr(spec, "widths", (spec.state_dim,))) ** 0.5
    return spec.build(theta=scale * noise, dtype=dtype)


def random_state(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Entries of a size of about one half."""
    return 0.5 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(dtype)


def flow_of(field: Field, kind: str, costs: RunningCosts, batch: int) -> tuple[AugmentedField, Tensor]:
    """The augmented field of a flow and its initial state."""
    dim, dtype = field.spec.state_dim, next(field.parameters()).dtype
    probes = None if kind == "exact" else random_state(batch, dim, dtype=dtype) + 1
    augmented = AugmentedField(field, dim, divergence(kind), probes, costs)
    return augmented, augmented.initial(random_state(batch, dim, dtype=dtype))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_every_field_and_scheme(
    scheme: str,
    field_name: str,
    times: Tensor,
    memory: str,
    small_field: FieldOf,
    small_state: StateOf,
    differs: Differs,
) -> None:
    """In both directions, with uneven steps, however the stages are kept; and all counts are right."""
    tableau, stats = SCHEMES.load(scheme), SolveStats()
    difference = differs(small_field(field_name), tableau, times, (2, 1, 3), small_state(field_name), memory, stats)
    assert difference < 1e-12
    work = 6 * tableau.formula.n_stages
    assert (stats.forward.n_f, stats.forward.n_vjp) == (work, 0)
    assert (stats.backward.n_f, stats.backward.n_vjp) == (work if memory == "recompute" else 0, work)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("batch", [1, 3, 70])
@pytest.mark.parametrize("spec", WIDE_SPECS, ids=str)
def test_widths_and_batches(spec: FieldSpec, batch: int, memory: str, differs: Differs) -> None:
    """Rows that are no whole vectors, batches that are no whole tiles."""
    assert differs(random_field(spec), RK4, TS, 1, random_state(batch, spec.state_dim), memory) < 1e-12


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["exact", "gaussian"])
@pytest.mark.parametrize("architecture", ["mlp", "concatsquash", "antisymmetric", "hamiltonian"])
def test_flows(architecture: str, kind: str, act: str, differs: Differs) -> None:
    """Both divergences with all running costs, which take second derivatives of the activation."""
    spec: FieldSpec = {
        "mlp": MLP((2, 5, 9, 2), act, 3),
        "concatsquash": ConcatSquash((3, 10, 3), act),
        "antisymmetric": Antisymmetric(3, act, 0.3),
        "hamiltonian": Hamiltonian(4, 6, act),
    }[architecture]
    for costs in COSTS:
        augmented, state = flow_of(random_field(spec), kind, costs, 7)
        for memory in MEMORIES:
            assert differs(augmented, HEUN, TS, 1, state, memory) < 1e-11


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 3, 2), (0, 2)], ids=str)
def test_shapes_of_the_state(shape: tuple[int, ...], differs: Differs, fused: Fused) -> None:
    """A single state, deep batches; an empty batch is the caller's affair (`obstacle`)."""
    field, y0 = random_field(MLP((2, 5, 2))), random_state(*shape)
    if y0.numel():
        assert differs(field, RK4, TS, 1, y0) < 1e-12
        assert fused(field, RK4, TS, 1, y0).shape == (4, *shape)


def test_memory_in_any_order(differs: Differs, fused: Fused) -> None:
    """A state and parameters that are views with strides of their own, and a cotangent that is one number."""
    field = random_field(MLP((3, 8, 3)))
    field.W0.data = field.W0.data.T.contiguous().T  # type: ignore[operator]
    assert not field.W0.is_contiguous()  # type: ignore[operator]
    assert differs(field, RK4, TS, 1, random_state(3, 4).T) < 1e-12
    fused(field, RK4, TS, 1, random_state(4, 3)).sum().backward()
    gradients = [p.grad.clone() for p in field.parameters() if p.grad is not None]
    field.zero_grad()
    from pynode.grid import TimeGrid

    RK4.solve(field, random_state(4, 3), TimeGrid.between(TS)).sum().backward()
    for a, b in zip(gradients, [p.grad for p in field.parameters()], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["exact", "gaussian", "none"])
def test_float32(kind: str, differs: Differs) -> None:
    """The same kernels for float32, to its rounding."""
    for spec in WIDE_SPECS:
        field = random_field(spec, torch.float32)
        if kind == "none":
            assert differs(field, RK4, TS, 1, random_state(33, spec.state_dim, dtype=torch.float32)) < 1e-5
        elif spec.state_dim < 10:
            assert differs(*_reordered(flow_of(field, kind, RunningCosts(True, True), 33))) < 1e-4


def _reordered(flow: tuple[AugmentedField, Tensor]) -> tuple[Any, ...]:
    return (flow[0], RK4, TS, 1, flow[1])


@pytest.mark.parametrize("field_name", FIELDS.names())
def test_frozen_parameters(field_name: str, small_field: FieldOf, small_state: StateOf, differs: Differs) -> None:
    """Each tensor frozen in turn, then all of them, when only y0 gets its gradient."""
    for frozen in range(len(list(small_field(field_name).parameters()))):
        field = small_field(field_name)
        list(field.parameters())[frozen].requires_grad_(False)
        assert differs(field, RK4, TS, 1, small_state(field_name)) < 1e-12
    field = small_field(field_name).requires_grad_(False)
    assert differs(field, RK4, TS, 1, small_state(field_name)) < 1e-12


def test_no_gradient_wanted(small_field: FieldOf, small_state: StateOf, fused: Fused) -> None:
    """The same states without a graph, be it that gradients are off or that nothing wants one."""
    field, y0 = small_field("mlp"), small_state("mlp")
    with_graph = fused(field, RK4, TS, 2, y0)
    with torch.no_grad():
        without = fused(field, RK4, TS, 2, y0)
    assert with_graph.requires_grad
    assert not without.requires_grad
    assert torch.equal(with_graph, without)
    assert not fused(field.requires_grad_(False), RK4, TS, 2, y0).requires_grad


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("field_name", FIELDS.names())
def test_taylor(field_name: str, memory: str, small_field: FieldOf, small_state: StateOf, fused: Fused) -> None:
    """The project's own verdict on the gradient, against the kernels' own values."""
    field, y0 = small_field(field_name), small_state(field_name)
    result = taylor_test(lambda: fused(field, RK4, TS, 1, y0, memory).square().sum(), list(field.parameters()))
    assert result.passes
    assert result.slope_e1 == pytest.approx(2.0, abs=0.1)


def test_finite_differences(fused: Fused) -> None:
    """By y0, through a flow with both running costs."""
    augmented, state = flow_of(random_field(ConcatSquash((2, 6, 5, 2))), "exact", RunningCosts(True, True), 5)
    state = state.requires_grad_()
    assert torch.autograd.gradcheck(lambda y: fused(augmented, RK4, TS, 1, y), (state,), atol=1e-8)


@pytest.mark.parametrize("scheme", [RK4, HEUN])
@pytest.mark.parametrize("memory", MEMORIES)
def test_threads_change_nothing(memory: str, scheme: Scheme, fused: Fused) -> None:
    """Tiles and the sums of their gradients are the same for any number of threads, to the last bit."""
    augmented, state = flow_of(random_field(ConcatSquash((2, 24, 24, 2))), "exact", RunningCosts(), 203)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            ys = fused(augmented, scheme, TS, 2, state, memory)
            results.append([ys.detach(), *torch.autograd.grad(ys.square().sum(), list(augmented.parameters()))])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(map(torch.equal, results[0], other))


def test_a_batch_is_its_parts(fused: Fused) -> None:
    """Samples do not see each other: half a batch gives half of the states, and gradients add up."""
    field, y0 = random_field(MLP((3, 20, 3))), random_state(70, 3)
    params = list(field.parameters())

    def both(part: Tensor) -> tuple[Tensor, list[Tensor]]:
        ys = fused(field, RK4, TS, 1, part)
        return ys.detach(), list(torch.autograd.grad(ys.square().sum(), params))

    whole, halves = both(y0), [both(y0[:31]), both(y0[31:])]
    torch.testing.assert_close(torch.cat([h[0] for h in halves], 1), whole[0], rtol=1e-13, atol=1e-14)
    for total, a, b in zip(whole[1], halves[0][1], halves[1][1], strict=True):
        torch.testing.assert_close(a + b, total, rtol=1e-11, atol=1e-12)


def test_several_graphs_at_a_time(fused: Fused) -> None:
    """Solves of one kind that wait for their backward pass together do not share memory; a graph can be used twice."""
    field = random_field(MLP((2, 5, 2)))
    params = list(field.parameters())
    states = [random_state(4, 2) * k for k in (0.5, 1.0, 1.5)]
    alone = [torch.autograd.grad(fused(field, RK4, TS, 1, y).square().sum(), params) for y in states]
    losses = [fused(field, RK4, TS, 1, y).square().sum() for y in states]
    for loss, wanted in zip(losses, alone, strict=True):
        for _ in range(2):
            gradients = torch.autograd.grad(loss, params, retain_graph=True)
            assert all(map(torch.equal, gradients, wanted))


def test_the_gradient_is_that_of_the_forward_pass(fused: Fused) -> None:
    """An optimiser that changes the parameters before the backward pass does not change the gradient."""
    field, y0 = random_field(ConcatSquash((2, 5, 2))), random_state(3, 2)
    params = list(field.parameters())
    wanted = torch.autograd.grad(fused(field, RK4, TS, 1, y0).square().sum(), params)
    loss = fused(field, RK4, TS, 1, y0).square().sum()
    with torch.no_grad():
        for p in params:
            p.add_(1.0)
    assert all(map(torch.equal, torch.autograd.grad(loss, params), wanted))


@pytest.mark.parametrize("size", ["TAPE_BYTES_ALWAYS", "SPARE_BYTES", "GRADS_BYTES"])
def test_large_solves(size: str, fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done otherwise for large solves, done for a small one, gives the same gradient."""
    from pynode.engines.fused import plan, plan_fixed

    field, y0 = random_field(MLP((2, 5, 2))), random_state(100, 2)
    params = list(field.parameters())
    small = torch.autograd.grad(fused(field, RK4, TS, 3, y0).square().sum(), params)
    plan.forget_plans()
    monkeypatch.setattr(plan_fixed, size, 0)
    try:
        loss = fused(field, RK4, TS, 3, y0).square().sum()
        large = torch.autograd.grad(loss, params)
        if size == "SPARE_BYTES":
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(loss, params)
    finally:
        plan.forget_plans()
    for a, b in zip(large, small, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_plans_do_not_pile_up(fused: Fused, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does their memory: solves of ever new shapes make the oldest go."""
    from pynode.engines.fused import plan as planning

    planning.forget_plans()
    monkeypatch.setattr(planning, "PLANS_KEPT", 3)
    field = random_field(MLP((2, 5, 2)))
    for batch in range(1, 7):
        fused(field, RK4, TS, 1, random_state(batch, 2))
        assert len(planning._PLANS) == min(batch, 3)
    monkeypatch.setattr(planning, "PLANS_BYTES", 0)
    fused(field, RK4, TS, 1, random_state(9, 2))
    assert len(planning._PLANS) == 1


def test_second_derivatives(fused: Fused) -> None:
    """A gradient of the gradient takes the way of torch operators, whatever is stored."""
    from pynode.grid import TimeGrid

    field, y0 = random_field(MLP((2, 4, 2))), random_state(3, 2)
    params = list(field.parameters())

    def second(ys: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(ys.square().sum(), params, create_graph=True)
        squares = torch.stack([g.square().sum() for g in first]).sum()
        return torch.autograd.grad(squares, params)

    wanted = second(RK4.solve(field, y0, TimeGrid.between(TS)))
    for memory in ("store", "recompute"):
        for a, b in zip(second(fused(field, RK4, TS, 1, y0, memory)), wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_solution_that_blows_up_is_not_finite(fused: Fused) -> None:
    """And nothing worse happens: the caller finds it as it finds it for torch operators."""
    field = random_field(MLP((2, 5, 2), "softplus", 3))
    ys = fused(field, RK4, torch.tensor([0.0, 50.0], dtype=torch.float64), 60, 30 * random_state(2, 2))
    assert not torch.isfinite(ys[-1]).all()
    assert torch.isfinite(ys[0]).all()


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize(
    "spec", [MLP((2, 5, 2), "softplus", 3), MLP((20, 5, 20), "softplus", 3), MLP((9, 3, 9), "gelu", 2)]
)
def test_a_solve_that_blew_up_leaves_nothing_behind(spec: MLP, batch: int, memory: str, fused: Fused) -> None:
    """The next one of the same shape works in the same memory."""
    y0 = 0.3 * torch.randn(batch, spec.state_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    calm, wild = spec.build(seed=1), spec.build(theta=1e160 * spec.initial_theta(1))

    def both(field: Field, y: Tensor) -> list[Tensor]:
        ys = fused(field, RK4, TS, 2, y, memory)
        return [ys.detach(), *torch.autograd.grad(ys.sum(), list(field.parameters()))]

    before = both(calm, y0)
    assert all(torch.isfinite(tensor).all() for tensor in before)
    for _ in range(3):
        assert not torch.isfinite(both(wild, 1e160 * y0)[0]).all()
    assert all(torch.equal(a, b) for a, b in zip(before, both(calm, y0), strict=True))
