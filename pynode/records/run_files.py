"""Reading and checking the JSON files of a run: its configuration, its summary and its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import msgspec

from pynode.errors import RecordError, UsageError
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.records.content import is_there
from pynode.records.files import read_json, read_object
from pynode.records.forecast import ForecastKeys, check_lengths
from pynode.records.schema import Count, NonNegative, Positive, PositiveNumber, Seconds, check_numbers, convert

CONFIG, SUMMARY, EVALUATION = "config.json", "summary.json", "evaluation.json"

ENVIRONMENT = "environment.json"
"""What the machine was in each session of a run: a list of `pynode.training.machine.environment`."""

RESUME = "run the same command with --resume, which mends it, or restore the file"
"""The remedy for what a resumed run writes again."""

Point = Annotated[list[float | None], msgspec.Meta(min_length=1)]
Points = Annotated[list[Point], msgspec.Meta(min_length=1)]
Interval = Annotated[list[float], msgspec.Meta(min_length=2, max_length=2)]


class _MethodName(TypedDict):
    method: str


class MethodKeys(_MethodName, total=False):
    """What tables and figures need of a method's options."""

    rtol: PositiveNumber
    steps: Positive | list[Positive]


class _DataRows(TypedDict):
    rows: dict[str, Count]


class DataKeys(_DataRows, total=False):
    """The rows that a run was trained on: rows by part, what is published of the set, and digests."""

    name: str
    published_rows: dict[str, Count] | None
    whole: bool | None
    sha256: dict[str, str]
    synthetic: str


class _ConfigKeys(TypedDict):
    problem: str
    method: MethodKeys
    seed: Count
    faithful: bool
    iterations: Positive


class ConfigKeys(_ConfigKeys, total=False):
    """The types of a configuration; `RunConfig` checks the values."""

    learning_rate: PositiveNumber
    weight_decay: NonNegative
    dtype: str
    device: str
    precision: str
    validate_every: Positive
    checkpoint_every: Positive
    memory_every: Positive
    rate_drops: list[tuple[Count, NonNegative]]
    rate_half_life: Positive | None
    patience: Positive | None
    multilevel: dict[str, Any] | None
    options: dict[str, Any]
    on_failure: str
    decided_engine: str | None
    data: DataKeys
    outside: dict[str, dict[str, str]]


class _SummaryKeys(TypedDict):
    status: Literal["finished", "failed"]
    iterations: Count
    best_validation_loss: float | None


class SummaryKeys(_SummaryKeys, total=False):
    """The keys of a summary that are no metrics of the problem."""

    method: str
    backend: str
    engine: str
    label: str
    seed: Count
    failed_iterations: Count
    lost_records: Count
    best_loss: float | None
    best_iteration: Count
    seconds_per_iteration: Seconds | None
    seconds_forward: Seconds | None
    seconds_backward: Seconds | None
    seconds_optimiser: Seconds | None
    seconds_bridge: Seconds | None
    seconds_exchange: Seconds | None
    nfe_forward: Seconds | None
    nfe_backward: Seconds | None
    evaluations: Seconds | None
    peak_memory_bytes: Count | None
    load_average: NonNegative | None
    stopped_early: bool
    training_seconds: Seconds | None
    warmup_seconds: Seconds
    finishing_iterations: Count
    finishing_failures: Count
    finishing_seconds: Seconds | None
    finishing_gradients: Count | None
    finishing_evaluations: Count | None
    final_seconds: Seconds | None
    final_gradients: Count | None
    error: str
    evaluation_failure: str


class SeriesKeys(TypedDict, total=False):
    """The series that figures draw, by the shape of each."""

    t: list[float]
    data_t: Annotated[list[float], msgspec.Meta(min_length=1)]
    truth: Points
    model: Points
    data: Points
    grid: Interval
    density: Points
    pushed: Points
    generated: Points
    columns: list[str]
    shift: list[float]
    scale: list[float]
    trajectories: Annotated[list[Points], msgspec.Meta(min_length=1)]
    forecast: ForecastKeys


