"""What a user of torch operators may do goes on with engine="auto": the kernels do it too, or stand aside."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.least_squares import LeastSquares
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.base import Scheme
from pynode.schemes.rk4 import RK4

pytestmark = pytest.mark.usefixtures("needs_fused")
TS = torch.linspace(0, 1, 4, dtype=torch.float64)
Y0 = torch.tensor([[0.4, -0.3], [0.1, 0.8]], dtype=torch.float64)
AUTO, EAGER = DiscOpt(RK4, 2), DiscOpt(RK4, 2, engine="eager")


def field() -> Field:
    spec = MLP((2, 8, 2))
    return spec.build(theta=torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))


class Solved(nn.Module):
    """A module whose value is a solve."""

    def __init__(self, method: DiscOpt) -> None:
        super().__init__()
        self.field, self.method = field(), method

    def forward(self, y: Tensor) -> Tensor:
        return self.method.solve(self.field, y, TS).ys[-1]


def test_parameters_that_are_functions_of_others() -> None:
    """Inner steps of meta-learning: gradients of first and second order by the outer parameters."""
    gradients = []
    for method in (AUTO, EAGER):
        module = Solved(method)
        outer = dict(module.named_parameters())
        inner = {name: 1.1 * p for name, p in outer.items()}
        loss = torch.func.functional_call(module, inner, (Y0,)).square().sum()
        first = torch.autograd.grad(loss, list(outer.values()), create_graph=True)
        norm = torch.stack([g.square().sum() for g in first]).sum()
        second = torch.autograd.grad(norm, list(outer.values()), allow_unused=True)
        gradients.append([*first, *(g for g in second if g is not None)])
        assert float(first[0].detach().norm()) > 0
    for a, b in zip(*gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-10)


def test_changes_in_place_before_a_second_derivative_are_told() -> None:
    f = field()
    loss = AUTO.solve(f, Y0, TS).ys.square().sum()
    with torch.no_grad():
        next(f.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        torch.autograd.grad(loss, list(f.parameters()), create_graph=True)


@pytest.mark.parametrize("method", [AUTO, OptDisc(rtol=1e-5, atol=1e-7)], ids=["disc-opt", "opt-disc"])
def test_a_second_backward_pass_needs_the_graph_retained(method: Any) -> None:
    loss = method.solve(field(), Y0, TS).ys.square().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_many_cotangents_at_a_time() -> None:
    f = field()
    jacobians = [
        torch.autograd.functional.jacobian(lambda y, m=m: m.solve(f, y, TS).ys[-1], Y0, vectorize=True)
        for m in (AUTO, EAGER)
    ]
    assert torch.allclose(jacobians[0], jacobians[1], rtol=1e-10)


def test_a_scheme_of_the_users_is_the_users() -> None:
    class Clipped(Scheme):
        def step(self, *args: Any) -> Tensor:
            return super().step(*args).clamp(-0.1, 0.1)

    clipped = Clipped("clipped", RK4.order, RK4.a, RK4.b, RK4.c)
    ys = DiscOpt(clipped).solve(field(), Y0, TS).ys
    assert float(ys[1:].detach().abs().max()) <= 0.1


@pytest.mark.parametrize("method", [DiscOpt(RK4, 7), OptDisc(rtol=1e-3, atol=3e-4)], ids=["disc-opt", "opt-disc"])
def test_another_default_device_changes_nothing(method: Any) -> None:
    """Tensors that are on the CPU stay there."""
    f = field()
    with torch.device("meta"):
        gradients = torch.autograd.grad(method.solve(f, Y0, TS).ys.square().sum(), list(f.parameters()))
    wanted = torch.autograd.grad(method.solve(f, Y0, TS).ys.square().sum(), list(f.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(gradients, wanted, strict=True))


def test_sizes_as_lists_scalars_and_coarse_times() -> None:
    assert DiscOpt().solve(MLP([2, 8, 2]).build(seed=0), Y0, TS).stats.engine == "fused"  # type: ignore[arg-type]
    with pytest.raises(Exception, match="shape"):
        DiscOpt().solve(field(), torch.tensor(0.5, dtype=torch.float64), TS)
    assert torch.isfinite(OptDisc(rtol=1e-3, atol=1e-3).solve(field(), Y0, TS.bfloat16()).ys).all()


def test_hooks_on_all_modules_are_heard() -> None:
    calls = []
    handle = nn.modules.module.register_module_forward_hook(lambda *_: calls.append(1))
    try:
        AUTO.solve(field(), Y0, TS)
    finally:
        handle.remove()
    assert len(calls) == 3 * 2 * 4


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_tracing_sees_the_operators() -> None:
    f = field().requires_grad_(False)
    traced = torch.jit.trace(lambda y: AUTO.solve(f, y, TS).ys[-1], Y0, check_trace=False)
    assert torch.allclose(traced(2 * Y0), EAGER.solve(f, 2 * Y0, TS).ys[-1], rtol=1e-12)


def test_probes_may_be_changed_afterwards() -> None:
    from pynode.fields.concatsquash import ConcatSquash
    from pynode.flows.augmented import AugmentedField, RunningCosts
    from pynode.flows.divergence import Hutchinson

    def gradient(*, change: bool) -> Tensor:
        probes = torch.ones(2, 2, dtype=torch.float64)
        inner = ConcatSquash((2, 4, 2)).build(seed=3)
        augmented = AugmentedField(inner, 2, Hutchinson(), probes, RunningCosts())
        loss = AUTO.solve(augmented, augmented.initial(Y0), TS).ys.square().sum()
        if change:
            probes.mul_(3)
        return torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(inner.parameters()))])

    assert torch.equal(gradient(change=True), gradient(change=False))


def test_least_squares_as_autograd_has_it() -> None:
    """Gradients are added in place, hooks are called, bad times are refused, and there is one backward pass."""
    data = torch.zeros(4, 2, 2, dtype=torch.float64)
    f = field()
    kept = []
    for p in f.parameters():
        p.grad = torch.ones_like(p)
        kept.append(p.grad)
    fit = LeastSquares(AUTO, f, Y0, TS, data)
    fit.backward()
    assert all(p.grad is g and float(g.std()) > 0 for p, g in zip(f.parameters(), kept, strict=True))
    with pytest.raises(RuntimeError, match="solve again"):
        fit.backward()
    hooked = field()
    next(hooked.parameters()).register_hook(lambda g: 0 * g)
    LeastSquares(AUTO, hooked, Y0, TS, data).backward()
    gradient = next(hooked.parameters()).grad
    assert gradient is not None
    assert not gradient.any()
    for method in (AUTO, OptDisc()):
        with pytest.raises(InvalidArgument, match="not strictly monotone"):
            LeastSquares(method, f, Y0, torch.tensor([0.0, 1.0, 0.5, 2.0], dtype=torch.float64), data)
        with pytest.raises(InvalidArgument, match="y0 = NaN"):
            LeastSquares(method, f, Y0 / 0 * 0, TS, data)


def test_threads_keep_out_of_each_others_way() -> None:
    f = field()
    wanted = EAGER.solve(f, Y0, TS).ys.detach()
    wrong = []

    def work() -> None:
        for _ in range(50):
            ys = AUTO.solve(f, Y0, TS).ys
            ys.sum().backward()
            if not torch.allclose(ys.detach(), wanted, rtol=1e-12):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
