"""The ranks of one run: who writes, who takes which rows, and sums over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pynode.errors import RankLost

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class World:
    """`size` processes that run the same program, and the `rank` of this one; made by `pynode.distributed.join`.

    With one process nothing here does anything.  Else every rank has to call the same methods in the same order, with
    tensors of the same shapes; a call that fails raises `RankLost`.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_writer(self) -> bool:
        """Whether this rank writes to disk and speaks to the user: exactly one does."""
        return self.rank == 0

    def share(self, n: int) -> slice:
        """Which of `n` things in a row are this rank's: shares are contiguous, and sizes differ by at most one."""
        return slice(self.rank * n // self.size, (self.rank + 1) * n // self.size)

    def sum_(self, *tensors: Tensor) -> None:
        """Replaces each tensor by its sum over the ranks, bitwise equal on all of them.

        One collective for all tensors of one dtype and device, so give them together.  Tensors on the CPU go by gloo,
        on a GPU by NCCL.
        """
        if self.size == 1:
            return
        import torch

        alike: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for tensor in tensors:
            alike.setdefault((tensor.dtype, tensor.device), []).append(tensor.detach())
        for group in alike.values():
            if group[0].is_cuda:
                self.barrier()  # a kernel of NCCL that waits for a dead rank can't be told to stop; gloo can
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            with self._together():
                torch.distributed.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def broadcast(self, content: bytes | None) -> bytes:
        """The writer's `content`, on every rank; what the others pass does not matter."""
        if self.is_writer and content is None:
            raise TypeError("the writer must pass the content that it broadcasts")
        if self.size == 1:
            return content or b""
        import torch

        mine = content or b"" if self.is_writer else b""
        length = torch.tensor([len(mine)])
        with self._together():
            torch.distributed.broadcast(length, src=0)
        if not int(length):
            return b""
        payload = torch.frombuffer(bytearray(mine or bytes(int(length))), dtype=torch.uint8)
        with self._together():
            torch.distributed.broadcast(payload, src=0)
        return payload.numpy().tobytes()

    def barrier(self) -> None:
        """Waits until all ranks have called it."""
        if self.size == 1:
            return
        import torch

        with self._together():
            torch.distributed.all_reduce(torch.zeros(1))

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Turns what a collective raises into `RankLost`."""
        import torch

        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RankLost(self.rank, self.size, str(error)) from error


ALONE = World()
"""The world of a run in one process."""

_SHARING: ContextVar[World] = ContextVar("sharing", default=ALONE)


def sharing() -> World:
    """The ranks that share the batch of a solve that is begun now."""
    return _SHARING.get()


@contextmanager
def shared_among(world: World) -> Iterator[None]:
    """Inside the block each solve is one rank's part of a solve by all ranks of `world`, which take the same steps.

    All ranks have to begin the same solves in the same order.  Their gradients, taken inside the block or after it,
    add up to the gradient that one process would have for the whole batch.
    """
    token = _SHARING.set(world)
    try:
        yield
    finally:
        _SHARING.reset(token)
