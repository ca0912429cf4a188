"""Frames between this process and Julia's: any bytes are messages or `BadFrame`, places stay inside the arena."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pynode.julia.arena import ALIGNMENT, BadPlace, Place, check_disjoint, lay_out
from pynode.julia.protocol import HEADER, MAGIC, BadFrame, encode, read_message
from tests.properties.profiles import tried
from tests.properties.strategies import damaged, plain

messages = st.dictionaries(st.text(max_size=5), plain, max_size=4)


class Trickle(io.BytesIO):
    """A pipe that gives a byte at a time, as pipes may."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 1))


@given(st.lists(messages, max_size=4), st.booleans())
@tried(100)
def test_messages_come_back(sent: list[dict[str, Any]], slowly: bool) -> None:
    content = b"".join(map(encode, sent))
    stream = Trickle(content) if slowly else io.BytesIO(content)
    for message in sent:
        # NaN is not equal to itself
        assert json.dumps(read_message(stream)) == json.dumps(message)
    assert read_message(stream) is None


@given(st.data())
@tried(200, 3000)
def test_damaged_streams(data: st.DataObject) -> None:
    stream = io.BytesIO(data.draw(damaged(encode({"a": [1, 2.5]}) + encode({"b": None}))))
    for _ in range(1000):  # each message takes bytes
        try:
            message = read_message(stream)
        except BadFrame:
            return
        if message is None:
            return
        assert isinstance(message, dict)
    raise AssertionError("the stream does not end")


@given(st.binary(max_size=60), st.one_of(st.none(), st.integers(0, 2**64 - 1)))
@tried(200)
def test_any_body_and_any_length(body: bytes, length: int | None) -> None:
    stream = io.BytesIO(HEADER.pack(MAGIC, len(body) if length is None else length) + body)
    with contextlib.suppress(BadFrame):
        assert isinstance(read_message(stream), dict)


places = st.tuples(
    st.integers(-64, 4096), st.lists(st.integers(-1, 2**40), max_size=3), st.sampled_from(["float64", "uint8", "V8"])
).map(list)


@given(plain | places, st.integers(0, 4096))
@tried(200)
def test_a_place_lies_inside_the_arena(data: Any, size: int) -> None:
    try:
        place = Place.from_json(data, size)
    except BadPlace:
        return
    assert ALIGNMENT <= place.offset <= place.end <= size


shaped = st.tuples(st.lists(st.integers(0, 5), max_size=3), st.sampled_from(["float64", "float32", "uint8"]))


@given(st.lists(shaped, max_size=5))
def test_a_layout_has_room_for_all(arrays: list[tuple[list[int], str]]) -> None:
    wanted = {str(k): (tuple(shape), np.dtype(dtype)) for k, (shape, dtype) in enumerate(arrays)}
    places, size = lay_out(wanted)
    check_disjoint(places.values())
    for name, place in places.items():
        again = Place.from_json([place.offset, list(place.shape), place.dtype], size)
        assert again == place
        assert (again.shape, again.dtype) == (wanted[name][0], wanted[name][1].name)
