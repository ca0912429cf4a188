"""Captures are kept while a module stays what it is, made anew when it changes, and never used when they are stale."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from pynode.errors import NotCapturable, StaleCapture
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4
from pynode.tapes import captured
from pynode.tapes.captured import forget_captures, obstacle_to_tapes, system_by_tape

Y0 = torch.linspace(-1, 1, 8, dtype=torch.float64).reshape(4, 2)
TS = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
METHODS = [DiscOpt(RK4, steps=2), OptDisc(rtol=1e-9, atol=1e-11)]
GAIN = 1.0


class Net(nn.Module):
    """The spiral's net with one of everything that a user may change."""

    mean: Tensor

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2)).double()
        self.register_buffer("mean", torch.tensor([0.1, -0.2], dtype=torch.float64))
        self.power, self.nfe = 3, 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
        self.nfe += 1
        return GAIN * self.net(y**self.power) - self.mean * (2 if self.training else 1)


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """Every test starts without captures, and leaves what it changes outside of modules as it was."""
    forget_captures()
    gain, forward = GAIN, Net.forward
    yield
    globals()["GAIN"] = gain
    Net.forward = forward  # type: ignore[method-assign]


def captures_made(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that are captured from here on."""
    made: list[nn.Module] = []
    before = captured._captured

    def counting(module: nn.Module, *rest: Any) -> Any:
        made.append(module)
        return before(module, *rest)

    monkeypatch.setattr(captured, "_captured", counting)
    return made


def solve_often(module: nn.Module, n: int) -> None:
    for _ in range(n):
        system_by_tape(module, Y0, TS)


def results(method: GradientMethod, module: Any) -> tuple[Tensor, ...]:
    """States at the end and gradients, of a solve by `method`."""
    y0 = Y0.clone().requires_grad_()
    ys = method.solve(module, y0, TS).ys[-1]
    return ys.detach(), *torch.autograd.grad(ys.square().sum(), [y0, *module.parameters()])


def narrower(module: Any) -> None:
    """Three hidden units, in the same parameters."""
    module.net[0].weight.data = torch.ones(3, 2, dtype=torch.float64)
    module.net[0].bias.data = torch.ones(3, dtype=torch.float64)
    module.net[2].weight.data = torch.ones(2, 3, dtype=torch.float64)


STALE: dict[str, Callable[[Any], Any]] = {
    "attribute": lambda m: setattr(m, "power", 2),
    "global": lambda _: globals().__setitem__("GAIN", 1.7),
    "buffer": lambda m: setattr(m, "mean", torch.ones(2, dtype=torch.float64)),
    "buffer in place": lambda m: m.mean.fill_(3.0),
    "hook": lambda m: m.net.register_forward_hook(lambda _, __, y: 2 * y),
    "hook before": lambda m: m.net[2].register_forward_pre_hook(lambda _, x: (x[0] + 1,)),
    "forward of the object": lambda m: setattr(m, "forward", lambda t, y: m.net(y) + t),
    "forward of a layer": lambda m: setattr(m.net[1], "forward", torch.sin),
    "forward of the class": lambda _: setattr(Net, "forward", lambda self, t, y: t * self.net(y)),
    "swapped layer": lambda m: m.net.__setitem__(1, nn.Softplus()),
    "another width": lambda m: setattr(m, "net", nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()),
    "eval": lambda m: m.eval(),
    "in-place weight change": lambda m: m.net[0].weight.data.mul_(1.5),
    "weights of another shape": narrower,
    "optimiser's step": lambda m: torch.optim.SGD(m.parameters(), 0.1).zero_grad() or m.net[0].weight.data.add_(0.1),
    "load_state_dict": lambda m: m.load_state_dict(Net(seed=5).state_dict()),
    "load_state_dict with assign": lambda m: m.load_state_dict(Net(seed=5).state_dict(), assign=True),
    "replaced parameter": lambda m: setattr(m.net[0], "bias", nn.Parameter(torch.ones(8, dtype=torch.float64))),
    "parametrization": lambda m: nn.utils.parametrizations.weight_norm(m.net[0]),
    "frozen and thawed": lambda m: m.net[0].requires_grad_(False).requires_grad_(True),
}


@pytest.mark.parametrize("name", STALE)
@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_what_changes_a_module_changes_its_solves(method: GradientMethod, name: str) -> None:
    """Whatever a user does between two solves: values and gradients are those of torch operators."""
    module = Net()
    results(method, module)
    STALE[name](module)
    torch.testing.assert_close(
        results(method, module), results(method.on_engine("eager"), module), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_copies_are_captured_by_themselves(method: GradientMethod) -> None:
    """Nothing of a capture hangs on the module."""
    module = Net()
    results(method, module)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        STALE["in-place weight change"](other)
        torch.testing.assert_close(
            results(method, other), results(method.on_engine("eager"), other), rtol=1e-6, atol=1e-8
        )
        assert not torch.equal(results(method, other)[0], results(method, module)[0])
    assert vars(module).keys() == vars(Net()).keys()


def test_a_capture_serves_until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of any size, and two modes in turn; states of another kind have one of their own."""
    made = captures_made(monkeypatch)
    module = Net()
    spec = system_by_tape(module, Y0, TS).spec
    for size in (1, 3, 4, 4):
        assert system_by_tape(module, Y0[:size], TS).spec is spec
    assert len(made) == 1
    module.eval()
    assert system_by_tape(module, Y0, TS).spec is not spec
    for k in range(6):
        system_by_tape(module.train(bool(k % 2)), Y0, TS)
    assert len(made) == 2
    system_by_tape(module, Y0[0], TS)
    assert len(made) == 3


def test_constants_are_the_modules_own_parameters() -> None:
    """So that nothing has to be computed before a solve; others are functions of them."""
    module = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()

    class Timeless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = module

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return self.net(y)

    field = Timeless()
    system = system_by_tape(field, Y0, TS)
    assert {id(p) for p in system.theta} == {id(p) for p in field.parameters()}
    assert system_by_tape(field, Y0, TS) is system
    nn.utils.parametrizations.weight_norm(module[0])
    system = system_by_tape(field, Y0, TS)
    assert any(p.grad_fn is not None for p in system.theta)


def test_a_module_that_can_not_be_captured_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it changes.  Trying leaves no traces: counters, random numbers, running means."""

    class Noisy(Net):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(2).double()
            self.drop = nn.Dropout(0.5)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return super().forward(t, self.drop(self.norm(y)))

    made = captures_made(monkeypatch)
    module = Noisy()
    mean = module.norm.running_mean
    assert mean is not None
    before = torch.get_rng_state(), mean.clone()
    reasons = set()
    for _ in range(3):
        with pytest.raises(NotCapturable) as caught:
            system_by_tape(module, Y0, TS)
        reasons.add(str(caught.value))
    assert len(made) == len(reasons) == 1
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.equal(mean, before[1])
    assert module.nfe == module.norm.num_batches_tracked == 0
    module.eval()
    assert system_by_tape(module, Y0, TS).theta


def test_hooks_are_left_to_torch() -> None:
    """Those that torch's norms bring along are part of the formula."""
    module = Net()
    handle = module.net.register_forward_hook(lambda *_: None)
    with pytest.raises(NotCapturable, match=r"hooks.*in net\)"):
        system_by_tape(module, Y0, TS)
    handle.remove()
    module.net[0].register_full_backward_hook(lambda *_: None)
    with pytest.raises(NotCapturable, match=r"backward hooks.*in net.0\)"):
        system_by_tape(module, Y0, TS)


def hidden_state() -> tuple[nn.Module, Callable[[float], None]]:
    """A module whose gain nobody can see, and what sets it."""
    held = torch.ones(1, dtype=torch.float64)
    memory = held.numpy()

    class Gain:
        __slots__ = ()

        def __mul__(self, y: Tensor) -> Tensor:
            return y * float(memory[0])

    class Hidden(Net):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return Gain() * super().forward(t, y)

    Gain.__module__ = "torch.hidden"  # as if it were none of the user's
    return Hidden(), lambda value: memory.__setitem__(0, value)


def test_state_that_nobody_can_see_is_found_by_spot_checks() -> None:
    """At solves 1, 2, 4, 8, ... of a capture, and at batches of a size that is new."""
    module, set_gain = hidden_state()
    system_by_tape(module, Y0, TS)
    set_gain(2.0)
    with pytest.raises(StaleCapture, match=r"Hidden.*state outside the module.*attribute or a buffer.*eager"):
        solve_often(module, 2)
    forget_captures()
    for _ in range(5):
        system_by_tape(module, Y0, TS)
    set_gain(3.0)
    system_by_tape(module, Y0, TS)
    with pytest.raises(StaleCapture):
        system_by_tape(module, Y0[:3], TS)


def test_a_value_that_depends_on_its_own_counter_is_told() -> None:
    class Tiring(Net):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return super().forward(t, y) * (1.0 if self.nfe < 100 else 2.0)

    with pytest.raises(NotCapturable, match="its evaluation changes `nfe`, and reads it for more than to count"):
        system_by_tape(Tiring(), Y0, TS)


def test_spot_checks_are_few_and_leave_no_traces() -> None:
    evaluations = 0

    class Counting(Net):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            return super().forward(t, y)

    module = Counting()
    system_by_tape(module, Y0, TS)
    first = evaluations
    for _ in range(1000):
        system_by_tape(module, Y0, TS)
    assert first < 15
    assert evaluations - first == 20  # at 2, 4, ..., 64, 128, 192, ...
    assert module.nfe == 0


def test_a_point_of_rest_is_no_difference() -> None:
    """Where the slope is zero all digits are rounding errors."""

    class Resting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[0.1, 0.2], [0.3, 0.7]], dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:  # noqa: ARG002
            return (y @ self.weight.T) * 3 - (3 * y) @ self.weight.T

    system_by_tape(Resting(), Y0, TS)


