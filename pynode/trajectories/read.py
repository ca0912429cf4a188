"""Reads trajectories from a file: which column is what, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pynode.trajectories.data import Trajectories


def read_series(
    path: Path | str,
    *,
    time: str | None = None,
    id: str | None = None,
    values: Sequence[str] | None = None,
    inputs: Sequence[str] = (),
    input_kind: str = "auto",
    covariates: Sequence[str] = (),
    circular: Sequence[str] = (),
    missing_values: Sequence[str] = (),
    header: bool | None = None,
    decimal: str | None = None,
    leave_out: Sequence[str] = (),
) -> Trajectories:
    """The trajectories in the file at `path`."""
    raise NotImplementedError
