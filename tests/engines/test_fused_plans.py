"""Plans of fixed-step solves: kept for new output times, and right in buffers that served solves of other sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pynode
from pynode.engines.fused import unavailable

if unavailable():
    pytest.skip(str(unavailable()), allow_module_level=True)

from pynode.engines.fused import plan as planning
from pynode.engines.fused.memory import POOL_BUFFERS, SHARED

FIELDS = {
    "mlp": pynode.MLP((2, 9, 2)),
    "cubic": pynode.MLP((2, 5, 7, 2), input_power=3),
    "gated": pynode.ConcatSquash((2, 6, 2)),
    "antisymmetric": pynode.Antisymmetric(2),
}


def gradients(engine: str, field: torch.nn.Module, y0: Tensor, ts: Tensor) -> list[Tensor]:
    """States, and the gradients by y0 and the parameters of a quadratic loss."""
    start = y0.clone().requires_grad_()
    ys = pynode.DiscOpt(steps=2, engine=engine).solve(field, start, ts).ys
    return [ys.detach(), *torch.autograd.grad(ys.square().mean(), [start, *field.parameters()])]


def test_new_output_times_need_no_new_plan() -> None:
    """As in a latent ODE, where every batch has its own times."""
    planning.forget_plans()
    field, y0 = pynode.MLP((2, 9, 2)).build(seed=0), torch.ones(3, 2).double()
    for i in range(5):
        gradients("fused", field, y0, torch.linspace(0.0, 1.0 + i, 4).double())
    assert len(planning._PLANS) == 1
    gradients("fused", field, y0, torch.linspace(0.0, 1.0, 5).double())
    assert len(planning._PLANS) == 2


def test_solves_of_all_sizes_and_times_are_right_in_each_others_buffers() -> None:
    """Kernels count on zeros where nothing has been written; a buffer of another solve holds other numbers there."""
    planning.forget_plans()
    generator = torch.Generator().manual_seed(0)
    fields = {name: spec.build(seed=1) for name, spec in FIELDS.items()}
    for trial in range(24):
        name = list(fields)[trial % len(fields)]
        rows = int(torch.randint(1, 90, (), generator=generator))
        y0 = torch.randn(rows, 2, dtype=torch.float64, generator=generator)
        ts = torch.rand(2 + trial % 3, dtype=torch.float64, generator=generator).cumsum(0)
        for mine, right in zip(
            gradients("fused", fields[name], y0, ts), gradients("eager", fields[name], y0, ts), strict=True
        ):
            torch.testing.assert_close(mine, right, rtol=1e-10, atol=1e-12)
    assert SHARED._buffers, "solves of sizes that come once leave their buffers to others"


def test_the_pool_forgets_the_oldest_buffers() -> None:
    """It must not grow with the number of sizes that were seen."""
    planning.forget_plans()
    field, ts = pynode.MLP((2, 9, 2)).build(seed=0), torch.linspace(0.0, 1.0, 3).double()
    for rows in range(1, 40):
        gradients("fused", field, torch.ones(rows, 2).double(), ts)
    assert 0 < len(SHARED._buffers) <= POOL_BUFFERS
