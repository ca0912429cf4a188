"""Pickled DataFrames: those of Python 2 and of today are read, and no pickle gets to run anything."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.datasets.errors import DataError
from pynode.datasets.frame_pickle import read_frame

# --- pickles as Python 2 wrote them: opcodes of protocol 2, text as bytes ---------------------------------------------


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(value)) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def listed(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(k.encode()) + v for k, v in items.items()) + b"u"


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + group(*arguments) + b"R"


def made(kind: bytes, state: bytes) -> bytes:
    return kind + b")\x81" + state + b"b"


def dtype(code: bytes, order: bytes) -> bytes:
    made_dtype = called(name("numpy", "dtype"), text(code), number(0), number(1))
    state = group(number(3), text(order), b"N", b"N", b"N", number(-1), number(-1), number(0))
    return made_dtype + state + b"b"


def ndarray(shape: tuple[int, ...], kind: bytes, fortran: bool, content: bytes) -> bytes:
    empty = called(
        name("numpy.core.multiarray", "_reconstruct"), name("numpy", "ndarray"), group(number(0)), text(b"b")
    )
    flag = b"\x88" if fortran else b"\x89"
    return empty + group(number(1), group(*map(number, shape)), kind, flag, content) + b"b"


def array(values: Any, code: bytes = b"f8", order: bytes = b"<", fortran: bool = False) -> bytes:
    stored = np.asarray(values, dtype=order.decode() + code.decode())
    return ndarray(stored.shape, dtype(code, order), fortran, text(stored.tobytes(order="F" if fortran else "C")))


def index(*labels: bytes) -> bytes:
    content = ndarray((len(labels),), dtype(b"O8", b"|"), False, listed(*map(text, labels)))
    kind = name("pandas.indexes.base", "Index")
    return called(name("pandas.indexes.base", "_new_Index"), kind, mapping(data=content, name=b"N"))


def block(values: bytes, places: bytes) -> bytes:
    return mapping(values=values, mgr_locs=places)


def frame(columns: bytes, *blocks: bytes) -> bytes:
    """As pandas 0.17 to 1.0 pickled a DataFrame."""
    axes = listed(columns, index(b"r0"))
    extra = b"}" + text(b"0.14.1") + mapping(axes=axes, blocks=listed(*blocks)) + b"s"
    manager = made(name("pandas.core.internals", "BlockManager"), group(axes, listed(), listed(), extra))
    state = mapping(_data=manager, _typ=text(b"dataframe"), _metadata=listed())
    return b"\x80\x02" + made(name("pandas.core.frame", "DataFrame"), state) + b"."


def places(*at: int) -> bytes:
    return called(name("__builtin__", "slice"), *map(number, at))


@pytest.mark.parametrize("order", [b"<", b">"])
@pytest.mark.parametrize("fortran", [False, True])
def test_pickle_of_python_2(tmp_path: Path, order: bytes, fortran: bool) -> None:
    path = tmp_path / "frame.pickle"
    # columns a, d as floats whose bytes are no ASCII, b, c as integers in places 2, 1
    floats, integers = [[-1.5, np.pi, 1e300], [0.1, -0.2, 0.3]], [[7, 8, 9], [-4, -5, -6]]
    blocks = (
        block(array(floats, order=order, fortran=fortran), places(0, 6, 3)),
        block(array(integers, b"i4", order), array([2, 1], b"i8")),
    )
    path.write_bytes(frame(index(b"a", b"c", b"b", b"d"), *blocks))
    names, table = read_frame(path)
    assert names == ("a", "c", "b", "d")
    np.testing.assert_array_equal(table, np.array([floats[0], integers[1], integers[0], floats[1]]).T)
    assert table.dtype == np.float64


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("labels", ["text", "objects", "none"])
def test_pickle_of_the_installed_pandas(tmp_path: Path, protocol: int, labels: str) -> None:
    pandas = pytest.importorskip("pandas")
    columns = {"text": list("abc"), "objects": pandas.Index(list("abc"), dtype=object), "none": None}[labels]
    with pandas.option_context("mode.string_storage", "python"):
        made_frame = pandas.DataFrame(np.random.default_rng(0).normal(size=(5, 3)), columns=columns)
        made_frame.insert(1, "n" if labels != "none" else 9, np.arange(5))
    path = tmp_path / "frame.pickle"
    path.write_bytes(pickle.dumps(made_frame, protocol=protocol))
    names, table = read_frame(path)
    assert names == tuple(str(c) for c in made_frame.columns)
    np.testing.assert_array_equal(table, made_frame.to_numpy())


def test_names_held_by_pyarrow(tmp_path: Path) -> None:
    """Pandas 3 keeps text in Arrow's buffers where pyarrow is installed."""
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    with pandas.option_context("mode.string_storage", "pyarrow"):
        made_frame = pandas.DataFrame(np.arange(6.0).reshape(2, 3), columns=["a", "größe", ""])
    path = tmp_path / "frame.pickle"
    path.write_bytes(pickle.dumps(made_frame))
    names, table = read_frame(path)
    assert names == ("a", "größe", "")
    np.testing.assert_array_equal(table, made_frame.to_numpy())


