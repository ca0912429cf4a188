"""The accurate gradient and loss that settings are held against, within a time."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor

from pynode.errors import SolveError
from pynode.methods.base import GradientMethod
from pynode.methods.disc_opt import DiscOpt
from pynode.methods.opt_disc import OptDisc
from pynode.schemes.dopri8 import DOPRI8
from pynode.studies.advice.subject import Posed
from pynode.studies.gradients.oracle import flat_gradient

TARGET = 1e-7
"""Changes of the gradient below this, relative, end the refinement: settings are judged down to 1e-4."""

MOST_STEPS = 2048
REFINED = 16.0
"""What halving the steps leaves of the error at least: order 4, though the formula's is 8."""


class Reference(NamedTuple):
    """The gradient of the continuous problem `(n_params,)`, its norm and loss, and how well they are known.

    `uncertainty` is relative, `loss_uncertainty` in units of the loss.  `method` is what computed them.
    """

    gradient: Tensor
    norm: float
    loss: float
    uncertainty: float
    loss_uncertainty: float
    method: GradientMethod

    @property
    def label(self) -> str:
        """What computed it."""
        return self.method.label


def loss_and_gradient(posed: Posed, method: GradientMethod) -> tuple[float, Tensor]:
    """By `method`, flat in float64."""
    loss = posed.loss(method)
    return float(loss.detach()), flat_gradient(loss, posed.params).cpu()


def accurate(posed: Posed, seconds: float) -> Reference:
    """The reference: the eighth-order formula, its steps halved until the gradient no longer changes.

    Ends earlier where the next refinement would take longer than is left of `seconds`; its uncertainty says so.  Where
    fixed steps blow up, as on stiff problems, an adaptive solve at tight tolerances.  Raises `SolveError` where that
    fails too.
    """
    end = time.perf_counter() + seconds
    eps = float(torch.finfo(posed.params[0].dtype).eps)
    best: Reference | None = None
    steps, change = 1, math.inf
    failed = False
    while steps <= MOST_STEPS:
        began = time.perf_counter()
        try:
            method = DiscOpt(DOPRI8, steps, memory="recompute")
            loss, gradient = loss_and_gradient(posed, method)
        except SolveError:
            failed = True
            steps *= 4
            if time.perf_counter() > end:
                break
            continue
        taken = time.perf_counter() - began
        norm = float(gradient.norm())
        if best is not None:
            before, change = change, _relative(gradient, best.gradient)
            if change >= before and before < 1e-3:  # rounding
                return best._replace(uncertainty=max(before, eps))
            moved = abs(loss - best.loss)
            sure = max(change / (REFINED - 1), eps), max(moved / (REFINED - 1), eps * abs(loss))
            best = Reference(gradient, norm, loss, *sure, method)
            if change < TARGET * (REFINED - 1):
                return best
        else:
            best = Reference(gradient, norm, loss, math.inf, math.inf, method)
        if time.perf_counter() + 2.5 * taken > end and math.isfinite(best.uncertainty):
            return best
        steps *= 2
    if best is not None and math.isfinite(best.uncertainty):
        return best
    if not failed and best is not None:
        return best
    return _adaptive(posed)


def _adaptive(posed: Posed) -> Reference:
    """By adaptive solves at two tolerances, the tighter one for the reference."""
    rougher, method = (OptDisc(rtol=tol, atol=tol / 100, landing=True, max_steps=100_000) for tol in (1e-7, 1e-9))
    (rough_loss, rough), (loss, gradient) = (loss_and_gradient(posed, m) for m in (rougher, method))
    off = max(_relative(gradient, rough) / 10, float(torch.finfo(posed.params[0].dtype).eps))
    return Reference(gradient, float(gradient.norm()), loss, off, abs(loss - rough_loss) / 10, method)


def _relative(gradient: Tensor, other: Tensor) -> float:
    size = float(gradient.norm())
    difference = float((gradient - other).norm())
    return difference / size if size else float(difference > 0)
