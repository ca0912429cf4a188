"""A sample alone takes another way through the kernels, and its products are taken many stages at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pynode.fields.antisymmetric import Antisymmetric
from pynode.fields.base import FieldSpec
from pynode.fields.hamiltonian import Hamiltonian
from pynode.fields.mlp import MLP
from pynode.schemes.euler import EULER
from pynode.schemes.rk4 import RK4

Differs = Callable[..., float]
Fused = Callable[..., Tensor]

# one to several vectors, remainders of blocks of four and of two, odd numbers of dot products, one layer and many
SPECS: tuple[FieldSpec, ...] = (
    MLP((2, 50, 2), input_power=3),
    MLP((1, 1)),
    MLP((3, 17, 4, 9, 3), input_power=2),
    MLP((5, 64, 39, 5)),
    MLP((41, 7, 70, 41)),
    Antisymmetric(19, gamma=0.2),
    Hamiltonian(6, 30),
)


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_as_torch(spec: FieldSpec, memory: str, differs: Differs) -> None:
    generator = torch.Generator().manual_seed(3)
    scale = 0.8 / max(getattr(spec, "widths", (spec.state_dim,))) ** 0.5
    theta = scale * torch.randn(spec.n_params, dtype=torch.float64, generator=generator)
    y0 = 0.5 * torch.randn(spec.state_dim, dtype=torch.float64, generator=generator)
    # products of 64 stages at most are taken at once: less than that, several times, with a remainder
    for scheme, steps in ((RK4, 1), (RK4, 19), (EULER, 70)):
        ts = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
        assert differs(spec.build(theta=theta), scheme, ts, steps, y0, memory) < 1e-12


def test_as_in_a_batch(fused: Fused) -> None:
    field = MLP((3, 20, 3)).build(seed=1)
    ts = torch.linspace(0, 1, 4, dtype=torch.float64)
    batch = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    together = fused(field, RK4, ts, 2, batch)
    assert all(torch.allclose(fused(field, RK4, ts, 2, y), together[:, i], rtol=1e-13) for i, y in enumerate(batch))
