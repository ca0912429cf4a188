"""What a failed solve says: the samples that made it fail, a loss that is not finite, and a problem that is stiff."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pynode.engines.fused.engine import ADJOINTS as ADJOINTS_OF_KERNELS
from pynode.errors import CotangentError, SolveError
from pynode.fields.base import Field
from pynode.fields.mlp import MLP
from pynode.finite import is_finite
from pynode.methods.ad_adaptive import AdaptiveAD
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.methods.opt_disc_fixed import OptDiscFixed
from pynode.samples import Samples
from pynode.solution import Status

F64: dict[str, Any] = {"dtype": torch.float64}
TS = torch.tensor([0.0, 0.5, 1.0], **F64)
ANY_FIELD = [
    DiscOpt(steps=3),
    DiscOpt(steps=3, memory="recompute"),
    DiscOpt(steps=3, memory="checkpoint"),
    OptDisc(engine="eager"),
    AdaptiveAD(),
    OptDiscFixed(steps=3),
]
ADJOINTS = [partial(OptDisc, engine="eager"), partial(OptDisc, engine="eager", adjoint_norm="seminorm")]
KERNELS = [partial(OptDisc, engine="fused", adjoint=a) for a in ADJOINTS_OF_KERNELS]
"""Made in the test, since kernels may be missing."""


class Root(nn.Module):
    """y' = w sqrt(1 - t y), NaN where t y exceeds 1."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0, **F64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.w * torch.sqrt(1 - t * y)


def failure(method: GradientMethod, field: Any, y0: Tensor, ts: Tensor = TS) -> SolveError:
    """The error of this solve."""
    with pytest.raises(SolveError) as caught:
        method.solve(field, y0, ts)
    return caught.value


@pytest.mark.parametrize("method", ANY_FIELD, ids=lambda m: f"{m.label}-{getattr(m, 'memory', '')}")
@pytest.mark.parametrize("bad", [(3,), (0, 5), (1, 2, 4)], ids=str)
def test_non_finite_samples_are_named(method: GradientMethod, bad: tuple[int, ...]) -> None:
    y0 = torch.zeros(7, 2, **F64)
    y0[list(bad), 1] = 40.0
    error = failure(method, Root(), y0)
    assert error.status is Status.NON_FINITE
    assert error.samples == Samples(bad, 7)
    assert str(error.samples) in str(error)


