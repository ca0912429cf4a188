"""Modules of a user's own in a flow: traces and gradients against brute force, and what can't be a density."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.augmented import RunningCosts
from pynode.flows.checking import check_block
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4

DIM = 3
T = torch.tensor(0.4, dtype=torch.float64)
X = torch.randn(5, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def layers(*widths: int) -> nn.Sequential:
    """Linear layers with tanh between."""
    parts: list[nn.Module] = []
    for i, o in itertools.pairwise(widths):
        parts += [nn.Linear(i, o), nn.Tanh()]
    return nn.Sequential(*parts[:-1]).double()


class Timed(nn.Module):
    """Time as an input."""

    def __init__(self) -> None:
        super().__init__()
        self.net = layers(DIM + 1, 7, DIM)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(torch.cat([z, t.expand(len(z), 1)], 1))


class Potential(nn.Module):
    """f = -grad Phi, gradients enabled by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = layers(DIM, 6, 1)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        with torch.enable_grad():
            z = z.requires_grad_()
            return -torch.autograd.grad((1 + t) * self.phi(z).sum(), z, create_graph=True)[0]


class BarePotential(nn.Module):
    """The same without a thought of the mode that it is called in."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = layers(DIM + 1, 6, 1)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        energy = self.phi(torch.cat([z, t.expand(len(z), 1)], 1)).sum()
        return -torch.autograd.grad(energy, z, create_graph=True)[0]


class FuncPotential(nn.Module):
    """By torch.func."""

    def __init__(self) -> None:
        super().__init__()
        self.phi = layers(DIM, 6, 1)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        return torch.func.vmap(torch.func.grad(lambda row: self.phi(row).sum()))(z)


class Custom(nn.Module):
    """Through an autograd function that knows neither forward mode nor vmap."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = layers(DIM, 5), layers(5, DIM)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        return self.last(Sine.apply(self.first(z)))


class Sine(torch.autograd.Function):
    """sin, backward only."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.sin()

    @staticmethod
    def backward(ctx: object, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return g * x.cos()


class Attention(nn.Module):
    """Within one sample: its columns as tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attend, self.out = (
            layers(1, 4),
            nn.MultiheadAttention(4, 2, batch_first=True).double(),
            layers(4, 1),
        )

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        tokens = self.embed(z[..., None])
        return self.out(self.attend(tokens, tokens, tokens, need_weights=False)[0])[..., 0]


class Wrapped(nn.Module):
    """One of pynode's fields inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ConcatSquash((DIM, 6, DIM)).build(seed=1)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return 2 * self.inner(t, z) - z


class Normed(nn.Module):
    """A norm that treats samples one by one, and dropout that is off."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(DIM, 6), nn.LayerNorm(6), nn.SiLU(), nn.Dropout(0.5), nn.Linear(6, DIM)
        ).double()
        self.net[3].eval()

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(z)


OWN = (Timed, Potential, BarePotential, FuncPotential, Custom, Attention, Wrapped, Normed)
EVERY = pytest.mark.parametrize("kind", OWN, ids=lambda k: k.__name__)


def jacobians(field: nn.Module, z: Tensor) -> Tensor:
    """df/dz of each sample `(batch, dim, dim)`, by central differences."""
    columns = []
    for unit in torch.eye(DIM, dtype=torch.float64):
        ends = []
        for sign in (1, -1):
            moved = (z + sign * 1e-5 * unit).requires_grad_()
            with torch.enable_grad():
                ends.append(field(T, moved).detach())
        columns.append((ends[0] - ends[1]) / 2e-5)
    return torch.stack(columns, dim=-1)


@EVERY
@pytest.mark.parametrize("enabled", [True, False], ids=["grad", "no_grad"])
def test_trace_and_norm_are_those_of_the_jacobian(kind: Callable[[], nn.Module], enabled: bool) -> None:
    field = kind()
    check_block(field, 0, T, X)  # as a flow does before its first solve
    J = jacobians(field, X)
    e = Draw(1, 2).probes("gaussian", X)
    with torch.set_grad_enabled(enabled):
        exact = Exact()(field, T, X, None, frobenius=True)
        plain = Exact()(field, T, X, None, frobenius=False)
        estimate = Hutchinson()(field, T, X, e, frobenius=True)
        one = Hutchinson()(field, T, X, e, frobenius=False)
    close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-8)
    pushed = (J @ e[..., None])[..., 0]
    for slope in (exact, plain, estimate, one):
        torch.testing.assert_close(slope.dz.detach(), exact.dz.detach())
        assert slope.dz.requires_grad == slope.trace.requires_grad == enabled
    for slope in (exact, plain):
        close(slope.trace.detach(), J.diagonal(dim1=1, dim2=2).sum(1))
    assert exact.frobenius is not None
    assert estimate.frobenius is not None
    assert one.frobenius is None
    close(exact.frobenius.detach(), J.square().sum((1, 2)))
    close(estimate.trace.detach(), (pushed * e).sum(1))
    torch.testing.assert_close(estimate.trace, one.trace)
    close(estimate.frobenius.detach(), pushed.square().sum(1))


