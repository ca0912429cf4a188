"""What goes to a worker and what comes back, as JSON texts; the variables of its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pynode.datasets.cache import data_root
from pynode.sweeps.cells import Cell
from pynode.sweeps.layout import FILE

State = Literal["finished", "failed", "interrupted", "lost"]
"""How a cell ended: `lost` where its process died without a word, `interrupted` where it was told to stop."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
"""What OpenMP, the linear algebra libraries and Numba read when they are loaded."""


@dataclass(frozen=True)
class Task:
    """One cell for one process: `threads` it may use; `sweep` is a file that must be there."""

    name: str
    config: Mapping[str, Any]
    directory: str
    attempts: str
    log: str
    sweep: str
    threads: int
    gpus: float

    @classmethod
    def of(cls, cell: Cell, out: Path) -> Task:
        """The task of `cell`, its paths absolute."""
        out = out.resolve()
        return cls(
            name=cell.name,
            config=cell.config,
            directory=str(cell.directory(out)),
            attempts=str(cell.attempts(out)),
            log=str(cell.log(out)),
            sweep=str(out / FILE),
            threads=cell.cpus,
            gpus=cell.gpus,
        )

    def to_text(self) -> str:
        """One line of JSON; `from_text` gives the task back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Task:
        """What `to_text` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Outcome:
    """How the cell called `name` ended, and why where it did not finish."""

    name: str
    state: State
    error: str | None = None

    def to_text(self) -> str:
        """One line of JSON; `from_text` gives the outcome back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Outcome:
        """What `to_text` wrote; raises `ValueError` for anything else."""
        content = json.loads(text)
        if not isinstance(content, dict) or set(content) != {"name", "state", "error"}:
            raise ValueError(f"no outcome of a cell: {text[:80]}")
        return cls(**content)


def worker_environment(threads: int) -> dict[str, str]:
    """Variables for a worker's process: its threads, the way to this very pynode where that is a checkout, and to the
    data where the user has said where they are: a worker may start in another folder."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    data = {"PYNODE_DATA": str(data_root().resolve())} if os.environ.get("PYNODE_DATA") else {}
    return {**dict.fromkeys(VARIABLES, str(threads)), "PYTHONPATH": path, **data}
