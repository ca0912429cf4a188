"""Pickled tables: whatever the bytes, nothing that they name is run; they are a table or are refused in words."""

from __future__ import annotations

import contextlib
import os
import pickle
import pickletools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pynode.datasets.errors import DataError
from pynode.datasets.frame_pickle import PLAIN, STAND_INS, read_frame
from tests.properties.profiles import tried
from tests.properties.strategies import damaged

pandas = pytest.importorskip("pandas")
FRAME = pandas.DataFrame({"A": [1.0, 2.0], "B": [3, 4], "C": [True, False]})
PICKLES = [pickle.dumps(FRAME, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]

Read = Callable[[bytes], tuple[tuple[str, ...], Any]]

OF_THE_SYSTEM = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "urllib.", "pty.", "tempfile.", "signal.")
"""Beginnings of the names of audit events that reading a table has no reason for."""
LISTING = {"os.listdir", "os.scandir"}
"""Python looks into folders where it imports a codec."""

WATCHING: list[list[str]] = []


def _hear(event: str, args: Any) -> None:  # noqa: ARG001
    if WATCHING and event.startswith(OF_THE_SYSTEM) and event not in LISTING:
        WATCHING[-1].append(event)


sys.addaudithook(_hear)  # can't be taken off again; it only looks while a pickle is read


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """Reads a frame from bytes; fails where that made Python start, remove, fetch or call anything of the system."""
    with tempfile.TemporaryDirectory() as folder:

        def from_bytes(content: bytes) -> tuple[tuple[str, ...], Any]:
            path = Path(folder) / "frame.pickle"
            path.write_bytes(content)
            events: list[str] = []
            WATCHING.append(events)
            try:
                return read_frame(path)
            finally:
                WATCHING.pop()
                assert events == []

        yield from_bytes


def check(frame: tuple[tuple[str, ...], Any]) -> None:
    names, table = frame
    assert all(isinstance(name, str) for name in names)
    assert table.dtype == np.float64
    assert table.shape == (len(table), len(names))


@given(st.integers(0, len(PICKLES) - 1), st.data())
@tried(200)
def test_damaged_bytes(read: Read, which: int, data: st.DataObject) -> None:
    with contextlib.suppress(DataError):
        check(read(data.draw(damaged(PICKLES[which]))))


# --- programs --------------------------------------------------------------------------------------------------------

EVIL = [
    ("os", "system"), ("posix", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("builtins", "exec"),
    ("builtins", "getattr"), ("builtins", "open"), ("builtins", "__import__"), ("importlib", "import_module"),
    ("numpy", "load"), ("numpy.testing._private.utils", "runstring"), ("numpy.f2py.crackfortran", "myeval"),
    ("pandas", "eval"), ("pandas", "read_pickle"), ("pandas.io.common", "os.system"), ("shutil", "rmtree"),
    ("pynode.datasets.frame_pickle", "_Reader"), ("numpy", "DataFrame.__init__.__globals__"),
]  # fmt: skip
NAMES = [
    *EVIL,
    *PLAIN,
    *(("pandas.core.frame", name) for name in STAND_INS),
    ("numpy", "ndarray"),
    ("__builtin__", "bytearray"),
]


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


constants = st.one_of(
    st.sampled_from([b"N", b"\x88", b"\x89", b")", b"]", b"}", b"(", b"K\x01", b"J\xff\xff\xff\x7f", b"G" + bytes(8)]),
    st.sampled_from(["touch pwned", "latin1", "f8", "O", "V8", "F", "__import__('os')", "utf-7", "<", "|"]).map(_text),
    st.binary(max_size=8).map(lambda b: b"C" + bytes([len(b)]) + b),
)
called_names = st.sampled_from(NAMES).map(lambda n: f"c{n[0]}\n{n[1]}\n".encode())
acts = st.sampled_from(
    [opcode.code.encode("latin1") for opcode in pickletools.opcodes if opcode.arg is None and opcode.code not in ".N"]
)
persistent = st.sampled_from([b"Pid\n", b"ios\nsystem\n", b"\x82\x01", b"h\x00", b"q\x00"])


@given(st.lists(st.one_of(constants, constants, called_names, acts, acts, persistent), max_size=25))
@example([b"cos\nsystem\n", _text("touch pwned"), b"\x85", b"R"])
@example([b"cbuiltins\nbytearray\n", b"J\xff\xff\xff\x7f", b"\x85", b"R"])
@tried(100, 3000)
def test_programs_are_not_run(read: Read, program: list[bytes]) -> None:
    """Any sequence of opcodes with names that would do harm."""
    with contextlib.suppress(DataError):
        check(read(b"\x80\x04" + b"".join(program) + b"."))


@pytest.mark.parametrize(("module", "name"), EVIL)
@pytest.mark.parametrize("protocol", [0, 4])
def test_each_name_that_does_harm_is_refused(read: Read, module: str, name: str, protocol: int) -> None:
    named = f"c{module}\n{name}\n".encode() if protocol == 0 else _text(module) + _text(name) + b"\x93"
    with pytest.raises(DataError, match="which is no part of a DataFrame"):
        read(b"\x80\x04" + named + _text("echo") + b"\x85R.")


def test_the_watch_hears(tmp_path: Path) -> None:
    """So that the tests above can't pass by hearing nothing."""
    (tmp_path / "file").touch()
    events: list[str] = []
    WATCHING.append(events)
    try:
        os.truncate(tmp_path / "file", 0)
    finally:
        WATCHING.pop()
    assert events
