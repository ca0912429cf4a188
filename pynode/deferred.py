"""Checks of values on a device, collected and read together: every read makes the host wait for the device.

On the CPU values are known at once, and checks are made where they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Fail = Callable[[], object]
"""Raises the error of a check that has failed."""

MOST = 64
"""Checks that are collected at most; the next read makes all of them, which bounds what their errors keep alive."""


class Checks:
    """The checks of one block of `deferred_checks`: flags on a device, each with the error to raise if it is false.

    They are made in the order in which they were added, by `enforce`, at the end of the block, or when `MOST` of them
    have been collected, whichever comes first.  A check that is added after the end of the block is made at once.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Tensor, Fail]] = []
        self._known: list[tuple[bool, Fail]] = []
        self._ended = False

    @property
    def waiting(self) -> int:
        """The number of checks that have been added and not been made yet."""
        return len(self._pending) + len(self._known)

    def add(self, fine: Tensor, fail: Fail) -> None:
        """Adds a check: `fail` is called if the scalar `fine` is false."""
        if self._ended:
            _check(fine, fail)
            return
        self._pending.append((fine.detach(), fail))
        if len(self._pending) >= MOST:
            self.enforce()

    def all_fine(self) -> Tensor | None:
        """Whether all flags that have not been read are true, as a scalar on the device; None if there are none."""
        flags = [fine for fine, _ in self._pending]
        return torch.stack([fine.to(flags[0].device) for fine in flags]).all() if flags else None

    def read(self, *numbers: Tensor) -> list[float]:
        """The values of scalars on the device; the flags of all checks are read together with them, for `enforce`."""
        pending, self._pending = self._pending, []
        scalars = [*numbers, *(fine for fine, _ in pending)]
        if not scalars:
            return []
        device = scalars[0].device  # several GPUs may have added flags
        values = torch.stack([x.detach().to(device=device, dtype=torch.float64) for x in scalars]).tolist()
        self._known += [(bool(v), fail) for v, (_, fail) in zip(values[len(numbers) :], pending, strict=True)]
        return values[: len(numbers)]

    def enforce(self) -> None:
        """Makes all checks: raises the error of the first that fails, and forgets the others."""
        self.read()
        known, self._known = self._known, []
        for fine, fail in known:
            if not fine:
                fail()

    def end(self, *, enforced: bool) -> None:
        """Ends the block: makes its checks or drops them.  Checks that are added later are made at once."""
        self._ended = True
        if enforced:
            self.enforce()
        else:
            self._pending, self._known = [], []


_ACTIVE: ContextVar[Checks | None] = ContextVar("pynode_deferred_checks", default=None)


@contextmanager
def deferred_checks() -> Iterator[Checks]:
    """Inside the block checks of values on a device are collected; they are made at its end, or by `Checks.enforce`.

    A solve inside the block and its gradient, if it is taken inside the block too, defer their checks.  A gradient that
    is taken after the block makes its checks at once, as do solves outside of any block.  If an exception leaves the
    block, that exception is raised and the checks are dropped.
    """
    checks = Checks()
    token = _ACTIVE.set(checks)
    try:
        yield checks
    except BaseException:
        checks.end(enforced=False)
        raise
    finally:
        _ACTIVE.reset(token)
    checks.end(enforced=True)


def active_checks() -> Checks | None:
    """The checks of the innermost block that is being executed; None outside of all blocks.

    To be called in the forward pass: on a GPU autograd runs the backward pass on threads of its own, which do not see
    the block.
    """
    return _ACTIVE.get()


def require(checks: Checks | None, fine: Tensor, fail: Fail) -> None:
    """Adds a check to `checks`, or makes it at once if that is None: `fail` is called if the scalar `fine` is false."""
    if checks is None:
        _check(fine, fail)
    else:
        checks.add(fine, fail)


def _check(fine: Tensor, fail: Fail) -> None:
    if not bool(fine):
        fail()