def test_what_an_evaluation_makes_and_keeps_is_left_to_torch() -> None:
    """Others would read what the first has made of the weights of that time."""

    class Caching(Net):
        cache: Tensor | None = None

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            if self.cache is None:
                self.cache = 2 * cast(nn.Linear, self.net[0]).weight.detach()
            return super().forward(t, y) + (y @ self.cache.T)[:, :2]

    with pytest.raises(NotCapturable, match="first evaluation makes cache, which others read"):
        system_by_tape(Caching(), Y0, TS)


def test_captures_go_with_their_modules() -> None:
    def captured_once() -> weakref.ref[Net]:
        module = Net()
        system_by_tape(module, Y0, TS)
        return weakref.ref(module)

    gone = captured_once()
    gc.collect()
    assert gone() is None
    assert not captured._KNOWN


def test_tensors_that_are_named_must_be_known() -> None:
    """A gradient must not get lost."""
    module = Net()
    system_by_tape(module, Y0, TS, list(module.parameters()))
    context = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with pytest.raises(NotCapturable, match=r"shape \(2,\) in params"):
        system_by_tape(module, Y0, TS, [context])


def test_solves_that_no_tape_can_serve() -> None:
    module = Net()
    assert obstacle_to_tapes(module, Y0) is None
    assert "function" in str(obstacle_to_tapes(lambda t, y: y, Y0))
    assert "float16" in str(obstacle_to_tapes(module, Y0.half()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in str(obstacle_to_tapes(module, Y0))
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    assert "hooks on all modules" in str(obstacle_to_tapes(module, Y0))
    handle.remove()
    known = torch.func.vmap(lambda y: y + float("transforms" in str(obstacle_to_tapes(module, y))))(Y0)
    assert torch.equal(known, Y0 + 1)
