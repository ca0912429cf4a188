"""Field evaluations of adaptive solves: those of this project's published runs, scaled to the study's tolerances.

The study's own numbers are not known (its table could not be read), so none are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from experiments.benchmarks.summary import power_law
from experiments.scale.assumptions import Scenario
from experiments.scale.errors import NoRecordsOfRuns
from pynode.records.files import read_json

PUBLISHED = Path(__file__).resolve().parents[1] / "published"

SPIRAL, TOY, TABLE, TOLERANCES = "spiral-eager", "8gaussians", "miniboone-sample", "spiral-tolerances"
"""Directories of the records: three problems, and the spiral at several tolerances."""

LOOSE = 1e-4
"""Tolerances above this are left out of the fit: a handful of steps does not shrink any more."""


@dataclass(frozen=True)
class Nfe:
    """Mean field evaluations of an iteration, forward and backward, for each block of a flow."""

    forward: float
    backward: float

    def times(self, factor: float) -> Nfe:
        """Both by the same factor."""
        return Nfe(self.forward * factor, self.backward * factor)


def recorded(name: str, folder: Path = PUBLISHED) -> Nfe:
    """Means over the runs of Opt-Disc in a published directory; raises `NoRecordsOfRuns`."""
    found = [read_json(path) for path in sorted((folder / name / "runs").glob("opt-disc-dopri5-*/summary.json"))]
    if not found:
        raise NoRecordsOfRuns(
            f"{folder / name}: no runs of opt-disc there; the model takes its NFE from the published records, "
            "so run it from a whole checkout"
        )
    return Nfe(fmean(s["nfe_forward"] for s in found), fmean(s["nfe_backward"] for s in found))


def tolerance_exponent(folder: Path = PUBLISHED) -> float:
    """p in NFE ~ rtol^-p, fitted to the published runs of the spiral."""
    points = []
    for path in sorted((folder / TOLERANCES / "runs").glob("opt-disc-dopri5-*/summary.json")):
        rtol = float(read_json(path.with_name("config.json"))["method"]["rtol"])
        if rtol <= LOOSE:
            summary = read_json(path)
            points.append((rtol, summary["nfe_forward"] + summary["nfe_backward"]))
    fit = power_law([x for x, _ in points], [y for _, y in points]) if len(points) > 2 else None
    if fit is None:
        raise NoRecordsOfRuns(f"{folder / TOLERANCES}: no three runs at {LOOSE:g} or tighter; take a whole checkout")
    return -fit.exponent


def table_nfe(scenario: Scenario, folder: Path = PUBLISHED) -> Nfe:
    """Of one block of a public table at the study's tolerances."""
    factor = scenario["NFE of other tables"] * 10 ** (tolerance_exponent(folder) * scenario["decades of tolerance"])
    return recorded(TABLE, folder).times(factor)


def accurate_factor(rtol: float, folder: Path = PUBLISHED, *, accurate: float = 1e-6) -> float:
    """How many times as many evaluations a judging solve takes as a training solve at `rtol`."""
    return max(1.0, 10 ** (tolerance_exponent(folder) * math.log10(rtol / accurate)))
