"""Frames, the format of messages in the pipes between this process and the worker; and time limits of answers.

A frame is four magic bytes, the length of its body as eight bytes (little-endian), and the body.  The magic tells what
the body is: one JSON object in UTF-8, or the few numbers of a `Run` or a `Done`, which are cheap to write and to read.
Arrays never travel here; they lie in the arena.  A reader trusts nothing: a wrong magic, a length beyond `LARGEST` or a
body that is not of its kind raises `BadFrame`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from pynode.errors import InvalidArgument

MAGIC, MAGIC_RUN, MAGIC_DONE = b"PNJ1", b"PNJR", b"PNJD"
HEADER = struct.Struct("<4sQ")
DONE = struct.Struct("<qd")

LARGEST = 64 * 2**20
"""Bytes of the largest body."""

STATE, SLOPE = "callback_state", "callback_slope"
"""Names of the arrays in which the values of a user's function travel."""

REPORT = "report"
"""Name of the array of numbers in which a prepared request is answered."""

TIMEOUT, START_TIMEOUT = "PYNODE_JULIA_TIMEOUT", "PYNODE_JULIA_START_TIMEOUT"
"""Environment variables with the limits in seconds."""

DEFAULTS = {TIMEOUT: 3600.0, START_TIMEOUT: 900.0}


class BadFrame(ValueError):
    """What was read is no frame, or a message is too large for one; `cut_short` where the stream ended inside it."""

    def __init__(self, problem: str, *, cut_short: bool = False) -> None:
        self.cut_short = cut_short
        super().__init__(problem)


class Run(NamedTuple):
    """Request `number`: to do once more what was prepared in `slot`, with other `numbers`.  Forgets handles first."""

    number: int
    slot: int
    numbers: tuple[int, ...]
    release: tuple[int, ...]


class Done(NamedTuple):
    """The answer to request `number`: it is done, took `seconds`, and the results lie in the arena."""

    number: int
    seconds: float


Message: TypeAlias = "dict[str, Any] | Run | Done"


def encode(message: Mapping[str, Any] | Run | Done) -> bytes:
    """The frame of `message`; raises `BadFrame` where it is too large, `TypeError` where it is no JSON."""
    if isinstance(message, Run):
        entries = (message.number, message.slot, len(message.numbers), *message.numbers, *message.release)
        return HEADER.pack(MAGIC_RUN, 8 * len(entries)) + struct.pack(f"<{len(entries)}q", *entries)
    if isinstance(message, Done):
        return HEADER.pack(MAGIC_DONE, DONE.size) + DONE.pack(*message)
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise BadFrame(f"a message of {len(body):,} bytes; {LARGEST:,} is the limit")
    return HEADER.pack(MAGIC, len(body)) + body


def frame_length(data: bytes) -> int:
    """Bytes of the frame that `data` begins with, of its header where that is not complete; raises `BadFrame`."""
    start = data[: len(MAGIC)]
    if not any(magic.startswith(start) for magic in (MAGIC, MAGIC_RUN, MAGIC_DONE)):
        raise BadFrame(f"{data[: HEADER.size]!r} where a frame should begin")
    if len(data) < HEADER.size:
        return HEADER.size
    _, length = HEADER.unpack_from(data)
    if length > LARGEST:
        raise BadFrame(f"a frame of {length:,} bytes; {LARGEST:,} is the limit")
    return HEADER.size + int(length)


def decode(frame: bytes) -> Message:
    """The message of a whole frame; raises `BadFrame`."""
    magic, body = frame[: len(MAGIC)], frame[HEADER.size :]
    if magic == MAGIC_DONE:
        if len(body) != DONE.size:
            raise BadFrame(f"an answer of {len(body)} bytes, not {DONE.size}")
        return Done(*DONE.unpack(body))
    if magic == MAGIC_RUN:
        count, rest = divmod(len(body), 8)
        entries = struct.unpack(f"<{count}q", body[: 8 * count])
        if rest or count < 3 or not 0 <= entries[2] <= count - 3:
            raise BadFrame(f"a request of {len(body)} bytes that does not hold what it says")
        end = 3 + entries[2]
        return Run(entries[0], entries[1], entries[3:end], entries[end:])
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"a frame whose body is not JSON: {body[:64]!r}") from error
    if not isinstance(message, dict):
        raise BadFrame(f"a frame whose body is not an object: {body[:64]!r}")
    return message


def checked_limit(argument: str, limit: float | None) -> float | None:
    """`limit` itself; raises `InvalidArgument` unless it is None or positive."""
    if limit is not None and not (isinstance(limit, (int, float)) and limit > 0):
        raise InvalidArgument(argument, limit, "not a time limit", "give seconds, more than 0")
    return limit


def limit_from(variable: str) -> float:
    """The limit that the environment variable sets, else its default; raises `InvalidArgument`."""
    text = os.environ.get(variable, "")
    if not text:
        return DEFAULTS[variable]
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise InvalidArgument(variable, text, "not a time limit", "set it to seconds, more than 0")
    return limit
