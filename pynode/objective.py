"""A scalar loss with its gradient, as the trainer takes it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pynode.solution import SolveStats


class Objective:
    """A scalar loss with its gradient: its value, and the pullback to `.grad` of the parameters.

    `value` is a number or a function that gives it: of a loss on a device, for which the host has to wait.  `tensor`
    gives the same loss as a tensor, for who wants to differentiate it otherwise; `solves` are the live counts of the
    solves behind it.  `on_device` is the loss as a scalar that has not been read yet, None where its value is there.
    """

    def __init__(
        self,
        value: float | Callable[[], float],
        pullback: Callable[[], None],
        tensor: Callable[[], Tensor],
        solves: tuple[SolveStats, ...] = (),
        *,
        on_device: Tensor | None = None,
    ) -> None:
        self._value, self.pullback, self.tensor, self.solves = value, pullback, tensor, solves
        self.on_device = on_device

    @classmethod
    def of(cls, loss: Tensor, solves: tuple[SolveStats, ...] = ()) -> Objective:
        """The objective of a loss that autograd can differentiate."""
        if loss.is_cpu:
            return cls(float(loss.detach()), loss.backward, lambda: loss, solves)
        scalar = loss.detach()
        return cls(lambda: float(scalar), loss.backward, lambda: loss, solves, on_device=scalar)

    @property
    def value(self) -> float:
        """The loss as a number."""
        if callable(self._value):
            self._value = self._value()
        return self._value

    @property
    def loss(self) -> Tensor:
        """The loss as a tensor that autograd can differentiate; instead of `backward`, not beside it."""
        return self.tensor()

    def backward(self) -> None:
        """Adds the gradient of the loss to `.grad` of the parameters; once."""
        self.pullback()

    @property
    def stats(self) -> SolveStats:
        """The work of all solves together, as known now: the backward part fills when the gradient is taken."""
        return sum(self.solves, SolveStats())
