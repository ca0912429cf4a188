"""Activations: smooth, and with the derivative they show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pynode.activations import ACTIVATIONS, activation


def test_softplus_is_smooth_at_torchs_threshold() -> None:
    """torch switches to the identity at 20, a jump of 2e-9 that a Taylor test would see; here there is none."""
    x = torch.tensor([20.0 - 1e-9, 20.0 + 1e-9], dtype=torch.float64, requires_grad=True)
    y = activation("softplus")(x)
    exact = np.logaddexp(0, x.detach().numpy())
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=1e-15)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert float(abs(slope[1] - slope[0])) < 1e-15
    assert float(slope[1]) == pytest.approx(1 / (1 + math.exp(-20)), rel=1e-15)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_have_the_derivative_they_show(name: str) -> None:
    """Central differences agree over the whole range, the tails included."""
    x = torch.linspace(-45, 45, 181, dtype=torch.float64, requires_grad=True)
    act, h = activation(name), 1e-5
    (slope,) = torch.autograd.grad(act(x).sum(), x)
    with torch.no_grad():
        differences = (act(x + h) - act(x - h)) / (2 * h)
    # truncation h^2 and rounding 45 eps / h are both below 1e-9
    assert torch.allclose(slope, differences, rtol=0, atol=1e-9)
