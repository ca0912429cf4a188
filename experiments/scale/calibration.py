"""Rates of this machine: from a plain product and a copy, and from a fit to the times of some iterations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from experiments.scale.allreduce import Link
from experiments.scale.machine import Machine
from experiments.scale.work import Work


def fit(work: Sequence[Work], seconds: Sequence[float], operations: float, dtype: str) -> Machine:
    """The machine whose bytes a second and seconds an operator explain `seconds` best (least squares of relative
    errors, nothing negative), its rate of products being `operations` a second, as measured apart.

    On a CPU nothing is hidden: overlap 0.
    """
    t = np.asarray(seconds)
    rest = np.maximum(t - np.array([w.operations for w in work]) / operations, 0.0)
    matrix = np.array([[w.bytes, w.launches] for w in work])
    (per_byte, per_launch), _ = nnls(matrix / t[:, None], rest / t)
    here = Link(np.inf, 0.0)
    bandwidth = 1.0 / per_byte if per_byte > 0 else np.inf
    return Machine({dtype: operations}, float(bandwidth), float(per_launch), 0.0, np.inf, here, here)
