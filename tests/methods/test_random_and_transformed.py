"""Randomness in the field, changes of its arguments, transforms of torch.func, and arguments that are no field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap

import pynode
from pynode.errors import InvalidArgument, RandomField, StateChangedInPlace, UnsupportedTransform
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4
from tests.methods.fields_that_hold_things import Net, loss_of, normal, start

TS = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
DISCRETE: dict[str, GradientMethod] = {
    "store": DiscOpt(RK4, 3),
    "recompute": DiscOpt(RK4, 3, "recompute"),
    "checkpoint": DiscOpt(RK4, 3, "checkpoint", budget=1),
}
CONTINUOUS: dict[str, GradientMethod] = {"opt-disc": OptDisc(), "opt-disc-fixed": OptDiscFixed(RK4, 3)}
REBUILDING = {**{k: v for k, v in DISCRETE.items() if k != "store"}, **CONTINUOUS}
EVERY = {**DISCRETE, **CONTINUOUS, "ad-adaptive": pynode.AdaptiveAD()}

GENERATOR = torch.Generator()


def noise(y: Tensor) -> Tensor:
    return y + 0.1 * torch.randn(y.shape, dtype=y.dtype)


def own_noise(y: Tensor) -> Tensor:
    return y + 0.1 * torch.randn(y.shape, dtype=y.dtype, generator=GENERATOR)


@pytest.mark.parametrize("random", [nn.functional.dropout, noise, own_noise])
@pytest.mark.parametrize("name", ["recompute", "checkpoint"])
def test_random_draws_are_those_of_the_solve(name: str, random: Callable[[Tensor], Tensor]) -> None:
    """Gradient, states and the generators afterwards are those of stored stages, whatever is drawn in between."""
    net = Net()
    results = []
    for method in (DISCRETE["store"], DISCRETE[name]):
        torch.manual_seed(7)
        GENERATOR.manual_seed(7)
        ys = method.solve(lambda t, y: net(t, random(y)), start(), TS).ys
        after = [torch.get_rng_state(), GENERATOR.get_state()]
        torch.rand(5)
        before = torch.get_rng_state()
        gradients = torch.autograd.grad(loss_of(ys[-1]), [*net.parameters()])
        assert torch.equal(torch.get_rng_state(), before)
        results.append([ys.detach(), *after, *gradients])
    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_random_fields_are_refused(name: str) -> None:
    net = Net()
    for random in (nn.functional.dropout, noise, own_noise):
        with pytest.raises(RandomField, match=r"draws random numbers.*\.eval\(\)"):
            CONTINUOUS[name].solve(lambda t, y, r=random: net(t, r(y)), start(), TS)  # type: ignore[misc]


@pytest.mark.parametrize("name", CONTINUOUS)
def test_operators_that_only_might_draw_are_not_random(name: str) -> None:
    """Attention without dropout."""
    net = Net()

    def field(t: Tensor, y: Tensor) -> Tensor:
        tokens = net(t, y)[..., None]
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)[..., 0]

    loss_of(CONTINUOUS[name].solve(field, start(), TS).ys[-1]).backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", ["recompute", "checkpoint", "opt-disc-fixed"])
def test_randomness_that_sets_in_later_is_told(name: str) -> None:
    net = Net()
    with pytest.raises(RandomField):
        REBUILDING[name].solve(lambda t, y: net(t, noise(y) if float(t) > 0.5 else y), start(), TS)


@pytest.mark.parametrize("name", REBUILDING)
def test_statistics_are_counted_once(name: str) -> None:
    """The batch norm's are those of the solve, and count its evaluations alone."""
    net = Net(nn.BatchNorm1d(5))
    solution = REBUILDING[name].solve(net, start(), TS)
    kept = {key: value.clone() for key, value in net.state_dict().items()}
    assert int(kept["between.0.num_batches_tracked"]) == solution.stats.nfe_forward
    loss_of(solution.ys[-1]).backward()
    for key, value in net.state_dict().items():
        assert torch.equal(value, kept[key]), key


