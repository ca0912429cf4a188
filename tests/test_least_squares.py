"""`LeastSquares` has the loss and the gradient of autograd on every engine; missing data are refused or masked."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.engines.fused import unavailable
from pynode.errors import InvalidArgument, SolveError
from pynode.fields import FIELDS
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.least_squares import LeastSquares
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.schemes.rk4 import RK4

TS = torch.linspace(0, 1, 5, dtype=torch.float64)
METHODS: list[GradientMethod] = [
    DiscOpt(RK4, 2),
    DiscOpt(RK4, 2, "recompute"),
    DiscOpt(RK4, 2, engine="eager"),
    OptDisc(rtol=1e-9, atol=1e-9),
    OptDisc(rtol=1e-9, atol=1e-9, engine="eager"),
    OptDiscFixed(RK4, 3),
]
IDS = ["disc-opt", "recompute", "disc-opt-eager", "opt-disc", "opt-disc-eager", "opt-disc-fixed"]


def autograd(method: GradientMethod, field: Field, y0: Tensor, data: Tensor) -> tuple[float, list[Tensor | None], Any]:
    """The same by autograd."""
    solution = method.solve(field, y0, TS)
    loss = (solution.ys - data).square().sum()
    wanted = [p for p in field.parameters() if p.requires_grad]
    grads = iter(torch.autograd.grad(loss, wanted))
    return float(loss.detach()), [next(grads) if p.requires_grad else None for p in field.parameters()], solution.stats


@pytest.mark.parametrize("name", FIELDS.names())
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_loss_gradient_and_counts(method: GradientMethod, name: str, small_field: Any, small_state: Any) -> None:
    field, y0 = small_field(name), small_state(name)
    list(field.parameters())[-1].requires_grad_(False)
    data = torch.randn((len(TS), *y0.shape), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    fit = LeastSquares(method, field, y0, TS, data)
    fit.backward()
    loss, wanted, stats = autograd(method, field, y0, data)
    assert fit.loss == pytest.approx(loss, rel=1e-13)
    for p, g in zip(field.parameters(), wanted, strict=True):
        assert (p.grad is None) == (g is None)
        if p.grad is not None and g is not None:
            assert torch.allclose(p.grad, g, rtol=1e-12, atol=1e-13)
    assert fit.stats == stats
    assert fit.stats.engine == stats.engine


def test_gradients_add_up(small_field: Any, small_state: Any) -> None:
    """As torch's backward does."""
    field, y0 = small_field("mlp"), small_state("mlp")
    data = torch.zeros((len(TS), *y0.shape), dtype=torch.float64)
    for _ in range(2):
        LeastSquares(DiscOpt(), field, y0, TS, data).backward()
    once = autograd(DiscOpt(), field, y0, data)[1]
    for p, g in zip(field.parameters(), once, strict=True):
        assert p.grad is not None
        assert g is not None
        assert torch.allclose(p.grad, 2 * g, rtol=1e-12, atol=1e-13)


