"""The count of live tensors on the CPU, on cases whose answer is known."""

from __future__ import annotations

import pytest
import torch

from pynode.fields.mlp import MLP
from pynode.memory import measure_memory, peak_bytes
from pynode.methods import METHODS
from pynode.solution import SolveStats


def test_peak_counts_what_lives_at_one_time() -> None:
    def work() -> None:
        a = torch.ones(1000, dtype=torch.float64)
        b = a + 1  # 16,000 bytes alive
        del a
        c = b + 1  # still 16,000
        del b, c

    assert peak_bytes(work) == 16_000


def test_views_and_in_place_results_cost_nothing() -> None:
    def work() -> None:
        a = torch.ones(1000, dtype=torch.float32)
        a.add_(1)
        a.reshape(10, 100).T[3:].mul_(2)

    assert peak_bytes(work) == 4_000


def test_tensors_from_outside_are_not_counted() -> None:
    outside = torch.ones(1000)
    assert peak_bytes(lambda: outside[10:].neg_()) == 0


def test_saved_tensors_of_autograd_are_counted() -> None:
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)

    def work() -> None:
        y = x
        for _ in range(10):
            y = y.tanh()  # each result is kept for the backward pass
        y.sum().backward()

    assert 80_000 <= peak_bytes(work) <= 80_000 + 3 * 8_000 + 100


def test_two_measurements_agree() -> None:
    x = torch.ones(100, requires_grad=True)

    def work() -> None:
        x.exp().sin().sum().backward()

    assert peak_bytes(work) == peak_bytes(work)


@pytest.mark.usefixtures("stand_in_for_julia")
@pytest.mark.parametrize("name", METHODS.names())
def test_solves_carry_the_memory_of_their_block(name: str) -> None:
    """Forward alone first, then with the gradient; the same as `peak_bytes` says; nothing outside of a block."""
    field, method = MLP((2, 8, 2)).build(seed=0), METHODS.load(name)()
    y0, ts = torch.ones(4, 2, dtype=torch.float64), torch.linspace(0, 1, 5, dtype=torch.float64)

    def gradient() -> SolveStats:
        solution = method.solve(field, y0, ts)
        torch.autograd.grad(solution.ys.square().sum(), list(field.parameters()))
        return solution.stats

    assert gradient().peak_memory_bytes is None
    with measure_memory():
        solution = method.solve(field, y0, ts)
        forward = solution.stats.peak_memory_bytes
        torch.autograd.grad(solution.ys.square().sum(), list(field.parameters()))
        whole = solution.stats.peak_memory_bytes
    assert forward is not None
    assert whole is not None
    assert whole >= forward >= solution.ys.numel() * 8
    torch.ones(10**6)  # after the block
    assert solution.stats.peak_memory_bytes == whole
    assert (SolveStats() + solution.stats).peak_memory_bytes == whole