@pytest.mark.parametrize("name", REBUILDING)
def test_checks_count_no_evaluations(name: str) -> None:
    calls = 0

    def counting(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
        nonlocal calls
        calls += 1
        return -y

    y0 = start().requires_grad_()
    solution = REBUILDING[name].solve(counting, y0, TS)
    assert calls == solution.stats.nfe_forward
    loss_of(solution.ys[-1]).backward()
    assert calls >= solution.stats.nfe_forward + solution.stats.nfe_backward


# --- in place --------------------------------------------------------------------------------------------------------


def changes_y(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    y *= 0.5
    return -y


def changes_a_column(t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG001
    y[..., 0] = 0.0
    return -y


def changes_t(t: Tensor, y: Tensor) -> Tensor:
    t += 1.0
    return -y * t


@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("wanted", [False, True])
@pytest.mark.parametrize("change", [changes_y, changes_a_column, changes_t])
@pytest.mark.parametrize("name", EVERY)
def test_fields_that_change_their_arguments_are_told(
    name: str, change: Callable[[Tensor, Tensor], Tensor], wanted: bool, context: Any
) -> None:
    y0 = start().requires_grad_(wanted)
    ts = TS.clone()
    with context(), pytest.raises(StateChangedInPlace, match="in place"):
        EVERY[name].solve(change, y0 if wanted else y0.clone(), ts)
    assert torch.equal(ts, TS)


# --- torch.func ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DISCRETE)
def test_transforms_follow_disc_opt(name: str) -> None:
    net, y0 = Net(), start()

    def end(y: Tensor) -> Tensor:
        return DISCRETE[name].solve(net, y, TS).ys[-1]

    with torch.no_grad():
        torch.testing.assert_close(vmap(end)(y0), end(y0))
    rows = torch.stack([torch.autograd.functional.jacobian(end, y) for y in y0])
    for each in (vmap(jacrev(end))(y0), vmap(jacfwd(end))(y0), torch.stack([jacrev(end)(y) for y in y0])):
        torch.testing.assert_close(each.detach(), rows)
    torch.testing.assert_close(vmap(grad(lambda y: end(y).sum()))(y0).detach(), rows.sum(1))
    torch.testing.assert_close(jvp(end, (y0,), (y0,))[1].detach(), torch.einsum("bij,bj->bi", rows, y0))
    loss = lambda y: end(y).square().sum()  # noqa: E731
    curvature = torch.autograd.functional.hessian(loss, y0[0])
    torch.testing.assert_close(torch.func.hessian(loss)(y0[0]).detach(), curvature)


def test_ensembles_of_stacked_parameters() -> None:
    nets = [Net() for _ in range(3)]
    stacked, _ = stack_module_state(nets)
    y0 = start()

    def end(params: Any) -> Tensor:
        return DiscOpt(RK4, 3).solve(lambda t, y: functional_call(nets[0], params, (t, y)), y0, TS).ys[-1]

    each = torch.stack([DiscOpt(RK4, 3).solve(net, y0, TS).ys[-1] for net in nets])
    torch.testing.assert_close(vmap(end)(stacked).detach(), each.detach())


@pytest.mark.parametrize("name", [*CONTINUOUS, "ad-adaptive"])
def test_other_methods_name_the_remedy(name: str) -> None:
    net, y0 = Net(), start()

    def end(y: Tensor) -> Tensor:
        return EVERY[name].solve(net, y, TS).ys[-1]

    for transform in (vmap(end), grad(lambda y: end(y).sum()), jacrev(end), jacfwd(end)):
        with pytest.raises(UnsupportedTransform, match=r'DiscOpt\(memory="store"\)'):
            transform(y0)


def test_batches_of_times_are_refused() -> None:
    net, y0 = Net(), start()
    with pytest.raises(InvalidArgument, match="vmap over output times"):
        vmap(lambda ts: DiscOpt().solve(net, y0, ts).ys[-1])(torch.stack([TS, 2 * TS]))


# --- arguments that are none, shapes that change, mixed precision ----------------------------------------------------


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        (None, "not a function"),
        (1.5, "not a function"),
        (Net, "a class, not an object"),
        (pynode.MLP((2, 4, 2)), r"\.build\(\)"),
    ],
)
@pytest.mark.parametrize("name", EVERY)
def test_what_is_no_field_is_told(name: str, field: Any, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem) as caught:
        EVERY[name].solve(field, start(), TS)
    assert caught.value.argument == "field"


@pytest.mark.parametrize("y0", [torch.zeros(0, 2), torch.zeros(3, 0), torch.zeros(3, 2, dtype=torch.float16)])
@pytest.mark.parametrize("name", EVERY)
def test_states_that_cannot_be_solved_are_told(name: str, y0: Tensor) -> None:
    with pytest.raises(InvalidArgument) as caught:
        EVERY[name].solve(lambda t, y: -y, y0, TS)
    assert caught.value.argument == "y0"


@pytest.mark.parametrize("name", EVERY)
def test_a_shape_that_changes_later_is_told(name: str) -> None:
    with pytest.raises(pynode.errors.StateMismatch, match="shape"):
        EVERY[name].solve(lambda t, y: -y if float(t) < 0.4 else -y[:1], start(), TS)


@pytest.mark.parametrize("name", DISCRETE)
def test_mixed_precision_is_rebuilt_as_it_was(name: str) -> None:
    """The backward pass is outside of autocast; slopes in bfloat16 are converted to the state's dtype."""
    net = Net().float()
    gradients = []
    for method in (DISCRETE["store"], DISCRETE[name]):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            ys = method.solve(net, start().float(), TS.float()).ys
        assert ys.dtype == torch.float32
        gradients.append(torch.autograd.grad(loss_of(ys[-1]), [*net.parameters()]))
    for got, right in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(got, right, rtol=0.02, atol=0.02 * float(right.abs().max()))


def test_own_fields_under_autocast() -> None:
    field = pynode.MLP((2, 8, 2)).build(seed=0, dtype=torch.float32)
    y0 = normal(4, 2).float()
    plain = DiscOpt(RK4, 3).solve(field, y0, TS).ys
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = DiscOpt(RK4, 3).solve(field, y0, TS).ys
    torch.testing.assert_close(mixed, plain, rtol=0.05, atol=0.05)