# --- hostile and damaged pickles --------------------------------------------------------------------------------------


class Payload:
    """Unpickling it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_command_is_not_run(tmp_path: Path, protocol: int) -> None:
    path, proof = tmp_path / "frame.pickle", tmp_path / "proof"
    content = pickle.dumps(Payload(os.system, f"touch '{proof}'"), protocol=protocol)
    pickle.loads(content)
    assert proof.exists()  # it would work
    proof.unlink()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"names (posix|nt)\.system, which is no part of a DataFrame"):
        read_frame(path)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("module", "attribute"),
    [
        ("builtins", "eval"),
        ("__builtin__", "getattr"),
        ("numpy", "load"),
        ("numpy", "dtype.__class__"),
        ("numpy.testing._private.utils", "runstring"),
        ("pandas", "read_pickle"),
        ("pandas.io.common", "os"),
        ("numpyevil", "dtype"),
    ],
)
def test_other_names_are_refused(tmp_path: Path, module: str, attribute: str) -> None:
    path = tmp_path / "frame.pickle"
    path.write_bytes(b"\x80\x04" + name(module, attribute) + b".")
    with pytest.raises(DataError, match="no part of a DataFrame"):
        read_frame(path)


def test_names_stand_for_nothing_real(tmp_path: Path) -> None:
    """Even an allowed name is not the real thing: numpy.dtype of a file's choice makes no dtype."""
    path = tmp_path / "frame.pickle"
    path.write_bytes(b"\x80\x02" + called(name("numpy", "dtype"), text(b"f8"), number(0), number(1)) + b".")
    with pytest.raises(DataError, match="it holds a Dtype"):
        read_frame(path)
    path.write_bytes(b"\x80\x02" + called(name("_codecs", "encode"), text(b"x"), text(b"rot13")) + b".")
    with pytest.raises(DataError, match="rot13"):
        read_frame(path)
    make = called(name("copy_reg", "_reconstructor"), name("__builtin__", "object"), name("__builtin__", "object"))
    path.write_bytes(b"\x80\x02" + make + b".")
    with pytest.raises(DataError, match="no use for"):
        read_frame(path)


GOOD = frame(index(b"a", b"b"), block(array([[1.0, 2.0], [3.0, 4.0]]), places(0, 2, 1)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        pickle.dumps({"a": 1}),
        frame(index(b"a", b"b")),
        frame(index(b"a", b"b"), block(array([[1.0, 2.0]]), places(0, 1, 1))),
        frame(index(b"a", b"b"), block(array([[1.0, 2.0], [3.0, 4.0]]), places(1, 3, 1))),
        frame(index(b"a"), block(ndarray((1, 2), dtype(b"f8", b"<"), False, text(b"12345678")), places(0, 1, 1))),
        frame(index(b"a"), block(ndarray((1,), dtype(b"O8", b"|"), False, listed(text(b"x"))), places(0, 1, 1))),
        frame(index(b"a"), block(ndarray((1, 1), dtype(b"S8", b"|"), False, text(b"12345678")), places(0, 1, 1))),
    ],
    ids=["empty", "no end", "half", "dict", "no blocks", "no values", "places", "bytes", "objects", "text"],
)
def test_damaged_or_other_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "frame.pickle"
    path.write_bytes(GOOD)
    np.testing.assert_array_equal(read_frame(path)[1], [[1, 3], [2, 4]])
    path.write_bytes(content)
    with pytest.raises(DataError, match="can't be read as a pickled DataFrame of numbers"):
        read_frame(path)
