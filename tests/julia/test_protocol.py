"""Frames and arena: what is written is read, and whatever is malformed is named and refused."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pynode.errors import InvalidArgument
from pynode.julia import arena as arena_module
from pynode.julia.arena import Arena, BadPlace, Place, check_disjoint, checked_layout, lay_out
from pynode.julia.errors import WorkerError
from pynode.julia.protocol import HEADER, LARGEST, MAGIC, MAGIC_DONE, MAGIC_RUN, BadFrame, Run, encode
from tests.julia.pipes import events_in


@pytest.mark.parametrize(
    ("data", "problem", "cut_short"),
    [
        (b"hello, world, this is text", "where a frame should begin", False),
        (b"hi", "where a frame should begin", False),
        (HEADER.pack(b"PNJ0", 2) + b"{}", "where a frame should begin", False),
        (MAGIC + b"\0\0", "ended inside", True),
        (encode({"a": 1})[:-1], "ended inside", True),
        (HEADER.pack(MAGIC, LARGEST + 1), "is the limit", False),
        (HEADER.pack(MAGIC, 2**63), "is the limit", False),
        (HEADER.pack(MAGIC, 3) + b"{,}", "not JSON", False),
        (HEADER.pack(MAGIC, 2) + b"\xff\xff", "not JSON", False),
        (HEADER.pack(MAGIC, 100_000) + b"[" * 100_000, "not JSON", False),
        (HEADER.pack(MAGIC, 2) + b"17", "not an object", False),
        (HEADER.pack(MAGIC_DONE, 15) + bytes(15), "an answer of 15 bytes", False),
        (HEADER.pack(MAGIC_RUN, 0), "a request of 0 bytes", False),
        (HEADER.pack(MAGIC_RUN, 25) + bytes(25), "a request of 25 bytes", False),
        (HEADER.pack(MAGIC_RUN, 24) + bytes(16) + b"\1" + bytes(7), "does not hold what it says", False),
        (encode(Run(1, 2, (3,), ()))[:-1], "ended inside", True),
    ],
)
def test_malformed_frames_are_refused(data: bytes, problem: str, cut_short: bool) -> None:
    (event,) = events_in(data)
    assert isinstance(event, BadFrame)
    assert problem in str(event)
    assert event.cut_short is cut_short


def test_a_message_that_is_too_large_is_refused() -> None:
    with pytest.raises(BadFrame, match="is the limit"):
        encode({"a": "x" * LARGEST})


def test_arrays_are_aligned_and_apart() -> None:
    wanted: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        "a": ((3, 5), np.dtype("float64")),
        "b": ((), np.dtype("float32")),
        "c": ((0, 2), np.dtype("int64")),
        "d": ((7,), np.dtype("uint8")),
    }
    places, size = lay_out(wanted)
    arena = Arena.create(size)
    try:
        check_disjoint(places.values())
        views = {name: arena.view(place) for name, place in places.items()}
        for k, (name, view) in enumerate(views.items()):
            assert (view.shape, view.dtype) == wanted[name]
            assert view.ctypes.data % 64 == 0
            view[...] = k + 1
        assert [float(v.sum()) for v in views.values()] == [15.0, 2.0, 0.0, 28.0]
        assert arena.cancel[0] == 0, "the flag is nobody's array"
    finally:
        arena.unlink()


def test_both_sides_see_one_memory_and_no_file_stays() -> None:
    ours = Arena.create(4096)
    theirs = Arena.attach(str(ours.path), 4096)
    assert not ours.path.exists()
    ours.cancel[0] = 1
    place = Place.from_json(json.loads(json.dumps(Place(64, (2, 2), "float64"))), 4096)
    theirs.view(place)[...] = 2.5
    assert theirs.cancel[0] == 1
    assert ours.view(place).tolist() == [[2.5, 2.5], [2.5, 2.5]]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [64, [2]],
        ["64", [2], "float64"],
        [64, [2], "complex128"],
        [64, [2], "object"],
        [64, [-1], "float64"],
        [64, [2.0], "float64"],
        [64, [True], "float64"],
        [64, [1] * 9, "float64"],
        [0, [1], "uint8"],
        [-64, [1], "uint8"],
        [65, [1], "uint8"],
        [64, [505], "float64"],
        [64, [2**40, 2**40], "uint8"],
        [4096, [1], "uint8"],
    ],
)
def test_places_outside_the_arena_are_refused(data: Any) -> None:
    with pytest.raises(BadPlace):
        Place.from_json(data, 4096)
    assert Place.from_json([64, [504], "float64"], 4096).end == 4096


def test_overlapping_places_are_refused() -> None:
    with pytest.raises(BadPlace, match="two arrays"):
        check_disjoint([Place(64, (100,), "float64"), Place(128, (1,), "uint8")])


def test_an_arena_of_another_size_is_refused() -> None:
    arena = Arena.create(4096)
    with pytest.raises(BadPlace, match="promised"):
        Arena.attach(str(arena.path), 8192)
    arena.unlink()


@pytest.mark.parametrize("dtype", ["complex128", "float16", "bool", "O", "U3"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(InvalidArgument, match="convert to one of"):
        checked_layout("y0", (2,), np.dtype(dtype))


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system can't reserve room")
def test_no_room_is_a_typed_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(arena_module, "SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with pytest.raises(WorkerError, match="no room for"):
        Arena.create(2**60)
    assert list(tmp_path.iterdir()) == []
