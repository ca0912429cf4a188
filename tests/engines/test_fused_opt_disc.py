"""The adaptive kernels against torch operators and fine fixed steps: states, gradients and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.engines.fused.engine import ADJOINTS, PAIRS
from pynode.fields import FIELDS
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import Field, FieldSpec
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import divergence
from pynode.gradients import AdjointNorm
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
Adaptive = Callable[..., Tensor]

TS = torch.tensor([0.1, 0.4, 0.9, 1.0], dtype=torch.float64)
TIGHT = OptDisc(rtol=1e-11, atol=1e-11)
SOLVERS = [pair.name for pair in PAIRS]
ADJOINT_NORMS = get_args(AdjointNorm)
WAYS = [(adjoint, norm) for adjoint in ADJOINTS for norm in ADJOINT_NORMS]


@pytest.fixture
def adaptive(adaptive_solve: Adaptive) -> Adaptive:
    """`adaptive(module, options, y0, ts, stats)`: the states by the kernels."""

    def run(module: nn.Module, options: OptDisc, y0: Tensor, ts: Tensor = TS, stats: Any = None) -> Tensor:
        return adaptive_solve(module, options, y0, ts, stats)

    return run


def gradients(module: nn.Module, y0: Tensor, solve: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """States, and for random cotangents of these the gradients by y0 and each parameter that wants one."""
    y0 = y0.clone().requires_grad_()
    ys = solve(y0)
    cotangents = torch.randn(ys.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).to(ys)
    sources = [y0, *(p for p in module.parameters() if p.requires_grad)]
    return [ys.detach(), *torch.autograd.grad(ys, sources, cotangents)]


def distance(tensors: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest relative difference of two tensors in their order."""
    return max(float((a - b).norm() / b.norm().clamp(min=1e-12)) for a, b in zip(tensors, wanted, strict=True))


def by_kernels(adaptive: Adaptive, module: nn.Module, options: OptDisc, y0: Tensor, ts: Tensor = TS) -> list[Tensor]:
    """By the adaptive kernels."""
    return gradients(module, y0, lambda y: adaptive(module, options, y, ts))


def by_fine_steps(module: nn.Module, y0: Tensor, ts: Tensor = TS, steps: int = 150) -> list[Tensor]:
    """By the fixed-step kernels, which have tests of their own."""
    method = DiscOpt(RK4, steps, engine="fused")
    return gradients(module, y0, lambda y: method.solve(module, y, ts).ys)


def random_field(spec: FieldSpec, dtype: torch.dtype = torch.float64) -> Field:
    """Parameters of a size that keeps solutions moderate."""
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scale = 0.8 / max(getattr(spec, "widths", (spec.state_dim,))) ** 0.5
    return spec.build(theta=scale * noise, dtype=dtype)


