"""How many threads a worker's libraries take: as many as its cell has CPUs, on every executor."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""What OpenMP, the linear algebra libraries and Numba read when they are loaded."""


def worker_environment(threads: int) -> dict[str, str]:
    """Variables for a worker's process: its threads, and the way to this very pynode where that is a checkout."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**dict.fromkeys(VARIABLES, str(threads)), "PYTHONPATH": path}
