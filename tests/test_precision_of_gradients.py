"""A gradient has the precision of its solve wherever it is taken: all products of the backward pass are watched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import pynode
from pynode.errors import PrecisionMismatch
from pynode.precision import products_in
from pynode.products_switch import is_tf32

PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "mv", "addmv"}
LOOSE: dict[str, Any] = {"rtol": 1e-1, "atol": 1e-1}

METHODS: dict[str, pynode.GradientMethod] = {
    "store": pynode.DiscOpt(pynode.RK4, steps=2, engine="eager"),
    "recompute": pynode.DiscOpt(pynode.RK4, steps=2, memory="recompute", engine="eager"),
    "checkpoint": pynode.DiscOpt(pynode.RK4, steps=3, memory="checkpoint", budget=2, engine="eager"),
    "opt-disc-fixed": pynode.OptDiscFixed(steps=2),
    "interpolating": pynode.OptDisc(**LOOSE, adjoint="interpolating", engine="eager"),
    "backsolve": pynode.OptDisc(**LOOSE, adjoint="backsolve", drift="ignore", engine="eager"),
    "adaptive": pynode.AdaptiveAD(**LOOSE),
}
ALONG_TORCH = {"store", "adaptive", "odeint rk4", "odeint dopri5"}
"""Those whose backward pass is torch's own."""

SOLVES = [*METHODS, "odeint rk4", "odeint dopri5", "odeint_adjoint dopri5"]


class Watch(TorchDispatchMode):
    """Notes the number type of each product, and whether torch's switch is at TF32."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[torch.dtype, bool]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in PRODUCTS:
            self.seen.add((args[-1].dtype, is_tf32()))
        return func(*args, **(kwargs or {}))


class Posed:
    """A small float32 solve, and its gradient by the parameters."""

    def __init__(self, solve: str) -> None:
        self.solve = solve
        self.field = pynode.MLP((2, 8, 2)).build(seed=1, dtype=torch.float32)
        self.y0 = torch.linspace(-1, 1, 12).reshape(6, 2)

    def loss(self) -> Tensor:
        ts = torch.linspace(0, 1, 3)
        if self.solve in METHODS:
            return METHODS[self.solve].solve(self.field, self.y0, ts).ys.square().mean()
        function, method = self.solve.split()
        ys: Tensor = getattr(pynode, function)(Plain(self.field), self.y0, ts, method=method, **LOOSE)
        return ys.square().mean()

    def gradient(self, loss: Tensor) -> tuple[Tensor, set[tuple[torch.dtype, bool]]]:
        """The gradient, and what was noted of its products."""
        with Watch() as watch:
            gradients = torch.autograd.grad(loss, list(self.field.parameters()))
        return torch.cat([g.reshape(-1) for g in gradients]), watch.seen


class Plain(torch.nn.Module):
    """The field in a module that can't be captured, so that torch runs it."""

    def __init__(self, field: torch.nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.field(t, y) if float(y.detach().abs().max()) < 1e9 else -y


def at_once(work: Callable[[], Any]) -> Any:
    """The result of `work`."""
    return work()


def in_full(work: Callable[[], Any]) -> Any:
    """The result of `work` inside of another context."""
    with products_in("full"):
        return work()


def in_tf32(work: Callable[[], Any]) -> Any:
    """The result of `work` inside of another context."""
    with products_in("tf32"):
        return work()


def on_another_thread(work: Callable[[], Any]) -> Any:
    """The result of `work` on a thread that sees no context, as autograd's own threads don't."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(results[0], Exception):
        raise results[0]
    return results[0]


PLACES = [at_once, in_full, in_tf32, on_another_thread]


@pytest.fixture
def tf32_by_torch() -> Iterator[None]:
    """The program has turned torch's switch on."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("solve", SOLVES)
def test_bfloat16_is_that_of_the_solve(solve: str, place: Callable[..., Any]) -> None:
    """The same gradient to the last digit as inside of the context, by products in bfloat16 alone."""
    posed = Posed(solve)
    with products_in("bf16"):
        expected, seen = posed.gradient(posed.loss())
        loss = posed.loss()
    assert {dtype for dtype, _ in seen} == {torch.bfloat16}
    gradient, seen = place(lambda: posed.gradient(loss))
    assert {dtype for dtype, _ in seen} == {torch.bfloat16}
    assert torch.equal(gradient, expected)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("precision", ["tf32", "full", None])
@pytest.mark.parametrize("solve", SOLVES)
@pytest.mark.usefixtures("tf32_by_torch")
def test_tf32_is_that_of_the_solve(solve: str, precision: str | None, place: Callable[..., Any]) -> None:
    """With TF32 on in torch; without a context (None) that holds for the solve, and so for its gradient."""
    posed = Posed(solve)
    with products_in(precision) if precision else nullcontext():
        loss = posed.loss()
        _, seen = posed.gradient(posed.loss())
    on = precision != "full"
    assert seen == {(torch.float32, on)}
    if solve in ALONG_TORCH and on != (place is not in_full):  # torch's own switch is on
        with pytest.raises(PrecisionMismatch, match="take it inside the context of the solve"):
            place(lambda: posed.gradient(loss))
        return
    _, seen = place(lambda: posed.gradient(loss))
    assert seen == {(torch.float32, on)}
    assert is_tf32(), "it was set back"


def test_float64_does_not_mind() -> None:
    """Its products are the same in any context, so its gradient may be taken in any."""
    field = pynode.MLP((2, 8, 2)).build(seed=1)
    y0, ts = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0, 1, 3)
    method = pynode.DiscOpt(engine="eager")
    losses = []
    for precision in ("full", "tf32", "bf16"):
        with products_in(precision):
            losses.append(method.solve(field, y0, ts).ys.square().sum())
    first, *others = (torch.autograd.grad(loss, list(field.parameters())) for loss in losses)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0)
