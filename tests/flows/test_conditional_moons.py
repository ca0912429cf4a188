"""A flow conditioned on the class learns each class as well as a flow of that class alone does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pynode.fields.concatsquash import ConcatSquash
from pynode.flows.flow import ACCURATE, Flow
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.rk4 import RK4

pytestmark = pytest.mark.slow

ITERATIONS, BATCH = 600, 256


def moons(n: int, label: int, seed: int) -> Tensor:
    """`n` points `(n, 2)` of one of two half circles, with noise of 0.09 along x and 0.16 along y."""
    generator = torch.Generator().manual_seed(1000 * seed + label)
    angle = math.pi * torch.rand(n, dtype=torch.float64, generator=generator)
    sign, shift = (1.0, 0.0) if label == 0 else (-1.0, 1.0)
    points = torch.stack((sign * angle.cos() + shift - 0.5, sign * angle.sin() + shift * 0.5 - 0.25), dim=1)
    noise = torch.randn(n, 2, dtype=torch.float64, generator=generator)
    return (points + 0.08 * noise) / torch.tensor([0.87, 0.5], dtype=torch.float64)


def trained(flow: Flow, labels: tuple[int, ...]) -> Flow:
    """The flow after training on points of these classes, with a context where there are several."""
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, ITERATIONS)
    eye = torch.eye(2, dtype=torch.float64)
    for iteration in range(ITERATIONS):
        n = BATCH // len(labels)
        x = torch.cat([moons(n, label, iteration) for label in labels])
        context = eye.repeat_interleave(n, 0) if flow.context_dim else None
        optimiser.zero_grad()
        (-flow.log_prob(x, context).mean()).backward()
        optimiser.step()
        schedule.step()
    return flow


@torch.no_grad()
def nll(flow: Flow, label: int, context: Tensor | None = None) -> float:
    """Of 4,000 other points, by an accurate solve."""
    return -float(flow.log_prob(moons(4000, label, 10**6), context, method=ACCURATE).mean())


@pytest.mark.parametrize(
    "method", [DiscOpt(RK4, steps=4), OptDisc(rtol=1e-4, atol=1e-6)], ids=lambda method: method.name
)
def test_every_class_is_learnt_as_by_a_flow_of_its_own(method: GradientMethod) -> None:
    spec, eye = ConcatSquash((2, 32, 32, 2)), torch.eye(2, dtype=torch.float64)
    both = trained(Flow.build(spec, context=2, seed=5, method=method), (0, 1))
    for label in (0, 1):
        alone = trained(Flow.build(spec, seed=label, method=method), (label,))
        own, conditional = nll(alone, label), nll(both, label, eye[label])
        print(f"{method.name}, class {label}: {own:.4f} alone, {conditional:.4f} conditional")
        assert conditional < own + 0.05
        assert conditional < nll(both, label, eye[1 - label]) - 1.0  # the other class's density is another one
