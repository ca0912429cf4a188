"""Frames, the format of messages in the pipes between this process and the worker; and time limits of answers.

A frame is four magic bytes, the length of its body as eight bytes (little-endian), and the body: one JSON object in
UTF-8.  Arrays never travel here; they lie in the arena.  A reader trusts nothing: a wrong magic, a length beyond
`LARGEST` or a body that is no JSON object raises `BadFrame`.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from pynode.errors import InvalidArgument

MAGIC = b"PNJ1"
HEADER = struct.Struct("<4sQ")

LARGEST = 64 * 2**20
"""Bytes of the largest body."""

CHUNK = 2**20

STATE, SLOPE = "callback_state", "callback_slope"
"""Names of the arrays in which the values of a user's function travel."""

TIMEOUT, START_TIMEOUT = "PYNODE_JULIA_TIMEOUT", "PYNODE_JULIA_START_TIMEOUT"
"""Environment variables with the limits in seconds."""

DEFAULTS = {TIMEOUT: 3600.0, START_TIMEOUT: 900.0}


class BadFrame(ValueError):
    """What was read is no frame, or a message is too large for one; `cut_short` where the stream ended inside it."""

    def __init__(self, problem: str, *, cut_short: bool = False) -> None:
        self.cut_short = cut_short
        super().__init__(problem)


class Readable(Protocol):
    """A binary stream."""

    def read(self, size: int, /) -> bytes | None:
        """At most `size` bytes; none at the end."""
        ...


def encode(message: Mapping[str, Any]) -> bytes:
    """The frame of `message`; raises `BadFrame` where it is too large, `TypeError` where it is no JSON."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > LARGEST:
        raise BadFrame(f"a message of {len(body):,} bytes; {LARGEST:,} is the limit")
    return HEADER.pack(MAGIC, len(body)) + body


def read_message(stream: Readable) -> dict[str, Any] | None:
    """The next message, or None where the stream ended between two; raises `BadFrame`."""
    header = _read(stream, HEADER.size)
    if not header:
        return None
    if not MAGIC.startswith(header[: len(MAGIC)]):
        raise BadFrame(f"{header[:32]!r} where a frame should begin")
    if len(header) < HEADER.size:
        raise BadFrame("the stream ended inside a frame", cut_short=True)
    _, length = HEADER.unpack(header)
    if length > LARGEST:
        raise BadFrame(f"a frame of {length:,} bytes; {LARGEST:,} is the limit")
    body = _read(stream, length)
    if len(body) < length:
        raise BadFrame("the stream ended inside a frame", cut_short=True)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"a frame whose body is not JSON: {body[:64]!r}") from error
    if not isinstance(message, dict):
        raise BadFrame(f"a frame whose body is not an object: {body[:64]!r}")
    return message


def _read(stream: Readable, size: int) -> bytes:
    """Exactly `size` bytes, fewer where the stream ends."""
    parts: list[bytes] = []
    while size and (part := stream.read(min(size, CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


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
