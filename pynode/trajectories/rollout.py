"""States of windows at their nodes: by a gradient method for training, by small fixed steps for judging."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pynode.engines.fixed_steps import fixed_steps
from pynode.methods.base import GradientMethod
from pynode.schemes.rk4 import RK4
from pynode.solution import SolveStats
from pynode.trajectories.fields import rows_of
from pynode.trajectories.grid import LONGEST
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.windows import Windows

Solver = Callable[[SeriesModel, Tensor, Tensor], Tensor]
"""States `(time, windows, columns)` of rows `(windows, columns)` at times `(time,)`."""


def by_method(method: GradientMethod, stats: list[SolveStats]) -> Solver:
    """Solves by `method`, differentiable; the counts of each solve are added to `stats`."""

    def solve(model: SeriesModel, rows: Tensor, times: Tensor) -> Tensor:
        solution = method.solve(model.field, rows, times)
        stats.append(solution.stats)
        return solution.ys

    return solve


def by_steps(steps: int) -> Solver:
    """Solves by so many RK4 steps an interval, without gradients; states that blow up are returned as they are."""
    return lambda model, rows, times: fixed_steps(RK4, model.field, rows, times, steps)


STEP = 0.25
"""Distance, in the model's unit of time, of the outputs of a solve that states in between are interpolated from."""
MOST_STEPS = 400
"""Outputs of one solve; a longer way takes several, one after the other, of equal steps."""


def outputs(windows: Windows) -> int:
    """How many equal steps the solve of smooth `windows` has between its outputs."""
    return max(1, math.ceil(float(windows.offsets[:, -1].max()) / STEP))


def roll_out(model: SeriesModel, windows: Windows, states: Tensor, solve: Solver) -> Tensor:
    """The states `(l + 1, windows, state)` at the nodes of `windows`, from `states` `(windows, state)` at the first.

    Each is the state before the impulses at its node.  Where nothing happens between the nodes, one solve gives states
    at equal distances, and those at the nodes are interpolated from them and their slopes to fourth order; otherwise
    one solve goes from node to node.
    """
    return (
        _interpolated(model, windows, states, solve) if windows.is_smooth else _chained(model, windows, states, solve)
    )


def _interpolated(model: SeriesModel, windows: Windows, states: Tensor, solve: Solver) -> Tensor:
    sizes, offsets = model.sizes, windows.offsets
    spans = offsets[:, -1].clamp_min(1e-12)
    count = outputs(windows)
    step = spans / count
    nothing = windows.starts[:, 0]
    place = (offsets / step[:, None]).T
    index = place.floor().clamp(0, count - 1).long()
    result = torch.zeros((*place.shape, sizes.state), dtype=states.dtype)
    for first in range(0, count, MOST_STEPS):
        steps = min(MOST_STEPS, count - first)
        rows = rows_of(sizes, states, nothing, nothing, windows.clocks[:, 0] + first * step, step, windows.covariates)
        times = torch.arange(steps + 1, dtype=states.dtype)
        solved = solve(model, rows, times)
        states = solved[-1, :, : sizes.state]
        here = (index >= first) & (index < first + steps)
        if bool(here.any()):
            result = torch.where(here[..., None], _between(model, solved, place - first, index - first, steps), result)
    return result


def _between(model: SeriesModel, solved: Tensor, place: Tensor, index: Tensor, steps: int) -> Tensor:
    """States `(nodes, windows, state)` at `place` `(nodes, windows)`, in steps, by the outputs on both sides."""
    times = torch.arange(steps + 1, dtype=solved.dtype)[:, None, None].expand(*solved.shape[:2], 1)
    path, slopes = (part[..., : model.sizes.state] for part in (solved, model.field(times, solved)))
    index = index.clamp(0, steps - 1)
    s = (place - index).unsqueeze(-1)
    each = torch.arange(solved.shape[1])
    y0, y1, d0, d1 = path[index, each], path[index + 1, each], slopes[index, each], slopes[index + 1, each]
    rise = y1 - y0
    return torch.as_tensor(y0 + s * (d0 + s * (3 * rise - 2 * d0 - d1 + s * (d0 + d1 - 2 * rise))))


def _chained(model: SeriesModel, windows: Windows, states: Tensor, solve: Solver) -> Tensor:
    sizes = model.sizes
    jumped = windows.jumps.abs().amax((0, 2)).tolist() if sizes.impulses else [0.0] * (windows.intervals + 1)
    longest = windows.lengths.amax(0).tolist()
    path = [states]
    for k in range(windows.intervals):
        state = path[-1] + model.jumped(windows.jumps[:, k], windows.covariates) if jumped[k] else path[-1]
        parts = max(1, math.ceil(longest[k] / LONGEST - 1e-6))
        for first in range(0, parts, MOST_STEPS):
            last = min(first + MOST_STEPS, parts)
            rows = rows_of(
                sizes,
                state,
                windows.starts[:, k],
                windows.ends[:, k],
                windows.clocks[:, k],
                windows.lengths[:, k],
                windows.covariates,
            )
            times = torch.arange(first, last + 1, dtype=states.dtype) / parts
            state = solve(model, rows, times)[-1, :, : sizes.state]
        path.append(state)
    return torch.stack(path)
