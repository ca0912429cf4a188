"""Products in reduced precision: what they change, what they leave, who runs them, and that all is set back."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import pynode
from pynode.errors import ConfigurationMismatch, EngineUnavailable, InvalidArgument
from pynode.fields.base import Field
from pynode.precision import PRODUCTS, active_precision, check_precision, products_in
from pynode.training.config import RunConfig
from pynode.training.plan import plan
from pynode.training.restore import config_of
from pynode.training.trainer import train

BFLOAT = 2.0**-8
"""Half the distance of numbers next to 1 in bfloat16."""


def rounded(tensor: Tensor) -> Tensor:
    """The tensor with the digits that bfloat16 has."""
    return tensor.to(torch.bfloat16).to(tensor.dtype)


def test_factors_are_rounded_and_the_result_is_in_float32() -> None:
    x, w, b = torch.randn(5, 7), torch.randn(3, 7), torch.randn(3)
    with products_in("bf16"):
        made = torch.nn.functional.linear(x, w, b)
    assert made.dtype is torch.float32
    exact = rounded(x).double() @ rounded(w).double().T + rounded(b).double()
    assert ((made - exact).abs() <= 2 * BFLOAT * exact.abs() + 1e-6).all()
    assert (made - (x @ w.T + b)).abs().max() > 1e-4, "nothing was rounded"


@pytest.mark.parametrize("function", PRODUCTS, ids=lambda f: getattr(f, "__name__", str(f)))
def test_every_product_is_rounded(function: Callable[..., Tensor]) -> None:
    x, y = torch.randn(4, 4), torch.randn(4, 4)
    name = function.__name__
    arguments: tuple[object, ...] = (x, y)
    if name == "einsum":
        arguments = ("ij,jk", x, y)
    elif name in ("bmm", "addbmm", "baddbmm"):
        arguments = (x[None], y[None])
    elif name in ("mv", "addmv"):
        arguments = (x, y[0])
    if name.startswith(("addmm", "addmv", "baddbmm", "addbmm")):
        first = {"addmv": y[1], "baddbmm": y[None]}.get(name, y)
        arguments = (first, *arguments)
    full = function(*arguments)
    with products_in("bf16"):
        reduced = function(*arguments)
    assert reduced.dtype is torch.float32
    assert 1e-5 < (reduced - full).norm() / full.norm() < 2e-2


def test_products_in_float64_stay_as_they_are() -> None:
    x = torch.randn(4, 4, dtype=torch.float64)
    with products_in("bf16"):
        assert torch.equal(x @ x, torch.mm(x, x))
        assert (x @ x).dtype is torch.float64


def test_contexts_are_nested_and_set_back() -> None:
    x = torch.randn(6, 6)
    full = x @ x
    with pytest.raises(RuntimeError), products_in("bf16"):  # noqa: PT012 (the context is what is tested)
        assert active_precision() == "bf16"
        reduced = x @ x
        with products_in("full"):
            assert active_precision() == "full"
            assert torch.equal(x @ x, full)
            with products_in("bf16"):
                assert torch.equal(x @ x, reduced)
        assert torch.equal(x @ x, reduced)
        raise RuntimeError
    assert active_precision() == "full"
    assert torch.equal(x @ x, full)
    assert not torch.equal(reduced, full)


def test_tf32_sets_the_switch_of_torch_and_sets_it_back() -> None:
    before = torch.get_float32_matmul_precision()
    with products_in("tf32"):
        assert torch.get_float32_matmul_precision() == "high"
        with products_in("full"):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("precision", "dtype", "said"),
    [
        ("tf32", torch.float32, "precision = tf32: needs the tensor cores of a CUDA GPU, and the device is cpu"),
        ("bf16", torch.float64, "is for products in float32, and the numbers are float64; use dtype float32"),
        ("fp8", torch.float32, "precision = 'fp8': unknown; use one of full, tf32, bf16"),
    ],
)
def test_what_cannot_be_had_is_refused(precision: str, dtype: torch.dtype, said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        check_precision(precision, "cpu", dtype)


@pytest.fixture
def posed() -> tuple[Field, Tensor, Tensor]:
    """A field wide enough for the kernels to pay, states and times, float32."""
    field = pynode.MLP((2, 16, 2)).build(seed=1, dtype=torch.float32)
    return field, torch.randn(32, 2), torch.linspace(0, 1, 3)


def gradient(method: pynode.GradientMethod, posed: tuple[Field, Tensor, Tensor], precision: str) -> Tensor:
    """Of the mean square of all states, by the parameters."""
    field, y0, ts = posed
    with products_in(precision):
        loss = method.solve(field, y0, ts).ys.square().mean()
        grads = torch.autograd.grad(loss, list(field.parameters()))
    return torch.cat([g.reshape(-1) for g in grads])


@pytest.mark.parametrize("memory", ["store", "recompute", "checkpoint"])
def test_gradients_are_near_the_full_ones_whatever_is_kept(memory: str, posed: tuple[Field, Tensor, Tensor]) -> None:
    """All ways of keeping states differentiate the same rounded program."""
    method = pynode.DiscOpt(pynode.RK4, steps=2, memory=memory, engine="eager")  # type: ignore[arg-type]
    full, reduced = gradient(method, posed, "full"), gradient(method, posed, "bf16")
    assert 1e-4 < (reduced - full).norm() / full.norm() < 5e-2
    stored = gradient(replace(method, memory="store"), posed, "bf16")
    assert (reduced - stored).norm() / full.norm() < 1e-5


def test_only_engines_that_follow_it_are_chosen(posed: tuple[Field, Tensor, Tensor]) -> None:
    field, y0, ts = posed
    with products_in("bf16"):
        assert pynode.DiscOpt().solve(field, y0, ts).stats.engine == "eager"
        with pytest.raises(EngineUnavailable, match="its products are in full precision, and bf16 is asked for"):
            pynode.DiscOpt(engine="fused").solve(field, y0, ts)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_float64_is_solved_by_any_engine(precision: str, engine: str) -> None:
    """The option is for products in float32: solves of other numbers run as without it."""
    field = pynode.MLP((2, 16, 2)).build(seed=1)
    y0, ts = torch.randn(32, 2, dtype=torch.float64), torch.linspace(0, 1, 3)
    expected = pynode.DiscOpt(engine=engine).solve(field, y0, ts)
    chosen = pynode.DiscOpt().solve(field, y0, ts).stats.engine
    with products_in(precision):
        solution = pynode.DiscOpt(engine=engine).solve(field, y0, ts)
        assert pynode.DiscOpt().solve(field, y0, ts).stats.engine == chosen
    assert solution.stats.engine == engine
    assert torch.equal(solution.ys, expected.ys)


def test_torchdiffeqs_functions_follow_it(posed: tuple[Field, Tensor, Tensor]) -> None:
    """Also where the kernels would run them."""
    field, y0, ts = posed
    full = pynode.odeint(field, y0, ts, method="rk4")
    with products_in("bf16"):
        reduced = pynode.odeint(field, y0, ts, method="rk4")
    assert 1e-4 < (reduced - full).norm() / full.norm() < 5e-2


def configured(**settings: Any) -> RunConfig:
    """Six iterations of a small flow."""
    options: dict[str, Any] = {"dtype": "float32", "iterations": 6, "validate_every": 3, "checkpoint_every": 3}
    return plan(
        "8gaussians", ["disc-opt"], [0], {"steps": 2}, problem_options={"batch": 32}, **{**options, **settings}
    )[0]


def test_a_run_records_its_precision_and_trains_in_it(tmp_path: Path) -> None:
    full = train(configured(), tmp_path / "full")
    reduced = train(configured(precision="bf16"), tmp_path / "bf16")
    assert config_of(tmp_path / "bf16").precision == "bf16"
    assert config_of(tmp_path / "bf16").decided_engine == "eager"
    assert config_of(tmp_path / "full").precision == "full"
    losses = [
        summary["final_train_loss"] if "final_train_loss" in summary else summary["best_validation_loss"]
        for summary in (full, reduced)
    ]
    assert losses[0] != losses[1]
    assert math.isclose(losses[0], losses[1], rel_tol=1e-2)
    with pytest.raises(ConfigurationMismatch, match="precision: bf16 -> full"):
        train(configured(iterations=8), tmp_path / "bf16", resume=True)


def test_a_resumed_run_continues_to_the_same_numbers(tmp_path: Path) -> None:
    whole = train(configured(precision="bf16"), tmp_path / "whole")
    train(configured(precision="bf16", iterations=3), tmp_path / "parts")
    parts = train(configured(precision="bf16"), tmp_path / "parts", resume=True)
    assert parts["best_validation_loss"] == whole["best_validation_loss"]


def test_precisions_that_the_device_or_the_numbers_do_not_have_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="needs the tensor cores"):
        configured(precision="tf32")
    with pytest.raises(InvalidArgument, match="the numbers are float64"):
        configured(precision="bf16", dtype="float64")
