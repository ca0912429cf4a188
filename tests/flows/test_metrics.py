"""Metrics of flows against numpy, closed forms and their own standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.flows.flow import ACCURATE, Flow
from pynode.flows.metrics import bits_per_dim, density_on_grid, inverse_errors, mass_on_grid, mmd
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.euler import EULER
from pynode.types import State


class Shrink(nn.Module):
    """dz/dt = -a z: z(T) = exp(-a T) z(0), so the density of the data is a normal of deviation exp(a T)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(rate, dtype=torch.float64))

    def forward(self, t: Tensor, z: State) -> State:  # noqa: ARG002
        return -self.rate * z


def normal(n: int, seed: int, dim: int = 2) -> Tensor:
    """`n` samples `(n, dim)` of a standard normal."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, dim)))


def test_mmd_of_equal_distributions_is_zero_within_its_standard_error() -> None:
    estimates = [mmd(normal(300, 2 * k), normal(300, 2 * k + 1)) for k in range(30)]
    standard_error = np.std(estimates, ddof=1) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates)) < 4 * standard_error
    assert min(estimates) < 0 < max(estimates), "unbiased: as often below as above"
    assert standard_error < 1e-3


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_mmd_of_shifted_distributions_is_not_zero(shift: float) -> None:
    equal = [mmd(normal(300, 2 * k), normal(300, 2 * k + 1)) for k in range(10)]
    shifted = [mmd(normal(300, 2 * k) + shift, normal(300, 2 * k + 1)) for k in range(10)]
    assert min(shifted) > 5 * np.std(equal)


def test_mmd_is_that_of_numpy() -> None:
    x, y = normal(20, 0).numpy(), normal(30, 1).numpy() + 0.3
    squared = {
        name: ((a[:, None] - b) ** 2).sum(-1) for name, (a, b) in {"xx": (x, x), "yy": (y, y), "xy": (x, y)}.items()
    }
    off = squared["yy"][~np.eye(30, dtype=bool)]
    width = np.sort(off)[(len(off) - 1) // 2]  # torch's median is the lower one
    kernel = {
        n: np.mean([np.exp(-s / (2 * f * width)) for f in (0.25, 0.5, 1, 2, 4)], axis=0) for n, s in squared.items()
    }
    expected = (kernel["xx"].sum() - 20) / (20 * 19) + (kernel["yy"].sum() - 30) / (30 * 29) - 2 * kernel["xy"].mean()
    assert mmd(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, abs=1e-12)


def test_an_accurate_solve_inverts_itself() -> None:
    flow = Flow([Shrink(0.7)], 3)
    errors = inverse_errors(flow, normal(50, 0, 3), ACCURATE)
    assert set(errors) == {"inverse_data", "inverse_data_frobenius", "inverse_base", "inverse_base_frobenius"}
    assert all(0 <= value < 1e-5 for value in errors.values())


def test_a_coarse_solve_s_inverse_errors_are_those_of_numpy() -> None:
    """Two Euler steps of dz/dt = -a z there and back multiply by (1 - (a h)^2)^2 whichever way comes first."""
    rate, steps = 0.7, 2
    flow = Flow([Shrink(rate)], 3)
    method: GradientMethod = DiscOpt(EULER, steps=steps)
    x = normal(50, 0, 3)
    inverse = inverse_errors(flow, x, method, seed=4)
    off = 1 - (1 - (rate / steps) ** 2) ** steps
    for name, points in (("data", x.numpy()), ("base", flow.base_samples(50, seed=4).numpy())):
        errors = off * points
        assert inverse[f"inverse_{name}"] == pytest.approx(np.linalg.norm(errors, axis=1).mean(), rel=1e-12)
        assert inverse[f"inverse_{name}_frobenius"] == pytest.approx(np.linalg.norm(errors) / 50, rel=1e-12)


@pytest.mark.parametrize("rows", [1, 20, 50])
def test_chunks_change_no_inverse_error(rows: int) -> None:
    """Means are weighted by rows, and the Frobenius norm is that over all of them."""
    flow, x, method = Flow([Shrink(0.7)], 3), normal(50, 0, 3), DiscOpt(EULER, steps=2)
    assert inverse_errors(flow, x, method, rows=rows) == pytest.approx(inverse_errors(flow, x, method), rel=1e-12)


def test_a_round_trip_by_two_methods_is_off_by_the_distance_of_their_maps() -> None:
    """One Euler step there multiplies by 1 - a, the exact way back by exp(a)."""
    rate, x = 0.7, normal(50, 0, 3)
    one, exact = DiscOpt(EULER, steps=1), OptDisc(rtol=1e-10, atol=1e-12)
    errors = inverse_errors(Flow([Shrink(rate)], 3), x, one, back=exact)
    off = abs((1 - rate) * math.exp(rate) - 1)
    assert errors["inverse_data"] == pytest.approx(off * float(x.norm(dim=1).mean()), rel=1e-7)


def test_a_solve_that_fails_has_infinite_inverse_errors() -> None:
    class Explosion(Shrink):
        def forward(self, t: Tensor, z: State) -> State:  # noqa: ARG002
            return self.rate * z**3

    errors = inverse_errors(Flow([Explosion(50.0)], 2), 3 + normal(5, 0), ACCURATE)
    assert errors["inverse_data"] == math.inf
    assert errors["inverse_data_frobenius"] == math.inf


def test_density_and_mass_of_a_known_density() -> None:
    rate = 0.4
    flow = Flow([Shrink(rate)], 2)
    density = density_on_grid(flow, -9.0, 9.0, 60, ACCURATE)
    centres = -9 + 18 / 60 * (np.arange(60) + 0.5)
    variance = math.exp(2 * rate)
    one = np.exp(-0.5 * centres**2 / variance) / math.sqrt(2 * math.pi * variance)
    np.testing.assert_allclose(density.detach().numpy(), np.outer(one, one), atol=1e-6)
    assert mass_on_grid(density, -9.0, 9.0) == pytest.approx(1.0, abs=1e-5)


def test_the_first_index_of_a_density_is_the_first_coordinate() -> None:
    class Push(Shrink):
        def forward(self, t: Tensor, z: State) -> State:  # noqa: ARG002
            return torch.stack((0 * z[..., 0] - 3 * self.rate, 0 * z[..., 1]), dim=-1)

    density = density_on_grid(Flow([Push(1.0)], 2), -5.0, 5.0, 50, ACCURATE)
    row, column = divmod(int(density.argmax()), 50)
    assert (-5 + 0.2 * (row + 0.5), -5 + 0.2 * (column + 0.5)) == pytest.approx((3.0, 0.0), abs=0.11)


def test_mass_counts_cells_by_their_area() -> None:
    assert mass_on_grid(torch.full((8, 8), 0.25), -1.0, 1.0) == pytest.approx(1.0)
    assert mass_on_grid(torch.full((8, 8), 0.25), 0.0, 1.0) == pytest.approx(0.25)


def test_bits_per_dim() -> None:
    # uniform on 256 grey values in each of 10 dimensions: 8 bits
    assert bits_per_dim(10 * math.log(256), 10) == pytest.approx(8.0)
    # the same after division by 256, whose log-determinant is -10 log 256: nll of a uniform on [0, 1]^10 is 0
    assert bits_per_dim(0.0, 10, log_scale=-10 * math.log(256)) == pytest.approx(8.0)


def test_mmd_of_data_most_of_which_coincide_is_a_number() -> None:
    """Its kernels are as wide as the distances between rows that differ."""
    y = torch.cat((torch.zeros(8, 2), torch.ones(2, 2))).double()
    assert 0 < mmd(normal(20, 0) + 3, y) < 2
    pairs = {"x": (normal(1, 0), normal(5, 1)), "y": (normal(5, 0), normal(1, 1))}
    for name, samples in pairs.items():
        with pytest.raises(InvalidArgument, match=rf"{name} = \(1, 2\): fewer than two samples"):
            mmd(*samples)
    with pytest.raises(InvalidArgument, match=r"y = \(5, 2\): all samples are the same"):
        mmd(normal(5, 0), torch.zeros(5, 2))
    with pytest.raises(InvalidArgument, match=r"x = \(0, 2\): no samples"):
        inverse_errors(Flow([Shrink(0.5)], 2), normal(0, 0), ACCURATE)


class Held(nn.Module):
    """A field whose rate is a buffer."""

    rate: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(0.5))

    def forward(self, t: Tensor, z: State) -> State:  # noqa: ARG002
        return -self.rate * z


def test_a_flow_without_parameters_has_the_dtype_of_its_buffers() -> None:
    flow = Flow([Held()], 2, method=DiscOpt(EULER, steps=2, engine="eager"))
    assert flow.sample(2).dtype is flow().sample((0,)).dtype is torch.float32
    assert flow.log_prob(flow.sample(2)).dtype is torch.float32
    assert density_on_grid(flow, -9, 9, 10).dtype is torch.float32
    assert flow.double().sample(2).dtype is torch.float64
