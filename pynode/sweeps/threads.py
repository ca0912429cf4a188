"""What a worker's environment says: how many threads its libraries take, and where pynode and the data are."""

from __future__ import annotations

import os
from pathlib import Path

from pynode.datasets.cache import data_root

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
    """Variables for a worker's process: its threads, the way to this very pynode where that is a checkout, and to the
    data where the user has said where they are: a worker may start in another folder."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    data = {"PYNODE_DATA": str(data_root().resolve())} if os.environ.get("PYNODE_DATA") else {}
    return {**dict.fromkeys(VARIABLES, str(threads)), "PYTHONPATH": path, **data}
