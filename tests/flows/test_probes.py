"""The numbers of probes and base samples: exactly those of Philox, whatever is asked for, and none is infinite."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from pynode.errors import InvalidArgument
from pynode.flows.augmented import AugmentedField, RunningCosts
from pynode.flows.divergence import Exact, Hutchinson
from pynode.flows.metrics import grid_points
from pynode.flows.probes import Draw, DrawCounter, _gaussian, _rademacher


def words(seed: int, iteration: int, sample: int, block: int, dim: int) -> npt.NDArray[np.uint64]:
    """The 64-bit words of one sample by Philox itself: the counter is (sample's place, 0, block, 1)."""
    place = sample * math.ceil(dim / 4)
    key = np.array([seed, iteration], dtype=np.uint64)
    generator = np.random.Philox(key=key, counter=np.array([place, 0, block, 1], dtype=np.uint64))
    return generator.random_raw(dim)


@pytest.mark.parametrize("dim", [1, 3, 4, 5, 8, 9])
def test_probes_are_the_words_of_philox(dim: int) -> None:
    """Four words a counter; a run resumed on another machine, or another split of the batch, gets the same."""
    like = torch.empty(3, dim, dtype=torch.float64)
    raw = np.stack([words(11, 5, sample, 2, dim) for sample in (7, 8, 9)])
    gaussian = Draw(11, 5, 7).probes("gaussian", like, block=2).numpy()
    rademacher = Draw(11, 5, 7).probes("rademacher", like, block=2).numpy()
    np.testing.assert_array_equal(rademacher, np.where(raw >= 2**63, 1.0, -1.0))
    np.testing.assert_allclose(gaussian, stats.norm.ppf(((raw >> np.uint64(11)) + 0.5) / 2.0**53), rtol=1e-13)


def test_probes_begin_with_seed_iteration_block_and_sample_zero() -> None:
    like = torch.empty(2, 3, dtype=torch.float64)
    assert torch.equal(Draw().probes("gaussian", like), Draw(0, 0, 0).probes("gaussian", like, 0))
    assert (Draw().seed, Draw().iteration, Draw().first_sample) == (0, 0, 0)


def test_the_most_extreme_words_give_finite_numbers_that_mirror_each_other() -> None:
    """Uniform numbers lie in the middle of their cells: neither 0 nor 1, whose normal quantiles are infinite."""
    least, most = _gaussian(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert least == pytest.approx(stats.norm.ppf(2.0**-54), rel=1e-12)
    assert most == pytest.approx(-stats.norm.ppf(2.0**-53), rel=1e-12), "the middle of the last cell is rounded to 1"
    below, above = _gaussian(np.array([2**63 - 2**11, 2**63], dtype=np.uint64))
    assert (below, above) == pytest.approx((-(2.0**-54) * math.sqrt(2 * math.pi), 2.0**-54 * math.sqrt(2 * math.pi)))
    signs = _rademacher(np.array([0, 2**63 - 1, 2**63, 2**64 - 1], dtype=np.uint64))
    assert signs.tolist() == [-1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize("argument", ["seed", "iteration", "first_sample"])
def test_the_numbers_of_a_draw_are_unsigned_64_bit(argument: str) -> None:
    for value in (0, 2**64 - 1, np.int64(3)):
        assert getattr(Draw(**{argument: value}), argument) == value
    for wrong in (-1, 2**64, 1.0, "1", None, True):
        with pytest.raises(InvalidArgument, match=f"{argument} = .*: not an integer from 0 to 2\\^64 - 1"):
            Draw(**{argument: wrong})  # type: ignore[arg-type]


def test_draws_are_counted_apart_for_probes_and_samples() -> None:
    counter = DrawCounter(9)
    assert [counter.next_draw() for _ in range(3)] == [Draw(9, 0), Draw(9, 1), Draw(9, 2)]
    seeds = [counter.next_sample_seed() for _ in range(3)]
    expected = [int(np.random.SeedSequence([9, k, 0x5A]).generate_state(1, np.uint64)[0]) // 2 for k in range(3)]
    assert seeds == expected, "those of earlier versions, so that samples can be made again"
    assert counter.state().tolist() == [3, 3]
    counter.next_draw()
    assert counter.state().tolist() == [4, 3]
    counter.restore(torch.tensor([1, 2]))
    assert counter.next_draw() == Draw(9, 1)
    assert counter.next_sample_seed() == expected[2]


def test_running_costs_are_columns_of_the_state() -> None:
    """State, log-density, kinetic energy, Jacobian norm: in this order, of a field whose values are known."""
    matrix = torch.tensor([[1.0, 2.0], [-3.0, 4.0]], dtype=torch.float64)
    field = torch.nn.Linear(2, 2, bias=False, dtype=torch.float64)
    with torch.no_grad():
        field.weight.copy_(matrix)

    class Timeless(torch.nn.Module):
        def forward(self, t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:  # noqa: ARG002
            value: torch.Tensor = field(z)
            return value

    z = torch.tensor([[1.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    t = torch.tensor(0.0, dtype=torch.float64)
    both = AugmentedField(Timeless(), 2, Exact(), None, RunningCosts(kinetic=True, jacobian=True))
    start = both.initial(z)
    assert start.tolist() == [[1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0, 0.0]]
    slopes = both(t, start).detach()
    # f = A z, the trace is 5, |f|^2 / 2 is 5 and 40, |A|_F^2 is 30
    assert slopes.tolist() == [[3.0, 1.0, -5.0, 5.0, 30.0], [4.0, 8.0, -5.0, 40.0, 30.0]]
    for costs, columns in ((RunningCosts(), 0), (RunningCosts(kinetic=True), 1), (RunningCosts(jacobian=True), 1)):
        assert costs.columns == columns
        one = AugmentedField(Timeless(), 2, Exact(), None, costs)
        assert one(t, one.initial(z)).shape == (2, 3 + columns)
    probes = torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    estimated = AugmentedField(Timeless(), 2, Hutchinson(), probes, RunningCosts(jacobian=True))
    # e^T A e is 1 - 2 + 3 + 4 and 1 + 2 - 3 + 4; A e is (-1, -7) and (3, 1)
    assert estimated(t, estimated.initial(z)).detach()[:, 2:].tolist() == [[-6.0, 50.0], [-4.0, 10.0]]


def test_the_points_of_a_grid_are_the_centres_of_its_cells() -> None:
    like = torch.empty(0, dtype=torch.float64)
    assert grid_points(-1.0, 2.0, 3, like).tolist() == [[x, y] for x in (-0.5, 0.5, 1.5) for y in (-0.5, 0.5, 1.5)]
