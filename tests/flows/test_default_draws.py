"""Default draws: new at every call, fixed by a seed, and counted on by copies, pickles and state dicts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.flows.probes import Draw
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc

SPEC = ConcatSquash((3, 8, 3))
METHOD = DiscOpt(steps=3)
X = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3)


class Own(nn.Module):
    """A module of a user's own, far from constant."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        return self.net(z) * (1 + t)


def built(**options: Any) -> Flow:
    return Flow.build(SPEC, **{"method": METHOD, "divergence": Hutchinson(), "blocks": 2, **options})


def of_own_modules(**options: Any) -> Flow:
    return Flow([Own(), Own()], 3, **{"method": METHOD, "divergence": Hutchinson(), **options})


FLOWS = pytest.mark.parametrize("make", [built, of_own_modules])


@FLOWS
@pytest.mark.parametrize("call", ["log_prob", "transport", "inverse", "sample"])
def test_every_call_draws_anew(make: Callable[..., Flow], call: str) -> None:
    flow = make()

    def drawn() -> Tensor:
        if call == "sample":
            return flow.sample(4)
        result = getattr(flow, call)(X)
        return (result if isinstance(result, Tensor) else result.log_det).detach()

    values = [drawn() for _ in range(4)]
    for i, value in enumerate(values):
        assert all(not torch.isclose(value, other).any() for other in values[:i])


@FLOWS
def test_the_mean_of_repeated_calls_tends_to_the_exact_value(make: Callable[..., Flow]) -> None:
    """An unbiased estimate each: the mean of n has standard error s / sqrt(n)."""
    flow = make()
    with torch.no_grad():
        exact = flow.log_prob(X, divergence=Exact())
        values = torch.stack([flow.log_prob(X) for _ in range(400)])
    error = (values.mean(0) - exact).abs()
    assert (error < 4 * values.std(0) / 20).all()
    assert float((error / values.std(0)).max()) < 0.5  # one fixed draw is off by its whole spread


def test_training_does_not_fit_the_probes() -> None:
    """With fixed ones the loss falls below the entropy of the data, which no density can."""
    torch.manual_seed(3)
    x = torch.randn(2000, 6).double() @ torch.randn(6, 6).double() / 3
    entropy = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov()).entropy().item()
    last = {}
    for name, draw in (("default", None), ("fixed", Draw())):
        flow = Flow.build(ConcatSquash((6, 24, 6)), seed=1, method=DiscOpt(steps=3), divergence=Hutchinson())
        optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
        losses = []
        for i in range(250):
            loss = -flow.log_prob(x[(50 * i) % 2000 :][:50], draw=draw).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        last[name] = sum(losses[-50:]) / 50
    assert last["fixed"] < entropy - 1
    assert last["default"] > entropy - 0.3


@FLOWS
def test_torchs_seed_fixes_a_run(make: Callable[..., Flow]) -> None:
    def run(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        flow = make()
        return [flow.log_prob(X).detach(), flow.sample(3), flow.log_prob(X).detach(), flow.sample(3)]

    first, again, other = run(5), run(5), run(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_seed_fixes_flow_and_draws_whatever_the_global_state() -> None:
    def run() -> list[Tensor]:
        flow = built(seed=11)
        return [flow.theta(), *(flow.log_prob(X).detach() for _ in range(2)), flow.sample(3), flow.sample(3)]

    before = torch.get_rng_state()
    first = run()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))
    assert torch.equal(first[1], built(seed=11).log_prob(X, draw=Draw(11, 0)))
    assert torch.equal(first[2], built(seed=11).log_prob(X, draw=Draw(11, 1)))


@FLOWS
def test_explicit_draws_and_seeds_count_nothing(make: Callable[..., Flow]) -> None:
    """Nor do calls that need no probes; what they give depends on nothing else."""
    torch.manual_seed(1)
    flow, same = make(), None
    torch.manual_seed(1)
    same = make()
    values = [flow.log_prob(X, draw=Draw(4, 2)).detach() for _ in range(2)]
    assert torch.equal(*values)
    assert torch.equal(flow.sample(5, seed=3), flow.sample(5, seed=3))
    assert torch.equal(flow.base_samples(5, seed=0), torch.randn(5, 3, generator=seeded(0), dtype=torch.float64))
    flow.log_prob(X, divergence=Exact())
    assert torch.equal(flow.log_prob(X), same.log_prob(X))
    assert torch.equal(flow.sample(2), same.sample(2))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sampling_between_iterations_leaves_the_probes_alone() -> None:
    flow, same = built(seed=2), built(seed=2)
    flow.sample(10)
    assert torch.equal(flow.log_prob(X), same.log_prob(X))


