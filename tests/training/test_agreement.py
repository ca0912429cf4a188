"""What ranks agree on: the writer's words, a sum of losses, the first signal, the first message."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pynode.errors import InvalidArgument, OtherRankFailed, OtherRankRefused, RecordError
from pynode.training.agreement import TEXT, agreed_loss, agreed_signal, first_message, from_writer
from pynode.training.signals import SIGNALS, Stop
from pynode.world import ALONE, World


@dataclass(frozen=True)
class Among(World):
    """A rank of a world whose others are known beforehand: what they add to a sum, what the writer says."""

    size: int = 2
    added: tuple[Tensor, ...] = ()
    said: bytes = b""
    sent: list[bytes | None] = field(default_factory=list)

    def sum_(self, *tensors: Tensor) -> None:
        """Adds what the others have."""
        for tensor, other in zip(tensors, self.added, strict=True):
            tensor += other

    def broadcast(self, content: bytes | None) -> bytes:
        """Notes what is sent; the others hear what the writer said."""
        self.sent.append(content)
        return content or b"" if self.is_writer else self.said


def stopped(number: int | None) -> Stop:
    """One that has heard a signal, or none."""
    stop = Stop(together=True)
    stop.requested = number
    return stop


def raising(error: Exception) -> Callable[[], bytes]:
    """An action that fails."""

    def action() -> bytes:
        raise error

    return action


def test_the_writer_does_it_and_the_others_hear_of_it() -> None:
    writer, other = Among(0), Among(1, said=b"+content")
    assert from_writer(writer, lambda: b"content") == b"content"
    assert writer.sent == [b"+content"]
    assert from_writer(other, raising(AssertionError("only the writer acts"))) == b"content"
    assert other.sent == [None]
    assert from_writer(ALONE, lambda: b"alone") == b"alone"


def test_what_the_writer_raises_ends_the_others() -> None:
    refused, failed = InvalidArgument("x", 1, "wrong", "use 2"), RecordError("it is damaged")
    for error, kind, first in ((refused, OtherRankRefused, b"u"), (failed, OtherRankFailed, b"f")):
        writer = Among(0)
        with pytest.raises(type(error)):
            from_writer(writer, raising(error))
        assert writer.sent == [first + str(error).encode()]
        with pytest.raises(kind) as caught:
            from_writer(Among(1, said=writer.sent[0] or b""), raising(AssertionError()))
        assert str(caught.value).endswith(str(error))
        assert str(caught.value) == str(kind(str(error)))
    with pytest.raises(RecordError):
        from_writer(ALONE, raising(failed))


def row(loss: float, *heard: signal.Signals) -> Tensor:
    """What a rank adds: its loss, and for each signal whether it has heard it."""
    return torch.tensor([loss, *(float(number in heard) for number in SIGNALS)], dtype=torch.float64)


def test_losses_are_added_up() -> None:
    assert agreed_loss(Among(added=(row(2.25),)), stopped(None), 0.5) == 2.75
    assert agreed_loss(ALONE, stopped(signal.SIGINT), 0.5) == 0.5, "one process is interrupted where it computes"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_any_rank_has_heard_stops_all(number: signal.Signals) -> None:
    for mine, others in ((number, row(0.0)), (None, row(0.0, number)), (number, row(0.0, number))):
        assert agreed_signal(Among(added=(others,)), stopped(mine)) == number
        with pytest.raises(KeyboardInterrupt) as caught:
            agreed_loss(Among(added=(others,)), stopped(mine), 1.0)
        caught_number: Any = caught.value
        assert caught_number.signal_number == number
    assert agreed_signal(Among(added=(row(0.0),)), stopped(None)) is None
    assert agreed_signal(Among(added=(row(0.0, *SIGNALS),)), stopped(None)) == SIGNALS[0], "the first of them"
    assert agreed_signal(ALONE, stopped(number)) == number
    assert agreed_signal(ALONE, stopped(None)) is None


def table(size: int, **said: str) -> Tensor:
    """The bytes of the other ranks' messages, by rank."""
    rows = torch.zeros(size, TEXT, dtype=torch.int32)
    for name, text in said.items():
        content = text.encode()[:TEXT]
        rows[int(name[1:]), : len(content)] = torch.tensor(list(content), dtype=torch.int32)
    return rows


def test_the_first_message_is_everybodys() -> None:
    assert first_message(ALONE, "mine") == "mine"
    assert first_message(Among(1, 3, (table(3),)), "mine é") == "mine é"
    assert first_message(Among(1, 3, (table(3, r0="zero", r2="two"),)), "mine") == "zero"
    assert first_message(Among(1, 3, (table(3, r2="two"),)), "mine") == "mine"
    assert first_message(Among(1, 3, (table(3, r2="two"),)), "") == "two"
    assert first_message(Among(0, 2, (table(2),)), "") == ""
    assert first_message(Among(0, 2, (table(2),)), "x" * 401) == "x" * 400, "what goes over is cut"
    assert first_message(Among(0, 2, (table(2),)), "x" * 399 + "é") == "x" * 399 + "\ufffd"
