"""Series of the user's own, --data FILE: what is read, what is decided, how it is trained and judged."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch

from pynode.arguments import check_choice
from pynode.datasets.errors import DataError, TableMissing
from pynode.datasets.sources import file_digest
from pynode.datasets.splits import Array
from pynode.errors import InvalidArgument
from pynode.methods.base import GradientMethod
from pynode.names import in_one_text, names_of
from pynode.outside_members import reference_origin
from pynode.problems.base import Evaluation, Objective, Problem, TrainingSettings
from pynode.solution import SolveStats
from pynode.stages import Stage
from pynode.trajectories.backtest import can_be_restrained, restrained
from pynode.trajectories.blank import blank_model
from pynode.trajectories.build import Prepared, first_model, prepare, with_all_rows
from pynode.trajectories.checks import check_trainable, notices
from pynode.trajectories.data import Trajectories, Trajectory
from pynode.trajectories.decisions import decisions
from pynode.trajectories.evaluation import evaluated
from pynode.trajectories.fields import HIDDEN
from pynode.trajectories.finishing import finishing_stages
from pynode.trajectories.forecast import forecasts
from pynode.trajectories.judgement import metrics
from pynode.trajectories.loss import Weights, data_loss, shooting_loss
from pynode.trajectories.model import Initial, SeriesModel
from pynode.trajectories.orders import deepened
from pynode.trajectories.own_field import own_field
from pynode.trajectories.parts import Parts, Split, parts_of
from pynode.trajectories.read import read_series
from pynode.trajectories.rollout import by_method
from pynode.trajectories.windows import Windows, make_windows

GROWS_AT = (100, 200)
"""Iterations at which windows become longer."""
BATCH = 64
"""Windows of a batch."""


LISTS = {
    **dict.fromkeys(("values", "inputs", "covariates", "circular"), False),
    **dict.fromkeys(("missing_values", "leave_out"), True),
}
"""Options that are lists of names, of which one may stand alone; whether numbers are names as well."""


@dataclass(frozen=True)
class SeriesOptions:
    """The file, its columns, the model, and what is held out (as `read_series` and `prepare` take them)."""

    data: str | None = None
    """Path of the file; --data FILE gives it as well."""
    sha256: str | None = None
    """SHA-256 digest that the file must have: that of the start of the run."""
    time: str | None = None
    """Column of the times, by name or by number from 1; without one, it is guessed."""
    id: str | None = None
    """Column that tells trajectories apart."""
    values: tuple[str, ...] = ()
    """Columns to model; without any, all columns of numbers that have no other role."""
    inputs: tuple[str, ...] = ()
    """Columns that are known functions of time."""
    input_kind: str = "auto"
    """How inputs go on between their rows: interpolated, steps or jumps, of all or NAME:KIND,...; auto decides."""
    covariates: tuple[str, ...] = ()
    """Columns that are constant over a trajectory."""
    circular: tuple[str, ...] = ()
    """Columns that are angles, NAME or NAME:PERIOD."""
    missing_values: tuple[str, ...] = ()
    """Cells that mean a missing value, beside empty ones, NA and the like."""
    leave_out: tuple[str, ...] = ()
    """Trajectories to leave out."""
    header: bool | None = None
    """Whether the first line names the columns; without a value, it is read off the file."""
    decimal: Literal[".", ","] | None = None
    """Decimal mark of the numbers: "." or ","."""
    date_order: Literal["dmy", "mdy", "ymd"] | None = None
    """Order of day, month and year in dates such as 03/04/2024; without one, the column decides it."""
    field: str | None = None
    """Vector field: an architecture, or FILE.py:NAME; without one, a linear part beside a small network."""
    hidden: tuple[int, ...] | None = None
    """Widths of the network's hidden layers."""
    augment: int | None = None
    """Hidden dimensions; without a number, the data decide."""
    initial: str = "learnt"
    """Where trajectories start: learnt, given (their first values) or encoded (read off their first points)."""
    window: int | None = None
    """Rows of the first training windows; without a number, the data decide."""
    continuity: float = 1.0
    """Weight of the gaps between windows."""
    split: Literal["time", "trajectory"] | None = None
    """What is held out: the last rows (time) or whole trajectories."""
    held_out: float | str | tuple[str, ...] | None = None
    """Share or number of rows or trajectories to hold out, or names of trajectories; 0 for none.  In text `id:3` is a
    name and `number:3` a number."""
    given: int | None = None
    """First rows of held-out trajectories that their state is found from."""

    def __post_init__(self) -> None:
        for name, numbers in LISTS.items():
            object.__setattr__(self, name, names_of(name, getattr(self, name), numbers=numbers))
        for name in ("time", "id"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, value if isinstance(value, str) else in_one_text(names_of(name, value)))
        check_choice("initial", self.initial, get_args(Initial))
        if self.split is not None:
            check_choice("split", self.split, get_args(Split))
        widths = self.hidden if isinstance(self.hidden, tuple) else ()
        if self.hidden is not None and (not widths or any(type(w) is not int or w < 1 for w in widths)):
            raise InvalidArgument("hidden", self.hidden, "not positive integers", "give widths, e.g. 32,32")
        if self.window is not None and (type(self.window) is not int or self.window < 2):
            raise InvalidArgument("window", self.window, "not a number of rows from 2 on", "use e.g. 16")
        if self.augment is not None and (type(self.augment) is not int or not 0 <= self.augment <= 20):
            raise InvalidArgument("augment", self.augment, "not from 0 to 20", "use 0 for none, or e.g. 1")
        if type(self.continuity) not in (int, float) or not 0 <= self.continuity < math.inf:
            raise InvalidArgument("continuity", self.continuity, "not a non-negative number", "use e.g. 1")


