"""How the five public sets are made from their raw tables, after Papamakarios et al. 2017.

`raw_files.py` reads the tables from the files that users have; nothing here knows a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.splits import Array, Splits, check_scale, cut, cut_off, standardised

POWER_COLUMNS = 8

POWER_SEED = 42
POWER_DROPPED = (1, 3)
"""Global reactive power and global intensity, of the raw columns."""

NOT_SENSORS = ("Meth", "Eth", "Time")

MAX_CORRELATION = 0.98

MAX_REPEATS = 5


def power(raw: Array) -> Splits:
    """POWER: household electric power consumption, 6 columns.

    Made of `raw` `(rows, 8)`, which is shuffled in place: global active power, global reactive power, voltage, global
    intensity, three sub-meterings, time of day.

    Rows are shuffled, two columns dropped, and uniform noise fills the steps in which the meters count.  One generator
    gives the shuffle and then the noise: of the voltage, the global active power and the three sub-meterings, in this
    order, which is not that of the columns.  The time of day stays as it is.  Scaled by training and validation rows.

    Raises `DataError`.
    """
    if raw.shape[1] != POWER_COLUMNS:
        raise DataError(f"power is made of {POWER_COLUMNS} columns, these rows have {raw.shape[1]}: give another table")
    generator = np.random.RandomState(POWER_SEED)  # the published splits are of this generator
    generator.shuffle(raw)
    kept = np.delete(raw, POWER_DROPPED, axis=1)
    n = len(kept)
    voltage = 0.01 * generator.rand(n, 1)
    active_power = 0.001 * generator.rand(n, 1)
    sub_meterings = generator.rand(n, 3)
    rows = kept + np.hstack((active_power, voltage, sub_meterings, np.zeros((n, 1))))
    train, validation, test = cut(rows)
    seen = rows[: len(train) + len(validation)]
    return standardised("power", (train, validation, test), seen.mean(axis=0), seen.std(axis=0))


def gas(names: Sequence[str], table: Array) -> Splits:
    """GAS: sensors in a mixture of ethylene and CO, 8 columns.

    Made of a `table` `(rows, columns)` with the `names` of its columns.

    Drops concentrations and time, then sensors that repeat another one (`distinct_columns`), and scales by all rows,
    test rows among them, with the standard deviation of a sample (n - 1).  Rows stay in the order of time.

    Raises `DataError`.
    """
    missing = [name for name in NOT_SENSORS if name not in names]
    if missing:
        raise DataError(f"gas has no column '{missing[0]}' (columns: {', '.join(names)}): give another table")
    sensors = table[:, [at for at, name in enumerate(names) if name not in NOT_SENSORS]]
    rows = sensors[:, distinct_columns(sensors)]
    return standardised("gas", cut(rows), rows.mean(axis=0), rows.std(axis=0, ddof=1))


def distinct_columns(rows: Array) -> list[int]:
    """Which columns of `(rows, dim)` stay when the first that correlates above 0.98 with another is dropped, again and
    again, until none does."""
    correlation = np.atleast_2d(np.corrcoef(rows, rowvar=False))
    left = list(range(rows.shape[1]))
    while True:
        near = (correlation[np.ix_(left, left)] > MAX_CORRELATION).sum(axis=1) > 1  # each is near itself
        if not near.any():
            return left
        del left[int(np.argmax(near))]


def hepmass(train: Array, test: Array) -> Splits:
    """HEPMASS: simulated collisions that make a particle of mass 1000, 21 columns.

    Made of the tables `(rows, 1 + features)` of the training and the test file, the label first.

    Keeps the signal (label 1); columns of the test table beyond those of the training one are left out.  Scales by all
    training rows, validation among them, with the standard deviation of a sample (n - 1).  Then drops features whose
    smallest value occurs more than 5 times in the training file: they are discrete.  The test file is the test set, the
    last tenth of the training file the validation set.

    Raises `DataError`.
    """
    train, test = train[train[:, 0] == 1, 1:], test[test[:, 0] == 1, 1 : train.shape[1]]
    if not len(train) or not len(test):
        raise DataError(f"hepmass has no {'test' if len(train) else 'training'} rows with label 1: give other files")
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    check_scale("hepmass", mean, std)
    scaled = (train - mean) / std
    kept = (scaled == scaled.min(axis=0)).sum(axis=0) <= MAX_REPEATS
    scaled_test = (test - mean) / std
    fit, validation = cut_off(scaled[:, kept].astype(np.float32), 0.1)
    return Splits("hepmass", fit, validation, scaled_test[:, kept].astype(np.float32), mean=mean[kept], std=std[kept])


def miniboone(raw: Array) -> Splits:
    """MINIBOONE: electron neutrinos in the MiniBooNE experiment, 43 columns.

    Made of `raw` `(rows, 43)`, in its order, scaled by training and validation rows.

    The published table is already without outliers and discrete features.  Raises `DataError`.
    """
    rows = raw.astype(float)
    train, validation, test = cut(rows)
    seen = rows[: len(train) + len(validation)]
    return standardised("miniboone", (train, validation, test), seen.mean(axis=0), seen.std(axis=0))


def bsds300(train: Array, validation: Array, test: Array) -> Splits:
    """BSDS300: 8 x 8 patches of natural images without their mean, 63 columns: the parts as they are, float32."""
    kept, validated, tested = (np.asarray(part, dtype=np.float32) for part in (train, validation, test))
    return Splits("bsds300", kept, validated, tested)
