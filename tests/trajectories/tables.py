"""Small tables, read as a series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pynode.trajectories.data import Trajectories
from pynode.trajectories.read import read_series


def series(tmp_path: Path, text: str, **options: Any) -> Trajectories:
    """The trajectories in a text."""
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return read_series(path, **options)


def said(result: Trajectories, text: str) -> bool:
    """Whether a notice says so."""
    return any(text in notice for notice in result.notices)


def rows(count: int, line: str) -> str:
    """Lines made of a pattern with n, the number of the line, and w, a number that goes up and down."""
    return "".join(line.format(n=n, w=[3, 1, 4, 1.5, 9, 2.6, 5][n % 7]) + "\n" for n in range(count))