def random_state(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Entries of a size of about one half."""
    return 0.5 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4)).to(dtype)


_EAGER: dict[tuple[str, bool], list[Tensor]] = {}


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_field_solver_and_adjoint(
    solver: str, field_name: str, reverse: bool, small_field: FieldOf, small_state: StateOf, adaptive: Adaptive
) -> None:
    """At tight tolerances as torchdiffeq at tight tolerances, in both directions, whatever controls the steps."""
    field, y0, ts = small_field(field_name), small_state(field_name), TS.flip(0) if reverse else TS
    key = (field_name, reverse)
    if key not in _EAGER:
        eager = OptDisc(rtol=1e-11, atol=1e-11, engine="eager")
        _EAGER[key] = gradients(field, y0, lambda y: eager.solve(field, y, ts).ys)
    for adjoint, norm in WAYS:
        options = OptDisc(solver, 1e-11, 1e-11, adjoint=adjoint, adjoint_norm=norm)
        results = by_kernels(adaptive, field, options, y0, ts)
        assert distance(results, _EAGER[key]) < 1e-8, (adjoint, norm)


SPECS: tuple[FieldSpec, ...] = (
    MLP((2, 50, 2), input_power=3),
    MLP((3, 17, 4, 9, 3), input_power=2),
    MLP((20, 33, 20)),
    ConcatSquash((5, 33, 9, 5)),
    Antisymmetric(19, gamma=0.2),
    Hamiltonian(18, 5),
)


@pytest.mark.parametrize("batch", [1, 3, 70])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_widths_and_batches(spec: FieldSpec, batch: int, adaptive: Adaptive) -> None:
    """Rows that are no whole vectors, batches that are no whole tiles."""
    field, y0 = random_field(spec), random_state(batch, spec.state_dim)
    wanted = by_fine_steps(field, y0)
    for adjoint, norm in WAYS:
        options = OptDisc("tsit5", 1e-9, 1e-11, adjoint=adjoint, adjoint_norm=norm)
        assert distance(by_kernels(adaptive, field, options, y0), wanted) < 1e-7


@pytest.mark.parametrize("act", ["tanh", "softplus", "sigmoid", "silu", "gelu"])
@pytest.mark.parametrize("kind", ["exact", "gaussian"])
@pytest.mark.parametrize("architecture", FIELDS.names())
def test_flows(architecture: str, kind: str, act: str, adaptive: Adaptive) -> None:
    """Both divergences with all running costs."""
    spec: FieldSpec = {
        "mlp": MLP((2, 5, 9, 2), act, 3),
        "concatsquash": ConcatSquash((3, 10, 3), act),
        "antisymmetric": Antisymmetric(3, act, 0.3),
        "hamiltonian": Hamiltonian(4, 6, act),
    }[architecture]
    field, dim = random_field(spec), spec.state_dim
    for costs in (RunningCosts(), RunningCosts(True, True)):
        probes = None if kind == "exact" else random_state(7, dim) + 1
        augmented = AugmentedField(field, dim, divergence(kind), probes, costs)
        state = augmented.initial(random_state(7, dim))
        wanted = by_fine_steps(augmented, state)
        for adjoint in ADJOINTS:
            options = OptDisc("dopri5", 1e-9, 1e-10, adjoint=adjoint)
            results = by_kernels(adaptive, augmented, options, state)
            assert distance(results, wanted) < 1e-6


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_errors_fall_with_the_tolerance(solver: str, adjoint: Any, adaptive: Adaptive) -> None:
    """States and gradients in proportion to it, by regression over five tolerances."""
    field = MLP((2, 50, 2), input_power=3).build(seed=0)
    y0 = torch.tensor([[2.0, 0.0], [0.5, -1.0]], dtype=torch.float64)
    times = torch.tensor([0.0, 0.7, 1.5], dtype=torch.float64)
    wanted = by_fine_steps(field, y0, times, 1500)
    tolerances = [1e-6, 1e-7, 1e-8, 1e-9, 1e-10]
    for norm in ADJOINT_NORMS:
        errors = []
        for rtol in tolerances:
            options = OptDisc(solver, rtol, rtol, adjoint=adjoint, adjoint_norm=norm)
            results = by_kernels(adaptive, field, options, y0, times)
            errors.append(distance(results, wanted))
        slope, _ = np.polyfit(np.log(tolerances), np.log(errors), 1)
        assert 0.65 < slope < 1.15, (norm, slope, errors)
        assert errors[-1] < 1e-9, norm


def test_tolerances_of_the_adjoint(adaptive: Adaptive) -> None:
    """Its own where there are such: they change the work backward alone."""
    field, y0 = random_field(MLP((2, 50, 2), input_power=3)), random_state(1, 2) * 4
    work = []
    for adjoint_tolerance in (None, 1e-10):
        options = OptDisc("tsit5", 1e-6, 1e-6, adjoint_tolerance, adjoint_tolerance)
        stats = SolveStats()
        adaptive(field, options, y0, TS, stats).sum().backward()
        work.append(stats)
    assert work[0].forward == work[1].forward
    assert work[1].backward.n_accepted > 1.5 * work[0].backward.n_accepted


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_counts(adjoint: Any, small_field: FieldOf, small_state: StateOf, adaptive: Adaptive) -> None:
    """Six stages a step, one more evaluation to begin with and one to choose the first step."""
    stats, field, y0 = SolveStats(), small_field("mlp"), small_state("mlp")
    ys = adaptive(field, OptDisc("tsit5", adjoint=adjoint), y0, TS, stats)
    forward, back = stats.forward, stats.backward
    attempts = forward.n_accepted + forward.n_rejected
    assert attempts > 2
    assert (forward.n_f, forward.n_vjp, back.n_f, back.n_vjp) == (2 + 6 * attempts, 0, 0, 0)
    for times in (1, 2):  # a graph that is used twice does the work twice
        ys.sum().backward(retain_graph=True)
        attempts = back.n_accepted + back.n_rejected
        # the first slope, that of the first step's choice, and one at each output time in between
        assert back.n_vjp == times * (2 + 2) + 6 * attempts
        # the state of the last two stages is the same where it is interpolated, and known where an interval begins
        assert back.n_f == (back.n_vjp if adjoint == "backsolve" else times * 2 + 5 * attempts)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 3, 2)], ids=str)
def test_shapes_of_the_state(shape: tuple[int, ...], adaptive: Adaptive) -> None:
    """A single state, deep batches: one system with one step size either way."""
    field, y0 = random_field(MLP((2, 5, 2))), random_state(*shape)
    shaped = by_kernels(adaptive, field, TIGHT, y0)
    flat = by_kernels(adaptive, field, TIGHT, y0.reshape(-1, 2))
    assert shaped[0].shape == (4, *shape)
    assert shaped[1].shape == shape
    torch.testing.assert_close(shaped[0].reshape(flat[0].shape), flat[0], rtol=1e-13, atol=1e-14)


def test_memory_in_any_order(adaptive: Adaptive) -> None:
    """A state, parameters and times that are views with strides of their own, and a cotangent that is one number."""
    field = random_field(MLP((3, 8, 3)))
    wanted = by_kernels(adaptive, field, TIGHT, random_state(3, 4).T.contiguous())
    field.W0.data = field.W0.data.T.contiguous().T  # type: ignore[operator]
    every_other = torch.stack((TS, TS), 1)[:, 0]
    y0 = random_state(3, 4).T
    assert not any(x.is_contiguous() for x in (field.W0, every_other, y0))  # type: ignore[operator]
    assert distance(by_kernels(adaptive, field, TIGHT, y0, every_other), wanted) < 1e-12
    params = list(field.parameters())
    one = torch.autograd.grad(adaptive(field, TIGHT, y0).sum(), params)
    ones = torch.autograd.grad((ys := adaptive(field, TIGHT, y0)), params, torch.ones_like(ys))
    assert all(map(torch.equal, one, ones))


@pytest.mark.parametrize("norm", ADJOINT_NORMS)
def test_float32(norm: Any, adaptive: Adaptive) -> None:
    """The same kernels for float32, to its rounding."""
    for spec in SPECS:
        field, y0 = random_field(spec, torch.float32), random_state(9, spec.state_dim, dtype=torch.float32)
        wanted = by_fine_steps(random_field(spec), y0.double())
        for adjoint in ADJOINTS:
            options = OptDisc("tsit5", 1e-5, 1e-6, adjoint=adjoint, adjoint_norm=norm)
            results = by_kernels(adaptive, field, options, y0)
            assert all(x.dtype == torch.float32 for x in results)
            assert distance([x.double() for x in results], wanted) < 1e-4


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("norm", ADJOINT_NORMS)
@pytest.mark.parametrize("field_name", FIELDS.names())
def test_frozen_parameters(
    field_name: str, norm: Any, adjoint: Any, small_field: FieldOf, small_state: StateOf, adaptive: Adaptive
) -> None:
    """Each tensor frozen in turn, then all of them, when only y0 gets its gradient."""
    y0 = small_state(field_name)
    options = OptDisc(rtol=1e-11, atol=1e-11, adjoint=adjoint, adjoint_norm=norm)
    whole = gradients((field := small_field(field_name)), y0, lambda y: adaptive(field, options, y))
    n = len(list(field.parameters()))
    for frozen in range(n):
        field = small_field(field_name)
        list(field.parameters())[frozen].requires_grad_(False)
        results = by_kernels(adaptive, field, options, y0)
        assert distance(results, whole[: 2 + frozen] + whole[3 + frozen :]) < 1e-8
    field = small_field(field_name).requires_grad_(False)
    assert distance(by_kernels(adaptive, field, options, y0), whole[:2]) < 1e-8


def test_no_gradient_wanted(small_field: FieldOf, small_state: StateOf, adaptive: Adaptive) -> None:
    """The same states without a graph, be it that gradients are off or that nothing wants one."""
    field, y0 = small_field("mlp"), small_state("mlp")
    for adjoint in ADJOINTS:
        options = OptDisc(adjoint=adjoint)
        with_graph = adaptive(field, options, y0)
        with torch.no_grad():
            without = adaptive(field, options, y0)
        assert with_graph.requires_grad
        assert not without.requires_grad
        assert torch.equal(with_graph, without)
    assert not adaptive(field.requires_grad_(False), OptDisc(), y0).requires_grad


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_output_times_do_not_change_the_forward_steps(adjoint: Any, adaptive: Adaptive) -> None:
    """States between steps are interpolated, in reversed time too; the ends are met exactly."""
    field, y0 = random_field(MLP((2, 9, 2))), random_state(3, 2)
    options = OptDisc("tsit5", 1e-8, 1e-8, adjoint=adjoint)
    for ends in (torch.tensor([0.3, 2.9]), torch.tensor([2.9, 0.3])):
        few, many = SolveStats(), SolveStats()
        at_ends = adaptive(field, options, y0, ends.double(), few)
        times = torch.linspace(float(ends[0].double()), float(ends[1].double()), 57, dtype=torch.float64)
        times[0], times[-1] = ends[0].double(), ends[1].double()
        ys = adaptive(field, options, y0, times, many)
        assert few.forward == many.forward
        assert torch.equal(ys[-1], at_ends[-1])
        assert torch.equal(ys[0], y0)
        wanted = by_fine_steps(field, y0, times, 20)[0]
        torch.testing.assert_close(ys.detach(), wanted, rtol=1e-6, atol=1e-7)
