"""Products in TF32 and bfloat16 on the GPU: less exact than in full, and only where they are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pynode
from pynode.errors import InvalidArgument
from pynode.flows.probes import DrawnAhead
from pynode.precision import check_precision, products_in

BOUNDS = {"full": (0.0, 1e-5), "tf32": (2e-5, 2e-2), "bf16": (5e-4, 2e-1)}
"""Relative error of a gradient in each precision: at least the first, since products have fewer digits, and less than
the second.
"""


def gradient(engine: str, device: torch.device, dtype: torch.dtype, precision: str = "full") -> Tensor:
    """Of the mean negative log-likelihood under a flow wide enough for tensor cores."""
    field = pynode.ConcatSquash((16, 256, 256, 16)).build(seed=1, dtype=dtype, device=device)
    x = torch.randn(256, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).to(device, dtype)
    probes = torch.randn(256, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).to(device, dtype)
    flow = pynode.Flow([field], 16)
    draw = DrawnAhead(drawn=(probes,))
    method = pynode.DiscOpt(pynode.RK4, 2, engine=engine)
    with products_in(precision):
        loss = -flow.log_prob(x, method=method, divergence=pynode.Hutchinson(), draw=draw).mean()
        grads = torch.autograd.grad(loss, list(field.parameters()))
    return torch.cat([g.double().cpu().reshape(-1) for g in grads])


@pytest.mark.parametrize("precision", sorted(BOUNDS))
def test_errors_are_those_of_the_digits(precision: str, any_engine: str, device: torch.device) -> None:
    if precision == "tf32" and device.type != "cuda":
        pytest.skip("TF32 is that of a GPU")
    exact = gradient("eager", device, torch.float64)
    reduced = gradient(any_engine, device, torch.float32, precision)
    error = float((reduced - exact).norm() / exact.norm())
    least, most = BOUNDS[precision]
    assert least <= error < most
    again = gradient(any_engine, device, torch.float32)
    assert float((again - exact).norm() / exact.norm()) < BOUNDS["full"][1], "it was not set back"


def test_tf32_is_taken_by_this_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        with pytest.raises(InvalidArgument, match="tensor cores"):
            check_precision("tf32", device)
        return
    check_precision("tf32", device)
    x = torch.randn(256, 256, device=device)
    full = x @ x
    with products_in("tf32"):
        assert not torch.equal(x @ x, full)
    assert torch.equal(x @ x, full)