def test_two_at_a_time_keep_out_of_each_others_way(small_field: Any, small_state: Any) -> None:
    """Solve, solve, then both gradients; parameters that changed in between do not matter."""
    field, y0 = small_field("mlp"), small_state("mlp")
    data = torch.zeros((len(TS), *y0.shape), dtype=torch.float64)
    wanted = autograd(DiscOpt(), field, y0, data)[1]
    first = LeastSquares(DiscOpt(), field, y0, TS, data)
    LeastSquares(DiscOpt(), field, 2 * y0, TS, data)
    first.backward()
    assert all(torch.allclose(p.grad, g, rtol=1e-12) for p, g in zip(field.parameters(), wanted, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_dtypes_and_gradients_beyond_the_parameters(dtype: torch.dtype) -> None:
    """float32 data beside float64 states; y0 and data that want gradients get them, by autograd."""
    field = MLP((2, 6, 2)).build(seed=1)
    y0 = torch.tensor([0.5, -0.2], dtype=torch.float64, requires_grad=True)
    data = torch.ones(len(TS), 2, dtype=dtype, requires_grad=True)
    LeastSquares(DiscOpt(), field, y0, TS, data).backward()
    assert y0.grad is not None
    assert data.grad is not None
    plain = torch.ones(len(TS), 2, dtype=dtype)
    before = [p.grad for p in field.parameters()]
    field.zero_grad()
    LeastSquares(DiscOpt(), field, y0.detach(), TS, plain).backward()
    for p, g in zip(field.parameters(), before, strict=True):
        assert p.grad is not None
        assert g is not None
        assert torch.allclose(p.grad, g)


@pytest.mark.parametrize("method", METHODS[:4], ids=IDS[:4])
def test_what_goes_wrong_is_what_solve_says(method: GradientMethod) -> None:
    field = MLP((1, 1), "tanh", input_power=3).build(theta=torch.tensor([1.0, 0.0], dtype=torch.float64))  # y' = y^3
    y0, ts = torch.tensor([3.0], dtype=torch.float64), 30 * TS
    with pytest.raises(SolveError):
        LeastSquares(method, field, y0, ts, torch.zeros(len(TS), 1, dtype=torch.float64))
    with pytest.raises(InvalidArgument, match=r"data = \(5, 2\): the states have shape \(5, 1\)"):
        LeastSquares(method, field, y0, ts, torch.zeros(len(TS), 2, dtype=torch.float64))


def refused_before_a_solve(monkeypatch: pytest.MonkeyPatch, data: Tensor, message: str) -> None:
    monkeypatch.setattr(DiscOpt, "run_directly", None)
    monkeypatch.setattr(DiscOpt, "solve", None)
    field, y0 = MLP((2, 6, 2)).build(seed=1), torch.ones(2, dtype=torch.float64)
    with pytest.raises(InvalidArgument, match=message):
        LeastSquares(DiscOpt(), field, y0, TS, data)


def test_data_on_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is solved."""
    data = torch.zeros(len(TS), 2, dtype=torch.float64, device="meta")
    refused_before_a_solve(monkeypatch, data, "data = meta: the states are on cpu; move them")


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex128])
def test_data_that_are_not_real_numbers(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    data = torch.zeros(len(TS), 2, dtype=dtype)
    refused_before_a_solve(monkeypatch, data, f"data = {dtype}: not real numbers")


BAD = {
    # what is not finite: how it is put there, and what the error says
    "one NaN": ([((3, 1, 0), math.nan)], r"1 of 20 entries is not finite, the first, nan, at index \(3, 1, 0\)"),
    "infinite": ([((0, 0, 1), math.inf)], r"1 of 20 entries is not finite, the first, inf, at index \(0, 0, 1\)"),
    "a row": (
        [((2, 0, 0), math.nan), ((2, 0, 1), math.nan), ((4, 1, 1), -math.inf)],
        r"3 of 20 entries are not finite, the first, nan, at index \(2, 0, 0\)",
    ),
}


def spoilt(case: str, requires_grad: bool = False) -> Tensor:
    """Data `(5, 2, 2)` with the entries of `BAD`."""
    data = torch.randn(len(TS), 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for index, value in BAD[case][0]:
        data[index] = value
    return data.requires_grad_(requires_grad)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_data_that_are_not_finite(method: GradientMethod, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says how many and where, before anything is solved."""
    field, y0 = MLP((2, 6, 2)).build(seed=1), torch.ones(2, 2, dtype=torch.float64)
    monkeypatch.setattr(type(method), "run_directly", None)
    monkeypatch.setattr(type(method), "solve", None)
    with pytest.raises(InvalidArgument, match=BAD[case][1]) as caught:
        LeastSquares(method, field, y0, TS, spoilt(case))
    assert 'missing="mask"' in str(caught.value)


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_masked_entries_are_no_part_of_loss_and_gradient(method: GradientMethod, case: str) -> None:
    """As the squares of the other entries alone, summed and differentiated by autograd."""
    field, y0, data = MLP((2, 6, 2)).build(seed=1), torch.ones(2, 2, dtype=torch.float64), spoilt(case)
    fit = LeastSquares(method, field, y0, TS, data, missing="mask")
    fit.backward()
    seen = torch.isfinite(data)
    loss = (method.solve(field, y0, TS).ys[seen] - data[seen]).square().sum()
    assert fit.loss == pytest.approx(float(loss.detach()), rel=1e-13)
    assert fit.count == int(seen.sum())
    for p, g in zip(field.parameters(), torch.autograd.grad(loss, list(field.parameters())), strict=True):
        assert p.grad is not None
        assert torch.isfinite(g).all()
        assert torch.allclose(p.grad, g, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", BAD)
def test_masked_data_that_want_a_gradient(case: str) -> None:
    """By autograd: the gradient by a masked entry is zero, not NaN."""
    field, y0 = MLP((2, 6, 2)).build(seed=1), torch.ones(2, 2, dtype=torch.float64, requires_grad=True)
    data = spoilt(case, requires_grad=True)
    LeastSquares(DiscOpt(), field, y0, TS, data, missing="mask").backward()
    assert data.grad is not None
    assert y0.grad is not None
    assert torch.isfinite(y0.grad).all()
    assert torch.equal(data.grad == 0, ~torch.isfinite(data.detach()))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nothing_left_to_fit(value: float) -> None:
    field, y0 = MLP((2, 6, 2)).build(seed=1), torch.ones(2, dtype=torch.float64)
    data = torch.full((len(TS), 2), value, dtype=torch.float64)
    with pytest.raises(InvalidArgument, match="nothing is left to fit"):
        LeastSquares(DiscOpt(), field, y0, TS, data, missing="mask")
    with pytest.raises(InvalidArgument, match=r"missing = 'skip': unknown; .*use one of error, mask"):
        LeastSquares(DiscOpt(), field, y0, TS, data, missing="skip")  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_mask_without_anything_missing(method: GradientMethod) -> None:
    """Bit by bit what it is without the option."""
    gradients = []
    for missing in ("error", "mask"):
        field, y0 = MLP((2, 6, 2)).build(seed=1), torch.ones(2, 2, dtype=torch.float64)
        data = torch.ones(len(TS), 2, 2, dtype=torch.float64)
        fit = LeastSquares(method, field, y0, TS, data, missing=missing)
        assert fit.count == 20
        fit.backward()
        gradients.append([p.grad for p in field.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(
    ("y0", "ts", "message"),
    [
        ([1.0, math.inf], [0.0, 1.0], r"y0 = NaN or infinite entries: 1 of 2 entries .* inf, at index \(1,\)"),
        ([math.nan, math.nan], [0.0, 1.0], r"y0 = NaN or infinite entries: 2 of 2 entries .* nan, at index \(0,\)"),
        ([1.0, 1.0], [0.0, math.nan], "ts = .*not finite: 1 of 2 times, the first at index 1"),
        ([1.0, 1.0], [-math.inf, math.inf], "ts = .*not finite: 2 of 2 times, the first at index 0"),
    ],
)
@pytest.mark.parametrize("method", METHODS, ids=IDS)
def test_states_and_times_that_are_not_finite(
    method: GradientMethod, y0: list[float], ts: list[float], message: str
) -> None:
    start, times = (torch.tensor(values, dtype=torch.float64) for values in (y0, ts))
    with pytest.raises(InvalidArgument, match=message):
        LeastSquares(method, MLP((2, 6, 2)).build(seed=1), start, times, torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_kernels_leave_autograd_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what it is for."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("autograd at work")

    monkeypatch.setattr(torch.autograd.Function, "apply", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    field = MLP((2, 6, 2)).build(seed=1)
    y0, data = torch.ones(2, dtype=torch.float64), torch.ones(len(TS), 2, dtype=torch.float64)
    for method in (DiscOpt(), OptDisc()):
        LeastSquares(method, field, y0, TS, data).backward()
    assert all(p.grad is not None for p in field.parameters())


def test_the_memory_of_a_gradient_that_nobody_takes_is_let_go_at_once() -> None:
    """Without the garbage collector, which may not come for long."""
    field = MLP((2, 4, 2)).build(seed=0)
    y0, ts = torch.ones(3, 2, dtype=torch.float64), torch.linspace(0, 1, 3, dtype=torch.float64)
    gc.disable()
    try:
        fit = LeastSquares(DiscOpt(engine="eager", memory="recompute"), field, y0, ts, torch.zeros(3, 3, 2).double())
        pullback = weakref.ref(fit._run.pullback)
        assert pullback() is not None
        del fit
        assert pullback() is None
    finally:
        gc.enable()
