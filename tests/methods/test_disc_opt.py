"""Disc-Opt: the gradient is that of the discrete loss, to rounding, however it is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.eager.revolve import fewest_advances
from pynode.errors import InvalidArgument
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.fields.concatsquash import ConcatSquash
from pynode.fields.mlp import MLP
from pynode.memory import peak_bytes
from pynode.methods.disc_opt import DiscOpt
from pynode.schemes import SCHEMES
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.studies.gradients.taylor import taylor_test

FieldOf = Callable[[str], Field]
StateOf = Callable[[str], Tensor]
Memory = Literal["store", "recompute", "checkpoint"]
MEMORIES: tuple[Memory, ...] = ("store", "recompute", "checkpoint")
ENOUGH: dict[Memory, int] = {"store": 1, "recompute": 1, "checkpoint": 3}
"""Steps in each of two intervals; with six in all, states are stored, let go and stored again."""
TS = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)


def loss_of(ys: Tensor) -> Tensor:
    """Every output and entry counts, with a weight of its own."""
    weights = torch.linspace(0.5, 1.5, ys.numel(), dtype=ys.dtype).reshape(ys.shape)
    return (weights * (ys - 0.3).square()).sum()


def finite_differences(loss: Callable[[], float], at: Tensor) -> Tensor:
    """dL/d`at` entry by entry: central differences with one Richardson step, O(h^4)."""
    flat, h = at.detach().view(-1), 1e-3
    differences = torch.zeros_like(flat)
    for i in range(len(flat)):
        kept, slopes = flat[i].item(), []
        for step in (h, h / 2):
            values = []
            for sign in (1, -1):
                flat[i] = kept + sign * step
                values.append(loss())
            slopes.append((values[0] - values[1]) / (2 * step))
        flat[i] = kept
        differences[i] = (4 * slopes[1] - slopes[0]) / 3
    return differences.view(at.shape)


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_the_gradient_is_that_of_finite_differences(
    scheme: str, field_name: str, memory: Memory, engine: Any, small_field: FieldOf, small_state: StateOf
) -> None:
    """By every parameter, by y0 and by the output times, at coarse steps."""
    if (engine, memory) == ("fused", "checkpoint"):
        pytest.skip("the kernels keep no checkpoints")
    field, y0, ts = small_field(field_name), small_state(field_name).requires_grad_(), TS.clone()
    method = DiscOpt(SCHEMES.load(scheme), ENOUGH[memory], memory, engine=engine)
    sources = [*field.parameters(), y0, *([ts.requires_grad_()] if engine == "eager" else [])]
    gradients = torch.autograd.grad(loss_of(method.solve(field, y0, ts).ys), sources)

    @torch.no_grad()
    def loss() -> float:
        return float(loss_of(method.solve(field, y0.detach(), ts.detach()).ys))

    wanted = [finite_differences(loss, s) for s in sources]
    theta = len(list(field.parameters()))
    everything = [torch.cat([g.reshape(-1) for g in grads[:theta]]) for grads in (gradients, wanted)]
    # differences are good to h^4 times a fifth derivative and to eps |L| / h, some 1e-11 both
    assert relative(*everything) < 1e-7
    assert all(relative(a, b) < 1e-7 for a, b in zip(gradients[theta:], wanted[theta:], strict=True))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_taylor_remainder_falls_with_slope_two(
    scheme: str, field_name: str, memory: Memory, engine: Any, small_field: FieldOf, small_state: StateOf
) -> None:
    """The verdict of the project's own tool, on the same combinations."""
    if (engine, memory) == ("fused", "checkpoint"):
        pytest.skip("the kernels keep no checkpoints")
    field, y0 = small_field(field_name), small_state(field_name)
    method = DiscOpt(SCHEMES.load(scheme), ENOUGH[memory], memory, engine=engine)
    result = taylor_test(lambda: loss_of(method.solve(field, y0, TS).ys), list(field.parameters()))
    assert result.slope_e1 == pytest.approx(2.0, abs=0.1)
    assert result.passes


