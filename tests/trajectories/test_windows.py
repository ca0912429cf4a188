"""Windows: their starts and ends, what they may see, and the same states by one solve and by many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.trajectories.build import Prepared, first_model, prepare
from pynode.trajectories.data import Input, InputKind, Trajectories
from pynode.trajectories.loss import Weights, shooting_loss
from pynode.trajectories.rollout import by_method, by_steps, roll_out
from pynode.trajectories.windows import breaks, make_windows
from tests.trajectories.made import decays, rotation, series, trajectory


def whole(prepared: Prepared) -> list[np.ndarray]:
    return [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]


def test_windows_end_where_the_next_begins() -> None:
    of = rotation(50)
    prepared = prepare(of, [np.ones(50, bool)], window=10)
    windows = make_windows(prepared.grids, prepared.places, whole(prepared), 1, torch.float64)
    assert windows is not None
    assert windows.count == prepared.nodes == 5
    assert windows.next_node.tolist() == [1, 2, 3, 4, -1]
    assert windows.is_first.tolist() == [True, False, False, False, False]
    assert int(windows.sizes.sum()) == 49
    longer = make_windows(prepared.grids, prepared.places, whole(prepared), 2, torch.float64)
    assert longer is not None
    assert longer.next_node.tolist() == [2, 3, 4, -1, -1]


def test_held_out_rows_are_not_seen() -> None:
    of = rotation(50)
    mask = np.arange(50) < 33
    prepared = prepare(of, [mask], window=10)
    windows = make_windows(prepared.grids, prepared.places, whole(prepared), 1, torch.float64)
    assert windows is not None
    assert int(windows.sizes.sum()) == 32
    assert windows.next_node[-1] == -1


def test_a_trajectory_of_two_points_is_a_window_without_made_up_values() -> None:
    of = decays()
    prepared = prepare(of, [np.ones(len(each.times), bool) for each in of.each])
    windows = make_windows(prepared.grids, prepared.places, whole(prepared), 1, torch.float64)
    assert windows is not None
    assert windows.count == 6
    assert windows.seen.sum((1, 2)).tolist() == [8, 7, 6, 5, 4, 2]


def with_gaps(*, kind: InputKind | None = None) -> Trajectories:
    """A rotation with a period of 2 pi, seen three times for a while, with long gaps in between."""
    times = np.concatenate([begin + 0.1 * np.arange(60) for begin in (0.0, 40.0, 90.0)])
    values = np.stack((np.cos(times), np.sin(times)), -1)
    if kind is None:
        return series(trajectory("a", times, values), names=("x", "y"))
    known = Input(np.array([0.0, 95.0]), np.array([1.0, 2.0]))
    return series(trajectory("a", times, values, (known,)), names=("x", "y"), kinds=(kind,))


@pytest.mark.parametrize("kind", [None, "interpolated"])
def test_windows_end_at_long_gaps(kind: InputKind | None) -> None:
    of = with_gaps(kind=kind)
    prepared = prepare(of, [np.ones(180, bool)], window=10)
    (grid,), (place,) = prepared.grids, prepared.places
    assert [int(np.flatnonzero(grid.rows == node)[0]) for node in breaks(grid)] == [60, 120]
    assert set(breaks(grid)) <= set(place)
    for length in (1, 2, 4, 100):
        windows = make_windows(prepared.grids, prepared.places, whole(prepared), length, torch.float64)
        assert windows is not None
        assert float(windows.offsets.max()) * prepared.scaling.time < 6
        seen = windows.seen.sum() / 2
        assert seen >= 180  # each row is in a window
        reached = [windows.node[windows.next_node == node].numel() for node in range(prepared.nodes)]
        begins = np.searchsorted(place, breaks(grid))
        assert all(reached[node] == 0 for node in begins)


def test_gaps_that_windows_reach_over() -> None:
    """Those of samples that are ever farther apart, of single samples, before impulses, and short ones."""
    spaced = np.concatenate(([0.0], np.geomspace(0.01, 100, 40)))
    alone = np.concatenate((0.1 * np.arange(60), [40.0, 90.0, 140.0]))
    short = np.concatenate((0.1 * np.arange(60), 7.0 + 0.1 * np.arange(60)))
    for times in (spaced, alone, short):
        of = series(trajectory("a", times, np.stack((np.cos(times), np.sin(times)), -1)), names=("x", "y"))
        prepared = prepare(of, [np.ones(len(times), bool)])
        assert not len(breaks(prepared.grids[0]))
    prepared = prepare(with_gaps(kind="jumps"), [np.ones(180, bool)])
    assert not len(breaks(prepared.grids[0]))


def test_one_solve_gives_the_states_of_many() -> None:
    """Without inputs states are interpolated; an input that never changes makes the solve stop at each node."""
    times = np.cumsum(np.random.default_rng(0).uniform(0.1, 0.4, 20))
    values = np.stack((np.cos(times), np.sin(times)), -1)
    smooth = series(trajectory("a", times, values), names=("x", "y"))
    still = Input(times, np.zeros(20))
    stopped = series(trajectory("a", times, values, (still,)), names=("x", "y"), kinds=("interpolated",))
    paths = []
    for of in (smooth, stopped):
        prepared = prepare(of, [np.ones(20, bool)], augment=0, window=20)
        model = first_model(prepared, 0)
        with torch.no_grad():
            model.field.inner.linear.weight[:, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # type: ignore[union-attr, operator]
            model.field.inner.linear.bias.zero_()  # type: ignore[union-attr, operator]
            model.field.inner.layers[-1].weight.zero_()  # type: ignore[union-attr, index]
            model.field.inner.layers[-1].bias.zero_()  # type: ignore[union-attr, index]
        windows = make_windows(prepared.grids, prepared.places, whole(prepared), 1, torch.float64)
        assert windows is not None
        assert windows.is_smooth == (of is smooth)
        path = roll_out(model, windows, torch.tensor([[1.0, 0.0]], dtype=torch.float64), by_steps(4))
        paths.append(path[np.searchsorted(prepared.grids[0].times, times), 0])
    assert torch.allclose(paths[0], paths[1], atol=1e-4)


def test_the_gradient_of_the_loss_passes_a_difference_check() -> None:
    of = rotation(40)
    prepared = prepare(of, [np.ones(40, bool)], window=10)
    model = first_model(prepared, 0)
    windows = make_windows(prepared.grids, prepared.places, whole(prepared), 2, torch.float64)
    assert windows is not None
    weights = Weights.of(prepared, 1.0, torch.float64)
    solve = by_method(DiscOpt(RK4, 1), [])
    shooting_loss(model, windows, weights, solve).backward()
    direction = torch.randn(model.theta().shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradient = torch.cat(
        [p.grad.reshape(-1) if p.grad is not None else torch.zeros(p.numel()) for p in model.parameters()]
    )
    theta, step = model.theta(), 1e-6
    values = []
    for sign in (1, -1):
        model.set_theta(theta + sign * step * direction)
        values.append(float(shooting_loss(model, windows, weights, solve).detach()))
    difference = (values[0] - values[1]) / (2 * step)
    assert abs(difference - float(gradient @ direction)) < 1e-5 * max(1, abs(difference))


def test_an_encoder_reads_the_first_observed_rows() -> None:
    """Changes of an input between the rows are nodes without values, which are passed over."""
    every = np.arange(0, 40.0)
    rows = every[::4]
    heard = []
    for known in (Input(every, np.sin(every)), Input(rows, np.sin(rows))):
        of = series(trajectory("a", rows, np.cos(0.3 * rows), (known,)), kinds=("interpolated",))
        prepared = prepare(of, [np.ones(len(rows), bool)], augment=0, window=9)
        model = first_model(prepared, 0, initial="encoded")
        assert model.encoder is not None
        model.encoder.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
        windows = make_windows(prepared.grids, prepared.places, whole(prepared), 1, torch.float64)
        assert windows is not None
        model.expected(windows)
        expected = prepared.scaling.to_model(of.each[0].values[:3])[:, 0]
        assert heard[-1][0, :9:3].numpy() == pytest.approx(expected)
        assert heard[-1][0, 1:9:3].tolist() == [1, 1, 1]
        assert heard[-1][0, 2:9:3].numpy() * prepared.scaling.time == pytest.approx([0, 4, 8])