class UserSeries(Problem):
    """Your own time series in a file: --data FILE.

    Multiple shooting: windows of each trajectory start from states of their own, which are trained with the field and
    drawn together by a continuity penalty, and grow while training.  The same first model for every method, matched to
    smooth curves through the data.
    """

    name: ClassVar[str] = "series"
    training: ClassVar[TrainingSettings] = TrainingSettings(
        iterations=300, learning_rate=0.01, validate_every=25, rate_half_life=100
    )
    fixed_settings: ClassVar[Mapping[str, Any]] = {"scheme": "rk4", "steps": 1}
    adaptive_settings: ClassVar[Mapping[str, Any]] = {"rtol": 1e-5, "atol": 1e-6}
    quick: ClassVar[Mapping[str, Any]] = {"iterations": 20, "validate_every": 10}
    Options: ClassVar[type[Any]] = SeriesOptions
    options: SeriesOptions

    @property
    def series(self) -> Trajectories:
        """The trajectories of the file."""
        return _read(self.options, self._digest)

    @cached_property
    def _digest(self) -> str:
        """The SHA-256 digest of the file; raises where there is none, or another than at the start of the run."""
        o = self.options
        if o.data is None:
            raise TableMissing("the problem series needs a file; give one (data=FILE)")
        path = Path(o.data)
        actual = file_digest(path).hexadecimal if path.is_file() else ""
        if o.sha256 is not None and actual not in ("", o.sha256):
            raise DataError(
                f"{path} has changed since it was first used here (SHA-256 {actual[:9]}..., not {o.sha256[:9]}...); "
                "give the file that the run was trained on, or start another run"
            )
        return actual

    @property
    def parts(self) -> Parts:
        """The rows that are trained on, and those that are held out."""
        return _parts(self.options, self._digest)

    @property
    def prepared(self) -> Prepared:
        """What is known of the training rows."""
        return _prepared(self.options, self._digest)

    @property
    def prepared_for_training(self) -> Prepared:
        """The same, with how firmly the field is held down while training: backtests decide, which take seconds."""
        return _restrained(self.options, self._digest)

    @property
    def columns(self) -> tuple[str, ...]:
        """All value columns, those that never change at the end."""
        return (*self.series.values, *self.series.constants)

    @property
    def notices(self) -> list[str]:
        """What was decided, in sentences."""
        return [*decisions(self.prepared_for_training, self.parts), *notices(self.prepared)]

    def check(self) -> None:
        if self.device.type != "cpu":
            raise InvalidArgument("device", self.device, "series are trained on the CPU alone", "use cpu")
        super().check()
        check_trainable(self.prepared, self.parts)
        self.blank_model(self.seed)

    def data_record(self) -> dict[str, Any]:
        rows = {
            "train": sum(int(mask.sum()) for mask in self.parts.training),
            "test": sum(int((~mask).sum()) for mask in self.parts.known),
        }
        sha256 = {"file": self._digest}
        return {"name": self.name, "rows": rows, "published_rows": None, "whole": None, "sha256": sha256}

    def model(self, seed: int = 0) -> SeriesModel:
        origin = None if self.options.field is None else reference_origin(self.options.field)
        content = "" if origin is None else origin.sha256
        return copy.deepcopy(_first(self.options, self._digest, content, seed)).to(self.dtype)

    def blank_model(self, seed: int = 0) -> SeriesModel:
        """A model whose field is not matched to the data, which takes longest where nothing is trained."""
        return _made(self.options, self.prepared, seed, blank_model).to(self.dtype)

    def batch(self, iteration: int) -> Windows:
        stage = sum(iteration >= at for at in GROWS_AT)
        windows = self._windows[stage]
        if windows.count <= BATCH:
            return windows
        chosen = np.random.default_rng([self.seed, iteration]).choice(windows.count, BATCH, replace=False)
        return windows.take(torch.as_tensor(np.sort(chosen)))

    def objective(self, method: GradientMethod, model: SeriesModel, batch: Windows) -> Objective:
        stats: list[SolveStats] = []
        loss = shooting_loss(model, batch, self._weights, by_method(method, stats))
        return Objective.of(loss, tuple(stats))

    def validation_loss(self, model: SeriesModel) -> float:
        """The loss of the data over long windows, each from its own state, relative to the noise; on training rows."""
        return data_loss(model, self._windows[-1], self._weights)

    def stages(self) -> Sequence[Stage]:
        """L-BFGS over longer and longer windows of the training rows; then, for forecasts beyond the file, of all."""
        whole = (lambda: self._for_training_at_last) if self.parts.anything_held_out else None
        return finishing_stages(self.prepared_for_training, whole, self.options.continuity, self.dtype)

    def evaluate(self, model: SeriesModel, method: GradientMethod) -> Evaluation:  # noqa: ARG002 (judged alike)
        """Errors of fit and held-out forecasts; series `forecast` has what figures and tables need."""
        prepared, series = self.prepared, self.series
        record = evaluated(model, prepared, self.parts)
        axis = series.axis
        record |= {
            "time": {
                "column": axis.column,
                "kind": axis.kind,
                "unit": axis.unit,
                "seconds": axis.seconds,
                "origin": axis.origin,
            },
            "split": [self.parts.kind, self.parts.sentence],
            "constants": [[name, value] for name, value in series.constants.items()],
            "hidden": list(prepared.hidden_words),
            "notices": list(dict.fromkeys(self.notices)),
            "id_column": series.id_column,
            "inputs": list(series.inputs),
            "covariates": list(series.covariates),
            "windows": [[at, prepared.window * by] for at, by in zip((0, *GROWS_AT), prepared.growth(), strict=True)],
        }
        more = {"hidden_dimensions": float(prepared.sizes.hidden)}
        return Evaluation({**metrics(record), **more}, {"forecast": record})  # type: ignore[dict-item]

    def forecasts(self, model: SeriesModel, each: Sequence[Trajectory], times: Sequence[Array]) -> list[Array]:
        """Values `(k, columns)` of trajectories of the file, or of another, at `times` `(k,)` after their last rows.

        From each trajectory's own state at its last row; in the file's units, with the columns that never change.
        Raises `InvalidArgument` for times beyond which an input is known.
        """
        known = [np.ones(len(trajectory.times), bool) for trajectory in each]
        every = forecasts(model.double(), self._prepared_at_last, each, times, known)
        constants = np.array(list(self.series.constants.values()))
        return [np.hstack((values, np.tile(constants, (len(values), 1)))) for values in every]

    def forecast(self, model: SeriesModel, trajectory: Trajectory, times: Array) -> Array:
        """The same of one trajectory: values `(k, columns)` at `times` `(k,)`."""
        return self.forecasts(model, [trajectory], [times])[0]

    @cached_property
    def _for_training_at_last(self) -> Prepared:
        return with_all_rows(self.prepared_for_training)  # takes seconds where rows are many, and is asked for often

    @cached_property
    def _prepared_at_last(self) -> Prepared:
        return with_all_rows(self.prepared)

    @cached_property
    def _windows(self) -> list[Windows]:
        """The training windows of each length."""
        p = self.prepared
        masks = [p.node_mask(k, mask) for k, mask in enumerate(p.masks)]
        result = [make_windows(p.grids, p.places, masks, by, self.dtype) for by in p.growth()]
        return [w for w in result if w is not None]

    @cached_property
    def _weights(self) -> Weights:
        return Weights.of(self.prepared_for_training, self.options.continuity, self.dtype)