@pytest.mark.parametrize("steps", [1, 4, (3, 1)])
@pytest.mark.parametrize("times", [TS, TS.flip(0)], ids=["forwards", "backwards"])
@pytest.mark.parametrize("field_name", FIELDS.names())
@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_rebuilding_is_storing(
    scheme: str, field_name: str, times: Tensor, steps: Any, small_field: FieldOf, small_state: StateOf
) -> None:
    """Same states, same gradients by parameters, y0 and ts, to rounding."""
    field, grads, states = small_field(field_name), [], []
    for memory in MEMORIES:
        y0, ts = small_state(field_name).requires_grad_(), times.clone().requires_grad_()
        ys = DiscOpt(SCHEMES.load(scheme), steps, memory).solve(field, y0, ts).ys
        states.append(ys.detach())
        grads.append(torch.autograd.grad(loss_of(ys), [*field.parameters(), y0, ts]))
    for other_states, others in zip(states[1:], grads[1:], strict=True):
        # with a gradient by ts, step sizes are tensors in one way through the code and floats in the other
        assert relative(other_states, states[0]) < 1e-14
        for rebuilt, stored in zip(others, grads[0], strict=True):
            assert relative(rebuilt, stored) < 1e-12


def test_rebuilding_needs_no_gradient_by_ts_to_be_right(small_field: FieldOf, small_state: StateOf) -> None:
    """Times that want no gradient take another way through the code."""
    field, y0 = small_field("concatsquash"), small_state("concatsquash")
    states = [DiscOpt(RK4, 2, memory).solve(field, y0, TS).ys for memory in MEMORIES]
    assert all(relative(ys.detach(), states[0].detach()) < 1e-14 for ys in states[1:])
    stored, *others = [torch.autograd.grad(loss_of(ys), [*field.parameters()]) for ys in states]
    assert all(relative(b, a) < 1e-12 for grads in others for a, b in zip(stored, grads, strict=True))


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_batch_in_parts_and_in_float32(memory: Memory, small_field: FieldOf, small_state: StateOf) -> None:
    """Rows don't know of each other, and a gradient has the dtype of what it is taken by."""
    field, y0, method = small_field("concatsquash"), small_state("concatsquash"), DiscOpt(RK4, 5, memory)

    def gradient(rows: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(method.solve(field, rows, TS).ys.square().sum(), [*field.parameters()]))

    whole = gradient(y0)
    parts = [gradient(rows) for rows in y0.split(1)]
    assert all(relative(sum(g[1:], g[0]), w) < 1e-12 for *g, w in zip(*parts, whole, strict=True))
    field, y0 = field.float(), y0.float()
    single = gradient(y0)
    assert {g.dtype for g in single} == {torch.float32}
    assert all(relative(g.double(), w) < 1e-4 for g, w in zip(single, whole, strict=True))


@pytest.mark.slow  # traces every allocation of thousands of operators
def test_rebuilding_needs_a_third_of_the_memory() -> None:
    """400 RK4 steps of a 64-wide field: the bar the project sets itself; checkpoints need less; the gradient stays."""
    field = ConcatSquash((8, 64, 64, 8)).build(seed=0)
    y0 = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    peaks, grads = [], []
    for memory in MEMORIES:
        method = DiscOpt(RK4, 100, memory, engine="eager")

        def work(method: DiscOpt = method) -> None:
            grads.append(torch.autograd.grad(method.solve(field, y0, ts).ys.square().sum(), [*field.parameters()]))

        peaks.append(peak_bytes(work, "cpu"))
    assert all(relative(b, a) < 1e-12 for others in grads[1:] for a, b in zip(grads[0], others, strict=True))
    states = 400 * y0.numel() * 8
    assert states < peaks[1] < peaks[0] / 3
    # sqrt(2 * 400) states are 26, so 372 less than all but two
    assert peaks[2] == pytest.approx(peaks[1] - 372 / 400 * states, rel=0.05)


