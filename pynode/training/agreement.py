"""What the ranks of a run have to agree on: what the writer read or found wrong, and which iteration failed."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pynode.errors import Interrupted, OtherRankFailed, OtherRankRefused, PynodeError, UsageError
from pynode.training.signals import SIGNALS, Stop
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
        content = action()
    except PynodeError as error:
        world.broadcast((b"u" if isinstance(error, UsageError) else b"f") + str(error).encode())
        raise
    world.broadcast(b"+" + content)
    return content


def agreed_signal(world: World, stop: Stop) -> int | None:
    """The signal that any of the ranks has heard; every rank has to ask."""
    if world.size == 1:
        return stop.requested
    return _first_heard(world, stop, 0.0)[1]


def agreed_loss(world: World, stop: Stop, mine: float) -> float:
    """The sum of the ranks' parts of the loss; raises `Interrupted` on all of them where one was asked to stop."""
    if world.size == 1:
        return mine
    loss, heard = _first_heard(world, stop, mine)
    if heard is not None:
        raise Interrupted(heard)
    return loss


def _first_heard(world: World, stop: Stop, loss: float) -> tuple[float, int | None]:
    asked = [float(stop.requested == number) for number in SIGNALS]
    shared = torch.tensor([loss, *asked], dtype=torch.float64)
    world.sum_(shared)
    total, *heard = shared.tolist()
    return total, next((number for number, ranks in zip(SIGNALS, heard, strict=True) if ranks), None)


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
