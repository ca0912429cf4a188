"""A model of a series before its training: scaling, hidden dimensions, grids, and a first field from smooth curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pynode.datasets.splits import Array
from pynode.trajectories.curves import Curves, dense_times, make_curves, unit_of_time
from pynode.trajectories.data import Trajectories
from pynode.trajectories.fields import HIDDEN, LinearAndNetwork, Sizes
from pynode.trajectories.first_laws import begin_by_modes, begin_by_relaxation
from pynode.trajectories.grid import Grid, longest_interval, make_grid
from pynode.trajectories.hidden import Hidden, added, decide
from pynode.trajectories.impulses import both_ways, fitted_decays, in_two_phases
from pynode.trajectories.matching import EFFORTS, Effort, Samples, match
from pynode.trajectories.model import Initial, SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.scaling import Scaling, fitted_scaling
from pynode.trajectories.windows import Windows, make_windows, node_places

SHORTEST_WINDOW, LONGEST_WINDOW = 8, 48
"""Rows of the first windows."""
GROWTH = (1, 2, 4)
"""Lengths that windows grow to, in those of the first."""
GROWING_INTERVALS, MOST_INTERVALS = 36, 48
"""Solves of a window, one after the other, where inputs make them so many: while windows grow, and at the end."""
MOST_WINDOWS = 64
"""Windows that first fields are compared on."""


@dataclass(frozen=True)
class Prepared:
    """What is known of a series before training, from the rows that `masks` mark."""

    series: Trajectories
    masks: tuple[Array, ...]
    scaling: Scaling
    curves: Curves
    hidden: Hidden
    sizes: Sizes
    grids: tuple[Grid, ...]
    window: int
    places: tuple[Array, ...]
    ambiguous: tuple[str, ...] = ()
    """Value columns for which the data called for hidden dimensions."""
    restraint: Effort | None = None
    """How firmly the field is held down while training, where backtests call for it."""
    backtested: tuple[float, float] = (0.0, 0.0)
    """Errors of the backtests of the field that is held down, and of the best one that is not."""

    swings: bool = False
    """Whether a sum of modes follows the data."""

    def growth(self, wanted: tuple[int, ...] = GROWTH, most: int = GROWING_INTERVALS) -> tuple[int, ...]:
        """Lengths of windows, in those of the first, of the `wanted` ones.

        Where inputs or impulses stop the solve at every node, none of more than about `most` intervals.
        """
        if not (self.sizes.inputs or self.sizes.impulses):
            return wanted
        intervals = sum(len(grid.lengths) for grid in self.grids) / max(self.nodes, 1)
        return tuple(min(by, max(1, round(most / max(intervals, 1)))) for by in wanted)

    @property
    def nothing(self) -> Array | None:
        """The level 0 of the file as columns of the model `(columns,)`, which impulses are thought to start from.

        Amounts and concentrations stay there as long as nothing is given.  None for values that fall below 0, for
        angles, and where there are no impulses or other inputs beside them.
        """
        rows = zip(self.series.each, self.masks, strict=True)
        least = min((np.nanmin(each.values[mask], initial=np.inf) for each, mask in rows), default=np.inf)
        if not self.sizes.impulses or self.sizes.inputs or self.series.periods or least < 0:
            return None
        return np.asarray(self.scaling.to_model(np.zeros(len(self.series.values))))

    @property
    def may_relax(self) -> bool:
        """Whether a first field may be two decays: one column with its rate of change, undisturbed, in several
        trajectories."""
        sizes = self.sizes
        undisturbed = not (sizes.inputs or sizes.impulses)
        return (sizes.observed, sizes.hidden) == (1, 1) and undisturbed and len(self.grids) > 2

    @property
    def may_swing(self) -> bool:
        """Whether a first field may be a sum of modes: one column with two or more of its derivatives, undisturbed."""
        sizes, hidden = self.sizes, self.hidden
        undisturbed = not (sizes.known or sizes.impulses or self.series.periods)
        return undisturbed and sizes.observed == 1 and hidden.orders == tuple(range(1, max(hidden.count, 2) + 1))

    @property
    def hidden_words(self) -> tuple[str, ...]:
        """Each hidden dimension in words."""
        names = model_columns(self.series)
        rates = {1: "rate of change", 2: "second derivative", 3: "third derivative"}
        return tuple(
            f"{rates.get(order, f'derivative {order}')} of {names[column]}"
            for column, order in zip(self.hidden.columns, self.hidden.orders, strict=True)
        )

    @property
    def nodes(self) -> int:
        """Number of node states."""
        return sum(len(place) for place in self.places)

    def node_mask(self, k: int, rows: Array) -> Array:
        """The nodes `(nodes,)` of trajectory `k` that are rows which `rows` `(n,)` marks."""
        return _nodes_of(self.grids[k], rows)


def prepare(
    series: Trajectories,
    masks: Sequence[Array],
    *,
    augment: int | None = None,
    window: int | None = None,
) -> Prepared:
    """Scaling, smooth curves, hidden dimensions (`augment` of them, or as many as the data call for), and grids.

    `window` is the number of rows of the first windows; by default they last about one unit of the model's time, or
    less, so that inputs stop the solve of a window about a hundred times at most.
    """
    scaling = fitted_scaling(series, masks)
    curves = make_curves(series, scaling, masks)
    scaling = replace(scaling, time=unit_of_time(curves, series))
    kinds = series.input_kinds
    grids = tuple(make_grid(each, scaling, kinds, longest=longest_interval(kinds)) for each in series.each)
    times = dense_times(curves)
    inputs = [_inputs_at(grid, at) for grid, at in zip(grids, times, strict=True)]
    hidden = decide(curves, inputs, augment)
    if augment is None and "jumps" in kinds:
        seen = [_nodes_of(grid, mask) for grid, mask in zip(grids, masks, strict=True)]
        for column in range(scaling.columns):
            hides = both_ways(grids, seen, column) or in_two_phases(grids, seen, column)
            if column not in hidden.columns and hides:
                hidden = added(curves, hidden, column)
    names = model_columns(series)
    ambiguous = tuple(dict.fromkeys(names[c] for c in hidden.columns)) if augment is None else ()
    impulses = sum(kind == "jumps" for kind in kinds)
    sizes = Sizes(scaling.columns, hidden.count, len(kinds) - impulses, impulses, len(series.covariates))
    lengths = np.concatenate([np.diff(each.times) for each in series.each]) / scaling.time
    usual = int(np.clip(np.ceil(1 / np.median(lengths)), SHORTEST_WINDOW, LONGEST_WINDOW)) if len(lengths) else 8
    if kinds:
        each_row = sum(len(grid.lengths) for grid in grids) / max(sum(len(grid.rows) - 1 for grid in grids), 1)
        usual = min(usual, max(2, int(2 * MOST_INTERVALS / max(each_row, 1))))
    window = window or usual
    places = tuple(node_places(grids, window))
    return Prepared(series, tuple(masks), scaling, curves, hidden, sizes, grids, window, places, ambiguous)


def _nodes_of(grid: Grid, rows: Array) -> Array:
    """Which nodes `(nodes,)` are rows that `rows` `(n,)` marks."""
    mask = np.zeros(len(grid.times), bool)
    mask[grid.rows[rows]] = True
    return mask


def model_columns(series: Trajectories) -> list[str]:
    """Names of the model's observed columns: those of the file, an angle twice."""
    names = [[f"cosine of {n}", f"sine of {n}"] if series.periods.get(n) else [n] for n in series.values]
    return [name for group in names for name in group]


