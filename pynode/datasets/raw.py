"""Reads the files of the archive, each with an error that names it."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.splits import Array

NUMERIC = "fiu"
MISREAD = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    ArithmeticError,
    MemoryError,
    TokenError,
    SyntaxError,
    RecursionError,
)
"""What NumPy raises for damaged files: their header is parsed as Python literals."""


def load_array(path: Path, *, mapped: bool = False) -> Array:
    """The numbers `(rows, dim)` of a `.npy` file; read-only and memory-mapped if `mapped`.

    Raises `DataError` where it is damaged, pickled, not two-dimensional or not numeric.
    """
    _check_magic(path)
    try:
        with np.errstate(over="raise"):  # a damaged header may ask for more bytes than NumPy can count
            array = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except MISREAD as error:
        if "object" in str(error):  # NumPy's own advice is to unpickle them
            raise DataError(
                f"{path} can't be read as an array of numbers: it holds Python objects, such as text or mixed columns; "
                "save the columns of numbers alone, as array.astype(float)"
            ) from error
        raise DataError(f"{path} can't be read as an array of numbers: {error}; restore or replace the file") from error
    if not isinstance(array, np.ndarray):  # a .npz in disguise
        array.close()
        raise DataError(f"{path} holds several arrays: save the one that is meant as .npy")
    if array.ndim != 2 or array.dtype.kind not in NUMERIC:
        raise DataError(
            f"{path} has shape {array.shape} and type {array.dtype}: save a table (rows, dim) of real numbers"
        )
    return array


def _check_magic(path: Path) -> None:
    """Raises `DataError` for a file that is neither `.npy` nor `.npz`: NumPy would offer to unpickle it."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    if head != b"\x93NUMPY" and not head.startswith(b"PK"):
        what = "it is empty" if not head else "it does not begin as a .npy file does"
        raise DataError(
            f"{path} can't be read as an array of numbers: {what}; save the table by numpy.save, or name a text .csv"
        )
