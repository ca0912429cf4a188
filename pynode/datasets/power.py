"""POWER: household electric power consumption, 6 columns, after Papamakarios et al. 2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.raw import load_array, raw_file
from pynode.datasets.splits import Splits, cut, standardised

SEED = 42
DROPPED = (1, 3)
"""Global reactive power and global intensity, of the raw columns."""


def preprocess(raw_folder: Path) -> Splits:
    """The splits made of `data.npy` `(rows, 8)` in `raw_folder`.

    Rows are shuffled, two columns dropped, and uniform noise fills the steps in which the meters count.  One generator
    gives the shuffle and then the noise: of the voltage, the global active power and the three sub-meterings, in this
    order, which is not that of the columns.  The time of day stays as it is.  Scaled by training and validation rows.

    Raises `DataMissing` or `DataError`.
    """
    raw = load_array(raw_file(raw_folder, "data.npy"))
    if raw.shape[1] != 8:
        raise DataError(f"{raw_folder / 'data.npy'} has {raw.shape[1]} columns instead of 8: restore it")
    generator = np.random.RandomState(SEED)  # the published splits are of this generator
    generator.shuffle(raw)
    kept = np.delete(raw, DROPPED, axis=1)
    n = len(kept)
    voltage = 0.01 * generator.rand(n, 1)
    active_power = 0.001 * generator.rand(n, 1)
    sub_meterings = generator.rand(n, 3)
    rows = kept + np.hstack((active_power, voltage, sub_meterings, np.zeros((n, 1))))
    train, validation, test = cut(rows)
    seen = rows[: len(train) + len(validation)]
    return standardised("power", (train, validation, test), seen.mean(axis=0), seen.std(axis=0))