def by_hand(field: nn.Module, x: Tensor, probes: Tensor | None, steps: int) -> Tensor:
    """log p(x) by Euler steps of state and log-determinant, as plain torch."""
    z, total = x.clone().requires_grad_(), x.new_zeros(len(x))
    for k in range(steps):
        value = field(torch.tensor(k / steps, dtype=torch.float64), z)
        if probes is None:
            rows = [torch.autograd.grad(value[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(DIM)]
            trace = torch.stack(rows).sum(0)
        else:
            trace = (torch.autograd.grad(value, z, probes, create_graph=True)[0] * probes).sum(1)
        z, total = z + value / steps, total + trace / steps
    base = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1)
    return base.log_prob(z).sum(1) + total


@EVERY
@pytest.mark.parametrize("divergence", [Exact(), Hutchinson("rademacher")], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_log_prob_and_its_gradient_are_those_by_hand(
    kind: Callable[[], nn.Module], divergence: Divergence, memory: str
) -> None:
    field, method = kind(), DiscOpt(EULER, steps=4, memory=memory)  # type: ignore[arg-type]
    flow, draw = Flow([field], DIM, method=method), Draw(3, 1)
    log_p = flow.log_prob(X, divergence=divergence, draw=draw)
    with sdpa_kernel(SDPBackend.MATH):  # by hand, attention's fused kernels can't be differentiated twice
        wanted = by_hand(field, X, divergence.probes(draw, X, 0), 4)
    torch.testing.assert_close(log_p, wanted)
    parameters = list(field.parameters())
    gradients, truth = (torch.autograd.grad(v.mean(), parameters, materialize_grads=True) for v in (log_p, wanted))
    for mine, other in zip(gradients, truth, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("kind", [Potential, Custom, Timed], ids=lambda k: k.__name__)
@pytest.mark.parametrize(
    "method", [OptDisc(rtol=1e-9, atol=1e-11), AdaptiveAD(rtol=1e-9, atol=1e-11)], ids=lambda m: m.name
)
def test_adaptive_methods_agree_with_fine_steps(kind: Callable[[], nn.Module], method: GradientMethod) -> None:
    flow, draw = Flow([kind()], DIM, divergence=Hutchinson()), Draw(0, 4)
    gradients = []
    for how in (DiscOpt(RK4, steps=40), method):
        loss = -flow.log_prob(X, method=how, draw=draw).mean()
        gradients.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, trained(flow))]))
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


def trained(flow: Flow) -> list[nn.Parameter]:
    """Parameters that the density depends on: the potential's last bias does not count."""
    return [p for name, p in flow.named_parameters() if not (name.endswith("2.bias") and "phi" in name)]


