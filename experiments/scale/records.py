"""Records of the cost model: what tables and the figure are made from, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from experiments.benchmarks.records import read_environment
from pynode.errors import UsageError
from pynode.records.content import is_there
from pynode.records.files import lines_if_any, read_object
from pynode.records.schema import Count, NonNegative, Positive, PositiveNumber


class NoCostModel(UsageError):
    """A directory holds no records of the cost model."""


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
    batch: Positive
    weights: Count
    iterations: NonNegative
    nfe_forward: NonNegative
    nfe_backward: NonNegative
    n_vjp: NonNegative
    operations: NonNegative
    bytes: NonNegative
    launches: NonNegative
    seconds_iteration: NonNegative
    seconds_training: NonNegative
    seconds_validation: NonNegative
    seconds_evaluation: NonNegative
    seconds_start: NonNegative
    kept_bytes: NonNegative
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
    gpus: Positive
    cells: Count
    makespan_hours: NonNegative
    reserved_hours: NonNegative
    busy_hours: NonNegative
    cost: NonNegative
    busy_cost: NonNegative
    utilisation: NonNegative
    lower_bound_hours: NonNegative
    widest: Count
    single_hours: NonNegative
    single_cost: NonNegative


@dataclass(frozen=True)
class ReferenceRecord:
    """A number that the study is known by, and the model's for it in each scenario."""

    what: str
    published: str
    low: float
    central: float
    high: float
    unit: str

    @property
    def known(self) -> str:
        """The known number or range with its unit behind it: `9 days (once)`, `under 1 day`."""
        match = re.match(r"(?:under )?[\d.]+(?: to [\d.]+)?", self.published)
        if match is None or not self.unit:
            return self.published
        unit = self.unit.removesuffix("s") if match[0].removeprefix("under ") == "1" else self.unit
        return f"{match[0]} {unit}{self.published[match.end() :]}"

    @property
    def inside(self) -> bool | None:
        """Whether the model's own range, low to high, meets the known number or range; None where that is one of
        another quantity, such as seconds beside evaluations.

        What is known was rounded to the digits that are printed: 97 stands for all that is nearer to it than 0.5.
        """
        least, most = min(self.low, self.central, self.high), max(self.low, self.central, self.high)
        if "(seconds)" in self.published:
            return None
        if self.published.startswith("under "):
            return least < float(self.published.removeprefix("under "))
        first, *_, last = 2 * re.findall(r"[\d.]+", self.published)
        return least < float(last) + _half_a_digit(last) and most > float(first) - _half_a_digit(first)


def _half_a_digit(number: str) -> float:
    """Half of what the last digit of a printed number counts."""
    return 0.5 * 10.0 ** -len(number.partition(".")[2])


@dataclass(frozen=True)
class CalibrationRecord:
    """This machine, one thread: operations and bytes a second and seconds an operator, and where each comes from;
    `bandwidth` is None where the times are explained without bytes."""

    dtype: str
    operations: NonNegative
    bandwidth: NonNegative | None
    launch: NonNegative
    square_product: NonNegative
    copy: NonNegative


@dataclass(frozen=True)
class TrialRecord:
    """Seconds of an iteration, predicted and measured (median with quartiles); `held_out` ones had no part in the
    calibration.  `processor` is the median of the seconds on a processor: less than `measured` where others had it."""

    name: str
    held_out: bool
    problem: str
    method: str
    dtype: str
    batch: Positive
    widths: list[Count]
    evaluations: NonNegative
    operations: PositiveNumber
    bytes: NonNegative
    launches: NonNegative
    predicted: PositiveNumber
    measured: PositiveNumber
    low: NonNegative
    high: NonNegative
    processor: NonNegative
    repeats: Positive

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


FILES: dict[str, type[Any]] = {
    "assumptions": AssumptionRecord,
    "cells": CellRecord,
    "plans": PlanRecord,
    "references": ReferenceRecord,
    "calibration": CalibrationRecord,
    "trials": TrialRecord,
}
"""A JSON-lines file for each kind."""


class ConfigKeys(TypedDict):
    """What config.json of a cost model holds that tables need."""

    device: str
    price: PositiveNumber


@dataclass(frozen=True)
class Model:
    """A directory read back."""

    config: dict[str, Any]
    assumptions: list[AssumptionRecord]
    cells: list[CellRecord]
    plans: list[PlanRecord]
    references: list[ReferenceRecord]
    calibration: list[CalibrationRecord]
    trials: list[TrialRecord]
    environment: dict[str, Any] = field(default_factory=dict)


def path_of(directory: Path, kind: str) -> Path:
    """The file of one kind of record."""
    return directory / f"{kind}.jsonl"


def read(directory: Path) -> Model:
    """Reads a directory; raises `NoCostModel` where there is none."""
    if not is_there(directory / "config.json") or not is_there(path_of(directory, "cells")):
        raise NoCostModel(f"{directory} holds no cost model; pass the --out directory of an earlier one")
    parts = {kind: lines_if_any(path_of(directory, kind), record) for kind, record in FILES.items()}
    return Model(read_object(directory / "config.json", ConfigKeys), **parts, environment=read_environment(directory))
