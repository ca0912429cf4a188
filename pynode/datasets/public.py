"""How the five public sets are made from their raw files, after Papamakarios et al. 2017."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError, optional
from pynode.datasets.frame_pickle import read_frame
from pynode.datasets.raw import load_array, raw_file
from pynode.datasets.splits import PARTS, Array, Splits, check_scale, cut, cut_off, standardised

POWER_SEED = 42
POWER_DROPPED = (1, 3)
"""Global reactive power and global intensity, of the raw columns."""

NOT_SENSORS = ("Meth", "Eth", "Time")

MAX_CORRELATION = 0.98

MAX_REPEATS = 5


def power(raw_folder: Path) -> Splits:
    """POWER: household electric power consumption, 6 columns.

    Made of `data.npy` `(rows, 8)` in `raw_folder`.

    Rows are shuffled, two columns dropped, and uniform noise fills the steps in which the meters count.  One generator
    gives the shuffle and then the noise: of the voltage, the global active power and the three sub-meterings, in this
    order, which is not that of the columns.  The time of day stays as it is.  Scaled by training and validation rows.

    Raises `DataMissing` or `DataError`.
    """
    raw = load_array(raw_file(raw_folder, "data.npy"))
    if raw.shape[1] != 8:
        raise DataError(f"{raw_folder / 'data.npy'} has {raw.shape[1]} columns instead of 8: restore it")
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


def gas(raw_folder: Path) -> Splits:
    """GAS: sensors in a mixture of ethylene and CO, 8 columns.

    Made of `ethylene_CO.pickle`, a pickled DataFrame, in `raw_folder`.

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


def hepmass(raw_folder: Path) -> Splits:
    """HEPMASS: simulated collisions that make a particle of mass 1000, 21 columns.

    Made of `1000_train.csv` and `1000_test.csv` in `raw_folder`.

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


def miniboone(raw_folder: Path) -> Splits:
    """MINIBOONE: electron neutrinos in the MiniBooNE experiment, 43 columns.

    Made of `data.npy` `(rows, 43)` in `raw_folder`, in its order, scaled by training and validation rows.

    The published file is already without outliers and discrete features.  Raises `DataMissing` or `DataError`.
    """
    rows = load_array(raw_file(raw_folder, "data.npy")).astype(float)
    train, validation, test = cut(rows)
    seen = rows[: len(train) + len(validation)]
    return standardised("miniboone", (train, validation, test), seen.mean(axis=0), seen.std(axis=0))


def bsds300(raw_folder: Path) -> Splits:
    """BSDS300: 8 x 8 patches of natural images without their mean, 63 columns.

    Made of `BSDS300.hdf5` in `raw_folder`: its data sets train, validation and test as they are, float32.

    Raises `DataMissing`, `DataError`, or `PackageMissing` without h5py.
    """
    h5py = optional("h5py", "h5py", "the data set bsds300")
    path = raw_file(raw_folder, "BSDS300.hdf5")
    parts: list[Array] = []
    try:
        with h5py.File(path, "r") as file:
            parts.extend(np.asarray(file[part], dtype=np.float32) for part in PARTS)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path} can't be read as HDF5 with {', '.join(PARTS)}: {error}; restore the file") from error
    if any(part.ndim != 2 or part.shape[1] != parts[0].shape[-1] for part in parts):
        raise DataError(f"{path} has parts of shapes {[p.shape for p in parts]} instead of (rows, dim): restore it")
    train, validation, test = parts
    return Splits("bsds300", train, validation, test)


PREPROCESS: Mapping[str, Callable[[Path], Splits]] = {
    "power": power,
    "gas": gas,
    "hepmass": hepmass,
    "miniboone": miniboone,
    "bsds300": bsds300,
}
"""The function that makes each set from the folder of its raw files."""
