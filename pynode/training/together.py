"""What the ranks of a run have to agree on: what the writer read or found wrong, and which iteration failed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pynode.errors import OtherRankFailed, OtherRankRefused, PynodeError, UsageError
from pynode.world import World

TEXT = 400
"""Bytes of a message that go from rank to rank."""


def from_writer(world: World, action: Callable[[], bytes]) -> bytes:
    """What `action` gives on the writing rank, on all ranks; what it raises there ends the others too.

    Raises what `action` does on the writer, `OtherRankRefused` or `OtherRankFailed` elsewhere.
    """
    if world.size == 1:
        return action()
    if not world.is_writer:
        answer = world.broadcast(None)
        if answer[:1] == b"u":
            raise OtherRankRefused(answer[1:].decode())
        if answer[:1] == b"f":
            raise OtherRankFailed(answer[1:].decode())
        return answer[1:]
    try:
        found = action()
    except PynodeError as error:
        world.broadcast((b"u" if isinstance(error, UsageError) else b"f") + str(error).encode())
        raise
    world.broadcast(b"+" + found)
    return found


def first_message(world: World, mine: str) -> str:
    """The message of the first rank that has one; every rank has to ask."""
    if world.size == 1:
        return mine
    text = mine.encode()[:TEXT]
    table = torch.zeros(world.size, TEXT, dtype=torch.int32)
    table[world.rank, : len(text)] = torch.tensor(list(text), dtype=torch.int32)
    world.sum_(table)
    said = [bytes(row[row > 0].tolist()).decode(errors="replace") for row in table]
    return next((text for text in said if text), "")