@pytest.mark.parametrize("method", [*KERNELS, partial(OptDisc, engine="eager"), AdaptiveAD], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.usefixtures("needs_fused")
def test_blown_up_sample_is_named(method: Callable[[], GradientMethod], dtype: torch.dtype) -> None:
    """y' = y^3 from 4 reaches infinity at t = 1/32, from 0.1 nowhere."""
    field: Field = MLP((1, 1), input_power=3).build(theta=torch.tensor([1.0, 0.0]), dtype=dtype)
    y0 = torch.full((40, 1), 0.1, dtype=dtype)
    y0[17] = 4.0
    error = failure(method(), field, y0.requires_grad_(), TS.to(dtype))
    assert error.samples == Samples((17,), 40)
    assert "sample 17 of 40" in str(error)


@pytest.mark.usefixtures("needs_fused")
def test_blown_up_sample_of_fixed_steps_by_kernels() -> None:
    field = MLP((1, 1), input_power=3).build(theta=torch.tensor([1.0, 0.0], **F64))
    y0 = torch.full((9, 1), 0.1, **F64)
    y0[[2, 6]] = 1e6
    assert failure(DiscOpt(steps=8, engine="fused"), field, y0).samples == Samples((2, 6), 9)


@pytest.mark.usefixtures("needs_fused")
def test_workspace_of_a_failed_solve_names_nobody_later() -> None:
    """A field that is NaN for all samples, after a solve in the same memory that failed for one of them."""
    field = MLP((1, 1), input_power=3).build(theta=torch.tensor([1.0, 0.0], **F64))
    y0 = torch.full((9, 1), 0.1, **F64).requires_grad_()
    with torch.no_grad():
        y0[4] = 5.0
    failure(OptDisc(engine="fused"), field, y0)
    with torch.no_grad():
        y0.fill_(0.1)
        next(iter(field.parameters())).fill_(math.nan)
    error = failure(OptDisc(engine="fused"), field, y0)
    assert error.samples == Samples(tuple(range(9)), 9)
    assert "all 9 samples" in str(error)


def test_one_state_is_no_batch() -> None:
    error = failure(DiscOpt(steps=3), Root(), torch.tensor([0.0, 40.0], **F64))
    assert error.samples is None
    assert "sample" not in str(error)


@pytest.mark.parametrize(
    ("indices", "total", "said"),
    [
        ((3,), 64, "sample 3 of 64"),
        ((3, 17), 64, "samples 3 and 17 of 64"),
        ((0, 1, 2, 3, 4), 9, "samples 0, 1, 2, 3 and 4 of 9"),
        (tuple(range(900)), 1000, "samples 0, 1, 2, 3, 4 and 895 more of 1000"),
        ((0, 1), 2, "all 2 samples"),
    ],
)
def test_samples_as_words(indices: tuple[int, ...], total: int, said: str) -> None:
    assert str(Samples(indices, total)) == said


@pytest.mark.parametrize("method", [*ADJOINTS, partial(OptDiscFixed, steps=3), *KERNELS], ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("output", [0, 1, 2])
@pytest.mark.usefixtures("needs_fused")
def test_cotangent_of_a_spoilt_loss(method: Callable[[], GradientMethod], value: float, output: int) -> None:
    """NaN in the data is the loss's fault at whatever output time it stands, and the message says where."""
    field, y0 = MLP((2, 5, 2)).build(seed=0), torch.ones(6, 2, **F64).requires_grad_()
    data = torch.zeros(3, 6, 2, **F64)
    data[output, 4, 0] = value
    ys = method().solve(field, y0, TS).ys
    with pytest.raises(CotangentError) as caught:
        (ys - data).square().sum().backward()
    error = caught.value
    assert error.t == TS[output]
    assert error.samples == Samples((4,), 6)
    kind = "NaN" if math.isnan(value) else "infinite"
    assert f"the cotangent of the states is {kind} at t = {float(TS[output]):g}" in str(error)
    assert "check the loss and its data" in str(error)
    assert "solve failed" not in str(error)


@pytest.mark.parametrize("method", KERNELS, ids=lambda m: m.keywords["adjoint"])
def test_sample_whose_adjoint_overflows_by_kernels(method: Callable[[], GradientMethod], needs_fused: None) -> None:  # noqa: ARG001
    """The state rests at 0, where df/dy is 1e160."""
    field = MLP((1, 1, 1)).build(theta=torch.tensor([1e80, 0.0, 1e80, 0.0], **F64))
    ys = method().solve(field, torch.zeros(6, 1, **F64), TS).ys
    cotangents = torch.zeros_like(ys)
    cotangents[-1, 3] = 1e150
    with pytest.raises(SolveError, match="sample 3") as caught:
        ys.backward(cotangents)
    assert caught.value.phase == "backward"
    assert caught.value.status is Status.NON_FINITE


def test_sum_that_overflows_is_no_infinite_entry() -> None:
    assert is_finite(torch.full((4,), 3e38))
    assert not is_finite(torch.tensor([1.0, math.inf]))
    assert not is_finite(torch.tensor([math.inf, -math.inf, 0.0]))


@pytest.mark.parametrize("method", [OptDisc(max_steps=300), AdaptiveAD(max_steps=300)], ids=lambda m: m.name)
@pytest.mark.parametrize("rate", [1e5, 1e9])
def test_stiff_problem_is_called_stiff(method: GradientMethod, rate: float) -> None:
    ts = torch.tensor([0.0, 1.0], **F64)
    error = failure(method, lambda _, y: -rate * y, torch.ones(3, **F64), ts)
    assert error.status is Status.MAX_STEPS
    for said in (
        "max_steps = 300",
        "the problem is stiff",
        f"t = {error.t:.6g}",
        f"dt = {error.dt:.3g}",
        "max_steps",
        "rtol",
    ):
        assert said in str(error)
    assert error.t + 1000 * error.dt < 1


@pytest.mark.usefixtures("needs_fused")
def test_stiff_problem_by_kernels() -> None:
    field = MLP((1, 1)).build(theta=torch.tensor([-1e9, 0.0], **F64))
    error = failure(OptDisc(engine="fused"), field, torch.ones(1, **F64))
    assert error.status is Status.MAX_STEPS
    assert "max_steps = 10,000" in str(error)
    assert "the problem is stiff" in str(error)


def test_limit_of_steps_by_default() -> None:
    """A field that no explicit solver gets through ends by itself."""
    assert OptDisc().max_steps == AdaptiveAD().max_steps == 10_000


def test_short_of_steps_is_not_called_stiff() -> None:
    """The rest would take fewer steps than were allowed: the tolerances ask for more, no more than that."""
    error = failure(OptDisc(max_steps=3, engine="eager"), lambda _, y: -y, torch.ones(3, **F64))
    assert "so the problem is stiff" not in str(error)
