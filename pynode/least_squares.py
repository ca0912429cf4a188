"""Least squares, the loss of a time series: the sum of |y(t_i) - data_i|^2, together with its gradient."""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pynode.arguments import check_choice
from pynode.deferred import active_checks, require
from pynode.engines.node import attach
from pynode.errors import InvalidArgument
from pynode.finite import check_finite, is_finite
from pynode.grid import check_times
from pynode.methods.base import GradientMethod, check_method
from pynode.solution import SolveStats
from pynode.solve import Pullback
from pynode.types import State, States, Times

Missing: TypeAlias = Literal["error", "mask"]
"""What NaN and infinite entries of the data mean: a mistake, or values that were not observed."""

_FINITE: Any = WeakIdKeyDictionary()
"""The version of each tensor on a device at which all its entries were finite."""


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

    Raises what `solve` raises, and before anything is solved `InvalidArgument` for data of another shape or on another
    device than the states, for data that are not real numbers, for NaN or infinite entries, and for `missing="mask"` if
    no entry is left.  Inside of `deferred_checks` the values of data on a device are checked with the solve.
    """

    stats: SolveStats
    on_device: Tensor | None = None
    """The loss as a scalar on the device; None where it was there as a number at once, as on the CPU."""

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
        _check_kind(data, y0)
        observed = observed_entries(data, missing) if data.is_cpu else _entries_on_device(data, missing)
        self._data, self._observed, self._missing = data, observed, missing
        self._loss: float | None = None
        self._tensor: Tensor | None = None
        self._pullback: Pullback | None = None
        # of a direct solve; no bound method, which would keep the kernels' memory until the next garbage collection
        self._posed: tuple[GradientMethod, nn.Module, State, Times] | None = None
        plain = data.dtype == y0.dtype and not (data.requires_grad or y0.requires_grad)
        if not plain or ts.requires_grad or torch.compiler.is_compiling():
            self._solve(method, field, y0, ts)
            return
        self._run = method.run_directly(field, y0, ts)
        pullback = self._run.pullback
        if pullback is None or not _can_accumulate(pullback):
            self._tensor = sum_of_squares(attach(self._run), data, observed)
            self.stats = self._run.stats
            self._note(self._tensor)
        else:
            residual = self._run.states.numpy() - data.detach().numpy()
            if observed is not None:
                residual[~observed.numpy()] = 0
            self._loss, self.stats = float(np.vdot(residual, residual)), self._run.stats
            self._pullback, self._residual = pullback, residual
        self._posed = method, field, y0, ts
        if self._loss is not None and not math.isfinite(self._loss):
            self._solve(*self._posed)  # which says what went wrong where a state is not finite

    def _solve(self, method: GradientMethod, field: nn.Module, y0: State, ts: Times) -> None:
        solution = method.solve(field, y0, ts)
        self._tensor = sum_of_squares(solution.ys, self._data, self._observed)
        self.stats = solution.stats
        self._note(self._tensor)

    def _note(self, loss: Tensor) -> None:
        """Takes note of the loss: of its number, unless the host would have to wait for it."""
        if loss.is_cpu:
            self._loss = float(loss.detach())
        else:
            self._loss, self.on_device = None, loss.detach()

    @property
    def loss(self) -> float:
        """The loss as a number, for which the host waits on a GPU; raises the reason if it is not finite."""
        if self._loss is None:
            assert self.on_device is not None
            self._loss = float(self.on_device)
            if not math.isfinite(self._loss):
                observed_entries(self._data, self._missing)
                if self._posed is not None:
                    self._solve(*self._posed)
                    self._loss = math.nan if self.on_device is None else float(self.on_device)
        return self._loss

    @property
    def count(self) -> int:
        """Observed entries of the data: all of them unless some are masked."""
        return self._data.numel() if self._observed is None else int(self._observed.sum())

    @property
    def tensor(self) -> Tensor:
        """The loss as a tensor that autograd can differentiate; instead of `backward`, not beside it."""
        if self._tensor is None:
            self._tensor = sum_of_squares(attach(self._run), self._data, self._observed)
        return self._tensor

    def backward(self) -> None:
        """Adds the gradient to `.grad` of the parameters; once."""
        if self._tensor is not None:
            self._tensor.backward()
            return
        pullback, self._pullback = self._pullback, None
        if pullback is None:
            raise RuntimeError("the gradient of this loss has been taken; solve again")
        self._residual *= 2
        accumulate(pullback, torch.from_numpy(self._residual))


def _check_kind(data: States, y0: State) -> None:
    """Raises `InvalidArgument` unless `data` are real numbers on the device of the states."""
    if data.device != y0.device:
        raise InvalidArgument("data", data.device, f"the states are on {y0.device}", "move them by data.to(y0.device)")
    if data.is_meta:
        raise InvalidArgument("data", data.device, "no values", "pass a tensor with values")
    if data.is_complex() or data.dtype is torch.bool:
        raise InvalidArgument("data", data.dtype, "not real numbers", "convert them by data.to(y0.dtype)")


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


def _entries_on_device(data: States, missing: Missing) -> Tensor | None:
    """As `observed_entries`; the host waits for the device once for each tensor, or not at all in `deferred_checks`."""
    check_choice("missing", missing, get_args(Missing))
    checks, version = active_checks(), None if data.is_inference() else data._version
    if missing == "error" and version is not None and _FINITE.get(data) == version:
        return None
    observed = torch.isfinite(data.detach())
    fine = observed.all() if missing == "error" else observed.any()
    require(checks, fine, lambda: observed_entries(data, missing))
    if missing == "mask":
        return observed
    if checks is None and version is not None:
        _FINITE[data] = version
    return None


def sum_of_squares(ys: States, data: States, observed: Tensor | None) -> Tensor:
    """The sum of |ys - data|^2 over the `observed` entries, or over all where `observed` is None."""
    if observed is None:
        return (ys - data).square().sum()
    # the masked residual is replaced before it is squared: the derivative of NaN * 0 would be NaN
    known = torch.where(observed, data, torch.zeros_like(data))
    return torch.where(observed, ys - known, torch.zeros_like(ys)).square().sum()


def _can_accumulate(pullback: Pullback) -> bool:
    """Whether gradients can be added to `.grad` without autograd: it alone goes on beyond leaves, and calls hooks."""
    if pullback.inputs[1].device.type != "cpu":
        return False
    for p in pullback.inputs[2:]:  # noqa: SIM110 (a generator costs more than what it saves)
        if not p.is_leaf or p._backward_hooks or p._post_accumulate_grad_hooks:
            return False
    return True


def accumulate(pullback: Pullback, cotangents: States) -> None:
    """Adds the gradient by each of the tensors behind a solve that wants one to its `.grad`; once."""
    kept = pullback.release()
    inputs = pullback.inputs
    wanted = [x.requires_grad for x in inputs]
    gradients = pullback.pull(kept, cotangents, wanted)
    for x, gradient, want in zip(inputs, gradients, wanted, strict=True):
        if not want or gradient is None:
            continue
        if x.grad is None:
            x.grad = gradient
        else:
            x.grad.add_(gradient)