@pytest.mark.parametrize("method", [DiscOpt(steps=3, engine="eager"), OptDisc(rtol=1e-4, atol=1e-6, engine="eager")])
def test_probes_are_fixed_within_a_call_and_differ_between_blocks(
    method: DiscOpt | OptDisc, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    call = Hutchinson.__call__

    def watch(self: Hutchinson, field: Any, t: Any, z: Any, probes: Any, **more: Any) -> Any:
        seen.append(probes)
        return call(self, field, t, z, probes, **more)

    monkeypatch.setattr(Hutchinson, "__call__", watch)
    flow = built(method=method)
    flow.log_prob(X).sum().backward()
    assert len({id(p) for p in seen}) == 2
    assert not torch.equal(seen[0], next(p for p in seen if p is not seen[0]))


@FLOWS
def test_a_deep_copy_goes_on_by_itself(make: Callable[..., Flow]) -> None:
    flow = make()
    flow.log_prob(X)
    copied = copy.deepcopy(flow)
    assert torch.equal(flow.log_prob(X), copied.log_prob(X))
    copied.log_prob(X)
    assert not torch.equal(flow.log_prob(X), copied.log_prob(X))
    shallow = copy.copy(flow)  # as nn.DataParallel makes its replicas: these count together
    assert not torch.equal(flow.log_prob(X), shallow.log_prob(X))


@FLOWS
def test_a_run_resumed_from_its_state_dict_is_the_uninterrupted_one(make: Callable[..., Flow]) -> None:
    def start() -> Flow:
        torch.manual_seed(8)
        return make()

    whole = start()
    values = [whole.log_prob(X).detach() for _ in range(3)]
    samples = [whole.sample(2) for _ in range(2)]
    part = start()
    for _ in range(2):
        part.log_prob(X)
    part.sample(2)
    resumed = start()
    resumed.load_state_dict(part.state_dict())
    assert torch.equal(resumed.log_prob(X), values[2])
    assert torch.equal(resumed.sample(2), samples[1])


def test_a_state_dict_without_counts_is_loaded() -> None:
    """As older versions wrote them, and inside of another module."""
    flow, other = built(seed=1), built(seed=2)
    tensors = {k: v for k, v in flow.state_dict().items() if not k.endswith("_extra_state")}
    assert set(tensors) == {name for name, _ in flow.named_parameters()}
    other.load_state_dict(tensors)
    assert torch.equal(other.theta(), flow.theta())
    outer = nn.ModuleList([built(seed=3)])
    outer.load_state_dict({f"0.{k}": v for k, v in tensors.items()})
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict(dict(list(tensors.items())[1:]))


@pytest.mark.parametrize(
    "spec", [SPEC, MLP((2, 4, 2)), Antisymmetric(3), Hamiltonian(4, 3)], ids=lambda s: s.architecture
)
def test_networks_of_repeated_build_calls_differ_unless_a_seed_is_given(spec: ConcatSquash) -> None:
    first, second = (spec.build().theta() for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(Flow.build(spec).theta(), Flow.build(spec).theta())
    torch.manual_seed(4)
    third = spec.build().theta()
    torch.manual_seed(4)
    assert torch.equal(spec.build().theta(), third)
    assert torch.equal(spec.build(seed=2).theta(), spec.build(seed=2).theta())
    assert torch.equal(spec.build(seed=2).theta(), spec.initial_theta(2))
    assert torch.equal(Flow.build(spec, seed=2).theta(), spec.initial_theta(2))


def test_two_flows_of_one_process_draw_differently() -> None:
    fields = [SPEC.build(seed=0)]
    first, second = (Flow(fields, 3, method=METHOD, divergence=Hutchinson()) for _ in range(2))
    assert not torch.equal(first.log_prob(X), second.log_prob(X))
    assert not torch.equal(first.sample(2), second.sample(2))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "1", True, [0]])
@pytest.mark.parametrize(
    "call",
    [
        lambda seed: SPEC.build(seed=seed),
        lambda seed: Flow.build(SPEC, seed=seed),
        lambda seed: Flow([SPEC.build(seed=0)], 3, seed=seed),
        lambda seed: built(seed=0).sample(2, seed=seed),
        lambda seed: SPEC.initial_theta(seed),
    ],
)
def test_seeds_that_are_none(call: Callable[[Any], object], seed: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"seed = .* not an integer from 0"):
        call(seed)
