"""Two-dimensional toys: drawn reproducibly, where they should lie, with densities that are densities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from pynode.problems import PROBLEMS
from pynode.problems.density.toys import Array, EightGaussians, Toy

TOYS = [name for name, kind in PROBLEMS.load_all().items() if issubclass(kind, Toy)]
KNOWN = ["8gaussians", "checkerboard", "circles", "rings"]
"""Those whose density is known."""

N = 40_000


def toy(name: str, **options: Any) -> Toy:
    """The problem `name`."""
    problem = PROBLEMS.load(name)(**options)
    assert isinstance(problem, Toy)
    return problem


def drawn(name: str, n: int = N) -> Array:
    """`n` samples `(n, 2)`."""
    return toy(name).draw(n, np.random.default_rng(0))


def radii(x: Array) -> Array:
    """Distances from the origin `(n,)`."""
    return np.asarray(np.hypot(x[:, 0], x[:, 1]))


def close_to_zero(values: Array) -> None:
    """Independent values whose mean is 0 within 4 standard errors."""
    assert (np.abs(values.mean(0)) < 4 * values.std(0) / math.sqrt(len(values))).all()


def test_the_study_s_eight_toys_are_there() -> None:
    expected = {"8gaussians", "swissroll", "circles", "rings", "moons", "pinwheel", "2spirals", "checkerboard"}
    assert expected <= set(TOYS)


@pytest.mark.parametrize("name", TOYS)
def test_samples_depend_on_seed_and_iteration_alone(name: str) -> None:
    first = toy(name).training_samples(3)
    assert first.shape == (100, 2)
    assert first.dtype == torch.float64
    assert torch.equal(first, toy(name).training_samples(3))
    others = [toy(name).training_samples(4), toy(name, seed=1).training_samples(3)]
    for other in others:
        assert not torch.isin(first, other).any()


@pytest.mark.parametrize("name", TOYS)
def test_validation_and_test_are_the_same_for_all_and_met_nowhere_else(name: str) -> None:
    one, two = toy(name), toy(name, seed=7)
    validation, test = one.validation_samples(), one.test_samples()
    assert (validation.shape, test.shape) == ((1000, 2), (10_000, 2))
    assert torch.equal(validation, two.validation_samples())
    assert torch.equal(test, two.test_samples())
    assert not torch.isin(validation, test).any()
    for k in range(3):
        assert not torch.isin(one.training_samples(k), torch.cat((validation, test))).any()


def test_samples_that_a_caller_changes_are_its_own() -> None:
    """The samples that judge a run are kept; what is handed out is a copy."""
    problem = toy("moons")
    for samples in (problem.validation_samples, problem.test_samples):
        expected = samples().clone()
        samples().sub_(100.0).requires_grad_()
        assert torch.equal(samples(), expected)
        assert not samples().requires_grad


@pytest.mark.parametrize("name", TOYS)
def test_samples_lie_within_reach_and_fill_a_good_part_of_it(name: str) -> None:
    x = drawn(name)
    assert x.shape == (N, 2)
    assert np.isfinite(x).all()
    assert (np.abs(x).max(1) < toy(name).reach).mean() > 0.999
    assert (np.quantile(x, 0.99, axis=0) - np.quantile(x, 0.01, axis=0)).min() > 0.4 * toy(name).reach


@pytest.mark.parametrize("name", ["8gaussians", "circles", "rings", "pinwheel", "2spirals"])
def test_symmetric_toys_have_mean_zero(name: str) -> None:
    close_to_zero(drawn(name))


@pytest.mark.parametrize(
    ("name", "expected", "std"),
    [("circles", (1.5, 3.0), 0.24), ("rings", (0.75, 1.5, 2.25, 3.0), 0.08), ("8gaussians", (4 / 1.414,), 0.5 / 1.414)],
)
def test_rings_have_their_radii_weights_and_noise(name: str, expected: tuple[float, ...], std: float) -> None:
    x = drawn(name)
    # E|x|^2 = R^2 + 2 s^2 on each ring
    close_to_zero((x**2).sum(1, keepdims=True) - np.mean(np.square(expected)) - 2 * std**2)
    nearest = np.abs(radii(x)[:, None] - np.array(expected)).argmin(1)
    for k, radius in enumerate(expected):
        ring = radii(x)[nearest == k]
        assert len(ring) / N == pytest.approx(1 / len(expected), abs=0.01)
        assert np.median(ring) == pytest.approx(radius + std**2 / (2 * radius), abs=0.01)
        assert ring.std() == pytest.approx(std, rel=0.05)


def test_moons_are_half_circles_of_noise_0_2() -> None:
    x = drawn("moons")
    # centres of the half-circles at 2 (0, 0) and 2 (1, 1/2), then shifted; a sample belongs to the one at distance 2
    centres = np.array([[-1.0, -0.2], [1.0, 0.8]])
    distances = np.stack([radii(x - c) for c in centres], axis=1)
    off = np.abs(distances - 2.0).min(1)
    assert np.sqrt((off**2).mean()) == pytest.approx(0.2, rel=0.05)
    # mirrored at (0, 0.3), the whole is itself
    close_to_zero(x - np.array([0.0, 0.3]))
    # half of the samples are of the upper moon, 2 (cos a, sin a) - (1, 0.2), and 2 sin a - 0.2 > 1 where sin a > 0.6
    assert (x[:, 1] > 1.0).mean() == pytest.approx(0.5 * (1 - 2 * math.asin(0.6) / math.pi), abs=0.01)


def test_swissroll_follows_its_spiral() -> None:
    x = drawn("swissroll")
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 4000)
    roll = t[:, None] * np.stack((np.cos(t), np.sin(t)), axis=1) / 5
    some = x[:2000]
    off = np.sqrt(((some[:, None] - roll) ** 2).sum(-1)).min(1)
    # a Gaussian's distance from a smooth curve is that of one dimension, the ends and the bends apart
    assert np.sqrt((off**2).mean()) == pytest.approx(0.2, rel=0.1)
    # E|x|^2 = E t^2 / 25 + 2 s^2
    close_to_zero((x**2).sum(1, keepdims=True) - 29.25 * np.pi**2 / 3 / 25 - 0.08)


def test_pinwheel_has_five_clockwise_arms() -> None:
    x = drawn("pinwheel")
    # |x| / 2 is the length of a Gaussian about (1, 0)
    close_to_zero((x**2).sum(1, keepdims=True) / 4 - (1 + 0.09 + 0.01))
    angle, radius = np.arctan2(x[:, 1], x[:, 0]), radii(x)
    # with the twist taken back, all arms fold onto one at angle 0
    untwisted = np.exp(5j * (angle + 0.25 * np.exp(radius / 2)))
    assert abs(untwisted.mean()) > 0.8
    assert abs(np.angle(untwisted.mean())) < 0.1
    assert abs(np.exp(5j * (angle - 0.25 * np.exp(radius / 2))).mean()) < 0.5
    # and no arm is left out
    assert np.abs(np.exp(1j * (angle + 0.25 * np.exp(radius / 2))).mean()) < 0.02


def test_two_spirals_are_each_other_s_negative_and_end_at_pi() -> None:
    x = drawn("2spirals")
    t = np.linspace(0, 3 * np.pi, 3000)
    arm = (t[:, None] * np.stack((-np.cos(t), np.sin(t)), axis=1) + 0.25) / 3
    some = x[:2000]
    off = np.sqrt(((some[:, None] - np.concatenate((arm, -arm))) ** 2).sum(-1)).min(1)
    assert np.sqrt((off**2).mean()) == pytest.approx(math.sqrt(0.1**2 + (0.5 / 3) ** 2 / 12), rel=0.1)
    # E|x|^2 of an arm is (E t^2 + E|b|^2) / 9 + 2 s^2 up to a small mixed term; E t^2 = (3 pi)^2 / 2
    assert (x**2).sum(1).mean() == pytest.approx(((3 * np.pi) ** 2 / 2 + 2 / 12) / 9 + 0.02, rel=0.05)
    assert np.quantile(radii(x), 0.999) == pytest.approx(np.pi + 0.2, abs=0.2)


def test_checkerboard_fills_its_squares_evenly() -> None:
    x = drawn("checkerboard")
    counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=4, range=[[-4, 4], [-4, 4]])
    dark = np.add.outer(range(4), range(4)) % 2 == 0
    assert counts[~dark].sum() == 0
    assert counts[dark].sum() == N
    # chi-squared of 8 squares: 7 degrees of freedom, beyond 30 once in 10,000
    assert ((counts[dark] - N / 8) ** 2 / (N / 8)).sum() < 30
    problem = toy("checkerboard")
    assert problem.true_log_prob(np.array([[1.0, -1.0], [5.0, 5.0]])).tolist() == [-math.inf, -math.inf]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TOYS)
def test_a_known_density_integrates_to_one_and_is_that_of_the_samples(name: str) -> None:
    problem = toy(name)
    x = drawn(name, 20_000)
    log_p = problem.true_log_prob(x)
    assert (log_p is not None) == (name in KNOWN)
    if log_p is None:
        return
    n, reach = 600, 6.0
    centres = -reach + 2 * reach / n * (np.arange(n) + 0.5)
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    on_grid = problem.true_log_prob(grid)
    assert on_grid is not None
    p, cell = np.exp(on_grid), (2 * reach / n) ** 2
    assert p.sum() * cell == pytest.approx(1.0, abs=1e-6)
    # the entropy by quadrature and by samples
    by_grid = -float((p * np.where(p > 0, on_grid, 0.0)).sum() * cell)
    standard_error = log_p.std() / math.sqrt(len(x))
    assert abs(-log_p.mean() - by_grid) < 4 * standard_error + 1e-6
    # a coarse histogram of the samples agrees as well: the entropy alone would not see a rotated or a mirrored density
    counts, _, _ = np.histogram2d(x[:, 0], x[:, 1], bins=20, range=[[-reach, reach]] * 2)
    cells = p.reshape(20, 30, 20, 30).sum((1, 3)) * cell
    assert (np.abs(counts / len(x) - cells) < 5 * np.sqrt(cells / len(x)) + 1e-4).all()


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_density_is_finite_at_samples_of_single_precision(name: str) -> None:
    problem = toy(name, dtype=torch.float32)
    log_p = problem.true_log_prob(problem.test_samples().double().numpy())
    assert log_p is not None
    assert np.isfinite(log_p).all()


def entropy(n: int = 1200, reach: float = 6.0) -> float:
    """Entropy of the mixture in nats, the smallest expected negative log-likelihood, by the midpoint rule on a grid."""
    centres = -reach + 2 * reach / n * (np.arange(n) + 0.5)
    total, problem = 0.0, EightGaussians()
    for row in centres:
        log_p = problem.true_log_prob(np.stack((np.full(n, row), centres), axis=1))
        total -= float((np.exp(log_p) * log_p).sum())
    return total * (2 * reach / n) ** 2


def test_the_entropy_of_eight_gaussians() -> None:
    assert entropy() == pytest.approx(2.8319, abs=5e-5)
    problem = toy("8gaussians")
    log_p = problem.true_log_prob(drawn("8gaussians", 200_000))
    assert log_p is not None
    assert abs(-log_p.mean() - entropy(400)) < 4 * log_p.std() / math.sqrt(len(log_p))
