"""HEPMASS: simulated collisions that make a particle of mass 1000, 21 columns, after Papamakarios et al. 2017."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.raw import raw_file
from pynode.datasets.splits import Array, Splits, check_scale, cut_off

MAX_REPEATS = 5


def preprocess(raw_folder: Path) -> Splits:
    """The splits made of `1000_train.csv` and `1000_test.csv` in `raw_folder`.

    Keeps the signal (label 1, first column); the test file has one column too many at its end.  Scales by all training
    rows, validation among them, with the standard deviation of a sample (n - 1).  Then drops features whose smallest
    value occurs more than 5 times in the training file: they are discrete.  The test file is the test set, the last
    tenth of the training file the validation set.

    Raises `DataMissing` or `DataError`.
    """
    names, train = _signal(raw_file(raw_folder, "1000_train.csv"))
    test_names, test = _signal(raw_file(raw_folder, "1000_test.csv"))
    if test_names[:-1] != names:
        raise DataError(
            f"the columns of {raw_folder / '1000_test.csv'} but for the last are not those of 1000_train.csv: "
            "restore both files from the archive"
        )
    mean, std = train.mean(axis=0), train.std(axis=0, ddof=1)
    check_scale("hepmass", mean, std)
    scaled = (train - mean) / std
    kept = (scaled == scaled.min(axis=0)).sum(axis=0) <= MAX_REPEATS
    scaled_test = (test[:, :-1] - mean) / std
    fit, validation = cut_off(scaled[:, kept].astype(np.float32), 0.1)
    return Splits("hepmass", fit, validation, scaled_test[:, kept].astype(np.float32), mean=mean[kept], std=std[kept])


def _signal(path: Path) -> tuple[list[str], Array]:
    """Names and values `(rows, features)` of the rows with label 1, without the label.

    A row may have more fields than the header has names; these are left out.
    """
    try:
        with path.open(encoding="utf-8") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no rows: said below
            names = [name.strip() for name in file.readline().split(",")]
            table = np.loadtxt(file, delimiter=",", usecols=range(len(names)), ndmin=2)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read as a table of numbers: {error}; restore it from the archive") from error
    if len(names) < 3 or not (signal := table[:, 0] == 1).any():
        raise DataError(f"{path} has no rows with label 1 and features: restore it from the archive")
    return names[1:], table[signal, 1:]
