"""Modules that give no density to a sample of its own, or no gradient: each is refused by name before the solve."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pynode.errors import InvalidArgument, StateMismatch
from pynode.flows.divergence import Divergence, Exact, Hutchinson
from pynode.flows.flow import Flow
from pynode.methods.disc_opt import DiscOpt

DIM = 3
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


class Scaled(nn.Module):
    """Applies what it is given to a hidden layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIM, 6), nn.Tanh(), layer, nn.Linear(6, DIM)).double()

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        return self.net(z)


class Function(nn.Module):
    """f(z) of a plain function, with a parameter."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f, self.scale = f, nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, t: Tensor, z: Tensor) -> Tensor:  # noqa: ARG002
        value = self.f(z)
        return self.scale * value if isinstance(value, Tensor) else value


CALLS: dict[str, Callable[[Flow], object]] = {
    "log_prob": lambda flow: flow.log_prob(X),
    "inverse": lambda flow: flow.inverse(X),
    "hutchinson": lambda flow: flow.log_prob(X, divergence=Hutchinson()),
    "recompute": lambda flow: flow.log_prob(X, method=DiscOpt(steps=2, memory="recompute")),
}


@pytest.mark.parametrize("call", [*CALLS, "sample", "move"])
@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.1), nn.AlphaDropout(0.3), nn.BatchNorm1d(6)], ids=lambda m: type(m).__name__
)
def test_dropout_and_batch_norm_in_training_mode_are_refused_by_name(layer: nn.Module, call: str) -> None:
    """And work in evaluation mode."""
    calls: dict[str, Callable[[Flow], object]] = {**CALLS, "sample": lambda f: f.sample(3), "move": lambda f: f.move(X)}
    flow = Flow([Timed(), Scaled(layer)], DIM, method=DiscOpt(steps=2))
    layer.train()
    with pytest.raises(InvalidArgument, match=rf"fields\[1\].net.2 = {type(layer).__name__}.*call .eval\(\)"):
        calls[call](flow)
    layer.eval()
    calls[call](flow)


def test_a_batch_norm_without_running_statistics_is_refused_in_any_mode() -> None:
    flow = Flow([Scaled(nn.BatchNorm1d(6, track_running_stats=False))], DIM).eval()
    with pytest.raises(InvalidArgument, match="normalises over the batch"):
        flow.log_prob(X)


COUPLED: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda z: z - z.mean(0),
    "attention": lambda z: torch.softmax(z @ z.T, 1) @ z,
    "cumsum": lambda z: torch.cumsum(z, 0).sin(),
    "reversed cumsum": lambda z: torch.cumsum(z.flip(0), 0).flip(0).sin(),
    "roll": lambda z: torch.roll(z, 1, 0) * z,
    "flip": lambda z: z.flip(0),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", COUPLED)
def test_samples_that_depend_on_each_other_are_refused(name: str, call: str) -> None:
    flow = Flow([Function(COUPLED[name])], DIM, method=DiscOpt(steps=2))
    for _ in range(2):  # at every call, not the first alone
        with pytest.raises(InvalidArgument, match="depends on other samples"):
            CALLS[call](flow)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "f",
    [lambda z: nn.functional.dropout(z, 0.5), lambda z: z + torch.randn_like(z), lambda z: z * torch.rand(1).double()],
)
def test_fields_that_draw_at_every_evaluation_are_refused(f: Callable[[Tensor], Tensor], call: str) -> None:
    flow = Flow([Function(f)], DIM, method=DiscOpt(steps=2))
    for _ in range(2):
        with pytest.raises(InvalidArgument, match="it is random"):
            CALLS[call](flow)


def test_numbers_that_are_drawn_once_and_kept_are_allowed() -> None:
    kept: list[Tensor] = []

    def f(z: Tensor) -> Tensor:
        if not kept:
            kept.append((torch.rand(DIM) < 0.5).double())
        return kept[0] * z.sin()

    flow = Flow([Function(f)], DIM, method=DiscOpt(steps=2))
    assert torch.isfinite(flow.log_prob(X)).all()


def test_a_field_that_hides_its_state_from_autograd_is_refused() -> None:
    """Its trace would be zero, silently; a field that really is constant has trace zero."""
    hidden: tuple[Callable[[Tensor], Tensor], ...] = (
        lambda z: z.detach() ** 2,
        lambda z: torch.from_numpy(z.detach().numpy() ** 2),
    )
    for divergence in (Exact(), Hutchinson()):
        for f in hidden:
            with pytest.raises(InvalidArgument, match="autograd sees no connection"):
                Flow([Function(f)], DIM, divergence=divergence).log_prob(X)
        constant = Flow([Function(torch.ones_like)], DIM, divergence=divergence)
        assert torch.equal(constant.transport(X).log_det, torch.zeros(len(X)).double())


@pytest.mark.parametrize("divergence", [Exact(), Hutchinson()], ids=["exact", "hutchinson"])
@pytest.mark.parametrize("change", [lambda z: z.add_(1), lambda z: z.mul_(2), lambda z: z.clamp_(min=0)])
def test_a_state_changed_in_place_is_named(change: Callable[[Tensor], Tensor], divergence: Divergence) -> None:
    for x in (X.clone(), X.clone().requires_grad_()):
        with pytest.raises(InvalidArgument, match="changes the state z in place"):
            Flow([Function(lambda z: change(z).sin())], DIM, divergence=divergence).log_prob(x)


@pytest.mark.parametrize("f", [lambda z: z[:, :1], lambda z: z.sum(), lambda z: z.tolist()])
def test_values_that_do_not_fit_are_named(f: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(StateMismatch, match=r"f\(t, y\) (has|returned)"):
        Flow([Function(f)], DIM).log_prob(X)


class Once(torch.autograd.Function):
    """Can't be differentiated twice."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)  # type: ignore[attr-defined]
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: object, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return g * x.cos()


def test_a_divergence_that_cannot_be_trained_is_named_before_the_solve() -> None:
    """It can be evaluated, all the same."""
    flow = Flow([Function(Once.apply)], DIM)
    for refused in (flow, Flow([Function(lambda z: Once.apply(2 * z))], DIM)):
        with pytest.raises(InvalidArgument, match="its divergence can't be differentiated"):
            refused.log_prob(X)
    with torch.no_grad():
        values = flow.log_prob(X)
    torch.testing.assert_close(values, Flow([Function(torch.sin)], DIM).log_prob(X))
