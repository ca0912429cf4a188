"""Arrays of three dimensions, (trajectories, times, columns), as a table whose rows stand one below the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pynode.datasets.splits import Array


def unrolled(arrays: Mapping[str, Array]) -> dict[str, Array] | None:
    """The arrays as columns of one table, with a column that numbers the trajectories; None for other shapes.

    One array is `(trajectories, times, columns)`.  Others are `(times,)`, the same for each trajectory, or
    `(trajectories, times)`.  Where there is none of these, a column counts the steps.
    """
    stacks = [name for name, array in arrays.items() if array.ndim == 3]
    if len(stacks) != 1 or 0 in arrays[stacks[0]].shape or arrays[stacks[0]].dtype.kind not in "fiub":
        return None
    several, steps, width = arrays[stacks[0]].shape
    columns: dict[str, Array] = {"trajectory": np.repeat(np.arange(1, several + 1), steps)}
    if len(arrays) == 1:
        columns["step"] = np.tile(np.arange(steps), several)
    for name, array in arrays.items():
        if array.shape == (steps,):
            columns[name] = np.tile(array, several)
        elif array.shape == (several, steps):
            columns[name] = array.reshape(-1)
        elif array.ndim == 3:
            columns |= {f"{name}{n + 1}": array[:, :, n].reshape(-1) for n in range(width)}
        else:
            return None
    return columns
