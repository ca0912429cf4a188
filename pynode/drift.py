"""Drift: how far a state that is solved backwards has left the stored trajectory, in units of the tolerances.

The adjoint's backsolve reconstructs the state from its end.  Where the field contracts forwards, its errors grow
backwards like exp(rate x length), and the gradient with them; at every output time the true state is at hand.
"""

from __future__ import annotations

import sys
import warnings
from typing import Literal

import torch
from torch import Tensor

from pynode.errors import DriftError, DriftWarning
from pynode.samples import Samples
from pynode.solution import SolveStats, Status
from pynode.types import State

OnDrift = Literal["error", "warn", "ignore"]
ON_DRIFT: tuple[OnDrift, ...] = ("error", "warn", "ignore")

DRIFT_BOUND = 1000.0
"""Tolerances that a reconstructed state may be off by.

Measured: below 220 over the fields, output spacings and tolerances (1e-3 to 1e-10) of tests and benchmarks, with
batches of up to 1,000 samples; from 5e6 on where W = [[-20, 20], [0, -1]] is solved back over [0, 1] at any of them.
"""

LENIENT = {"bosh3": 10.0, "fehlberg2": 10.0}
"""How many times more is accepted of solvers whose errors add up to more tolerances: up to 600 in the same cases."""

BACKSOLVE_HINT = ", or use adjoint='interpolating', which solves no state backwards"
"""Remedy for what a state that is solved backwards can fail of."""

ROUNDING = 4
"""Units in the last place below which no relative tolerance counts."""

MOST = sys.float_info.max


def drift_of(reconstructed: State, stored: State, rtol: float, atol: float) -> tuple[float, Samples | None]:
    """The largest drift of a sample (a row along the last dimension), and which one of the batch has it.

    A sample drifts by the root mean square of its error, over atol + rtol times the root mean square of its state: no
    batch averages it away, and no entry that passes through zero exaggerates it.
    """
    columns = stored.shape[-1] if stored.ndim else 1
    error = (reconstructed - stored).detach().double().reshape(-1, columns)
    size = stored.detach().double().reshape(-1, columns).square().mean(1).sqrt()
    least = ROUNDING * torch.finfo(stored.dtype).eps
    drifts = (error.square().mean(1).sqrt() / (atol + max(rtol, least) * size)).nan_to_num(nan=MOST, posinf=MOST)
    if not len(drifts):
        return 0.0, None
    worst = int(drifts.argmax())
    return float(drifts[worst]), sample_of_row(stored, worst)


def sample_of_row(state: Tensor, row: int) -> Samples | None:
    """The sample of a batch that a row along the last dimension belongs to; None where the state is one sample."""
    if state.ndim < 2 or len(state) < 2:
        return None
    return Samples((row // (state.numel() // state.shape[-1] // len(state)),), len(state))


def drift_bound(solver: str) -> float:
    """The drift that is accepted of a solve by `solver`."""
    return DRIFT_BOUND * LENIENT.get(solver, 1.0)


def report_drift(
    stats: SolveStats,
    on_drift: str,
    drift: float,
    t: float,
    samples: Samples | None,
    *,
    bound: float = DRIFT_BOUND,
) -> None:
    """Notes a drift in `stats`; beyond the `bound` raises `DriftError`, warns, or goes on, as `on_drift` says."""
    before = stats.drift
    stats.drift = drift if before is None else max(before, drift)
    if drift <= bound or on_drift == "ignore":
        return
    error = DriftError(Status.DRIFT, drift=drift, bound=bound, t=t, samples=samples)
    if on_drift == "error":
        raise error
    if before is None or before <= bound:  # once a solve
        warnings.warn(str(error), DriftWarning, stacklevel=2)
