"""Windows of trajectories as one batch: multiple shooting, each from a node state of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pynode.datasets.splits import Array
from pynode.trajectories.grid import Grid


@dataclass(frozen=True)
class Windows:
    """A batch of windows of at most `intervals` intervals, padded by intervals of length 0 that nothing is observed in.

    Tensors have windows first: `lengths`, `clocks` `(w, l)`, `starts`, `ends` `(w, l, inputs)`, `jumps` `(w, l + 1,
    impulses)`, `values` `(w, l + 1, columns)` with 0 where `seen` (the same shape, 0 or 1) is 0, `covariates` `(w, c)`.
    `sizes` `(w,)` is the number of intervals of each without padding, `node` `(w,)` that of the node state that it
    starts from, `next_node` that at its end, -1 where none is, and `is_first` marks those that begin a trajectory.
    """

    lengths: Tensor
    clocks: Tensor
    starts: Tensor
    ends: Tensor
    jumps: Tensor
    values: Tensor
    seen: Tensor
    covariates: Tensor
    sizes: Tensor
    node: Tensor
    next_node: Tensor
    is_first: Tensor

    @property
    def count(self) -> int:
        """Number of windows."""
        return len(self.node)

    @property
    def intervals(self) -> int:
        """Intervals of each, with those of length 0."""
        return self.lengths.shape[1]

    def take(self, which: Tensor) -> Windows:
        """The windows with these numbers."""
        return Windows(**{name: value[which] for name, value in vars(self).items()})

    @property
    def is_smooth(self) -> bool:
        """Whether nothing happens between the first and the last node: no inputs and no impulses."""
        return not (self.starts.shape[-1] or self.jumps.shape[-1])

    @property
    def offsets(self) -> Tensor:
        """The time `(w, l + 1)` of each node since the first of its window; padding stays at the last."""
        return torch.cat((torch.zeros_like(self.lengths[:, :1]), self.lengths.cumsum(1)), 1)


LONG_GAP, USUAL_GAPS = 4.0, 10.0
"""Gaps that windows do not span last longer: in the model's unit of time, and in usual gaps between rows."""
LEAST_ROWS = 8
"""Rows before and after such a gap, at least."""


def breaks(grid: Grid) -> Array:
    """The nodes `(k,)` of rows after gaps that are so long that a solve over them says more of its own errors.

    A motion that turns many times in a gap has a loss with as many minima.  Without enough rows on both sides for
    windows of their own, and with impulses, whose sum the state shows, there are none.
    """
    observed = np.flatnonzero(np.isfinite(grid.values).any(1))
    if grid.jumps.shape[1] or len(observed) < 2 * LEAST_ROWS:
        return observed[:0]
    gaps = np.diff(np.concatenate(([0.0], np.cumsum(grid.lengths)))[observed])
    after = np.flatnonzero((gaps > LONG_GAP) & (gaps > USUAL_GAPS * np.median(gaps))) + 1
    sizes = np.diff(np.concatenate(([0], after, [len(observed)])))
    return observed[after[np.minimum(sizes[:-1], sizes[1:]) >= LEAST_ROWS]]


def node_places(grids: Sequence[Grid], every: int) -> list[Array]:
    """The grid nodes of each trajectory that have a state of their own: every so many observed rows, and after gaps."""
    places = []
    for grid in grids:
        observed = np.flatnonzero(np.isfinite(grid.values).any(1))
        begins = breaks(grid)
        own = [np.concatenate(([0], begins))]
        for rows in np.split(observed, np.searchsorted(observed, begins)):
            count = max(1, round((len(rows) - 1) / every))
            own.append(rows[np.round(np.arange(1, count) * (len(rows) - 1) / count).astype(int)])
        places.append(np.unique(np.concatenate(own)))
    return places


def together(windows: Sequence[tuple[Grid, int, int, Array]], dtype: torch.dtype = torch.float64) -> Windows:
    """One batch of windows, each from a grid node to another; `(nodes,)` masks mark the values that may be used."""
    return _stacked([_window(grid, mask, start, end, 0, -1) for grid, start, end, mask in windows], dtype)


def has_window(grid: Grid, mask: Array) -> bool:
    """Whether a value that `mask` `(nodes,)` marks lies after the grid's first node."""
    return bool((mask & np.isfinite(grid.values).any(1))[1:].any())


def make_windows(
    grids: Sequence[Grid],
    places: Sequence[Array],
    masks: Sequence[Array],
    nodes: int,
    dtype: torch.dtype,
) -> Windows | None:
    """Windows from every node over the `nodes` following ones, to those nodes, the end of what `masks` allow or a gap.

    `masks` `(nodes,)` marks the grid nodes of each trajectory whose values may be used.  A window whose start has
    nothing that may be used after it is left out.  None where no window is left.
    """
    windows: list[dict[str, Array | int | bool]] = []
    first = 0
    for grid, place, mask in zip(grids, places, masks, strict=True):
        usable = np.flatnonzero(mask & np.isfinite(grid.values).any(1))
        last = int(usable[-1]) if len(usable) else -1
        ends = np.append(place, len(grid.lengths))
        begins = breaks(grid)
        observed = np.flatnonzero(np.isfinite(grid.values).any(1))
        before = np.append(observed[np.searchsorted(observed, begins) - 1], len(grid.lengths))  # each gap, and the end
        for k, start in enumerate(place):
            to = min(k + nodes, len(place))
            end = min(int(ends[to]), last, int(before[np.searchsorted(begins, start, side="right")]))
            if end > start:
                nxt = first + to if to < len(place) and end == ends[to] else -1
                windows.append(_window(grid, mask, int(start), end, first + k, nxt))
        first += len(place)
    return _stacked(windows, dtype) if windows else None


def _stacked(windows: list[dict[str, Array | int | bool]], dtype: torch.dtype) -> Windows:
    """Windows of unequal numbers of intervals as one batch."""
    longest = max(len(w["lengths"]) for w in windows)  # type: ignore[arg-type]

    def stacked(name: str, extra: int) -> Tensor:
        shape = np.shape(windows[0][name])[1:]
        result = np.zeros((len(windows), longest + extra, *shape))
        for row, window in zip(result, windows, strict=True):
            row[: len(window[name])] = window[name]  # type: ignore[arg-type]
        return torch.as_tensor(result, dtype=dtype)

    def numbers(name: str) -> Tensor:
        return torch.as_tensor(np.array([w[name] for w in windows]))

    return Windows(
        stacked("lengths", 0),
        stacked("clocks", 0),
        stacked("starts", 0),
        stacked("ends", 0),
        stacked("jumps", 1),
        stacked("values", 1),
        stacked("seen", 1),
        torch.as_tensor(np.array([w["covariates"] for w in windows]), dtype=dtype),
        numbers("size"),
        numbers("node"),
        numbers("next"),
        numbers("first"),
    )


def _window(grid: Grid, mask: Array, start: int, end: int, node: int, nxt: int) -> dict[str, Array | int | bool]:
    clocks = np.concatenate(([0.0], np.cumsum(grid.lengths)))
    values = grid.values[start : end + 1]
    seen = np.isfinite(values) & mask[start : end + 1, None]
    return {
        "lengths": grid.lengths[start:end],
        "clocks": clocks[start:end],
        "starts": grid.starts[start:end],
        "ends": grid.ends[start:end],
        "jumps": np.vstack((grid.jumps[start:end], np.zeros((1, grid.jumps.shape[1])))),
        "values": np.where(seen, values, 0.0),
        "seen": seen.astype(float),
        "covariates": grid.covariates,
        "size": end - start,
        "node": node,
        "next": nxt,
        "first": start == 0,
    }
