"""Forecasts of trajectories from their own states, and the fit to the rows before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.trajectories.assimilate import ACCURATE, assimilate
from pynode.trajectories.build import Prepared
from pynode.trajectories.data import Trajectory
from pynode.trajectories.grid import Grid, known_until, longest_interval, make_grid
from pynode.trajectories.look_back import look_back
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.unseen import Approach, Members, approaches_of, combined
from pynode.trajectories.windows import make_windows, together

OBSERVATIONS = 4
"""Values for each dimension of the state that its estimate is taken from, at least, where there are as many."""
TRUSTED = 0.1
"""How far a start that was given or encoded may move, in the spread of those that are learnt."""
PRIOR = 2.0
"""Standard deviation of a state about the trained state of its node, in that of the data's noise."""


def forecasts(
    model: SeriesModel,
    prepared: Prepared,
    trajectories: Sequence[Trajectory],
    times: Sequence[Array],
    known: Sequence[Array],
) -> list[Array]:
    """The values of `forecasts_and_approaches`."""
    return forecasts_and_approaches(model, prepared, trajectories, times, known)[0]


def forecasts_and_approaches(
    model: SeriesModel,
    prepared: Prepared,
    trajectories: Sequence[Trajectory],
    times: Sequence[Array],
    known: Sequence[Array],
) -> tuple[list[Array], tuple[Approach, ...]]:
    """The values `(k, values)` of each trajectory at its `times` `(k,)`, in the file's units, after its known rows.

    `known` `(n,)` marks the rows that the state is found from.  It begins at the last of the trained nodes that has
    enough observations after it, or at the trajectory's start, where it is expected to be like others.  The approaches
    are those to trajectories that were not trained on.

    Raises `InvalidArgument` for times beyond which an input is known.
    """
    noise, start_spread = calibrated(model, prepared)
    sizes = prepared.sizes
    around = PRIOR * torch.cat((noise, noise.mean().expand(sizes.hidden)))
    kinds = prepared.series.input_kinds
    trained = [_trained(prepared, trajectory) for trajectory in trajectories]
    back = look_back(model, prepared, around, noise) if any(k is not None for k in trained) else 1
    grids: list[Grid] = []
    begins: list[int] = []
    priors: list[torch.Tensor] = []
    spreads: list[torch.Tensor] = []
    windows: list[tuple[Grid, int, int, Array]] = []
    for trajectory, of, at, rows in zip(trajectories, trained, times, known, strict=True):
        check_inputs(prepared, trajectory, at)
        cut = Trajectory(
            trajectory.name,
            trajectory.times[rows],
            trajectory.values[rows],
            trajectory.inputs,
            trajectory.covariates,
            trajectory.lines[rows],
        )
        grid = make_grid(cut, prepared.scaling, kinds, further=at, longest=longest_interval(kinds))
        begin, prior, spread = _beginning(model, prepared, of, grid, start_spread, around, back)
        seen = np.zeros(len(grid.times), bool)
        seen[grid.rows] = True
        grids.append(grid)
        begins.append(begin)
        if prior is None:
            window = together([(grid, 0, len(grid.times) - 1, np.isin(np.arange(len(grid.times)), grid.rows))])
            prior = model.expected(window)[0].detach()
            if model.initial != "learnt":
                spread = spread * TRUSTED
        priors.append(prior)
        spreads.append(spread)
        windows.append((grid, begin, len(grid.times) - 1, seen))
    new = [k for k, of in enumerate(trained) if of is None]
    approaches: tuple[Approach, ...] = (Approach(),)
    if new:
        given = int(np.median([known[k].sum() for k in new]))
        approaches = approaches_of(model, prepared, given, noise, start_spread)
        for k in new:
            spreads[k] = spreads[k] / next((a.doubt for a in approaches if a.population is None), 1.0)
    last = [(grid, begin, max(int(grid.rows[-1]), begin + 1), seen) for grid, begin, _, seen in windows]
    states = assimilate(model, together(last), torch.stack(priors), torch.stack(spreads), noise)
    with torch.no_grad():
        path = roll_out(model, together(windows), states, by_steps(ACCURATE))[..., : sizes.observed].numpy()
    alone = all(approach.population is None for approach in approaches)
    members = None if alone else Members.of(model, prepared)
    results = []
    for k, (grid, begin, at) in enumerate(zip(grids, begins, times, strict=True)):
        own = path[:, k]
        if not alone and trained[k] is None:
            own = combined(model, prepared, approaches, members, grid, windows[k][-1], own, noise)
        place = np.searchsorted(grid.times, at) - begin
        results.append(prepared.scaling.to_file(own[np.clip(place, 0, None)]))
    return results, approaches