def with_all_rows(prepared: Prepared) -> Prepared:
    """The same model's description with curves through all rows; scaling, hidden dimensions and nodes stay."""
    masks = tuple(np.ones(len(each.times), bool) for each in prepared.series.each)
    curves = make_curves(prepared.series, prepared.scaling, masks)
    return replace(prepared, masks=masks, curves=replace(curves, noise=prepared.curves.noise))


def first_model(
    prepared: Prepared,
    seed: int,
    *,
    widths: tuple[int, ...] = HIDDEN,
    inner: torch.nn.Module | None = None,
    initial: Initial = "learnt",
) -> SeriesModel:
    """The untrained model: its field matched to the slopes of smooth curves, its nodes on them; the same for a seed.

    A field of the user's own, `inner`, is taken as it is.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = prepared.sizes
    own = inner if inner is not None else LinearAndNetwork(sizes, widths, generator)
    model = SeriesModel(own, sizes, prepared.nodes, initial=initial, generator=generator)
    states = [
        state_on_curves(prepared, k, grid.times[place])
        for k, (grid, place) in enumerate(zip(prepared.grids, prepared.places, strict=True))
    ]
    with torch.no_grad():
        model.nodes.copy_(torch.as_tensor(np.concatenate(states)))
        trained = [s[0] for s, mask in zip(states, prepared.masks, strict=True) if mask.any()]
        firsts = np.array(trained)
        model.start.copy_(torch.as_tensor(firsts.mean(0)))
        if len(firsts) > 2:
            model.spread.copy_(torch.as_tensor(np.clip(firsts.std(0), 0.1, None)))
    if isinstance(own, LinearAndNetwork):
        _choose_field(model, own, prepared)
    if sizes.impulses:
        _begin_by_decay(model, prepared)
    return model


@torch.no_grad()
def _begin_by_decay(model: SeriesModel, prepared: Prepared) -> None:
    """Begins jumps, starts and nodes, and a linear field, by what decays to a level of rest between impulses."""
    own = model.field.inner
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    if isinstance(own, LinearAndNetwork):
        for part in (own.linear.weight, own.linear.bias, own.network[-1].weight, own.network[-1].bias):
            part.zero_()
    for column, decay in enumerate(fitted_decays(prepared.grids, masks, prepared.sizes.observed, prepared.nothing)):
        if decay is None:
            continue
        if isinstance(own, LinearAndNetwork):
            own.linear.weight[column, column] = -decay.rate
            own.linear.bias[column] = decay.rate * decay.rest
        model.jumps[:, column] = torch.as_tensor(decay.jumps)
        model.start[column] = decay.start
        at = [decay.at(grid, place) for grid, place in zip(prepared.grids, prepared.places, strict=True)]
        model.nodes[:, column] = torch.as_tensor(np.concatenate(at))
    for column in range(prepared.sizes.observed, prepared.sizes.state):
        if isinstance(own, LinearAndNetwork):
            own.linear.weight[column, column] = -1.0


def _choose_field(model: SeriesModel, field: LinearAndNetwork, prepared: Prepared) -> None:
    """Leaves `field` as the match to smooth curves whose solves over long windows are nearest to the data."""
    samples = samples_of(prepared)
    if prepared.restraint is not None:
        match(field, samples, prepared.restraint)
        return
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    windows = make_windows(prepared.grids, prepared.places, masks, GROWTH[-1], torch.float64)
    noise = torch.as_tensor(prepared.curves.noise)
    best, chosen = float("inf"), None
    for effort in EFFORTS:
        match(field, samples, effort)
        loss = 0.0 if windows is None else _robust_loss(model, windows, noise)
        if chosen is None or loss < best * (0.9 if effort.network else 1.0):
            best, chosen = loss, [p.detach().clone() for p in field.parameters()]
    assert chosen is not None
    if prepared.may_relax:
        before = model.nodes.detach().clone()
        if windows is not None and begin_by_relaxation(model, field, prepared, masks):
            if _robust_loss(model, windows, noise) < best:
                return
            with torch.no_grad():
                model.nodes.copy_(before)
    with torch.no_grad():
        for p, value in zip(field.parameters(), chosen, strict=True):
            p.copy_(value)
    _try_modes(model, field, prepared, windows, noise, masks)


def _try_modes(
    model: SeriesModel,
    field: LinearAndNetwork,
    prepared: Prepared,
    windows: Windows | None,
    noise: torch.Tensor,
    masks: Sequence[Array],
) -> None:
    """Begins field and nodes by a sum of modes where this has a lower robust loss."""
    if windows is None or not prepared.may_swing:
        return
    every = (*field.parameters(), model.nodes)
    before, least = [p.detach().clone() for p in every], _robust_loss(model, windows, noise)
    model.by_modes = begin_by_modes(model, field, prepared, masks) and _robust_loss(model, windows, noise) < least
    if not model.by_modes:
        with torch.no_grad():
            for p, value in zip(every, before, strict=True):
                p.copy_(value)


def _robust_loss(model: SeriesModel, windows: Windows, noise: torch.Tensor) -> float:
    """`robust_loss` over some windows from their nodes."""
    if windows.count > MOST_WINDOWS:
        windows = windows.take(torch.linspace(0, windows.count - 1, MOST_WINDOWS).long())
    return robust_loss(model, windows, model.nodes.detach()[windows.node], noise)


def robust_loss(model: SeriesModel, windows: Windows, states: torch.Tensor, noise: torch.Tensor) -> float:
    """The mean of residuals (in units of noise) over windows from `states` `(w, state)`, large ones with less than
    their square; infinite where a solve blows up."""
    with torch.no_grad():
        path = roll_out(model, windows, states, by_steps(1))[..., : model.sizes.observed]
        residual = (path.transpose(0, 1) - windows.values) * windows.seen / noise
        loss = float(torch.log1p(residual.square() / 9).sum() / windows.seen.sum())
    return loss if np.isfinite(loss) else float("inf")


def state_on_curves(prepared: Prepared, trajectory: int, times: Array) -> Array:
    """The state `(k, state)`, observed and hidden, on the smooth curves of a trajectory at `times` `(k,)`."""
    first, last = prepared.curves.spans[trajectory]
    inside = np.clip(times, first, last)
    observed = prepared.curves.states(trajectory, inside)
    hidden = prepared.hidden.states(prepared.curves, trajectory, inside)
    return np.clip(np.hstack((observed, hidden)), -10, 10)


def samples_of(prepared: Prepared) -> Samples:
    """Points and slopes on the smooth curves of all trajectories."""
    points, slopes = [], []
    curves, unit = prepared.curves, prepared.scaling.time
    for k, (grid, times) in enumerate(zip(prepared.grids, dense_times(curves), strict=True)):
        if not len(times) or any(path is None for path in curves.paths[k]):
            continue
        state = np.hstack((curves.states(k, times), prepared.hidden.states(curves, k, times)))
        slope = np.hstack((curves.states(k, times, 1), prepared.hidden.states(curves, k, times, 1))) * unit
        known = np.hstack((_inputs_at(grid, times), np.tile(grid.covariates, (len(times), 1))))
        keep = _between_impulses(grid, times)
        points.append(np.hstack((state, known))[keep])
        slopes.append(slope[keep])
    width = prepared.sizes.state + prepared.sizes.known
    if not points:
        return Samples(np.empty((0, width)), np.empty((0, prepared.sizes.state)))
    return Samples(np.concatenate(points), np.concatenate(slopes), prepared.sizes.covariates, len(points))


def _inputs_at(grid: Grid, times: Array) -> Array:
    """Values `(k, inputs)` of the inputs that go on between their rows."""
    if not len(times) or not grid.starts.shape[1]:
        return np.empty((len(times), grid.starts.shape[1]))
    index = np.clip(np.searchsorted(grid.times, times, side="right") - 1, 0, len(grid.lengths) - 1)
    share = ((times - grid.times[index]) / (grid.times[index + 1] - grid.times[index])).clip(0, 1)[:, None]
    return grid.starts[index] + share * (grid.ends[index] - grid.starts[index])


def _between_impulses(grid: Grid, times: Array) -> Array:
    """Which of `times` lie between two rows that no impulse lies between."""
    if not grid.jumps.shape[1]:
        return np.ones(len(times), bool)
    rows = grid.times[grid.rows]
    hits = grid.times[(grid.jumps != 0).any(1)]
    before = np.searchsorted(rows, times, side="right") - 1
    inside = (before >= 0) & (before < len(rows) - 1)
    left, right = rows[np.clip(before, 0, None)], rows[np.clip(before + 1, None, len(rows) - 1)]
    clear = np.searchsorted(hits, left, side="left") == np.searchsorted(hits, right, side="left")
    return inside & clear
