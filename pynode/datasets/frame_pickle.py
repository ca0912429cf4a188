"""Reads a numeric table out of a pickled pandas DataFrame without running anything that the file names.

A pickle is a program: it may call any function it names.  Here it can name only the stand-ins below, which hold data
and do nothing, so neither pandas nor NumPy code is called by the file, and pickles of pandas 0.14 (Python 2) to 3 are
read alike, whichever pandas is installed, or none.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pynode.datasets.errors import DataError
from pynode.datasets.splits import Array

NUMERIC = "fiub"
MISREAD = (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def read_frame(path: Path) -> tuple[tuple[str, ...], Array]:
    """Column names, and the values `(rows, columns)` as float64, of the DataFrame pickled in `path`.

    Raises `DataError` where the file is damaged, names anything but the parts of a DataFrame, or has other than
    numeric columns.
    """
    try:
        with path.open("rb") as file:
            frame = _Reader(file, encoding="latin1").load()  # Python 2 wrote bytes where text is meant
        if not isinstance(frame, _Frame):
            raise TypeError(f"it holds a {type(frame).__name__.lstrip('_')}")
        return _table(frame)
    except (*MISREAD, MemoryError) as error:
        raise DataError(
            f"{path} can't be read as a pickled DataFrame of numbers: {error}; restore the file from its archive"
        ) from error


class _Held:
    """Keeps the arguments and the state that a pickle gives to an object."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Held):
    """DataFrame."""


class _Manager(_Held):
    """BlockManager: the columns of one type as one array each."""


class _Index(_Held):
    """Any index; the labels are in `args`, or in the state of the array that old pandas made of it."""


class _Dtype(_Held):
    """numpy.dtype."""

    def numpy(self) -> np.dtype[Any]:
        """The dtype, where it is numeric or of objects."""
        dtype = np.dtype(str(self.args[0]))
        if self.state and self.state[1] == ">":
            dtype = dtype.newbyteorder(">")
        if dtype.kind not in NUMERIC + "O":
            raise TypeError(f"values of type {dtype} instead of numbers")
        return dtype


class _Array(_Held):
    """numpy.ndarray: the state is (version, shape, dtype, Fortran order, bytes or list of objects)."""

    def numpy(self) -> Array:
        """The array; a list of objects stays one-dimensional."""
        # before pandas 0.15 an index was an array with a state of its own beside the array's
        state = self.state[0] if len(self.state) == 2 else self.state
        _, shape, dtype, fortran, content = state
        kind = dtype.numpy()
        if kind.kind == "O":
            values = np.empty(len(content), dtype=object)
            values[:] = content
            return values
        raw = content.encode("latin1") if isinstance(content, str) else content
        return np.frombuffer(raw, dtype=kind).reshape(shape, order="F" if fortran else "C")


class _Block(_Held):
    """One array `(columns, rows)` of a newer pickle, and where its columns belong."""


class _Strings(_Held):
    """The labels of pandas 3: an array of text that keeps its objects in a plain array."""

    def numpy(self) -> Array:
        """The array of objects."""
        return next(item.numpy() for item in self.state if isinstance(item, _Array))


class _ArrowStrings(_Held):
    """The labels of pandas 3 where pyarrow is installed: an array of text in Arrow's buffers."""

    def numpy(self) -> Array:
        """The array of objects."""
        labels = self.state["_pa_array"]
        if not isinstance(labels, _ArrowArray):
            raise TypeError("its columns are named in several pieces")
        return labels.numpy()


class _ArrowArray(_Held):
    """pyarrow.Array of text: type, length, number of missing ones, offset, and buffers (missing, ends, letters)."""

    def numpy(self) -> Array:
        """The array of objects."""
        kind, length, _, offset, (_, ends, letters) = self.args[0][:5]
        if kind not in ARROW_OFFSETS:
            raise TypeError(f"its columns are named by {kind}")
        places = np.frombuffer(ends, dtype=ARROW_OFFSETS[kind])[offset : offset + length + 1].tolist()
        return np.array([letters[a:b].decode() for a, b in pairwise(places)], dtype=object)


ARROW_OFFSETS = {"string": "<i4", "large_string": "<i8"}
"""Type of the ends of the words."""


