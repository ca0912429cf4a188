"""A solve by kernels and its gradient without autograd, whose bookkeeping costs as much as a small solve itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from pynode.solution import SolveStats
from pynode.types import States

Pull = Callable[[States, Sequence[bool]], tuple["Tensor | None", ...]]
"""From cotangents of the states to those of y0 and theta's tensors, None where the flag of one is False."""


@dataclass(eq=False)
class DirectSolve:
    """States `ys` `(time, ..., columns)` that no graph hangs on, and how to get their gradient.

    `theta` are the parameter tensors, which no hook must watch; `backward` may be called once.
    """

    ys: States
    theta: tuple[Tensor, ...]
    stats: SolveStats
    pull: Pull

    def backward(self, cotangents: States) -> None:
        """Adds the gradient by each tensor of theta that wants one to its `.grad`, for `cotangents` of `ys`."""
        pull, self.pull = self.pull, _spent
        wanted = [False, *[p.requires_grad for p in self.theta]]
        for p, found in zip(self.theta, pull(cotangents, wanted)[1:], strict=True):
            if found is None:
                continue
            if p.grad is None:
                p.grad = found
            else:
                p.grad.add_(found)


def _spent(cotangents: States, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:  # noqa: ARG001
    raise RuntimeError("the gradient of this solve has been taken; solve again")
