"""Checks of values on a device, read late and together: each read makes the host wait for all work before it.

On the CPU values are there at once, and checks are made where they are written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Fail = Callable[[], object]
"""Raises the error of a check that has failed."""


class Checks:
    """Flags that stay on the device until they are read, each with the error that it stands for, in their order."""

    def __init__(self) -> None:
        self._flags: list[Tensor] = []
        self._fails: list[Fail] = []
        self._outcomes: list[float] = []

    def add(self, fine: Tensor, fail: Fail) -> None:
        """Notes the scalar `fine`; `fail` is called where it turns out to be false."""
        self._flags.append(fine.detach())
        self._fails.append(fail)

    def all_fine(self) -> Tensor | None:
        """Whether all flags are true, as a scalar on the device; None where there are none."""
        return torch.stack(self._flags).all() if self._flags else None

    def read(self, *numbers: Tensor) -> list[float]:
        """The values of some scalars on the device, and with them those of all flags, for `enforce`: by one read."""
        flags, self._flags = self._flags, []
        if not flags and not numbers:
            return []
        values = torch.stack([x.detach().double() for x in (*numbers, *flags)]).tolist()
        self._outcomes += values[len(numbers) :]
        return values[: len(numbers)]

    def enforce(self) -> None:
        """Reads what has not been read, calls what belongs to the first flag that is false, and forgets all."""
        self.read()
        outcomes, fails = self._outcomes, self._fails
        self._outcomes, self._fails = [], []
        for fine, fail in zip(outcomes, fails, strict=True):
            if not fine:
                fail()


_ACTIVE: ContextVar[Checks | None] = ContextVar("pynode_deferred_checks", default=None)


@contextmanager
def deferred_checks() -> Iterator[Checks]:
    """Inside the block checks of values on a device are collected, and made when `Checks.enforce` is called.

    A gradient that is taken inside the block, of a solve from inside the block, defers its checks too.
    """
    checks = Checks()
    token = _ACTIVE.set(checks)
    try:
        yield checks
    finally:
        _ACTIVE.reset(token)


def active_checks() -> Checks | None:
    """What collects the checks of solves that begin now; None where they are made at once.

    To be asked in the forward pass: on a GPU autograd runs backward passes on threads of its own, which don't see it.
    """
    return _ACTIVE.get()


def require(checks: Checks | None, fine: Tensor, fail: Fail) -> None:
    """Calls `fail` where the scalar `fine` is false: when `checks` are enforced, or at once without any."""
    if checks is not None:
        checks.add(fine, fail)
    elif not bool(fine):
        fail()