def _reconstruct(*args: Any) -> _Array | _Index:
    return _Index() if args[0] is _Index else _Array()


def _new(kind: Any, *_: Any) -> Any:
    """`copyreg._reconstructor`: an empty object of one of the stand-ins."""
    if not (isinstance(kind, type) and issubclass(kind, _Held)):
        raise TypeError("it makes an object that a DataFrame has no use for")
    return kind()


def _bytes(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise TypeError(f"bytes written as {encoding}")
    return text.encode("latin1")


def _from_buffer(content: Any, dtype: _Dtype, shape: Any, order: str) -> _Array:
    """`numpy.core.numeric._frombuffer`, by which protocol 5 writes arrays."""
    array = _Array()
    array.state = (1, shape, dtype, order == "F", bytes(content))
    return array


def _buffer(content: Any) -> bytes:
    """A buffer of Arrow's."""
    if not isinstance(content, bytes | bytearray):
        raise TypeError("a buffer of other than bytes")
    return bytes(content)


STAND_INS: dict[str, Any] = {
    "DataFrame": _Frame,
    "BlockManager": _Manager,
    "Index": _Index,
    "Int64Index": _Index,
    "Float64Index": _Index,
    "UInt64Index": _Index,
    "RangeIndex": _Index,
    "_new_Index": _Index,
    "new_block": _Block,
    "_unpickle_block": _Block,
    "_reconstruct": _reconstruct,
    "_frombuffer": _from_buffer,
    "__pyx_unpickle_NDArrayBacked": _Strings,
    "StringArray": _Strings,
    "ArrowStringArray": _ArrowStrings,
    "StringDtype": _Held,
    "ndarray": _Array,
    "dtype": _Dtype,
}
PLAIN: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("builtins", "object"): object,
    ("builtins", "bytearray"): bytearray,
    ("_codecs", "encode"): _bytes,
    ("copyreg", "_reconstructor"): _new,
    ("pyarrow.lib", "_restore_array"): _ArrowArray,
    ("pyarrow.lib", "type_for_alias"): str,
    ("pyarrow.lib", "py_buffer"): _buffer,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if (module, name) in PLAIN:
            return PLAIN[module, name]
        if module.partition(".")[0] in ("pandas", "numpy") and name in STAND_INS:
            return STAND_INS[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is no part of a DataFrame of numbers")


def _labels(index: Any) -> list[str]:
    if not isinstance(index, _Index):
        raise TypeError("its columns have no names")
    if index.state is not None:  # pandas before 0.15
        held = _Array()
        held.state = index.state
        return [str(label) for label in held.numpy()]
    _, content = index.args
    if "start" in content:  # RangeIndex
        return [str(label) for label in range(content["start"], content["stop"], content["step"])]
    return [str(label) for label in content["data"].numpy()]


def _table(frame: _Frame) -> tuple[tuple[str, ...], Array]:
    manager = frame.state
    if isinstance(manager, dict):  # pandas 0.17 and later
        manager = manager["_mgr" if "_mgr" in manager else "_data"]
    if manager.state is None:
        blocks, axes = manager.args[:2]
        pieces = [(block.args[0], block.args[1]) for block in blocks]
    else:
        content = manager.state[3]["0.14.1"]
        axes = content["axes"]
        pieces = [(block["values"], block["mgr_locs"]) for block in content["blocks"]]
    names = _labels(axes[0])
    return tuple(names), _assembled(len(names), list(_arrays(pieces)))


def _arrays(pieces: list[tuple[Any, Any]]) -> Iterator[tuple[Array, Any]]:
    for values, place in pieces:
        array = values.numpy()
        if array.dtype.kind not in NUMERIC:
            raise TypeError("a column holds objects instead of numbers")
        yield array, place.numpy() if isinstance(place, _Array) else place


def _assembled(n_columns: int, pieces: list[tuple[Array, Any]]) -> Array:
    if not pieces:
        raise ValueError("it has no columns")
    table = np.full((pieces[0][0].shape[1], n_columns), np.nan)
    filled = np.zeros(n_columns, dtype=bool)
    for array, place in pieces:
        table[:, place] = array.T
        filled[place] = True
    if not filled.all():
        raise ValueError("some of its columns have no values")
    return table
