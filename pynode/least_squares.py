"""Least squares, the loss of a time series: |y(t_i) - data_i|^2 summed, with its gradient in one go."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.gradients.base import GradientMethod
from pynode.solution import SolveStats
from pynode.types import State, States, Times


class LeastSquares:
    """The loss sum |ys - data|^2 of one solve, and its gradient by the parameters of `field`.

    `y0` `(..., dim)`, `ts` `(time,)`, `data` `(time, ..., dim)`.  The same numbers as
    `(method.solve(field, y0, ts).ys - data).square().sum()` and its `backward()`; where the fused kernels run the solve
    nothing of it goes through autograd, which halves the time of a small iteration.

        for _ in range(300):
            fit = pynode.LeastSquares(method, field, y0, ts, data)   # fit.loss
            fit.backward()                                           # adds to .grad of the field's parameters
            optimiser.step()
            optimiser.zero_grad()

    Raises what `solve` raises, and `InvalidArgument` for data of another shape than the states.
    """

    loss: float
    stats: SolveStats

    def __init__(self, method: GradientMethod, field: nn.Module, y0: State, ts: Times, data: States) -> None:
        if data.shape != (len(ts), *y0.shape):
            problem = f"the states have shape {(len(ts), *y0.shape)}"
            raise InvalidArgument("data", tuple(data.shape), problem, "give one row for each output time")
        self._tensor: Tensor | None = None
        plain = data.dtype == y0.dtype and data.device == y0.device and not (data.requires_grad or y0.requires_grad)
        self._direct = method.direct(field, y0, ts) if plain and not _is_watched(field) else None
        if self._direct is not None:
            residual = self._direct.ys.numpy() - data.detach().numpy()
            self.loss = float(np.vdot(residual, residual))
            if math.isfinite(self.loss):
                self._residual = residual
                self.stats = self._direct.stats
                return
        # torch's way, which also says what went wrong where a state is not finite
        solution = method.solve(field, y0, ts)
        self._direct = None
        self._tensor = (solution.ys - data).square().sum()
        self.loss, self.stats = float(self._tensor.detach()), solution.stats

    def backward(self) -> None:
        """Adds the gradient to `.grad` of the parameters; once."""
        if self._tensor is not None:
            self._tensor.backward()
            return
        assert self._direct is not None
        self._residual *= 2
        self._direct.backward(torch.from_numpy(self._residual))


def _is_watched(field: nn.Module) -> bool:
    """Whether hooks wait for the gradient of some parameter, which only autograd can call."""
    watched = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(p, hooks, None) for p in getattr(field, "_parameters", {}).values() for hooks in watched)