@EVERY
def test_samples_invert(kind: Callable[[], nn.Module]) -> None:
    """Also where the module needs gradients enabled, which `sample` disables."""
    flow = Flow([kind()], DIM, method=DiscOpt(RK4, steps=30))
    samples = flow.sample(6, seed=1)
    assert not samples.requires_grad
    there = flow.transport(samples)
    torch.testing.assert_close(there.z.detach(), flow.base_samples(6, seed=1), rtol=0, atol=1e-5)
    back = flow.inverse(there.z.detach())
    torch.testing.assert_close(there.log_det + back.log_det, torch.zeros(6).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(flow.move(samples), there.z)


def test_a_linear_flow_has_the_density_of_its_normal() -> None:
    """dz/dt = A z pushes N(0, I) forward: p is a normal with covariance exp(-A) exp(-A)^T."""
    A = torch.tensor([[0.3, -0.8, 0.1], [0.5, -0.2, 0.4], [0.0, 0.6, 0.1]], dtype=torch.float64)
    linear = nn.Linear(DIM, DIM, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(A)

    class Affine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
            return self.linear(z)

    back = torch.linalg.matrix_exp(-A)
    normal = torch.distributions.MultivariateNormal(torch.zeros(DIM).double(), back @ back.T)
    flow = Flow([Affine()], DIM, method=DiscOpt(RK4, steps=60))
    torch.testing.assert_close(flow.log_prob(X), normal.log_prob(X), rtol=1e-7, atol=1e-7)
    costs = flow.transport(X, costs=RunningCosts(jacobian=True)).jacobian
    torch.testing.assert_close(costs, A.square().sum().expand(len(X)))


def test_frozen_modules_give_results_without_a_graph() -> None:
    """Gradients are enabled, but nothing wants one: neither may the result."""
    for kind in (Timed, Potential):
        flow = Flow([kind().requires_grad_(False)], DIM, divergence=Hutchinson())
        assert not flow.log_prob(X).requires_grad
        moved = X.clone().requires_grad_()
        (by_x,) = torch.autograd.grad(flow.log_prob(moved, draw=Draw(1)).sum(), moved)
        assert torch.isfinite(by_x).all()
        assert float(by_x.abs().max()) > 0.1


class Conditional(nn.Module):
    """Reads a context that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.net = layers(DIM + 2, 6, DIM)
        self.context: Tensor | None = None

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        assert self.context is not None
        return self.net(torch.cat([z, self.context], 1))


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("named", ["context", "encoder"])
def test_an_encoder_gets_its_gradient_through_params(divergence: Divergence, blocks: int, named: str) -> None:
    """By every way of differentiating, for a context named itself or by the parameters that made it."""
    encoder, fields = nn.Linear(4, 2).double(), [Conditional() for _ in range(blocks)]
    flow, data = Flow(fields, DIM, divergence=divergence), torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(5, 4)

    def gradient(method: GradientMethod, *, pass_params: bool) -> Tensor:
        encoder.zero_grad()
        context = encoder(data)
        for field in fields:
            field.context = context
        params = ([context] if named == "context" else list(encoder.parameters())) if pass_params else None
        (-flow.log_prob(X, method=method, draw=Draw(2), params=params).mean()).backward()
        gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
        assert len(gradients) == 2
        return torch.cat([g.reshape(-1) for g in gradients])

    truth = gradient(DiscOpt(RK4, steps=12), pass_params=False)
    assert float(truth.norm()) > 1e-2
    torch.testing.assert_close(gradient(DiscOpt(RK4, steps=12), pass_params=True), truth)
    if named == "encoder":
        return  # a rebuilt graph ends at the context, whose own graph is the encoder's and is gone through once
    for memory in ("recompute", "checkpoint"):
        torch.testing.assert_close(gradient(DiscOpt(RK4, steps=12, memory=memory), pass_params=True), truth)
    for method in (OptDisc(rtol=1e-8, atol=1e-10), AdaptiveAD(rtol=1e-8, atol=1e-10)):
        torch.testing.assert_close(gradient(method, pass_params=True), truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [Timed, Potential, Custom], ids=lambda k: k.__name__)
def test_in_inference_mode_the_values_are_the_same(kind: Callable[[], nn.Module]) -> None:
    flow = Flow([kind()], DIM, method=DiscOpt(steps=3))
    for divergence in (Exact(), Hutchinson()):
        wanted = flow.transport(X, divergence=divergence, draw=Draw(3), costs=RunningCosts(jacobian=True))
        with torch.inference_mode():
            moved = flow.transport(X.clone(), divergence=divergence, draw=Draw(3), costs=RunningCosts(jacobian=True))
        torch.testing.assert_close(moved.log_det, wanted.log_det.detach())
        assert moved.jacobian is not None
        assert wanted.jacobian is not None
        torch.testing.assert_close(moved.jacobian, wanted.jacobian.detach())


def test_layers_of_time_in_float32() -> None:
    """Times have the dtype of the state, also where a module is tried before the solve."""

    class Embedded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.time, self.net = nn.Linear(1, DIM), nn.Linear(DIM, DIM)

        def forward(self, t: Tensor, z: Tensor) -> Tensor:
            return torch.tanh(self.net(z) + self.time(t.view(1, 1)))

    log_prob = Flow([Embedded()], DIM).log_prob(X.float())
    assert log_prob.dtype == torch.float32
    assert torch.isfinite(log_prob).all()


def test_one_sample_is_enough() -> None:
    flow = Flow([Timed()], DIM, method=DiscOpt(steps=3))
    torch.testing.assert_close(flow.log_prob(X[:1]), flow.log_prob(X)[:1])


def test_transforms_of_torch_func_reach_the_divergence() -> None:
    """Inside of them the products are torch.func's own."""
    field = Timed()
    cases: tuple[tuple[Divergence, Tensor | None], ...] = ((Exact(), None), (Hutchinson(), torch.ones_like(X)))
    for divergence, probes in cases:
        for frobenius in (False, True):

            def total(
                z: Tensor, d: Divergence = divergence, e: Tensor | None = probes, wanted: bool = frobenius
            ) -> Tensor:
                slope = d(field, T, z, e, frobenius=wanted)
                return slope.trace.sum() + (0.0 if slope.frobenius is None else slope.frobenius.sum())

            leaf = X.clone().requires_grad_()
            (plain,) = torch.autograd.grad(total(leaf), leaf)
            torch.testing.assert_close(torch.func.grad(total)(X), plain)
