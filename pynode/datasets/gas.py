"""GAS: sensors in a mixture of ethylene and CO, 8 columns, after Papamakarios et al. 2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.frame_pickle import read_frame
from pynode.datasets.raw import raw_file
from pynode.datasets.splits import Array, Splits, cut, standardised

NOT_SENSORS = ("Meth", "Eth", "Time")
MAX_CORRELATION = 0.98


def preprocess(raw_folder: Path) -> Splits:
    """The splits made of `ethylene_CO.pickle`, a pickled DataFrame, in `raw_folder`.

    Drops concentrations and time, then sensors that repeat another one (`distinct_columns`), and scales by all rows,
    test rows among them, with the standard deviation of a sample (n - 1).  Rows stay in the order of time.

    Raises `DataMissing` or `DataError`.
    """
    path = raw_file(raw_folder, "ethylene_CO.pickle")
    names, table = read_frame(path)
    missing = [name for name in NOT_SENSORS if name not in names]
    if missing:
        raise DataError(f"{path} has no column '{missing[0]}' (columns: {', '.join(names)}): restore the file")
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