# several runs of one command pose the same problem, and making its first model takes seconds


@lru_cache(maxsize=4)
def _read(o: SeriesOptions, digest: str) -> Trajectories:  # noqa: ARG001 (another file of the same name is another)
    assert o.data is not None
    return read_series(
        o.data,
        time=o.time,
        id=o.id,
        values=o.values or None,
        inputs=o.inputs,
        input_kind=o.input_kind,
        covariates=o.covariates,
        circular=o.circular,
        missing_values=o.missing_values,
        header=o.header,
        decimal=o.decimal,
        date_order=o.date_order,
        leave_out=o.leave_out,
    )


@lru_cache(maxsize=4)
def _parts(o: SeriesOptions, digest: str) -> Parts:
    return parts_of(_read(o, digest), o.split, o.held_out, o.given)


@lru_cache(maxsize=4)
def _prepared(o: SeriesOptions, digest: str) -> Prepared:
    prepared = prepare(_read(o, digest), _parts(o, digest).training, augment=o.augment, window=o.window)
    return deepened(prepared) if o.augment is None and o.field is None else prepared


@lru_cache(maxsize=4)
def _restrained(o: SeriesOptions, digest: str) -> Prepared:
    prepared = _prepared(o, digest)
    free = o.field is not None or o.hidden is not None
    return prepared if free or not can_be_restrained(prepared) else restrained(prepared)


@lru_cache(maxsize=4)
def _first(o: SeriesOptions, digest: str, content: str, seed: int) -> SeriesModel:  # noqa: ARG001 (of the field's file)
    return _made(o, _restrained(o, digest), seed, first_model)


def _made(o: SeriesOptions, prepared: Prepared, seed: int, make: Callable[..., SeriesModel]) -> SeriesModel:
    widths, inner = o.hidden or HIDDEN, None
    if o.field is not None:
        inner = own_field(o.field, prepared.sizes, prepared.scaling, widths, seed)
    return make(prepared, seed, widths=widths, inner=inner, initial=o.initial)
