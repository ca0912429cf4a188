"""Runs of flows on a small table, for the commands that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pynode.cli import main


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a user's, in units of its own."""
    path = tmp_path_factory.mktemp("data") / "mine.csv"
    values = np.random.default_rng(0).standard_normal((240, 3)) * [1.0, 50.0, 0.01] + [0.0, 300.0, 2.0]
    np.savetxt(path, values, delimiter=",", header="a,b,c", comments="", fmt="%.10g")
    return path


def call(*arguments: object) -> int:
    """The exit status of a command."""
    return main([str(a) for a in arguments])


SMALL = ("--set", "hidden=8", "--set", "batch=60", "--iterations", 6, "--no-checks")


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both methods and a multilevel run on the table."""
    out = tmp_path_factory.mktemp("trained") / "out"
    status = call("compare", "csv", "--data", table, *SMALL, "--multilevel", "1,4", "--refine-at", "3", "--out", out)
    assert status == 0
    return out
