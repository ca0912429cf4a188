"""Records of the cost model: what tables and the figure are made from, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.scale.errors import NoCostModel
from pynode.records.files import lines_if_any, read_json


@dataclass(frozen=True)
class AssumptionRecord:
    """One assumption in its three scenarios."""

    name: str
    unit: str
    low: float
    central: float
    high: float
    reason: str


@dataclass(frozen=True)
class CellRecord:
    """A cell of one seed on one GPU; evaluations are those of an iteration, seconds those of the whole cell."""

    scenario: str
    problem: str
    method: str
    dtype: str
    batch: int
    weights: int
    iterations: float
    nfe_forward: float
    nfe_backward: float
    n_vjp: float
    operations: float
    bytes: float
    launches: float
    seconds_iteration: float
    seconds_training: float
    seconds_validation: float
    seconds_evaluation: float
    seconds_start: float
    kept_bytes: float
    memory: str

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.seconds_training + self.seconds_validation + self.seconds_evaluation + self.seconds_start


@dataclass(frozen=True)
class PlanRecord:
    """All cells on so many GPUs: hours from the first start to the last end, GPU hours reserved and filled, their cost
    at the price of a GPU hour, and the hours that no schedule can beat; `widest` is the largest gang.  `single_*`: with
    one GPU a cell, longest first, all GPUs paid for here too, whether used or not."""

    scenario: str
    gpus: int
    cells: int
    makespan_hours: float
    reserved_hours: float
    busy_hours: float
    cost: float
    busy_cost: float
    utilisation: float
    lower_bound_hours: float
    widest: int
    single_hours: float
    single_cost: float


@dataclass(frozen=True)
class PlacementRecord:
    """Where and when a cell runs in the central scenario, in hours."""

    gpus: int
    cell: str
    on: list[int]
    start: float
    end: float


@dataclass(frozen=True)
class ReferenceRecord:
    """A number that the study is known by, and the model's for it in each scenario."""

    what: str
    published: str
    low: float
    central: float
    high: float
    unit: str


@dataclass(frozen=True)
class CalibrationRecord:
    """This machine, one thread: operations and bytes a second and seconds an operator, and where each comes from;
    `bandwidth` is None where the times are explained without bytes."""

    dtype: str
    operations: float
    bandwidth: float | None
    launch: float
    square_product: float
    copy: float


@dataclass(frozen=True)
class TrialRecord:
    """Seconds of an iteration, predicted and measured (median with quartiles); `held_out` ones had no part in the
    calibration.  `processor` is the median of the seconds on a processor: less than `measured` where others had it."""

    name: str
    held_out: bool
    problem: str
    method: str
    dtype: str
    batch: int
    widths: list[int]
    evaluations: float
    operations: float
    bytes: float
    launches: float
    predicted: float
    measured: float
    low: float
    high: float
    processor: float
    repeats: int

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


@dataclass(frozen=True)
class RunRecord:
    """A real cell run from start to end in a process of its own, with `at_once` of them running; one called "all" has
    the makespan."""

    name: str
    at_once: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


FILES: dict[str, type[Any]] = {
    "assumptions": AssumptionRecord,
    "cells": CellRecord,
    "plans": PlanRecord,
    "placements": PlacementRecord,
    "references": ReferenceRecord,
    "calibration": CalibrationRecord,
    "trials": TrialRecord,
    "runs": RunRecord,
}
"""A JSON-lines file for each kind."""


@dataclass(frozen=True)
class Model:
    """A directory read back."""

    config: dict[str, Any]
    assumptions: list[AssumptionRecord]
    cells: list[CellRecord]
    plans: list[PlanRecord]
    placements: list[PlacementRecord]
    references: list[ReferenceRecord]
    calibration: list[CalibrationRecord]
    trials: list[TrialRecord]
    runs: list[RunRecord]


def path_of(directory: Path, kind: str) -> Path:
    """The file of one kind of record."""
    return directory / f"{kind}.jsonl"


def read(directory: Path) -> Model:
    """Reads a directory; raises `NoCostModel` where there is none."""
    if not (directory / "config.json").exists() or not path_of(directory, "cells").exists():
        raise NoCostModel(f"{directory} holds no cost model; pass the --out directory of an earlier one")
    parts = {kind: lines_if_any(path_of(directory, kind), record) for kind, record in FILES.items()}
    return Model(read_json(directory / "config.json"), **parts)
