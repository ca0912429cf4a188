"""BSDS300: 8 x 8 patches of natural images without their mean, 63 columns, after Papamakarios et al. 2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.optional import optional
from pynode.datasets.raw import raw_file
from pynode.datasets.splits import PARTS, Array, Splits


def preprocess(raw_folder: Path) -> Splits:
    """The splits made of `BSDS300.hdf5` in `raw_folder`: its data sets train, validation and test as they are, float32.

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
