"""MINIBOONE: electron neutrinos in the MiniBooNE experiment, 43 columns, after Papamakarios et al. 2017."""

from __future__ import annotations

from pathlib import Path

from pynode.datasets.raw import load_array, raw_file
from pynode.datasets.splits import Splits, cut, standardised


def preprocess(raw_folder: Path) -> Splits:
    """The splits made of `data.npy` `(rows, 43)` in `raw_folder`, in its order, scaled by training and validation rows.

    The published file is already without outliers and discrete features.  Raises `DataMissing` or `DataError`.
    """
    rows = load_array(raw_file(raw_folder, "data.npy")).astype(float)
    train, validation, test = cut(rows)
    seen = rows[: len(train) + len(validation)]
    return standardised("miniboone", (train, validation, test), seen.mean(axis=0), seen.std(axis=0))
