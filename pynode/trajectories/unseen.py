"""Trajectories that a model was not trained on: forecast in the way in which those that it was trained on would be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.splits import Array
from pynode.trajectories.assimilate import ACCURATE, assimilate
from pynode.trajectories.build import Prepared
from pynode.trajectories.grid import Grid
from pynode.trajectories.loss import START_PRIOR
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_steps, roll_out
from pynode.trajectories.trained_curves import conditioned, curve_paths
from pynode.trajectories.windows import Windows, together

DOUBTS = (1.0, 2.0, 4.0, 8.0, 32.0)
"""By how much more than their noise says the first rows of a trajectory may have to be doubted."""
CURVE_DOUBTS = (1.0, 4.0, 16.0, 64.0)
"""The same where curves of others are followed, whose noise is that of the data alone."""
LEAST_SHARE = 0.5
"""Weight, relative to that of the best approach, below which another one is left out."""
LEAST_TRAINED = 3
"""Trained trajectories with rows beyond the given ones that a choice needs."""
MOST_TRIED = 64
"""Of them, at most, that approaches are tried on."""
LEAST_MEMBERS, MOST_MEMBERS = 5, 24
"""Trained trajectories whose starts, or curves, stand for those of all others."""


Starts: TypeAlias = Literal["covariates", "starts"]
Population: TypeAlias = Starts | Literal["curves"]


@dataclass(frozen=True)
class Approach:
    """One way to forecast a trajectory from its first rows, which are doubted by `doubt`; `share` is its weight.

    From the state that suits these rows best (`population` is None), or by the mean of the paths from the starts of
    trained trajectories, weighted by how well each suits the rows: these starts moved to what is expected for the
    "covariates" of the new trajectory, or the "starts" as they are.  Or, without the field, by what follows such rows
    on the smooth "curves" through trained trajectories.
    """

    doubt: float = 1.0
    population: Population | None = None
    share: float = 1.0


@torch.no_grad()
def approaches_of(
    model: SeriesModel, prepared: Prepared, given: int, noise: Tensor, spread: Tensor
) -> tuple[Approach, ...]:
    """The approaches by which trained trajectories are best forecast from their first `given` rows, with their shares.

    The rest of each trajectory is held against its forecast as if it were not known, and the starts and curves of the
    others stand for the population.  Of the doubts of each approach the best one is taken.  Approaches that are nearly
    as good as the best are combined, with weights inverse to their mean squared errors (Bates & Granger 1969).

    `noise` `(columns,)` is the standard deviation of residuals, `spread` `(state,)` that of starts.
    """
    which, known, whole = _trials(prepared, given)
    if len(known) < LEAST_TRAINED:
        return (Approach(),)
    seen, rest = together(known), together(whole)
    errors: dict[Approach, float] = {}
    places, moved = _means_without(model, prepared)
    own = torch.stack([moved[places[k], places[k]] for k in which])
    prior = model.expected(seen).detach() + (own if model.initial == "learnt" else 0.0)
    onward, least = torch.full_like(rest.values, torch.nan), np.inf
    for doubt in DOUBTS:
        states = assimilate(model, seen, prior, spread / doubt, noise)
        path = roll_out(model, rest, states, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)
        error = float((((path - rest.values) * rest.seen / noise).square()).sum())
        errors[Approach(doubt)] = error
        if error < least:
            onward, least = path, error
    errors |= _of_population(model, prepared, which, known, whole, noise)
    errors |= _of_curves(prepared, which, known, whole, onward, noise)
    best: dict[Population | None, tuple[float, Approach]] = {}
    for approach, error in errors.items():
        if np.isfinite(error) and error < best.get(approach.population, (np.inf, approach))[0]:
            best[approach.population] = error, approach
    if not best:
        return (Approach(),)
    least = max(min(error for error, _ in best.values()), 1e-300)
    weights = [least / max(error, 1e-300) for error, _ in best.values()]
    kept = [(w, approach) for w, (_, approach) in zip(weights, best.values(), strict=True) if w > LEAST_SHARE]
    total = sum(w for w, _ in kept)
    return tuple(replace(approach, share=w / total) for w, approach in kept)


def _means_without(model: SeriesModel, prepared: Prepared) -> tuple[dict[int, int], Tensor]:
    """What leaving out the start of trained trajectory i moves the expected start of j by, `(i, j, state)`.

    The mean was fitted to the starts of all of them, by ridge regression on covariates (leave-one-out in closed form).
    The first result gives the place of each trained trajectory.
    """
    trained, starts, covariates = _starts(model, prepared)
    away = starts - model.mean_start(covariates.to(model.start.dtype)).double()
    design = torch.cat((torch.ones(len(trained), 1, dtype=torch.float64), covariates), 1)
    ridge = torch.full((design.shape[1],), START_PRIOR**-2, dtype=torch.float64)
    ridge[0] = 0.0
    hat = design @ torch.linalg.inv(design.T @ design + ridge.diag()) @ design.T
    pull = away / (1 - hat.diagonal().clamp_max(0.9))[:, None]
    return {k: place for place, k in enumerate(trained)}, -hat[:, :, None] * pull[:, None, :]


def _starts(model: SeriesModel, prepared: Prepared) -> tuple[list[int], Tensor, Tensor]:
    """Trained trajectories, their first states `(n, state)` and covariates `(n, c)`."""
    firsts = np.cumsum([0, *map(len, prepared.places)])
    trained = [k for k, mask in enumerate(prepared.masks) if mask.any()]
    starts = model.nodes.detach().double()[[int(firsts[k]) for k in trained]]
    return trained, starts, torch.as_tensor(np.array([prepared.grids[k].covariates for k in trained]))


def _of_population(
    model: SeriesModel,
    prepared: Prepared,
    which: Sequence[int],
    known: Sequence[_Part],
    whole: Sequence[_Part],
    noise: Tensor,
) -> dict[Approach, float]:
    """The sums of squares that the means over the other trained trajectories leave."""
    members = Members.of(model, prepared)
    if members is None:
        return {}
    errors: dict[Approach, float] = {}
    places, moved = _means_without(model, prepared)
    among = [places[k] for k in members.which.tolist()]
    for population in get_args(Starts):
        if population == "covariates" and not prepared.sizes.covariates:
            continue  # the same as starts
        for k, (grid, _, end, mask), (_, _, last, ahead) in zip(which, known, whole, strict=True):
            without = moved[places[k]]
            paths = members.paths(model, grid, last, population, without[places[k]] - without[among])
            others = members.which != k
            values, rest = _observed(grid, ahead, last + 1)
            before = mask & (np.arange(len(mask)) <= end)
            for doubt in DOUBTS:
                mean = members.mean(paths, grid, before, noise * doubt, others)
                error = float((((mean - values) * rest / noise).square()).sum())
                approach = Approach(doubt, population)
                errors[approach] = errors.get(approach, 0.0) + error
    return errors


def _of_curves(
    prepared: Prepared,
    which: Sequence[int],
    known: Sequence[_Part],
    whole: Sequence[_Part],
    onward: Tensor,
    noise: Tensor,
) -> dict[Approach, float]:
    """The sums of squares that the curves of the other trained trajectories leave; beyond them, as `onward` goes on."""
    errors: dict[Approach, float] = {}
    own_noise = torch.as_tensor(prepared.curves.noise)
    for n, (k, (grid, _, end, mask), (_, _, last, ahead)) in enumerate(zip(which, known, whole, strict=True)):
        others = [other for other in with_curves(prepared) if other != k]
        paths = curve_paths(prepared, others, grid, onward[n, : last + 1].numpy())
        before = mask & (np.arange(len(mask)) <= end)
        values, marks = _observed(grid, before, last + 1)
        _, rest = _observed(grid, ahead, last + 1)
        for doubt in CURVE_DOUBTS:
            path = conditioned(paths, values, marks, own_noise * doubt)
            approach = Approach(doubt, "curves")
            errors[approach] = errors.get(approach, 0.0) + float((((path - values) * rest / noise).square()).sum())
    return errors


def with_curves(prepared: Prepared) -> list[int]:
    """The trained trajectories whose curves stand for those of all others."""
    return _evenly([k for k, mask in enumerate(prepared.masks) if mask.any()], MOST_MEMBERS)


def _evenly(of: Sequence[int], most: int) -> list[int]:
    """All numbers of `of`, or `most` of them."""
    chosen = np.unique(np.linspace(0, len(of) - 1, min(len(of), most)).round().astype(int))
    return [of[n] for n in chosen.tolist()]


def _observed(grid: Grid, rows: Array, size: int) -> tuple[Tensor, Tensor]:
    """The values `(size, columns)` at the first nodes, and which of them were observed at those that `rows` marks."""
    values = grid.values[:size]
    return torch.as_tensor(np.nan_to_num(values)), torch.as_tensor(np.isfinite(values) & rows[:size, None])


_Part = tuple[Grid, int, int, Array]


def _trials(prepared: Prepared, given: int) -> tuple[list[int], list[_Part], list[_Part]]:
    """The trained trajectories of more than `given` rows; windows over these, and over all with the rest marked."""
    which, known, whole = [], [], []
    for k, (each, mask) in enumerate(zip(prepared.series.each, prepared.masks, strict=True)):
        rows = np.flatnonzero(mask)
        if len(rows) > given:
            grid, marks = prepared.grids[k], np.arange(len(each.times))
            first = prepared.node_mask(k, np.isin(marks, rows[:given]))
            rest = prepared.node_mask(k, np.isin(marks, rows[given:]))
            end = max(int(grid.rows[rows[given - 1]]), 1) if given else 1
            which.append(k)
            known.append((grid, 0, end, first))
            whole.append((grid, 0, int(grid.rows[rows[-1]]), rest))
    if len(which) > MOST_TRIED:
        chosen = np.linspace(0, len(which) - 1, MOST_TRIED).round().astype(int).tolist()
        return [which[n] for n in chosen], [known[n] for n in chosen], [whole[n] for n in chosen]
    return which, known, whole


@dataclass(frozen=True)
class Members:
    """Starts `(n, state)` of trained trajectories, their distances `away` from what is expected for their covariates,
    and `which` `(n,)` trajectories these are."""

    starts: Tensor
    away: Tensor
    which: Array

    @classmethod
    @torch.no_grad()
    def of(cls, model: SeriesModel, prepared: Prepared) -> Members | None:
        """Those of `prepared`, or some of them; None where they are too few."""
        trained, starts, covariates = _starts(model, prepared)
        if len(trained) < LEAST_MEMBERS or model.initial != "learnt":
            return None
        chosen = _evenly(range(len(trained)), MOST_MEMBERS)
        away = starts - model.mean_start(covariates.to(model.start.dtype)).double()
        return cls(starts[chosen], away[chosen], np.array(trained)[chosen])

    @torch.no_grad()
    def paths(self, model: SeriesModel, grid: Grid, last: int, population: Starts, by: Tensor | None = None) -> Tensor:
        """The paths `(n, nodes, columns)` over `grid` to its node `last` from every start."""
        nothing = np.zeros(len(grid.times), bool)
        windows: Windows = together([(grid, 0, last, nothing)] * len(self.starts))
        starts = self.starts
        if population == "covariates":
            starts = model.mean_start(windows.covariates.to(model.start.dtype)).double() + self.away
            starts = starts if by is None else starts + by
        return roll_out(model, windows, starts, by_steps(ACCURATE))[..., : model.sizes.observed].transpose(0, 1)

    def mean(self, paths: Tensor, grid: Grid, seen: Array, noise: Tensor, members: Array | None = None) -> Tensor:
        """The mean `(nodes, columns)` of `paths`, each weighted by its likelihood at the nodes that `seen` marks.

        Of those of `members` `(n,)`, if given.  Paths that blow up have no weight; NaN where all do.
        """
        values, marks = _observed(grid, seen, paths.shape[1])
        used = torch.isfinite(paths).all(-1).all(-1)
        if members is not None:
            used = used & torch.as_tensor(members)
        if not bool(used.any()):
            return torch.full_like(paths[0], torch.nan)
        residual = (paths[used] - values) / noise * marks
        weights = torch.softmax(-0.5 * residual.square().sum((1, 2)), 0)
        return (weights[:, None, None] * paths[used]).sum(0)


def combined(
    model: SeriesModel,
    prepared: Prepared,
    approaches: Sequence[Approach],
    members: Members | None,
    grid: Grid,
    seen: Array,
    own: Array,
    noise: Tensor,
) -> Array:
    """The forecast `(nodes, columns)` over `grid` of `approaches` together; `own` is that from the best state.

    `members` are those of `prepared`, which some approaches need.
    """
    size = len(grid.times)
    forecasts = []
    for approach in approaches:
        path = own[:size]
        if approach.population == "curves":
            paths = curve_paths(prepared, with_curves(prepared), grid, own[:size])
            own_noise = torch.as_tensor(prepared.curves.noise)
            path = conditioned(paths, *_observed(grid, seen, size), own_noise * approach.doubt).numpy()
        elif approach.population is not None:
            assert members is not None
            paths = members.paths(model, grid, size - 1, approach.population)
            path = members.mean(paths, grid, seen, noise * approach.doubt).numpy()
        forecasts.append((approach.share, path))
    usable = [(share, path) for share, path in forecasts if np.isfinite(path).all()]
    total = sum(share for share, _ in usable)
    return np.sum([share / total * path for share, path in usable], 0) if usable else own[:size]
