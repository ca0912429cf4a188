"""From a file's units to those that a model is trained in, and back: time, values, inputs and covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pynode.datasets.splits import Array
from pynode.trajectories.circles import turn_begins
from pynode.trajectories.data import Trajectories


@dataclass(frozen=True)
class Scaling:
    """Shifts and scales of a model, fitted on the training part; all in float64.

    A value column is one column of the model, (value - shift) / scale, or, where it is an angle, two: cosine and sine.
    `time` is the file's time in one unit of the model's, chosen such that standardised values change by about 1 in it.
    Jumps (impulses) are scaled, not shifted: 0 stays 0.
    """

    periods: tuple[float, ...]
    """The period of each value column that is an angle, 0 for others."""
    begins: tuple[float, ...]
    """Where the turn of each angle begins, as the file writes it: at 0, or at minus half a period; 0 for others."""
    shifts: Array
    scales: Array
    input_shifts: Array
    input_scales: Array
    covariate_shifts: Array
    covariate_scales: Array
    covariate_ranges: Array
    """`(2, covariates)`: the least and the largest."""
    time: float = 1.0
    ongoing: tuple[int, ...] = ()
    """Indices of the inputs that go on between their rows, which a field reads, in the order of its columns."""

    @property
    def columns(self) -> int:
        """Columns of the model that are observed."""
        return len(self.periods) + sum(period > 0 for period in self.periods)

    def to_model(self, values: Array) -> Array:
        """Values `(..., values)` in the file's units as columns of the model `(..., columns)`."""
        parts = []
        for k, period in enumerate(self.periods):
            if period:
                angle = 2 * np.pi * values[..., k] / period
                parts += [np.cos(angle), np.sin(angle)]
            else:
                parts.append((values[..., k] - self.shifts[k]) / self.scales[k])
        return np.stack(parts, -1) if parts else np.empty((*values.shape[:-1], 0))

    def to_file(self, states: Array) -> Array:
        """The values `(..., values)` in the file's units that states `(..., columns or more)` of the model mean."""
        parts, at = [], 0
        for k, period in enumerate(self.periods):
            if period:
                turns = np.arctan2(states[..., at + 1], states[..., at]) / (2 * np.pi)
                begin = self.begins[k]
                angle = begin + (period * turns - begin) % period
                parts.append(np.where(angle >= begin + period, begin, angle))
                at += 2
            else:
                parts.append(states[..., at] * self.scales[k] + self.shifts[k])
                at += 1
        return np.stack(parts, -1) if parts else np.empty((*states.shape[:-1], 0))

    def inputs_to_model(self, index: int, values: Array) -> Array:
        """Values of the input with this index."""
        return np.asarray((values - self.input_shifts[index]) / self.input_scales[index])

    def covariates_to_model(self, covariates: Array) -> Array:
        """Covariates `(covariates,)`, within the range of the training part; those that do not vary become 0.

        Beyond it a field of a few trajectories has nothing to go by.
        """
        low, high = self.covariate_ranges
        return np.asarray((np.clip(covariates, low, high) - self.covariate_shifts) / self.covariate_scales)


def fitted_scaling(series: Trajectories, training: Sequence[Array]) -> Scaling:
    """The scaling of `series`, from the rows that `training` `(n,)` (bool, one for each trajectory) marks.

    A trajectory without a marked row takes no part.  `time` is 1 until the speed of the values is known.
    """
    rows = [each.values[mask] for each, mask in zip(series.each, training, strict=True)]
    stacked = np.concatenate(rows) if rows else np.empty((0, len(series.values)))
    shifts, scales = _shift_and_scale(stacked)
    taking_part = [each for each, mask in zip(series.each, training, strict=True) if mask.any()]
    covariates = np.array([each.covariates for each in taking_part]).reshape(len(taking_part), len(series.covariates))
    input_shifts, input_scales = np.zeros(len(series.inputs)), np.ones(len(series.inputs))
    for k, kind in enumerate(series.input_kinds):
        known = np.concatenate([each.inputs[k].values for each in taking_part]) if taking_part else np.empty(0)
        if kind == "jumps":
            size = np.sqrt(np.mean(known[known != 0] ** 2)) if (known != 0).any() else 1.0
            input_scales[k] = size
        elif known.size:
            shift, scale = _shift_and_scale(known[:, None])
            input_shifts[k], input_scales[k] = shift[0], scale[0]
    every = np.concatenate([each.values for each in series.each]) if series.each else stacked
    periods = tuple(series.periods.get(name, 0.0) for name in series.values)
    return Scaling(
        periods,
        tuple(turn_begins(every[:, k], period) if period else 0.0 for k, period in enumerate(periods)),
        shifts,
        scales,
        input_shifts,
        input_scales,
        *_shift_and_scale(covariates),
        np.stack((covariates.min(0), covariates.max(0))) if len(covariates) else np.zeros((2, len(series.covariates))),
        ongoing=tuple(k for k, kind in enumerate(series.input_kinds) if kind != "jumps"),
    )


def _shift_and_scale(rows: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each column of `rows` `(n, columns)`, NaN left out; a scale of 0 is 1."""
    shifts, scales = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    for k in range(rows.shape[1]):
        column = rows[:, k]
        column = column[np.isfinite(column)]
        if column.size:
            shifts[k] = column.mean()
            spread = (column - shifts[k]).std()
            scales[k] = spread if spread > 1e-12 * max(abs(shifts[k]), 1e-300) else 1.0
    return shifts, scales
