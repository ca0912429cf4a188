"""Reads the files of the archive, each with an error that names it."""

from __future__ import annotations

import zipfile
import zlib
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
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises for damaged files: their header is parsed as Python literals, and a .npz is a zip archive."""

OF_OBJECTS = ("object arrays", "python objects in dtype")
"""What NumPy says of arrays of objects, in lower case: the second where the file is to be mapped."""


def load_array(path: Path, *, mapped: bool = False) -> Array:
    """The numbers `(rows, dim)` of a `.npy` file, or of a `.npz` file of one array; memory-mapped if `mapped`.

    An array that is to be mapped is read-only; that of a `.npz` file is read into memory nevertheless.

    Raises `DataError` where it is damaged, pickled, not two-dimensional or not numeric, or one of several arrays.
    """
    packed = _is_packed(path)
    try:
        with np.errstate(over="raise"):  # a damaged header may ask for more bytes than NumPy can count
            if packed:
                array = _only_array(path)
                array.flags.writeable = not mapped
            else:
                array = np.load(path, allow_pickle=False, mmap_mode="r" if mapped else None)
    except DataError:  # a ValueError too, which says already what is wrong
        raise
    except MISREAD as error:
        if any(said in str(error).lower() for said in OF_OBJECTS):  # NumPy's own advice is to unpickle them
            raise DataError(
                f"{path} can't be read as an array of numbers: it holds Python objects, such as text or mixed columns; "
                "save the columns of numbers alone, as array.astype(float)"
            ) from error
        raise DataError(f"{path} can't be read as an array of numbers: {error}; restore or replace the file") from error
    if array.ndim != 2 or array.dtype.kind not in NUMERIC:
        raise DataError(
            f"{path} has shape {array.shape} and type {array.dtype}: save a table (rows, dim) of real numbers"
        )
    return array


def _only_array(path: Path) -> Array:
    """The array of a `.npz` file that holds one; raises `DataError` for another number of them."""
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if len(names) > 1:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise DataError(
                f"{path} holds several arrays ({shown}): save the one that is meant alone, by numpy.save, and give that"
            )
        array = archive[names[0]] if names else None
    if not isinstance(array, np.ndarray):  # nothing, or a file that is no array
        raise DataError(f"{path} holds no array: save the table by numpy.save, and give that")
    return array


def _is_packed(path: Path) -> bool:
    """Whether it is a `.npz` file; raises `DataError` for one that is no `.npy` either, as NumPy would unpickle it."""
    try:
        with path.open("rb") as file:
            head = file.read(6)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}); give a file that can") from error
    packed = head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    if head != b"\x93NUMPY" and not packed:
        what = "it is empty" if not head else "it does not begin as a .npy file does"
        raise DataError(
            f"{path} can't be read as an array of numbers: {what}; save the table by numpy.save, or name a text .csv"
        )
    return packed
