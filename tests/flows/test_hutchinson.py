"""Hutchinson's estimate: unbiased, fixed during a solve, the same for any split of the batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from pynode.errors import RandomField, UnknownName
from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson, divergence
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw, Noise, philox_key
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

NOISES: tuple[Noise, ...] = ("gaussian", "rademacher")
T = torch.tensor(0.3, dtype=torch.float64)
DIM = 6


def a_field() -> Field:
    """Six dimensions, no zero parameter."""
    spec = ConcatSquash((DIM, 9, DIM), "softplus")
    noise = torch.randn(spec.n_params, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return spec.build(theta=0.7 * noise)


def batch(n: int) -> Tensor:
    """Different samples."""
    return torch.randn((n, DIM), dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("noise", NOISES)
def test_unbiased_over_ten_thousand_probes(noise: Noise) -> None:
    """Trace and squared Frobenius norm, within 3 standard errors, at one point."""
    field, n = a_field(), 10_000
    point = batch(1).expand(n, DIM)
    exact = Exact()(field, T, point[:1], None, frobenius=True)
    method = Hutchinson(noise)
    estimated = method(field, T, point, method.probes(Draw(4, 2), point, 0), frobenius=True)
    assert exact.frobenius is not None
    assert estimated.frobenius is not None
    for estimate, truth in ((estimated.trace, exact.trace), (estimated.frobenius, exact.frobenius)):
        error = float(estimate.detach().mean() - truth.detach()[0])
        assert abs(error) < 3 * float(estimate.detach().std()) / n**0.5
        assert float(estimate.detach().std()) > 0.1
    torch.testing.assert_close(estimated.dz, field(T, point))


def test_exact_is_the_fields_own() -> None:
    field, z = a_field(), batch(4)
    torch.testing.assert_close(Exact()(field, T, z, None, frobenius=False).trace, field.divergence(T, z)[1])
    jacobians = torch.stack([torch.autograd.functional.jacobian(lambda x: field(T, x), row) for row in z])
    exact = Exact()(field, T, z, None, frobenius=True)
    torch.testing.assert_close(exact.trace, jacobians.diagonal(dim1=1, dim2=2).sum(1))
    assert exact.frobenius is not None
    torch.testing.assert_close(exact.frobenius, jacobians.square().sum((1, 2)))


@pytest.mark.parametrize("noise", NOISES)
def test_probes_have_the_right_moments(noise: Noise) -> None:
    """Mean 0, variance 1, uncorrelated between samples and columns; Gaussian ones pass a Kolmogorov-Smirnov test."""
    like = torch.empty(20_000, 5, dtype=torch.float64)
    values = Draw(11, 3).probes(noise, like)
    covariance = np.cov(values.numpy().T)
    np.testing.assert_allclose(covariance, np.eye(5), atol=5 / 20_000**0.5)
    assert float(values.mean().abs()) < 4 / 100_000**0.5
    lagged = float((values[1:] * values[:-1]).mean())
    assert abs(lagged) < 4 / 100_000**0.5
    if noise == "gaussian":
        assert stats.kstest(values.numpy().ravel(), "norm").pvalue > 1e-3
    else:
        assert set(values.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("dim", [1, 4, 7])
def test_probes_are_the_samples_own(noise: Noise, dim: int) -> None:
    """The same numbers for any split of the batch, dtype and block; others for another seed, iteration, block."""
    whole = Draw(1, 8).probes(noise, torch.empty(10, dim, dtype=torch.float64))
    parts = [Draw(1, 8, start).probes(noise, torch.empty(n, dim).double()) for start, n in ((0, 3), (3, 6), (9, 1))]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(Draw(1, 8).probes(noise, torch.empty(10, dim)), whole.float())
    for other in (Draw(2, 8), Draw(1, 9)):
        assert not torch.equal(other.probes(noise, whole), whole)
    assert not torch.equal(Draw(1, 8).probes(noise, whole, block=1), whole)


def test_log_prob_does_not_depend_on_the_split() -> None:
    """With the probes' index moved along, two halves say what the whole says."""
    flow = Flow([a_field(), a_field()], DIM, divergence=Hutchinson())
    x = batch(8)
    whole = flow.log_prob(x, draw=Draw(3, 5))
    halves = [flow.log_prob(x[:3], draw=Draw(3, 5)), flow.log_prob(x[3:], draw=Draw(3, 5, 3))]
    torch.testing.assert_close(torch.cat(halves), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "method", [DiscOpt(RK4, 4, engine="eager"), OptDisc(rtol=1e-5, atol=1e-5, engine="eager")], ids=lambda m: m.name
)
def test_probes_stay_fixed_during_a_solve(monkeypatch: pytest.MonkeyPatch, method: DiscOpt | OptDisc) -> None:
    """Every evaluation of a solve sees the same tensor; redrawn noise would make adaptive steps vanish."""
    seen: list[Tensor | None] = []
    forward = AugmentedField.forward

    def watch(self: AugmentedField, t: Tensor, state: Tensor) -> Tensor:
        seen.append(self.probes)
        return forward(self, t, state)

    monkeypatch.setattr(AugmentedField, "forward", watch)
    flow = Flow([a_field()], DIM, divergence=Hutchinson())
    (-flow.log_prob(batch(4), method=method).mean()).backward()
    assert len(seen) > 10
    assert all(probe is seen[0] for probe in seen)


