"""The stages that finish the training of a series: L-BFGS over long windows of training rows, then of all rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property

import torch

from pynode.methods.base import GradientMethod
from pynode.objective import Objective
from pynode.solution import SolveStats
from pynode.stages import Stage, Taken
from pynode.trajectories.build import MOST_INTERVALS, Prepared
from pynode.trajectories.loss import Weights, shooting_loss
from pynode.trajectories.model import SeriesModel
from pynode.trajectories.refit import (
    AGAIN,
    EVALUATIONS,
    LENGTHS,
    SHARES,
    chunks_of,
    evenly,
    long_windows,
    loss_of_all,
    move_new_nodes,
    worthwhile,
)
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import Windows
from pynode.types import Theta


class LongWindows(Stage):
    """L-BFGS over windows of `length` first ones, by at most `most` gradients.

    `rows` gives what is known of the rows that it is on, when they are first needed; `moved_from` is what was known of
    the training rows, where nodes at other rows have to be put onto smooth curves first.
    """

    def __init__(
        self,
        name: str,
        rows: Callable[[], Prepared],
        length: int,
        most: int,
        continuity: float,
        dtype: torch.dtype,
        *,
        judged: bool = True,
        moved_from: Prepared | None = None,
    ) -> None:
        self.name, self.judged = name, judged
        self._rows, self._length, self._most = rows, length, most
        self._continuity, self._dtype, self._moved_from = continuity, dtype, moved_from

    @property
    def gradients(self) -> int:
        return 0 if self._windows is None else worthwhile(self._windows, self._most)

    def begin(self, model: SeriesModel) -> None:
        if self._moved_from is not None:
            move_new_nodes(model, self._moved_from, self._rows())

    def parts(self, method: GradientMethod, model: SeriesModel) -> Iterator[Objective]:
        for share, chunk in self._chunks:
            stats: list[SolveStats] = []
            loss = share * shooting_loss(model, chunk, self._weights, by_method(method, stats))
            yield Objective.of(loss, tuple(stats))

    def takes(self, model: SeriesModel, before: Theta, after: Theta) -> Taken:
        windows = self._windows
        assert windows is not None
        used = evenly(windows)
        if used.count == windows.count:
            return Taken(True)
        losses = []
        for theta in (before, after):
            model.set_theta(theta)
            losses.append(loss_of_all(model, windows, self._weights))
        taken = losses[1] <= losses[0]
        what = (
            "kept: the error over all windows did not rise"
            if taken
            else "not kept: otherwise the error over all windows would rise"
        )
        return Taken(taken, f"gradients were of {used.count:,} of {windows.count:,} windows; its weights are {what}")

    @cached_property
    def _windows(self) -> Windows | None:
        return long_windows(self._rows(), self._length, self._dtype)

    @cached_property
    def _chunks(self) -> list[tuple[float, Windows]]:
        assert self._windows is not None
        return chunks_of(evenly(self._windows))

    @cached_property
    def _weights(self) -> Weights:
        return Weights.of(self._rows(), self._continuity, self._dtype)


def finishing_stages(
    prepared: Prepared,
    whole: Callable[[], Prepared] | None,
    continuity: float,
    dtype: torch.dtype,
    evaluations: int = EVALUATIONS,
) -> list[Stage]:
    """The stages on the training rows of `prepared`, then on those of `whole`, where there are others."""
    stages = []
    lengths = list(zip(SHARES, prepared.growth(LENGTHS, MOST_INTERVALS), strict=True))
    for n, (share, length) in enumerate(lengths, start=1):
        name = f"windows x{length}" if len({by for _, by in lengths}) == len(lengths) else f"windows x{length} ({n})"
        stages.append(LongWindows(name, lambda: prepared, length, int(share * evaluations), continuity, dtype))
    if whole is not None:
        for n, (share, length) in enumerate(lengths, start=1):
            name = f"all rows, {stages[n - 1].name}"
            moved = prepared if n == 1 else None
            stages.append(
                LongWindows(name, whole, length, int(share * AGAIN), continuity, dtype, judged=False, moved_from=moved)
            )
    return list(stages)
