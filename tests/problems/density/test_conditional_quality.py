"""Conditional flows as good as flows that are trained for each class, by the default training of a table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pynode.problems.density.toys import Moons
from tests.cli.conftest import call

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def moons(path: Path, n: int, seed: int, kinds: tuple[str, ...] = ("lower", "upper")) -> Path:
    """Rows of the two half-moons, with a word for which one a row is of."""
    generator = np.random.default_rng(seed)
    rows = Moons().draw(n, generator)
    centres = {"upper": (-1.0, -0.2), "lower": (1.0, 0.8)}  # of half-circles of radius 2
    off = {moon: np.abs(np.hypot(*(rows - centre).T) - 2) for moon, centre in centres.items()}
    words = np.where(off["upper"] < off["lower"], "upper", "lower")
    lines = [f"{word},{x:.9g},{y:.9g}" for word, (x, y) in zip(words, rows, strict=True)]
    path.write_text("\n".join(["moon,x,y", *(line for line in lines if line.startswith(kinds))]) + "\n")
    return path


def scores(directory: Path, data: Path, out: Path) -> np.ndarray:
    assert call("score", directory, "--data", data, "--out", out) == 0
    return np.array([float(row["log_likelihood"]) for row in csv.DictReader(out.read_text().splitlines())])


def test_two_moons(tmp_path: Path) -> None:
    """Per class within 0.05 nats of a flow that is trained on that class alone."""
    quick = ("--methods", "disc-opt")
    data, new = moons(tmp_path / "moons.csv", 4000, 0), moons(tmp_path / "new.csv", 2000, 1)
    both = tmp_path / "both"
    assert call("density", "--data", data, "--condition", "moon", *quick, "--out", both) == 0
    of_all = scores(both, new, tmp_path / "s.csv")
    words = np.array([row["moon"] for row in csv.DictReader(new.read_text().splitlines())])
    for k, moon in enumerate(("lower", "upper")):
        alone = moons(tmp_path / f"{moon}.csv", 4000, 0, (moon,))
        directory = tmp_path / moon
        assert call("density", "--data", alone, "--drop", "moon", *quick, "--out", directory) == 0
        some = moons(tmp_path / f"new-{moon}.csv", 2000, 1, (moon,))
        of_one = scores(directory, some, tmp_path / f"s{k}.csv")
        assert -of_all[words == moon].mean() < -of_one.mean() + 0.05
