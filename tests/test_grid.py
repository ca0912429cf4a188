"""The time grid: outputs are grid points by construction, and bad times are found before work starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.errors import InvalidArgument
from pynode.grid import TimeGrid, check_times, shown_times
from pynode.steps import checked_steps

UNEVEN = (0.0, 0.1, 0.35, 0.4, 1.7)


def tensor(values: Sequence[float] | range, dtype: torch.dtype = torch.float64) -> Tensor:
    """A tensor of times."""
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("steps", [1, 3, 7, (1, 2, 3, 10)])
def test_outputs_are_grid_points_without_rounding(steps: int | tuple[int, ...], reverse: bool) -> None:
    """A last point missed by rounding is how other solvers compare a state with data of another time."""
    values = UNEVEN[::-1] if reverse else UNEVEN
    grid = TimeGrid.between(tensor(values), steps)
    starts, ends = zip(*((row[0].item(), row[1].item()) for row in grid.stage_times((0.0, 1.0))), strict=True)
    points = (*starts, ends[-1])
    assert grid.n_steps == len(starts) == len(grid.step_sizes())
    assert [points[i] for i in grid.output_indices] == list(values)
    assert [ends[i - 1] for i in grid.output_indices[1:]] == list(values[1:])
    assert all((h < 0) == reverse for h in grid.step_sizes())


def test_steps_of_an_interval_are_equal_and_fill_it() -> None:
    """Each interval is divided evenly, with as many steps as were asked for."""
    grid = TimeGrid.between(tensor(UNEVEN), (2, 1, 4, 3))
    assert grid.n_steps == 10
    assert grid.output_indices == (0, 2, 3, 7, 10)
    expected = [0.05] * 2 + [0.25] + [0.0125] * 4 + [1.3 / 3] * 3
    assert grid.step_sizes() == pytest.approx(expected, rel=1e-14)


def test_stage_times_lie_at_c_within_the_step() -> None:
    """t_k + c_i h_k for every step k and stage i."""
    grid = TimeGrid.between(tensor((1.0, 0.0)), 4)
    rows = [[t.item() for t in row] for row in grid.stage_times((0.0, 1 / 3, 1.0))]
    expected = [[1 - k / 4, 1 - (k + 1 / 3) / 4, 1 - (k + 1) / 4] for k in range(4)]
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_stage_times_take_the_dtype_of_the_state(dtype: torch.dtype) -> None:
    """A float64 time would promote a float32 field to float64."""
    grid = TimeGrid.between(tensor(UNEVEN), 2)
    assert {t.dtype for row, _ in grid.schedule((0.0, 0.5), tensor((0.0,), dtype)) for t in row} == {dtype}
    assert grid.points(tensor((0.0,), dtype)).dtype is dtype


def test_float32_times_are_hit_exactly_too() -> None:
    """0.1 in float32 is another number than in float64; the grid must use the one it was given."""
    ts = tensor(UNEVEN, torch.float32)
    grid = TimeGrid.between(ts, 3)
    starts = torch.stack([row[0] for row, _ in grid.schedule((0.0,), ts)])
    assert torch.equal(starts[list(grid.output_indices[:-1])], ts[:-1])
    assert torch.equal(grid.points(ts)[list(grid.output_indices)], ts)


@pytest.mark.parametrize("change", ["add", "requires_grad", "resize"])
def test_a_field_that_spoils_its_time_spoils_no_other_solve(change: str) -> None:
    """Nothing cached leaves the grid: whatever is done to a time, the next solve gets the right ones."""

    def spoil(t: Tensor) -> None:
        if change == "add":
            t.add_(100.0)
        elif change == "requires_grad":
            t.requires_grad_()
        else:
            t.unsqueeze_(0)

    grid = TimeGrid.between(tensor(UNEVEN), 2)
    like = tensor((0.0,))
    expected = [[t.item() for t in row] for row, _ in grid.schedule((0.0, 0.5), like)]
    for row, _ in grid.schedule((0.0, 0.5), like):
        for t in row:
            spoil(t)
    spoil(grid.points(like))
    again = [list(row) for row, _ in grid.schedule((0.0, 0.5), like)]
    assert [[t.item() for t in row] for row in again] == expected
    assert not any(t.requires_grad or t.ndim for row in again for t in row)
    assert grid.points(like).tolist() == [*(row[0] for row in expected), UNEVEN[-1]]


@pytest.mark.parametrize("reverse", [False, True])
def test_the_differentiable_schedule_is_the_same_schedule(reverse: bool) -> None:
    """Asking for a gradient by `ts` must not change the solution."""
    values = UNEVEN[::-1] if reverse else UNEVEN
    grid, c, like = TimeGrid.between(tensor(values), 3), (0.0, 0.5, 1.0), tensor((0.0,))
    plain = list(grid.schedule(c, like))
    graphed = list(grid.schedule(c, like, tensor(values).requires_grad_()))
    assert len(plain) == len(graphed) == grid.n_steps
    for (times, h), (times_ts, h_ts) in zip(plain, graphed, strict=True):
        assert isinstance(h, float)
        assert isinstance(h_ts, Tensor)
        assert h_ts.requires_grad
        assert h_ts.item() == pytest.approx(h, rel=1e-15)
        assert [t.item() for t in times_ts] == [t.item() for t in times]


def test_the_schedule_is_differentiable_in_ts() -> None:
    """Derivatives by hand: stage times are convex combinations of the outputs, sizes their differences."""
    ts = tensor((0.0, 1.0, 3.0)).requires_grad_()
    grid = TimeGrid.between(ts, (1, 2))
    times, sizes = grid.differentiable((0.0, 0.5), ts, tensor((0.0,)))
    assert times.shape == (3, 2)
    assert sizes.tolist() == [1.0, 1.0, 1.0]
    (by_size,) = torch.autograd.grad(sizes[2], ts, retain_graph=True)
    assert by_size.tolist() == [0.0, -0.5, 0.5]  # h = (t_2 - t_1) / 2
    (by_time,) = torch.autograd.grad(times[2, 1], ts)
    assert by_time.tolist() == [0.0, 0.25, 0.75]  # t_1 + (1 + 0.5) h


@pytest.mark.parametrize(
    ("ts", "problem"),
    [
        (tensor((0.5,)), "at least two times"),
        (tensor(()), "at least two times"),
        (tensor((0.0, 1.0, 0.5)), "not strictly monotone"),
        (tensor((0.0, 1.0, 1.0)), "not strictly monotone"),
        (tensor((1.0, 1.0)), "not strictly monotone"),
        (tensor((0.0, math.nan, 1.0)), "not finite"),
        (tensor((0.0, math.inf)), "not finite"),
        (torch.tensor([0, 1, 2]), "not a 1-D floating point tensor"),
        (torch.zeros(2, 2), "not a 1-D floating point tensor"),
        (torch.tensor(1.0), "not a 1-D floating point tensor"),
        ([0.0, 1.0], "not a 1-D floating point tensor"),
    ],
)
def test_bad_times_are_named(ts: Any, problem: str) -> None:
    """The message names the argument, what is wrong, and what to do."""
    with pytest.raises(InvalidArgument, match=problem) as caught:
        check_times(ts)
    assert caught.value.argument == "ts"
    assert str(caught.value).startswith("ts = ")
    assert caught.value.remedy in str(caught.value)
    with pytest.raises(InvalidArgument, match=problem):
        TimeGrid.between(ts)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        ((0.0, 0.5, 1.0, 0.7), 2),
        ((0.0, 1.0, 1.0), 1),
        ((1.0, 1.0), 0),
        ((1.0, 1.0, 2.0), 0),
        ((4.0, 3.0, 3.5), 1),
        ((4.0, 3.0, 2.0, 2.0), 2),
    ],
)
def test_the_place_where_the_order_breaks_is_told(values: tuple[float, ...], first: int) -> None:
    """Counted along the direction in which the times begin."""
    with pytest.raises(InvalidArgument, match=f"breaks between index {first} and {first + 1}[^0-9]"):
        check_times(tensor(values))


def test_times_that_are_not_finite_are_counted() -> None:
    with pytest.raises(InvalidArgument, match="not finite: 2 of 4 times, the first at index 1"):
        check_times(tensor((0.0, math.nan, 1.0, math.inf)))


def test_one_time_is_enough_where_that_is_said() -> None:
    assert check_times(tensor((0.5,)), least=1) == (0.5,)
    with pytest.raises(InvalidArgument, match=r"times = .*: a solve needs at least one time"):
        check_times(tensor(()), "times", least=1)


def test_times_are_shown_as_they_were_written() -> None:
    """Six of them, in the digits of their own dtype."""
    assert shown_times(tensor((0.1, 1 / 3, 1e-7), torch.float32)) == "[0.1, 0.33333334, 1e-07]"
    assert shown_times(tensor((0.1, 1 / 3, math.pi))) == "[0.1, 0.3333333333333333, 3.141592653589793]"
    assert shown_times(tensor((0.1 + 0.2,))) == "[0.30000000000000004]", "17 digits where they are needed"
    assert shown_times(tensor(range(6))) == "[0, 1, 2, 3, 4, 5]"
    assert shown_times(tensor(range(7))) == "[0, 1, 2, 3, 4, 5, ...]"
    assert shown_times(tensor((math.nan, math.inf))) == "[nan, inf]"


def test_one_step_an_interval_unless_told() -> None:
    assert TimeGrid.between(tensor(UNEVEN)).steps_per_interval == (1, 1, 1, 1)


def test_times_that_inference_mode_has_seen_are_fit_for_training() -> None:
    """What is cached for one solve serves the next one, which may be recorded by autograd."""
    grid, like = TimeGrid.between(tensor((0.25, 0.75)), 3), tensor((0.0,))
    with torch.inference_mode():
        list(grid.schedule((0.0, 0.375), like))
    for row, _ in grid.schedule((0.0, 0.375), like):
        assert not any(t.is_inference() for t in row)


def test_a_long_list_of_bad_times_is_shortened() -> None:
    """One line, not a screenful."""
    with pytest.raises(InvalidArgument) as caught:
        check_times(torch.zeros(10_000))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("steps", [0, -1, True, 1.5, "3", None, (), (1, 0), (1, True), (1, 2.0), [2, -3]])
def test_bad_steps_are_named(steps: Any) -> None:
    """Whatever comes from a configuration file ends in one clear message."""
    with pytest.raises(InvalidArgument, match="steps") as caught:
        checked_steps(steps)
    assert caught.value.argument == "steps"


@pytest.mark.parametrize("steps", [(1,), (1, 2, 3)])
def test_steps_must_fit_the_intervals(steps: tuple[int, ...]) -> None:
    """One number for all intervals, or one for each."""
    with pytest.raises(InvalidArgument, match=f"{len(steps)} entries for 2 intervals"):
        TimeGrid.between(tensor((0.0, 1.0, 2.0)), steps)
