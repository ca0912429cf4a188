"""The end of training: L-BFGS over long windows, by the same gradient method, on training rows and then on all rows."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch

from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.trajectories.build import Prepared, state_on_curves, with_all_rows
from pynode.trajectories.loss import Weights, data_loss, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.rollout import by_method, outputs
from pynode.trajectories.windows import Windows, make_windows

EVALUATIONS = 800
"""Gradients that the end of training takes at most, by the lengths of its windows together."""
AGAIN = 150
"""The same of the training on all rows after it."""
LENGTHS = (2, 8)
"""Lengths of its windows, in those of the first."""
SHARES = (0.3, 0.7)
CHUNK = 128
"""Windows of one solve."""
FEW_WINDOWS = 256
"""Windows beyond which fewer gradients are taken, so that each costs more but all together about as much."""
LEAST_EVALUATIONS = 60
MOST_WINDOWS = 4096
"""Windows of one gradient; of more, as many are chosen evenly, and the result is judged on all."""
RATES = (1.0, 0.3, 0.1, 0.03)
"""Lengths of steps, each after a step of the one before was too long for a solve."""
SOLVES = 12
"""Solves of a window beyond which fewer gradients are taken."""
STEPS = 160
"""The same of steps of one solve, where rows are ever farther apart."""
SMALLEST_CHANGE = 1e-8


class _Descent:
    """Loss and gradient of one optimisation, which keeps the best weights that were tried.

    Raises where a step went too far for a solve; what was kept before stands.
    """

    def __init__(
        self,
        model: SeriesModel,
        windows: Windows,
        weights: Weights,
        method: GradientMethod,
    ) -> None:
        self.model, self.weights, self.method = model, weights, method
        self.chunks = chunks_of(windows)
        self.least, self.kept, self.count = math.inf, model.theta(), 0

    def __call__(self) -> float:
        self.model.zero_grad()
        self.count += 1
        if not bool(torch.isfinite(self.model.theta()).all()):
            raise FloatingPointError("a step led to weights that are not finite")
        value = 0.0
        for share, chunk in self.chunks:
            loss = share * shooting_loss(self.model, chunk, self.weights, by_method(self.method, []))
            loss.backward()
            value += float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        if value < self.least:
            self.least, self.kept = value, self.model.theta()
        return value


def chunks_of(windows: Windows, size: int = CHUNK) -> list[tuple[float, Windows]]:
    """`windows` in parts of at most `size`, each with its share of the observed values, which are to add up to 1."""
    parts = [windows.take(which) for which in torch.arange(windows.count).split(size)]
    total = float(windows.seen.sum())
    return [(float(part.seen.sum()) / total, part) for part in parts]


def finished(
    model: SeriesModel,
    prepared: Prepared,
    method: GradientMethod,
    continuity: float,
    evaluations: int = EVALUATIONS,
    notices: list[str] | None = None,
) -> tuple[SeriesModel, int]:
    """A copy of `model` after L-BFGS on the rows of training of `prepared`, and the gradients that this took.

    The best of all weights that were tried, so no worse than `model`; where a solve fails, those before it stand.  A
    sentence is added to `notices` where that happens with every length of step, and where there are so many windows
    that gradients are of some only: then the result is taken if the errors over all windows do not rise.
    """
    said = [] if notices is None else notices
    best = copy.deepcopy(model)
    masks = [prepared.node_mask(k, mask) for k, mask in enumerate(prepared.masks)]
    weights = Weights.of(prepared, continuity, best.nodes.dtype)
    total = 0
    for share, length in zip(SHARES, prepared.growth(LENGTHS), strict=True):
        windows = make_windows(prepared.grids, prepared.places, masks, length, best.nodes.dtype)
        if windows is None:
            break
        used = _evenly(windows, MOST_WINDOWS)
        most = int(share * evaluations)
        if not windows.is_smooth:
            most = int(np.clip(most * SOLVES / windows.intervals, 20, most))
        elif (steps := outputs(windows)) > STEPS:
            most = int(np.clip(most * STEPS / steps, 20, most))
        if used.count > FEW_WINDOWS:
            most = min(most, max(LEAST_EVALUATIONS, most * FEW_WINDOWS // used.count))
        tried, failure = copy.deepcopy(best), ""
        descent = _Descent(tried, used, weights, method)
        for rate in RATES:
            if descent.count >= most:
                break
            tried.set_theta(descent.kept)
            optimiser = torch.optim.LBFGS(
                tried.parameters(),
                lr=rate,
                max_iter=most,
                max_eval=most - descent.count,
                history_size=40,
                tolerance_change=SMALLEST_CHANGE,
                line_search_fn="strong_wolfe",
            )
            try:
                optimiser.step(descent)
                failure = ""
                break
            except (SolveError, FloatingPointError) as error:
                failure = str(error).partition("\n")[0]  # a step went too far: shorter ones from the best so far
        if failure:
            said.append(
                f"the end of training failed in windows of {length} times the first length ({failure}); the best "
                "weights before that are kept"
            )
        total += descent.count
        tried.set_theta(descent.kept)
        if used.count < windows.count:
            accepted = _loss_of_all(tried, windows, weights) <= _loss_of_all(best, windows, weights)
            said.append(
                f"the end of training took gradients of {used.count:,} of {windows.count:,} windows; its weights are "
                + ("kept: the error" if accepted else "not kept: otherwise the error")
                + (" over all windows did not rise" if accepted else " over all windows would rise")
            )
            if not accepted:
                continue
        best.set_theta(descent.kept)
    return best, total


def _evenly(windows: Windows, most: int) -> Windows:
    if windows.count <= most:
        return windows
    return windows.take(torch.linspace(0, windows.count - 1, most).round().long())


def _loss_of_all(model: SeriesModel, windows: Windows, weights: Weights) -> float:
    """The mean square of residuals over their noise in all windows."""
    return sum(share * data_loss(model, part, weights, part.count) for share, part in chunks_of(windows, MOST_WINDOWS))


def refitted(
    model: SeriesModel,
    prepared: Prepared,
    method: GradientMethod,
    continuity: float,
    notices: list[str] | None = None,
) -> tuple[SeriesModel, int]:
    """`model` after L-BFGS on all rows, and the gradients that this took; `notices` as for `finished`."""
    whole = with_all_rows(prepared)
    moved = copy.deepcopy(model)
    _move_new_nodes(moved, prepared, whole)
    return finished(moved, whole, method, continuity, AGAIN, notices)


@torch.no_grad()
def _move_new_nodes(model: SeriesModel, prepared: Prepared, whole: Prepared) -> None:
    """Puts the nodes at rows that were held out onto smooth curves through all rows."""
    first = 0
    for k, place in enumerate(whole.places):
        times = whole.grids[k].times[place]
        trained = prepared.curves.rows[k]
        new = times > (trained[-1] if len(trained) else -np.inf)
        if new.any():
            states = state_on_curves(whole, k, times[new])
            rows = first + torch.as_tensor(np.flatnonzero(new))
            moving = model.sizes.moving
            model.nodes[rows, :moving] = torch.as_tensor(states, dtype=model.nodes.dtype)[:, :moving]
        first += len(place)