def test_redrawn_probes_would_be_seen() -> None:
    """The counter-example behind the test above: noise in the right-hand side costs many times the evaluations."""

    class Redrawn(Hutchinson):
        def __call__(self, field, t, z, probes, *, frobenius):  # type: ignore[no-untyped-def]
            return super().__call__(field, t, z, torch.randn_like(probes), frobenius=frobenius)

    method = OptDisc(rtol=1e-3, atol=1e-3, max_steps=10_000)
    with torch.no_grad():
        fixed, redrawn = (
            Flow([a_field()], DIM, divergence=d).transport(batch(4), method=method).solves[0].nfe_forward
            for d in (Hutchinson(), Redrawn())
        )
    assert redrawn > 5 * fixed
    with pytest.raises(RandomField, match="draw the noise once"):
        Flow([a_field()], DIM, divergence=Redrawn()).transport(batch(4), method=method)


def test_no_graph_inside_the_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gradients wanted, the divergence asks none: torch.autograd is never called."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("autograd inside a solve")

    flow = Flow([a_field()], DIM, divergence=Hutchinson())
    monkeypatch.setattr(torch.autograd, "grad", refuse)
    with torch.no_grad():
        assert torch.isfinite(flow.log_prob(batch(3))).all()
    loss = -flow.log_prob(batch(3)).mean()
    loss.backward()  # one backward pass, no double one
    assert all(p.grad is not None for p in flow.parameters())


@pytest.mark.parametrize("make", [lambda: Exact(), lambda: Hutchinson("rademacher")])
def test_any_module_is_pushed_forward(make: Callable[[], Exact | Hutchinson]) -> None:
    """A module without formulas of its own agrees with the field that it wraps."""
    field = a_field()

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = field

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return field(t, y)

    method, z = make(), batch(3)
    probes = method.probes(Draw(), z, 0)
    mine, generic = (method(f, T, z, probes, frobenius=True) for f in (field, Wrapped()))
    for a, b in zip(mine, generic, strict=True):
        torch.testing.assert_close(a, b)


def test_names() -> None:
    assert divergence("rademacher") == Hutchinson("rademacher")
    with pytest.raises(UnknownName, match="gauss"):
        divergence("gauss")


def test_data_and_probes_share_no_numbers() -> None:
    """Data are drawn from the same key: another stream of it keeps them independent of their probes."""
    key = philox_key(3, 5)
    words = np.random.Philox(key=key).random_raw(4000)
    mine = Draw(3, 5).probes("gaussian", torch.empty(1000, 4).double()).numpy().ravel()
    same = stats.norm.ppf(((words >> np.uint64(11)).astype(float) + 0.5) * 2.0**-53)
    assert not np.isin(mine, same).any()


def test_keys_beyond_the_signed_integers_stay_apart() -> None:
    """Validation and test samples stand beyond 2^63: as floats they would be the same."""
    first, second = (np.random.Philox(key=philox_key(0, 2**63 + k)).random_raw(8) for k in (0, 1))
    assert not (first == second).any()


def test_probes_drawn_ahead_are_the_same() -> None:
    like = batch(5)
    ahead = Draw(1, 2).ahead("rademacher", like, 3)
    for block in range(3):
        assert torch.equal(ahead.probes("rademacher", like, block), Draw(1, 2).probes("rademacher", like, block))


def test_probes_beside_an_exact_trace_play_no_part() -> None:
    """Neither in the values nor in what other engines are told."""
    field = AugmentedField(a_field(), DIM, Exact(), torch.ones(4, DIM, dtype=torch.float64), RunningCosts())
    system = field.system()
    assert system.probes is None
    assert system.flow is not None
    assert system.flow["divergence"] == "exact"
    plain = AugmentedField(field.field, DIM, Exact(), None, RunningCosts())
    states = [
        DiscOpt(RK4, 2).solve(f, f.initial(batch(4)), torch.tensor([0.0, 1.0]).double()).ys for f in (field, plain)
    ]
    assert torch.equal(*states)