class EvaluationKeys(TypedDict):
    """An evaluation."""

    metrics: dict[str, Any]
    series: SeriesKeys


def read_config(directory: Path) -> dict[str, Any]:
    """The configuration of a run as plain values; raises `RecordError` that names file and key."""
    path = directory / CONFIG
    config = read_object(path, ConfigKeys, RESUME)
    try:
        outside = {kind: origin.get("name") for kind, origin in config.get("outside", {}).items()}
        for kind, known, name in (
            ("method", METHODS, config["method"]["method"]),
            ("problem", PROBLEMS, config["problem"]),
        ):
            if outside.get(kind) != name:  # a member from outside need not be here to be shown
                known.check(name)
        if not {"rtol", "steps"} & set(config["method"]):
            raise ValueError("method has neither rtol nor steps")
    except (UsageError, ValueError) as error:
        raise RecordError(f"{path} is damaged: {error}; {RESUME}") from error
    return config


def read_summary(directory: Path) -> dict[str, Any]:
    """The summary of a run; raises `RecordError` that names file and key."""
    path = directory / SUMMARY
    summary = read_object(path, SummaryKeys, RESUME)
    try:
        check_numbers(summary, SummaryKeys.__annotations__)
        if summary.get("lost_records", 0) > summary["iterations"]:
            raise ValueError(f"lost_records = {summary['lost_records']} of {summary['iterations']} iterations")
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}; {RESUME}") from error
    return summary


def read_evaluation(directory: Path) -> dict[str, Any]:
    """Metrics and series of a trained model; raises `RecordError` that names file and key."""
    path = directory / EVALUATION
    evaluation = read_json(path, RESUME)
    try:
        convert(evaluation, EvaluationKeys)
        check_numbers(evaluation["metrics"])
        _check_shapes(evaluation["series"])
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}; {RESUME}") from error
    return dict(evaluation)


def read_threads(directory: Path) -> int:
    """The threads that a run had on all its ranks together, the fewest of its sessions; 1 where none tells."""
    path = directory / ENVIRONMENT
    try:
        sessions = read_json(path) if is_there(path) else []
    except RecordError:  # the run is as good without
        return 1
    told = [s for s in sessions if isinstance(s, dict)] if isinstance(sessions, list) else []
    return min((_number(s.get("torch_threads")) * _number(s.get("ranks")) for s in told), default=1)


def _number(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1


LENGTHS = {"truth": "t", "model": "t", "data": "data_t"}
"""Series that have a row for each entry of another one."""


def _check_shapes(series: Mapping[str, Any]) -> None:
    """Raises `ValueError` where rows of one series differ in length, or two series that belong together do."""
    if "forecast" in series:
        check_lengths(series["forecast"])
    for name, rows in series.items():
        tables = rows if name == "trajectories" else [rows]
        widths = {len(row) for table in tables for row in table if isinstance(row, list)}
        if len(widths) > 1 or len({len(table) for table in tables}) > 1:
            raise ValueError(f"series.{name}: its rows differ in length")
        times = series.get(LENGTHS.get(name, ""))
        if times is not None and len(times) != len(rows):
            raise ValueError(f"series.{name} has {len(rows)} rows, but series.{LENGTHS[name]} {len(times)} entries")
    widths = {len(series[name][0]) for name in ("truth", "model", "data") if "t" in series and name in series}
    if widths and (len(widths) > 1 or min(widths) < 2):
        raise ValueError("series: truth, model and data do not have the same columns, two or more")
    for name in ("columns", "shift", "scale"):
        if name in series and {len(row) for row in series.get("data", [])} != {len(series[name])}:
            raise ValueError(f"series.{name} has not one entry for each column of series.data")
    if "density" in series and len(series["density"]) != len(series["density"][0]):
        raise ValueError("series.density is no square")
