"""Opt-Disc on a fixed grid: a gradient off by O(h), and the stiff field that tells its two adjoints apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.eager import same_grid
from pynode.errors import InvalidArgument, SolveError
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4
from pynode.studies.gradients.taylor import fitted_slope, taylor_test

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
Adjoint = Literal["explicit", "backward-euler"]
ADJOINTS: tuple[Adjoint, ...] = ("explicit", "backward-euler")
TS = torch.tensor([0.1, 0.5, 1.1], dtype=torch.float64)


def gradient(method: Any, field: nn.Module, y0: Tensor, ts: Tensor) -> Tensor:
    """By parameters and by y0, in one vector."""
    y0 = y0.clone().requires_grad_()
    ys = method.solve(field, y0, ts).ys
    weights = torch.linspace(0.5, 1.5, ys.numel(), dtype=ys.dtype).reshape(ys.shape)
    gradients = torch.autograd.grad((weights * (ys - 0.3).square()).sum(), [*field.parameters(), y0])
    return torch.cat([g.reshape(-1) for g in gradients])


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("name", FIELDS.names())
def test_the_gradient_is_off_by_the_step_size(
    name: str, adjoint: Adjoint, times: Tensor, small_field: FieldOf, small_state: StateOf
) -> None:
    """Against Disc-Opt on the same grid with the same scheme: slope one for Euler, by regression."""
    field, y0 = small_field(name), small_state(name)
    counts = [16, 32, 64, 128]
    errors = [
        relative(
            gradient(OptDiscFixed(EULER, n, adjoint), field, y0, times), gradient(DiscOpt(EULER, n), field, y0, times)
        )
        for n in counts
    ]
    assert fitted_slope([1 / n for n in counts], errors) == pytest.approx(1.0, abs=0.15)
    assert errors[0] > 1e-4  # it is no small print


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_it_is_not_the_gradient_of_the_discrete_loss(
    adjoint: Adjoint, small_field: FieldOf, small_state: StateOf
) -> None:
    """The Taylor test says so, while the states are those of Disc-Opt."""
    field, y0 = small_field("mlp"), small_state("mlp")
    method = OptDiscFixed(EULER, 4, adjoint)
    assert torch.equal(method.solve(field, y0, TS).ys, DiscOpt(EULER, 4, engine="eager").solve(field, y0, TS).ys)
    result = taylor_test(lambda: method.solve(field, y0, TS).ys.square().sum(), list(field.parameters()))
    assert not result.passes
    assert result.slope_e1 == pytest.approx(1.0, abs=0.1)


def test_the_studys_formula_by_hand() -> None:
    """l_k = l_{k+1} + h J(z_{k+1})^T l_{k+1}, and theta's gradient summed with the same factors."""
    field, h, n = MLP((2, 3, 2)).build(seed=1), 0.25, 4
    params = list(field.parameters())
    y0, t = torch.tensor([0.4, -1.1], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    z = [y0]
    for _ in range(n):
        z.append((z[-1] + h * field(t, z[-1])).detach())
    adjoint, total = 2 * z[-1], [torch.zeros_like(p) for p in params]
    for k in reversed(range(n)):
        J = torch.autograd.functional.jacobian(lambda y: field(t, y), z[k + 1])
        parts = torch.autograd.grad(field(t, z[k + 1]), params, adjoint)
        total = [a + h * b for a, b in zip(total, parts, strict=True)]
        adjoint = adjoint + h * J.T @ adjoint
    start = y0.clone().requires_grad_()
    ts = torch.tensor([0.0, n * h], dtype=torch.float64)
    ys = OptDiscFixed(EULER, n, "explicit").solve(field, start, ts).ys
    gradients = torch.autograd.grad(ys[-1].square().sum(), [start, *params])
    for got, wanted in zip(gradients, [adjoint, *total], strict=True):
        assert torch.allclose(got, wanted, rtol=1e-13, atol=1e-15)


def test_backward_euler_by_hand() -> None:
    """(I - h J(z_k)^T) l_k = l_{k+1}; theta's gradient takes the new l_k."""
    field, h, n = MLP((2, 3, 2)).build(seed=1), 0.25, 4
    params = list(field.parameters())
    y0, t = torch.tensor([0.4, -1.1], dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    z = [y0]
    for _ in range(n):
        z.append((z[-1] + h * field(t, z[-1])).detach())
    adjoint, total = 2 * z[-1], [torch.zeros_like(p) for p in params]
    for k in reversed(range(n)):
        J = torch.autograd.functional.jacobian(lambda y: field(t, y), z[k])
        adjoint = torch.linalg.solve(torch.eye(2, dtype=torch.float64) - h * J.T, adjoint)
        parts = torch.autograd.grad(field(t, z[k]), params, adjoint)
        total = [a + h * b for a, b in zip(total, parts, strict=True)]
    start = y0.clone().requires_grad_()
    ts = torch.tensor([0.0, n * h], dtype=torch.float64)
    ys = OptDiscFixed(EULER, n, "backward-euler").solve(field, start, ts).ys
    gradients = torch.autograd.grad(ys[-1].square().sum(), [start, *params])
    for got, wanted in zip(gradients, [adjoint, *total], strict=True):
        assert torch.allclose(got, wanted, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", FIELDS.names())
def test_dense_and_gmres_agree(
    name: str, small_field: FieldOf, small_state: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same linear solve twice: by a matrix, and by products alone."""
    field, y0, method = small_field(name), small_state(name), OptDiscFixed(RK4, 3, "backward-euler")
    dense = gradient(method, field, y0, TS)
    monkeypatch.setattr(same_grid, "DENSE_LIMIT", 0)
    # GMRES stops at a residual of 1e-12, a dozen times
    assert relative(gradient(method, field, y0, TS), dense) < 1e-10


def test_large_states_go_by_gmres(small_field: FieldOf) -> None:
    """Above the limit, with float32 as well."""
    field, n = small_field("mlp"), same_grid.DENSE_LIMIT
    y0 = 0.5 * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    double = gradient(OptDiscFixed(EULER, 20, "backward-euler"), field, y0, TS)
    # O(h), with h = 0.03
    assert relative(double, gradient(DiscOpt(EULER, 20), field, y0, TS)) < 0.1
    single = gradient(OptDiscFixed(EULER, 20, "backward-euler"), field.float(), y0.float(), TS)
    assert single.dtype == torch.float32
    assert relative(single.double(), double) < 1e-4


class _Relaxation(nn.Module):
    """y' = -50 (y - p cos t): stiff, attracted to a slow curve that the parameter scales."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -50 * (y - self.p * torch.cos(t))


def test_the_explicit_adjoint_blows_up_where_backward_euler_does_not() -> None:
    """h lambda = 2.5: inside RK4's stability region (2.78), outside explicit Euler's (2)."""
    field, steps = _Relaxation(), 40  # h = 0.05 on [0, 2]
    ts = torch.tensor([0.0, 2.0], dtype=torch.float64)

    def by_all(method: Any) -> tuple[float, float, float]:
        y0 = torch.tensor([0.2], dtype=torch.float64, requires_grad=True)
        ys = method.solve(field, y0, ts).ys
        by_p, by_y0 = torch.autograd.grad(ys[-1].sum(), [field.p, y0])
        return float(ys[-1].detach()), float(by_p), float(by_y0)

    state, by_p, by_y0 = by_all(DiscOpt(RK4, 20 * steps))
    coarse_state, exact_p, _ = by_all(DiscOpt(RK4, steps))
    assert coarse_state == pytest.approx(state, abs=0.05)  # the forward solve is fine
    assert exact_p == pytest.approx(by_p, rel=0.05)  # and so is Disc-Opt's gradient of it
    assert abs(by_p) < 1
    assert abs(by_y0) < 1e-40
    _, explicit_p, explicit_y0 = by_all(OptDiscFixed(RK4, steps, "explicit"))
    assert abs(explicit_p) > 1e3 * abs(by_p)
    assert abs(explicit_y0) > 1e6
    _, implicit_p, implicit_y0 = by_all(OptDiscFixed(RK4, steps, "backward-euler"))
    # first order: h = 0.05, and a factor of some 2.5 from the curve that the gradient follows
    assert implicit_p == pytest.approx(by_p, rel=0.15)
    _, finer_p, _ = by_all(OptDiscFixed(RK4, 4 * steps, "backward-euler"))
    assert abs(finer_p - by_p) < abs(implicit_p - by_p) / 3
    assert abs(implicit_y0) < 1e-20


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_work_is_counted_exactly(adjoint: Adjoint, small_field: FieldOf, small_state: StateOf) -> None:
    """One evaluation a step backwards; one product a step, and one for each state entry where a matrix is built."""
    y0 = small_state("mlp")
    solution = OptDiscFixed(EULER, (3, 2), adjoint).solve(small_field("mlp"), y0, TS)
    assert (solution.stats.nfe_forward, solution.stats.forward.n_accepted) == (5, 5)
    assert solution.stats.backward.evaluations == 0
    solution.ys.square().sum().backward()
    assert solution.stats.nfe_backward == 5
    per_step = 1 if adjoint == "explicit" else 1 + y0.numel()
    assert solution.stats.backward.n_vjp == 5 * per_step


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_gradient_by_ts_tends_to_the_right_one(
    adjoint: Adjoint, small_field: FieldOf, small_state: StateOf
) -> None:
    """At first order, like the rest."""
    field, y0 = small_field("concatsquash"), small_state("concatsquash")

    def by_ts(method: Any) -> Tensor:
        ts = TS.clone().requires_grad_()
        (slopes,) = torch.autograd.grad((method.solve(field, y0, ts).ys - 0.3).square().sum(), ts)
        return slopes

    reference = by_ts(DiscOpt(RK4, 100))
    counts = [20, 40, 80]
    errors = [relative(by_ts(OptDiscFixed(EULER, n, adjoint)), reference) for n in counts]
    assert fitted_slope([1 / n for n in counts], errors) == pytest.approx(1.0, abs=0.15)


def test_closures_over_parameters_get_their_gradient() -> None:
    """Named or not."""
    scale, y0 = nn.Parameter(torch.tensor(-0.7, dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    for params in (None, [scale]):
        ys = OptDiscFixed(EULER, 4).solve(lambda _, y: scale * y, y0, TS, params=params).ys
        assert torch.autograd.grad(ys[-1].sum(), scale)[0].abs() > 0.1


@pytest.mark.parametrize(
    ("options", "argument"),
    [({"scheme": "euler"}, "scheme"), ({"steps": 0}, "steps"), ({"adjoint": "implicit"}, "adjoint")],
)
def test_bad_options_are_named(options: dict[str, Any], argument: str) -> None:
    """When the method is written, not when it is first used."""
    with pytest.raises(InvalidArgument) as caught:
        OptDiscFixed(**options)
    assert caught.value.argument == argument


class Cyclic(nn.Module):
    """A field whose backward Euler system, for steps of one, moves every entry on by one: I - J^T is a permutation.

    GMRES gets no nearer to the solution until it has as many vectors as there are entries.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002 (autonomous)
        return self.scale * (y - torch.roll(y, 1, dims=-1))


def test_gmres_ends_where_it_would_stand_still_if_it_were_restarted() -> None:
    """After as many products as the state has entries, with the exact result."""
    n = 300
    y0 = torch.zeros(1, n, dtype=torch.float64).requires_grad_()
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    solution = OptDiscFixed(EULER, 1, "backward-euler").solve(Cyclic(), y0, ts)
    weights = torch.zeros(1, n, dtype=torch.float64)
    weights[0, 7] = 1.0
    (solution.ys[-1] * weights).sum().backward()
    assert y0.grad is not None
    assert int(y0.grad.abs().argmax()) in (6, 8)
    torch.testing.assert_close(y0.grad.abs().sum(), torch.tensor(1.0, dtype=torch.float64), rtol=1e-9, atol=0)
    assert solution.stats.backward.n_vjp <= n + 10


def test_gmres_that_does_not_converge_is_an_error_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after ten times as many cycles as there are entries."""
    n = 300
    monkeypatch.setattr(same_grid, "VECTOR_NUMBERS", 0)
    y0 = torch.zeros(1, n, dtype=torch.float64).requires_grad_()
    ts = torch.tensor([0.0, 1.0], dtype=torch.float64)
    solution = OptDiscFixed(EULER, 1, "backward-euler").solve(Cyclic(), y0, ts)
    with pytest.raises(SolveError, match="GMRES did not converge"):
        solution.ys[-1, 0, 7].backward()
    assert solution.stats.backward.n_vjp < (same_grid.PRODUCTS + 1) * n