@torch.no_grad()
def calibrated(model: SeriesModel, prepared: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
    """What residuals to expect: of the data `(columns,)`, as the trained model leaves them, of starts `(state,)`."""
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    windows = make_windows(prepared.grids, prepared.places, masks, 2, torch.float64)
    noise, spread = torch.as_tensor(prepared.curves.noise), model.spread.double()
    if windows is None:
        return noise, spread
    states = model.beginnings(windows)
    path = roll_out(model, windows, states, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)
    residual = torch.nan_to_num((path - windows.values) * windows.seen, nan=10.0).square().sum((0, 1))
    noise = (residual / windows.seen.sum((0, 1)).clamp_min(1)).sqrt().clamp_min(1e-3)
    first = windows.is_first
    if int(first.sum()) > 2:
        away = states[first] - model.mean_start(windows.covariates[first].to(model.start.dtype)).double()
        spread = away.square().mean(0).sqrt().clamp_min(0.03)
    return noise, spread


def _trained(prepared: Prepared, trajectory: Trajectory) -> int | None:
    """Which of the trajectories that the model was trained on this is; None for one of another file, or held out."""
    for k, (each, mask) in enumerate(zip(prepared.series.each, prepared.masks, strict=True)):
        same = each.name == trajectory.name and np.array_equal(each.times, trajectory.times)
        if same and np.array_equal(each.values, trajectory.values, equal_nan=True):
            return k if mask.any() else None
    return None


def check_inputs(prepared: Prepared, trajectory: Trajectory, times: Array) -> None:
    """Raises `InvalidArgument` for times at which an input is not known."""
    series = prepared.series
    limit, which = known_until(trajectory, series.input_kinds)
    if len(times) and times.max() > limit + 1e-9 * max(1.0, abs(limit)):
        name, of = series.inputs[which], f" of {trajectory.name}" if len(series.each) > 1 else ""
        raise InvalidArgument(
            "until",
            series.axis.text(float(times.max())),
            f"the input {name}{of} is known to {series.axis.text(limit)} only",
            f"add rows with {name} up to then, or forecast to {series.axis.text(limit)}",
        )


def fitted(model: SeriesModel, prepared: Prepared, masks: Sequence[Array]) -> list[Array]:
    """The values `(n, values)` of the model at the rows of each trajectory that `masks` mark, NaN at others.

    A long trajectory is followed in windows, each from its own trained state.
    """
    node_masks = [prepared.node_mask(k, mask) for k, mask in enumerate(masks)]
    results = [np.full(each.values.shape, np.nan) for each in prepared.series.each]
    windows = make_windows(prepared.grids, prepared.places, node_masks, 1, torch.float64)
    if windows is None:
        return results
    with torch.no_grad():
        path = roll_out(model, windows, model.beginnings(windows), by_steps(ACCURATE)).numpy()
    owner = np.repeat(np.arange(len(prepared.grids)), [len(place) for place in prepared.places])
    starts = np.concatenate(prepared.places)
    for w, node in enumerate(windows.node.tolist()):
        k, start, size = int(owner[node]), int(starts[node]), int(windows.sizes[w])
        rows = np.flatnonzero((prepared.grids[k].rows >= start) & (prepared.grids[k].rows <= start + size))
        rows = rows[masks[k][rows]]
        results[k][rows] = prepared.scaling.to_file(path[prepared.grids[k].rows[rows] - start, w])
    return results


def fitted_at(model: SeriesModel, prepared: Prepared, k: int, rows: Array, times: Array) -> Array | None:
    """The values `(k, values)` of the fit of trajectory `k` at `times` `(k,)` between those of its `rows` `(n,)`.

    None for a trajectory that is fitted in several windows: its rows are close enough for a line through the fit.
    """
    each, kinds = prepared.series.each[k], prepared.series.input_kinds
    mask = prepared.node_mask(k, rows)
    own = make_windows([prepared.grids[k]], [prepared.places[k]], [mask], 1, torch.float64)
    if own is None or own.count > 1:
        return None
    first = sum(len(place) for place in prepared.places[:k])
    states = model.beginnings(replace(own, node=own.node + first))
    cut = replace(each, times=each.times[rows], values=each.values[rows], lines=each.lines[rows])
    grid = make_grid(cut, prepared.scaling, kinds, further=times, longest=longest_interval(kinds))
    with torch.no_grad():
        window = together([(grid, 0, len(grid.times) - 1, np.zeros(len(grid.times), bool))])
        path = roll_out(model, window, states.detach().double(), by_steps(ACCURATE)).numpy()[:, 0]
    return prepared.scaling.to_file(path[np.searchsorted(grid.times, times)])


def _beginning(
    model: SeriesModel,
    prepared: Prepared,
    trained: int | None,
    grid: Grid,
    spread: torch.Tensor,
    around: torch.Tensor,
    back: int,
) -> tuple[int, torch.Tensor | None, torch.Tensor]:
    """The grid node that the state is found at, and what is expected of it there with which standard deviation.

    The node is at least `back` windows before the end of the data, where there are as many.  None at the first node,
    where covariates and first points decide.
    """
    wanted = OBSERVATIONS * prepared.sizes.state
    if trained is not None:
        k = trained
        before = sum(len(place) for place in prepared.places[:k])
        last_trained = prepared.series.each[k].times[prepared.masks[k]][-1]
        furthest: tuple[int, torch.Tensor | None, torch.Tensor] = (0, None, spread)
        seen = np.isfinite(grid.values).sum(1)
        for n in range(len(prepared.places[k]) - 1, 0, -1):
            time = prepared.grids[k].times[prepared.places[k][n]]
            node = int(np.searchsorted(grid.times, time))
            if node >= len(grid.times) or grid.times[node] != time or time >= last_trained:
                continue
            within = grid.rows[-1] - node
            if within >= prepared.window and seen[node:].sum() >= wanted:
                furthest = node, model.nodes.detach()[before + n].double(), around
                back -= 1
                if back == 0:
                    break
        return furthest
    return 0, None, spread