@pytest.mark.slow  # traces every allocation of thousands of operators
def test_the_peak_follows_the_budget() -> None:
    """One state more for one more in the budget, from 1 to all that are needed; evaluations as the theory says."""
    field, n = ConcatSquash((8, 64, 64, 8)).build(seed=0), 400
    y0 = torch.randn(16, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ts = torch.linspace(0, 1, 5, dtype=torch.float64)
    peaks = {}
    for budget in (3, 12, 26, 100, n - 2):
        method = DiscOpt(RK4, n // 4, "checkpoint", budget)
        stats: list[SolveStats] = []

        def work(method: DiscOpt = method, stats: list[SolveStats] = stats) -> None:
            solution = method.solve(field, y0, ts)
            torch.autograd.grad(solution.ys.square().sum(), [*field.parameters()])
            stats.append(solution.stats)

        work()  # stage times, which the grid keeps
        peaks[budget] = peak_bytes(work, "cpu")
        assert stats[-1].forward.n_f == stats[-1].backward.n_vjp == 4 * n
        assert stats[-1].backward.n_f == 4 * (fewest_advances(n, budget) + 1)
    state = y0.numel() * 8
    assert all(peak - peaks[3] == pytest.approx((budget - 3) * state, abs=2 * state) for budget, peak in peaks.items())


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("scheme", SCHEMES.names())
def test_work_is_counted_exactly(scheme: str, memory: Memory, small_field: FieldOf, small_state: StateOf) -> None:
    """n_f = stages x steps, one product each; NFE-B is zero with stored stages, else a sweep or more."""
    field, rule = small_field("mlp"), SCHEMES.load(scheme).formula
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    field.register_forward_hook(count)
    solution = DiscOpt(rule, (3, 2), memory).solve(field, small_state("mlp"), TS)
    sweep = rule.n_stages * 5
    assert calls == sweep
    assert solution.stats.nfe_forward == solution.stats.forward.n_f == sweep
    assert solution.stats.forward.n_accepted == 5
    assert solution.stats.forward.n_rejected == solution.stats.forward.n_vjp == 0
    assert solution.stats.backward.evaluations == 0
    loss_of(solution.ys).backward()
    rebuilt = {"store": 0, "recompute": 5, "checkpoint": 7}[memory] * rule.n_stages  # 5 steps from 1 state: 2 again
    assert calls == sweep + rebuilt
    assert solution.stats.nfe_backward == solution.stats.backward.n_f == rebuilt
    assert solution.stats.backward.n_vjp == sweep
    assert solution.stats.nfe_forward == sweep


@pytest.mark.parametrize("memory", MEMORIES)
def test_no_gradient_no_graph(memory: Memory, small_field: FieldOf, small_state: StateOf) -> None:
    """Inference keeps nothing."""
    with torch.no_grad():
        ys = DiscOpt(RK4, 2, memory).solve(small_field("mlp"), small_state("mlp"), TS).ys
    assert not ys.requires_grad


class _Scaled(nn.Module):
    """y' = s y with a tensor that somebody else holds."""

    def __init__(self, scale: nn.Parameter) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        return self.scale * y


@pytest.mark.parametrize("memory", MEMORIES[1:])
def test_closures_over_parameters_get_their_gradient(memory: Memory) -> None:
    """Named or not: a gradient lost in silence is the worst of errors."""
    scale, y0 = nn.Parameter(torch.tensor(-0.7, dtype=torch.float64)), torch.ones(2, dtype=torch.float64)
    method = DiscOpt(RK4, 2, memory, engine="eager")  # kernels would run the module, with other rounding errors

    def closure(_: Tensor, y: Tensor) -> Tensor:
        return scale * y

    unnamed = torch.autograd.grad(loss_of(method.solve(closure, y0, TS).ys), scale)
    by_module = torch.autograd.grad(loss_of(method.solve(_Scaled(scale), y0, TS).ys), scale)
    by_closure = torch.autograd.grad(loss_of(method.solve(closure, y0, TS, params=[scale]).ys), scale)
    by_graph = torch.autograd.grad(loss_of(DiscOpt(RK4, 2).solve(closure, y0, TS).ys), scale)
    assert by_module == by_closure == unnamed
    assert by_graph[0].item() == pytest.approx(by_module[0].item(), rel=1e-12)


def test_closures_over_constants_need_nothing() -> None:
    """Only tensors that want a gradient matter; a gradient by y0 alone is a fine wish."""
    y0 = torch.ones(2, dtype=torch.float64, requires_grad=True)
    ys = DiscOpt(RK4, 2, "recompute").solve(lambda t, y: -t * y, y0, TS).ys
    (gradient,) = torch.autograd.grad(ys[-1].sum(), y0)
    # exp(-(0.9^2 - 0.1^2) / 2), to the accuracy of four RK4 steps
    assert gradient.tolist() == pytest.approx([torch.tensor(-0.4).exp().item()] * 2, rel=1e-5)


def test_constant_fields_and_unused_parameters_have_gradients() -> None:
    """A field that ignores y, or a parameter that ignores the loss: zero, not an error."""

    class Constant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
            self.unused = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return self.rate

    for memory in MEMORIES:
        field = Constant()
        y0 = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        DiscOpt(RK4, 2, memory).solve(field, y0, TS).ys[-1].sum().backward()
        assert field.rate.grad is not None
        assert field.rate.grad.tolist() == pytest.approx([0.8, 0.8], rel=1e-14)
        assert field.unused.grad is None or not field.unused.grad.any()
        assert y0.grad is not None
        assert y0.grad.tolist() == [1.0, 1.0]


def test_frozen_parameters_stay_without_a_gradient(small_field: FieldOf, small_state: StateOf) -> None:
    """Fine-tuning of a part: the rest neither gets a gradient nor stops the solve."""
    for memory in MEMORIES:
        field = small_field("mlp")
        first, *rest = field.parameters()
        first.requires_grad_(False)
        loss_of(DiscOpt(RK4, 1, memory).solve(field, small_state("mlp"), TS).ys).backward()
        assert first.grad is None
        assert all(p.grad is not None and bool(p.grad.any()) for p in rest)


def test_the_studys_formula_for_euler() -> None:
    """l_k = l_{k+1} + h J(z_k)^T l_{k+1}, written out: the Jacobian at the earlier point."""
    field, h, n = MLP((2, 3, 2)).build(seed=1), 0.25, 4
    y0 = torch.tensor([0.4, -1.1], dtype=torch.float64, requires_grad=True)
    t, z = torch.tensor(0.0, dtype=torch.float64), [y0.detach()]
    for _ in range(n):
        z.append((z[-1] + h * field(t, z[-1])).detach())
    adjoint = 2 * z[-1]
    for k in reversed(range(n)):
        J = torch.autograd.functional.jacobian(lambda y: field(t, y), z[k])
        adjoint = adjoint + h * J.T @ adjoint
    ts = torch.tensor([0.0, n * h], dtype=torch.float64)
    for memory in MEMORIES:
        ys = DiscOpt(SCHEMES.load("euler"), n, memory).solve(field, y0, ts).ys
        (gradient,) = torch.autograd.grad(ys[-1].square().sum(), y0)
        assert relative(gradient, adjoint) < 1e-14


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"scheme": "rk4"}, "scheme"),
        ({"steps": 0}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": (1, 0)}, "steps"),
        ({"memory": "none"}, "memory"),
        ({"budget": 3}, "budget"),
        ({"memory": "recompute", "budget": 3}, "budget"),
        ({"memory": "checkpoint", "budget": 0}, "budget"),
        ({"memory": "checkpoint", "budget": 2.0}, "budget"),
        ({"memory": "checkpoint", "budget": True}, "budget"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], argument: str) -> None:
    """When the method is written, not when it is first used."""
    with pytest.raises(InvalidArgument) as caught:
        DiscOpt(**options)
    assert caught.value.argument == argument


def test_steps_must_fit_the_output_times(small_field: FieldOf, small_state: StateOf) -> None:
    """One number, or one for each interval."""
    with pytest.raises(InvalidArgument, match="3 entries for 2 intervals"):
        DiscOpt(RK4, (1, 2, 3)).solve(small_field("mlp"), small_state("mlp"), TS)
