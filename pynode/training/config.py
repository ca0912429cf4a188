"""The configuration that fixes a run: with one seed, two runs of it give the same numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from pynode.arguments import check_choice, check_count
from pynode.engines.choice import AUTO, engine_called
from pynode.errors import ConfigurationMismatch, InvalidArgument, OutsideError, RecordError, UsageError
from pynode.gradients import Continuous
from pynode.methods.base import GradientMethod, method_from_json
from pynode.precision import Precision, check_precision
from pynode.problems import PROBLEMS
from pynode.problems.base import Problem, options_from_json
from pynode.records.run_files import CONFIG, RESUME, ConfigKeys, read_config
from pynode.records.schema import convert
from pynode.steps import Fixed
from pynode.training.data import DATA, at_its_place_now, check_same_rows
from pynode.training.origins import origins_of, recall_members
from pynode.training.schedules import Multilevel
from pynode.world import ALONE, World

OnFailure = Literal["stop", "skip", "restore"]

FREE = ("iterations", "checkpoint_every", "on_failure", "device", "decided_engine")
"""What may be another when a run is resumed; of the iterations only more.  So may an engine that was left open."""

MOST_ITERATIONS, MOST_STEPS = 10**12, 10**5
"""Iterations of a run and steps of an output interval: more would never end."""

Dtype = Literal["float32", "float64"]
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in get_args(Dtype)}


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the numbers of a run, and how often it validates and saves.

    `on_failure` says what follows an iteration whose solve fails or whose loss is not finite: "stop" the run, "skip"
    its batch, or "restore" the best weights from which an iteration went well, and go on with half the learning rate
    and a fresh Adam.
    """

    problem: str
    method: GradientMethod
    seed: int
    iterations: int
    """Training iterations of each run."""
    learning_rate: float
    """Learning rate of Adam."""
    weight_decay: float
    """Weight decay of Adam: this times the weights is added to the gradient."""
    dtype: Dtype = "float64"
    """Floating point type of weights, states and data."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    precision: Precision = "full"
    """Products of float32 matrices in training: full, or tf32 (on GPUs) or bf16, with less exact gradients."""
    faithful: bool = False
    """Reproduce the defects of the original study, for problems that have any."""
    validate_every: int = 10
    """Iterations between validations."""
    checkpoint_every: int = 50
    """Iterations between checkpoints."""
    memory_every: int = 150
    """Iterations between measurements of the peak memory."""
    rate_drops: tuple[tuple[int, float], ...] = ()
    rate_half_life: int | None = None
    """Iterations in which the learning rate halves; without one it stays."""
    patience: int | None = None
    """Stop early after more than so many validations without improvement."""
    multilevel: Multilevel | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    on_failure: OnFailure = "stop"
    """After a failed solve or a loss that is not finite: stop the run, skip the batch, or restore the best weights."""
    decided_engine: str | None = None
    """The engine that a method's "auto" stands for in this run, decided at its start."""
    data: Mapping[str, Any] | None = None
    """The rows that the run is trained on, of problems on tables (`Problem.data_record`); recorded at its start."""

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, get_args(Dtype))
        check_choice("on_failure", self.on_failure, get_args(OnFailure))
        for argument in ("iterations", "validate_every", "checkpoint_every", "memory_every"):
            check_count(argument, getattr(self, argument), MOST_ITERATIONS)
        if not 0 < self.learning_rate < float("inf"):
            raise InvalidArgument("learning_rate", self.learning_rate, "not a positive number", "use e.g. 0.01")
        if not 0 <= self.weight_decay < float("inf"):
            raise InvalidArgument("weight_decay", self.weight_decay, "not a non-negative number", "use 0 for none")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise InvalidArgument("seed", self.seed, "not an integer from 0 to 2^63 - 1", "use 0, 1, 2, ...")
        for argument in ("rate_half_life", "patience"):
            if (count := getattr(self, argument)) is not None:
                check_count(argument, count)
        if self.multilevel is not None and self.method.adaptive:
            raise InvalidArgument(
                "multilevel", self.multilevel.steps, f"{self.method.name} has no number of steps", "use disc-opt"
            )
        check_accuracy(self.method)
        check_device(self.device)
        check_precision(self.precision, self.device, DTYPES[self.dtype])

    @property
    def running(self) -> GradientMethod:
        """The method on the engine that was decided on."""
        return self.method if self.decided_engine is None else self.method.on_engine(self.decided_engine)

    @property
    def label(self) -> str:
        """Folder name of the run."""
        if self.multilevel is None:
            return f"{self.method.label}-seed{self.seed}"
        levels = "-".join(str(s) for s in self.multilevel.steps)
        return f"{self.method.family.replace(' ', '-')}-levels-{levels}-seed{self.seed}"

    def make_problem(self, world: World = ALONE) -> Problem:
        """The problem as a rank of `world` sees it, its data in this configuration's dtype on its device."""
        problem = PROBLEMS.load(self.problem)
        return problem(
            dtype=DTYPES[self.dtype],
            device=self.device,
            world=world,
            faithful=self.faithful,
            seed=self.seed,
            options=options_from_json(problem, self.options),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` gives the configuration back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        levels = None if self.multilevel is None else self.multilevel.to_json()
        plain |= {"options": dict(self.options), "multilevel": levels, "method": self.method.to_json()}
        if plain["data"] is None:
            del plain["data"]
        outside = origins_of(plain)
        return {**plain, "outside": outside} if outside else plain

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunConfig:
        """The configuration that `to_json` wrote; raises `RecordError` for anything else."""
        try:
            convert(data, ConfigKeys)
            recall_members(data)
            values = {k: _as_tuple(v) for k, v in data.items() if k != "outside"}
            if data.get("multilevel") is not None:
                values["multilevel"] = Multilevel(**{k: _as_tuple(v) for k, v in data["multilevel"].items()})
            config = cls(**{**values, "method": _stored_method(data["method"])})
            options_from_json(PROBLEMS.load(config.problem), config.options)
        except UsageError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise RecordError(f"no configuration of a run: {type(error).__name__} {error}") from error
        return config

    def check_resumes(self, earlier: Mapping[str, Any]) -> dict[str, str]:
        """What is another than in `earlier`, the plain values of the configuration that a run was started with.

        Raises `ConfigurationMismatch`, with the differences, unless this continues `earlier` (or trains longer).
        """
        earlier = {k: v for k, v in earlier.items() if k != "outside"}  # `changed_members` compares those
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(earlier) - known):
            raise ConfigurationMismatch(
                f"{self.label} was started by another version of pynode, which knew {', '.join(unknown)}; resume it "
                "with that, or choose another --out"
            )
        mine, theirs = _plain(self.to_json()), _plain({**_defaults(type(self)), **earlier})
        mine.pop("outside", None)
        rows = theirs.pop("data", None)
        check_same_rows(self.label, rows, mine.pop("data", None))
        options, moved = theirs.get("options") or {}, ""
        if isinstance(options, Mapping):
            options, moved = at_its_place_now(options, mine["options"], rows)
        theirs["options"] = options
        try:
            theirs["method"] = _plain(_stored_method(theirs["method"]).to_json())  # with options that came later
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationMismatch(f"{self.label} was started with a method that is none ({error})") from error
        changed_engine = {}
        decided = theirs.pop("decided_engine"), mine.pop("decided_engine")
        if AUTO in (engines := [m["method"].get("engine") for m in (theirs, mine)]) and engines[0] != engines[1]:
            changed_engine = {} if engines[1] == AUTO else {"engine": f"{decided[0] or engines[0]} -> {engines[1]}"}
            theirs["method"]["engine"] = engines[1]
        missing = set(mine) - set(theirs)
        changed = {k: f"{theirs.get(k)} -> {mine[k]}" for k in mine if k in missing or mine[k] != theirs[k]}
        if "iterations" in changed and not _is_longer(self.iterations, theirs.get("iterations")):
            raise ConfigurationMismatch(
                f"{self.label}: started with {theirs.get('iterations')} iterations, resumed with {self.iterations}; "
                "a resumed run can only get longer"
            )
        if fixed := [f"{k}: {v}" for k, v in changed.items() if k not in FREE]:
            adjoint = theirs["method"].get("adjoint")  # which problems bring, some of them another than they once did
            is_all = (
                "method" in changed and len(fixed) == 1 and {**mine["method"], "adjoint": adjoint} == theirs["method"]
            )
            same = f" (--adjoint {adjoint})" if is_all else ""
            raise ConfigurationMismatch(
                f"{self.label} was started with another configuration ({'; '.join(fixed)}); "
                f"resume with the same options{same}, or choose another --out"
            )
        return {**changed, **changed_engine, **({DATA: moved} if moved else {})}

    def on_engine_of(self, earlier: Mapping[str, Any]) -> RunConfig:
        """This configuration, on the engine of `earlier` where this one leaves it open ("auto")."""
        if self.method.engine_name != AUTO:
            return self
        engine = dict(earlier.get("method", {})).get("engine", AUTO)
        if engine != AUTO:
            return replace(self, method=self.method.on_engine(engine))
        return replace(self, decided_engine=earlier.get("decided_engine"))


def _is_longer(iterations: int, earlier: Any) -> bool:
    return isinstance(earlier, int) and iterations >= earlier


def _defaults(kind: type[RunConfig]) -> dict[str, Any]:
    """What a configuration from before an option was there had in its place."""
    return {f.name: f.default for f in fields(kind) if f.default is not MISSING}


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(v) for v in value) if isinstance(value, list) else value


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from disk, where tuples are lists."""
    return dict(json.loads(json.dumps(value)))


STUDY: dict[str, dict[str, Any]] = {
    "opt-disc": {"adjoint": "backsolve", "max_steps": 100_000},
    "ad-adaptive": {"max_steps": 100_000},
}
"""Options of the study's methods that are not the library's defaults: its Opt-Disc solves the state backwards.

A configuration that was stored before these options were there means the same.
"""


def study_options(problem: type[Problem], name: str) -> dict[str, Any]:
    """Options of the method called `name` that are others than the library's defaults where `problem` is studied."""
    study = dict(STUDY.get(name, {}))
    if "adjoint" in study:
        study["adjoint"] = problem.adjoint
    return study


def default_method(problem: type[Problem], name: str, **options: Any) -> GradientMethod:
    """The method called `name` with the study's settings for `problem`, overridden by `options`."""
    from pynode.methods import METHODS

    method = METHODS.load(name)
    settings = problem.adaptive_settings if method.adaptive else problem.fixed_settings
    known = {k: v for k, v in settings.items() if k in method.option_names()}
    chosen = {"method": name, **study_options(problem, name), **known}
    if options.get("engine", AUTO) != AUTO:
        chosen |= {k: v for k, v in engine_called(options["engine"]).defaults.items() if k in method.option_names()}
    return method_from_json({**chosen, **options})


def check_accuracy(method: GradientMethod) -> None:
    """Raises `InvalidArgument` for a relative tolerance or a number of steps with which no run makes sense."""
    steps, gradient = method.recipe.steps, method.recipe.gradient
    if isinstance(steps, Fixed):
        for number in (steps.n,) if isinstance(steps.n, int) else steps.n:
            check_count("steps", number, MOST_STEPS)
        return
    tolerances = {"rtol": steps.rtol, "adjoint_rtol": gradient.rtol if isinstance(gradient, Continuous) else None}
    for argument, value in tolerances.items():
        if value is not None and value > 1:
            raise InvalidArgument(argument, value, "above 1, so that no digit would be right", "use e.g. 1e-6")


def _stored_method(data: Mapping[str, Any]) -> GradientMethod:
    """The method of a stored configuration."""
    earlier = STUDY.get(str(data.get("method")), {}) if isinstance(data, Mapping) else {}
    return method_from_json({**earlier, **data})


def check_device(device: str) -> None:
    """Raises `InvalidArgument` unless torch can use `device` here."""
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InvalidArgument("device", device, "unknown", "use cpu, cuda or cuda:N") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(kind, False):
        remedy = "use cpu, on which a run that was begun on another device goes on as well"
        raise InvalidArgument("device", device, "not available on this machine", remedy)
    index = torch.device(device).index
    if kind == "cuda" and index is not None and index >= torch.cuda.device_count():
        raise InvalidArgument("device", device, f"only {torch.cuda.device_count()} GPUs here", "use cuda")


def recorded_config(directory: Path) -> dict[str, Any]:
    """The plain values of the configuration of the run in `directory`, with a method that can be made.

    Raises `RecordError` that names the file.
    """
    plain = read_config(directory)
    recall_members(plain, only_unknown=True)
    try:
        method_from_json(plain["method"])
    except OutsideError:
        raise
    except (UsageError, TypeError) as error:
        raise RecordError(f"{directory / CONFIG} is damaged: {error}; {RESUME}") from error
    return plain


def usable_here(data: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of a configuration, its device the CPU where its own is not there."""
    device = data.get("device", "cpu")
    try:
        check_device(device if isinstance(device, str) else "cpu")  # the types are checked elsewhere
    except InvalidArgument:
        return {**data, "device": "cpu"}
    return dict(data)
