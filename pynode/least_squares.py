"""Least squares, the loss of a time series: the sum of |y(t_i) - data_i|^2, together with its gradient."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from pynode.errors import InvalidArgument
from pynode.finite import check_finite, is_finite
from pynode.grid import check_times
from pynode.methods.base import GradientMethod, check_choice, check_method
from pynode.solution import SolveStats
from pynode.types import State, States, Times

Missing: TypeAlias = Literal["error", "mask"]
"""What NaN and infinite entries of the data mean: a mistake, or values that were not observed."""


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

    NaN or infinite entries of `data` are an error unless `missing="mask"`: then they count as not observed and take no
    part in the loss or in its gradient.  The loss stays a sum, over the `count` observed entries; the mean square error
    is `fit.loss / fit.count`, and its gradient is that of the sum divided by `fit.count`.

    Raises what `solve` raises, and `InvalidArgument` for data of another shape than the states, for NaN or infinite
    entries (before anything is solved), and for `missing="mask"` where no entry is left.
    """

    loss: float
    count: int
    """Observed entries of the data: all of them unless some are masked."""
    stats: SolveStats

    def __init__(
        self,
        method: GradientMethod,
        field: nn.Module,
        y0: State,
        ts: Times,
        data: States,
        *,
        missing: Missing = "error",
    ) -> None:
        check_method(method)
        for name, value in (("y0", y0), ("ts", ts), ("data", data)):
            if not isinstance(value, Tensor):
                raise InvalidArgument(name, type(value).__name__, "not a tensor", "pass torch.as_tensor(...)")
        if ts.ndim != 1 or data.shape != (len(ts), *y0.shape):
            check_times(ts)
            problem = f"the states have shape {(len(ts), *y0.shape)}"
            raise InvalidArgument("data", tuple(data.shape), problem, "give one row for each output time")
        observed = observed_entries(data, missing)
        self.count = data.numel() if observed is None else int(observed.sum())
        self._tensor: Tensor | None = None
        plain = data.dtype == y0.dtype and data.device == y0.device and not (data.requires_grad or y0.requires_grad)
        self._direct = method.direct(field, y0, ts) if plain and not _is_watched(field) else None
        if self._direct is not None:
            residual = self._direct.ys.numpy() - data.detach().numpy()
            if observed is not None:
                residual[~observed.numpy()] = 0
            self.loss = float(np.vdot(residual, residual))
            if math.isfinite(self.loss):
                self._residual = residual
                self.stats = self._direct.stats
                return
        # by torch operators, which also say what went wrong where a state is not finite
        solution = method.solve(field, y0, ts)
        self._direct = None
        self._tensor = sum_of_squares(solution.ys, data, observed)
        self.loss, self.stats = float(self._tensor.detach()), solution.stats

    def backward(self) -> None:
        """Adds the gradient to `.grad` of the parameters; once."""
        if self._tensor is not None:
            self._tensor.backward()
            return
        assert self._direct is not None
        self._residual *= 2
        self._direct.backward(torch.from_numpy(self._residual))


def observed_entries(data: States, missing: Missing) -> Tensor | None:
    """Which entries of `data` are finite, or None if all are.

    Raises `InvalidArgument` where some are not and `missing` is "error", or where none is.
    """
    check_choice("missing", missing, get_args(Missing))
    if is_finite(data):
        return None
    if missing == "error":
        check_finite("data", data, 'remove or replace them, or leave them out of the loss by missing="mask"')
    observed = torch.isfinite(data.detach())
    if not bool(observed.any()):
        raise InvalidArgument(
            "data", tuple(data.shape), "all entries are NaN or infinite, so nothing is left to fit", "give some data"
        )
    return observed


def sum_of_squares(ys: States, data: States, observed: Tensor | None) -> Tensor:
    """The sum of |ys - data|^2 over the `observed` entries, or over all where `observed` is None."""
    if observed is None:
        return (ys - data).square().sum()
    # the masked residual is replaced before it is squared: the derivative of NaN * 0 would be NaN
    known = torch.where(observed, data, torch.zeros_like(data))
    return torch.where(observed, ys - known, torch.zeros_like(ys)).square().sum()


def _is_watched(field: nn.Module) -> bool:
    """Whether hooks wait for the gradient of some parameter, which only autograd can call."""
    watched = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(getattr(p, hooks, None) for p in getattr(field, "_parameters", {}).values() for hooks in watched)
