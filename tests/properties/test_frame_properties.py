"""Frames between this process and Julia's: any bytes are messages or `BadFrame`, places stay inside the arena."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pynode.julia.arena import ALIGNMENT, BadPlace, Place, check_disjoint, lay_out
from pynode.julia.protocol import HEADER, MAGIC, MAGIC_DONE, MAGIC_RUN, BadFrame, Done, Run, encode
from tests.julia.pipes import events_in
from tests.properties.profiles import tried
from tests.properties.strategies import damaged, plain

messages = st.dictionaries(st.text(max_size=5), plain, max_size=4)


@given(st.lists(messages, max_size=4), st.integers(1, 50))
@tried(100)
def test_messages_come_back(sent: list[dict[str, Any]], pieces: int) -> None:
    received = events_in(b"".join(map(encode, sent)), pieces=pieces)
    # NaN is not equal to itself
    assert [json.dumps(message) for message in received] == [*(json.dumps(message) for message in sent), "null"]


whole = st.integers(-(2**63), 2**63 - 1)
runs = st.builds(Run, whole, whole, st.lists(whole, max_size=3).map(tuple), st.lists(whole, max_size=3).map(tuple))


@given(st.lists(runs | st.builds(Done, whole, st.floats(allow_nan=False)), max_size=4))
@tried(100)
def test_numbers_come_back(sent: list[Run | Done]) -> None:
    assert events_in(b"".join(map(encode, sent))) == [*sent, None]


@given(st.data())
@tried(200, 3000)
def test_damaged_streams(data: st.DataObject) -> None:
    *events, last = events_in(data.draw(damaged(encode({"a": [1, 2.5]}) + encode(Run(1, 2, (3,), ())) + encode({}))))
    assert all(isinstance(event, (dict, Run, Done)) for event in events)
    assert last is None or isinstance(last, BadFrame)


@given(st.sampled_from([MAGIC, MAGIC_RUN, MAGIC_DONE]), st.binary(max_size=60), st.none() | st.integers(0, 2**64 - 1))
@tried(200)
def test_any_body_and_any_length(magic: bytes, body: bytes, length: int | None) -> None:
    events_in(HEADER.pack(magic, len(body) if length is None else length) + body)


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
